/**
 * Group relative policy optimisation (Shao et al. 2024): PPO's clipped loss, with the other responses to a prompt as the baseline in place
 * of a value network, and the KL from the reference in the loss.
 */
import { fillIn, grpoOptions } from '../config/index.js';
import type { OnlineMetrics, StepMetrics } from './metrics.js';
import {
  type OnlineBatch,
  type OnlineLoss,
  type OnlineOptions,
  type OnlinePlan,
  type OnlineResult,
  planSteps,
  trainOnline,
} from './online.js';
import { resolveOptimizer } from './optimizer.js';
import { moments } from './ppo/advantages.js';

export interface GrpoOptions extends OnlineOptions {
  /** Responses per prompt: a group, at least 2. Default 8. */
  readonly samplesPerPrompt?: number | undefined;
  /** Weight of the KL from the reference in the loss. Default 0.04. */
  readonly klCoef?: number | undefined;
  /** ε: the ratio is clipped to at least 1 - ε. Default 0.2. */
  readonly clipRange?: number | undefined;
  /** The ratio is clipped to at most 1 + this. Default: `clipRange`; DAPO uses 0.28. */
  readonly clipRangeHigh?: number | undefined;
  /** See {@link GrpoLossType}. Default 'grpo'. */
  readonly loss?: GrpoLossType | undefined;
  /** What the advantages are divided by: the standard deviation of the group, of the batch, or nothing (Dr. GRPO). Default 'group'. */
  readonly scaleRewards?: 'group' | 'batch' | 'none' | undefined;
  /** Default 1e-6. */
  readonly learningRate?: number | undefined;
  /** Default 'constant'. */
  readonly schedule?: OnlineOptions['schedule'];
}

/**
 * How the loss of tokens becomes that of a step:
 *
 * - 'grpo': mean over each response, then over the responses (Shao et al. 2024, eq. 3)
 * - 'dapo': mean over all tokens, so that long responses weigh more (Yu et al. 2025, eq. 8)
 * - 'drGrpo': sum over the tokens, divided by responses · maxNewTokens: length has no influence (Liu et al. 2025)
 */
export type GrpoLossType = 'grpo' | 'dapo' | 'drGrpo';

/** Checks the options and counts the steps. @throws RangeError naming an invalid value */
export function planGrpo(o: Omit<GrpoOptions, 'policy' | 'reward' | 'reference'>): OnlinePlan {
  const { learningRate, iterations, epochs, steps, warmupSteps, ...given } = fillIn(grpoOptions, o);
  const { minibatches, ...counted } = planSteps(o, { ...given, iterations, epochs, steps });
  const resolved = { ...given, minibatches, rewardScale: given.rewardScale };
  const { slots, saveEvery, gradientCheckpointing, ...settings } = resolved;
  const high = given.clipRangeHigh ?? given.clipRange;
  return {
    objective: {
      name: 'grpo',
      advantages: (scores) => grpoAdvantages(scores, given.scaleRewards),
      loss: (batch) => grpoLoss(batch, { ...given, clipRangeHigh: high }),
    },
    resolved,
    ...counted,
    optimizer: resolveOptimizer(grpoOptions, { ...o, warmupSteps }),
    options: { ...settings, stopAtKl: settings.stopAtKl ?? null, clipRangeHigh: high },
  };
}

/**
 * Trains `policy` in place, one optimizer step per metrics object, as `trainPpo` does without a value network.
 *
 * @throws DivergenceError when a value is not finite or the KL exceeds `maxKl`; HeedError for a reward that is not finite (it names the
 *   prompt); RangeError for an invalid option
 */
export function trainGrpo(o: GrpoOptions): AsyncGenerator<OnlineMetrics & StepMetrics, OnlineResult, void> {
  return trainOnline(planGrpo(o), o);
}

/** Added to a standard deviation before dividing by it, as in TRL. */
const kEpsilon = 1e-4;

/** Scores minus their group's mean, scaled; standard deviations are those of a sample (n - 1). */
export function grpoAdvantages(
  scores: readonly (readonly number[])[],
  scaleRewards: NonNullable<GrpoOptions['scaleRewards']>,
): number[][] {
  const deviation = (x: readonly number[]) => Math.sqrt((moments(x).variance * x.length) / Math.max(1, x.length - 1));
  const ofBatch = deviation(scores.flat());
  return scores.map((group) => {
    const { mean } = moments(group);
    const scale =
      scaleRewards === 'none' ? 1 : 1 / ((scaleRewards === 'group' ? deviation(group) : ofBatch) + kEpsilon);
    return group.map((score) => (score - mean) * scale);
  });
}

interface GrpoLossOptions {
  readonly loss: GrpoLossType;
  readonly klCoef: number;
  readonly clipRange: number;
  readonly clipRangeHigh: number;
  readonly maxNewTokens: number;
}

/** max(-A·ratio, -A·clip(ratio)) + β (e^d - d - 1) of each token, d = log π_ref - log π, weighted as `loss` says. */
export function grpoLoss(batch: OnlineBatch, o: GrpoLossOptions): OnlineLoss {
  const { logprobs, oldLogprobs, refLogprobs, learnt, cuRows, advantages } = batch;
  const all = tokensOf(learnt, 0, learnt.length);
  const gradient = new Float64Array(logprobs.length);
  const responses = advantages.length;
  let loss = 0;
  let clipped = 0;
  for (let s = 0; s < responses; s++) {
    const advantage = advantages[s]!;
    const [begin, end] = [cuRows[s]!, cuRows[s + 1]!];
    const weights = { grpo: responses * tokensOf(learnt, begin, end), dapo: all, drGrpo: responses * o.maxNewTokens };
    const weight = 1 / weights[o.loss];
    for (let r = begin; r < end; r++) {
      if (learnt[r] === 0) continue;
      const ratio = Math.exp(logprobs[r]! - oldLogprobs[r]!);
      const bounded = Math.min(Math.max(ratio, 1 - o.clipRange), 1 + o.clipRangeHigh);
      const isClipped = -advantage * bounded > -advantage * ratio;
      const d = refLogprobs[r]! - logprobs[r]!;
      loss += weight * (-advantage * (isClipped ? bounded : ratio) + o.klCoef * (Math.expm1(d) - d));
      gradient[r] = weight * ((isClipped ? 0 : -advantage * ratio) - o.klCoef * Math.expm1(d));
      if (isClipped) clipped++;
    }
  }
  return { loss, gradient, clipped, count: all };
}

const tokensOf = (learnt: Float32Array, begin: number, end: number) =>
  learnt.subarray(begin, end).reduce((sum, own) => sum + own, 0);
