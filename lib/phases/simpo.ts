/**
 * Simple preference optimisation (Meng et al. 2024): the reward is the log-probability per token, which is also what sampling maximises,
 * with a margin and without a reference.
 */
import { fillIn, simpoOptions } from '../config/index.js';
import type { RankedResponses } from '../data/index.js';
import { comparisons, logisticLoss, pairLosses, type RankingOptions, rankingPlan } from './comparisons.js';
import type { OfflineMetrics, StepMetrics } from './metrics.js';
import { type BatchLoss, type Likelihood, type OfflinePlan, type OfflineResult, trainOffline } from './offline.js';
import { resolveOptimizer } from './optimizer.js';

export interface SimpoOptions extends RankingOptions {
  /** Scale of the rewards. Default 2. */
  readonly beta?: number | undefined;
  /** γ: how much larger the better response's reward should be. Default 1. */
  readonly margin?: number | undefined;
  /** Probability that a label is wrong, in [0, 0.5). Default 0. */
  readonly labelSmoothing?: number | undefined;
  /** Default 1e-6. */
  readonly learningRate?: number | undefined;
}

/** Checks the options and counts the steps. @throws RangeError naming an invalid value */
export function planSimpo(o: Omit<SimpoOptions, 'model'>): OfflinePlan<RankedResponses> {
  const resolved = fillIn(simpoOptions, o);
  const { beta, margin, labelSmoothing } = resolved;
  const settings = { beta, margin, labelSmoothing };
  const objective = { name: 'simpo', usesReference: false, settings };
  const optimizer = resolveOptimizer(simpoOptions, o);
  return rankingPlan(objective, o, resolved, optimizer, (items, likelihoods) =>
    simpoLoss(items, likelihoods, settings),
  );
}

/**
 * Trains `model` in place, as {@link trainDpo} does.
 *
 * @throws DivergenceError when the loss or a gradient is not finite; RangeError for an invalid option
 */
export function trainSimpo(o: SimpoOptions): AsyncGenerator<OfflineMetrics & StepMetrics, OfflineResult, void> {
  return trainOffline(planSimpo(o), o);
}

/**
 * The mean loss of rankings, and its derivative by each response's log-probability: -log σ(x - γ), with x the difference of β/|y| log π
 * of a pair (Meng et al. 2024, eq. 6).
 */
export function simpoLoss(
  items: readonly Pick<RankedResponses, 'ranks'>[],
  likelihoods: readonly (readonly Likelihood[])[],
  { beta, margin, labelSmoothing }: { beta: number; margin: number; labelSmoothing: number },
): BatchLoss {
  const rewardOf = ({ logprob, tokens }: Likelihood) => (beta * logprob) / tokens;
  return comparisons(items, likelihoods, {
    rewardOf,
    lossOf(responses, ranks) {
      const { loss, gradient } = pairLosses(responses.map(rewardOf), ranks, (x) =>
        logisticLoss(x - margin, labelSmoothing),
      );
      return { loss, gradient: gradient.map((derivative, k) => (derivative * beta) / responses[k]!.tokens) };
    },
  });
}
