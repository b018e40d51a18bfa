/**
 * Direct preference optimisation (Rafailov et al. 2023): the policy itself is the reward model, β log(π / π_ref), and is trained on
 * rankings without sampling.
 */
import { dpoOptions, fillIn } from '../config/index.js';
import type { RankedResponses } from '../data/index.js';
import { comparisons, logisticLoss, pairLosses, type RankingOptions, rankingPlan } from './comparisons.js';
import type { OfflineMetrics, StepMetrics } from './metrics.js';
import { type BatchLoss, type Likelihood, type OfflinePlan, type OfflineResult, trainOffline } from './offline.js';
import { resolveOptimizer } from './optimizer.js';

export interface DpoOptions extends RankingOptions {
  /** Weight of the implicit KL penalty: larger stays closer to the reference. Default 0.1. */
  readonly beta?: number | undefined;
  /** See {@link DpoLossType}. Default 'sigmoid'. */
  readonly loss?: DpoLossType | undefined;
  /** Probability that a label is wrong, in [0, 0.5). Default 0. */
  readonly labelSmoothing?: number | undefined;
  /** Default 1e-6. */
  readonly learningRate?: number | undefined;
}

/**
 * With x the difference of two responses' rewards β log(π / π_ref), better minus worse, and ε the label smoothing:
 *
 * - 'sigmoid': -(1 - ε) log σ(x) - ε log σ(-x) (Rafailov et al. 2023, eq. 7; with ε Mitchell 2023)
 * - 'sigmoidNorm': the same with rewards per token, β/|y| log(π / π_ref)
 * - 'robust': (-(1 - ε) log σ(x) + ε log σ(-x)) / (1 - 2ε), unbiased by wrong labels (Chowdhury et al. 2024)
 * - 'hinge': max(0, 1 - x) (Zhao et al. 2023)
 * - 'ipo': (x/β - 1/(2β))², with log-ratios per token (Azar et al. 2023, eq. 17)
 * - 'plackettLuce': -Σ log softmax over what is left, from best to worst (Rafailov et al. 2023, app. A.3); equal ranks do not compete
 *
 * All but the last compare the pairs of a ranking, and take their mean.
 */
export type DpoLossType = 'sigmoid' | 'sigmoidNorm' | 'robust' | 'hinge' | 'ipo' | 'plackettLuce';

/** Checks the options and counts the steps. @throws RangeError naming an invalid value */
export function planDpo(o: Omit<DpoOptions, 'model'>): OfflinePlan<RankedResponses> {
  const resolved = fillIn(dpoOptions, o);
  const { beta, loss, labelSmoothing } = resolved;
  if (labelSmoothing > 0 && !['sigmoid', 'sigmoidNorm', 'robust'].includes(loss))
    throw new RangeError(`labelSmoothing is ${labelSmoothing}, expected 0: the loss ${loss} has none`);
  const settings = { beta, loss, labelSmoothing };
  const objective = { name: 'dpo', usesReference: true, settings };
  const optimizer = resolveOptimizer(dpoOptions, o);
  return rankingPlan(objective, o, resolved, optimizer, (items, likelihoods) => dpoLoss(items, likelihoods, settings));
}

/**
 * Trains `model` in place, one optimizer step per metrics object. With `run`, it continues from the newest checkpoint, writes metrics and
 * checkpoints, and saves the final model as RUN/model and the result as RUN/result.json.
 *
 * @throws DivergenceError when the loss or a gradient is not finite; RangeError for an invalid option
 */
export function trainDpo(o: DpoOptions): AsyncGenerator<OfflineMetrics & StepMetrics, OfflineResult, void> {
  return trainOffline(planDpo(o), o);
}

export interface DpoLossOptions {
  readonly beta: number;
  readonly loss: DpoLossType;
  readonly labelSmoothing: number;
}

/** The mean loss of rankings, and its derivative by each response's log-probability. */
export function dpoLoss(
  items: readonly Pick<RankedResponses, 'ranks'>[],
  likelihoods: readonly (readonly Likelihood[])[],
  o: DpoLossOptions,
): BatchLoss {
  return comparisons(items, likelihoods, {
    rewardOf: ({ logprob, reference }) => o.beta * (logprob - reference),
    lossOf(responses, ranks) {
      const perToken = o.loss === 'sigmoidNorm' || o.loss === 'ipo';
      const slopes = responses.map(({ tokens }) => (perToken ? o.beta / tokens : o.beta)); // d reward / d logprob
      const rewards = responses.map(({ logprob, reference }, k) => slopes[k]! * (logprob - reference));
      const { loss, gradient } =
        o.loss === 'plackettLuce' ? plackettLuce(rewards, ranks) : pairLosses(rewards, ranks, (x) => pairLoss(x, o));
      return { loss, gradient: gradient.map((derivative, k) => derivative * slopes[k]!) };
    },
  });
}

/** A pair's loss and its derivative by x. */
function pairLoss(x: number, { beta, loss, labelSmoothing }: DpoLossOptions): readonly [number, number] {
  if (loss === 'hinge') return [Math.max(0, 1 - x), x < 1 ? -1 : 0];
  if (loss === 'ipo') {
    const error = x / beta - 1 / (2 * beta);
    return [error * error, (2 * error) / beta];
  }
  if (loss !== 'robust') return logisticLoss(x, labelSmoothing);
  const [right, slope] = logisticLoss(x);
  const [wrong, wrongSlope] = logisticLoss(-x);
  const e = labelSmoothing;
  return [((1 - e) * right - e * wrong) / (1 - 2 * e), ((1 - e) * slope + e * wrongSlope) / (1 - 2 * e)];
}

/** -Σ log(e^r / (e^r + Σ of the worse)) over responses that have a worse one, and its derivative by each reward. */
function plackettLuce(rewards: readonly number[], ranks: ArrayLike<number>) {
  const gradient = rewards.map(() => 0);
  let loss = 0;
  rewards.forEach((reward, best) => {
    const left = rewards.flatMap((_, k) => (k === best || ranks[k]! > ranks[best]! ? [k] : []));
    if (left.length === 1) return;
    const most = Math.max(...left.map((k) => rewards[k]!));
    const sum = left.reduce((total, k) => total + Math.exp(rewards[k]! - most), 0);
    loss += Math.log(sum) + most - reward;
    for (const k of left) gradient[k]! += Math.exp(rewards[k]! - most) / sum;
    gradient[best]! -= 1;
  });
  return { loss, gradient };
}
