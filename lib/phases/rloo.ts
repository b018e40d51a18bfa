/**
 * REINFORCE with a leave-one-out baseline (Ahmadian et al. 2024): whole responses are actions, the KL penalty is part of the reward, and
 * the mean reward of a prompt's other responses is the baseline.
 */
import { fillIn, rlooOptions } from '../config/index.js';
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

export interface RlooOptions extends OnlineOptions {
  /** Responses per prompt, at least 2. Default 4. */
  readonly samplesPerPrompt?: number | undefined;
  /** Weight of the KL penalty, per response. Default 0.05. */
  readonly klCoef?: number | undefined;
  /** ε: the ratio of a whole response is clipped to 1 ± ε. Default 0.2. */
  readonly clipRange?: number | undefined;
  /** Default 1e-6. */
  readonly learningRate?: number | undefined;
  /** Default 'constant'. */
  readonly schedule?: OnlineOptions['schedule'];
}

/** Checks the options and counts the steps. @throws RangeError naming an invalid value */
export function planRloo(o: Omit<RlooOptions, 'policy' | 'reward' | 'reference'>): OnlinePlan {
  const { learningRate, iterations, epochs, steps, warmupSteps, ...given } = fillIn(rlooOptions, o);
  const { minibatches, ...counted } = planSteps(o, { ...given, iterations, epochs, steps });
  const resolved = { ...given, minibatches };
  const { slots, saveEvery, gradientCheckpointing, ...settings } = resolved;
  return {
    objective: {
      name: 'rloo',
      advantages: (scores, kl) => rlooAdvantages(scores, kl, given.klCoef),
      loss: (batch) => rlooLoss(batch, given.clipRange),
    },
    resolved,
    ...counted,
    optimizer: resolveOptimizer(rlooOptions, { ...o, warmupSteps }),
    options: { ...settings, stopAtKl: settings.stopAtKl ?? null },
  };
}

/** Trains `policy` in place, as {@link trainGrpo} does. @throws as that */
export function trainRloo(o: RlooOptions): AsyncGenerator<OnlineMetrics & StepMetrics, OnlineResult, void> {
  return trainOnline(planRloo(o), o);
}

/** Reward, less klCoef · Σ k1, minus the mean of the others of the group. */
export function rlooAdvantages(
  scores: readonly (readonly number[])[],
  kl: readonly (readonly number[])[],
  klCoef: number,
): number[][] {
  return scores.map((group, p) => {
    const rewards = group.map((score, i) => score - klCoef * kl[p]![i]!);
    const sum = rewards.reduce((total, reward) => total + reward, 0);
    return rewards.map((reward) => reward - (sum - reward) / (rewards.length - 1));
  });
}

/** Mean over the responses of max(-A·ratio, -A·clip(ratio)), with the ratio of the whole response. */
export function rlooLoss(batch: OnlineBatch, clipRange: number): OnlineLoss {
  const { logprobs, oldLogprobs, learnt, cuRows, advantages } = batch;
  const gradient = new Float64Array(logprobs.length);
  const responses = advantages.length;
  let loss = 0;
  let clipped = 0;
  advantages.forEach((advantage, s) => {
    let logRatio = 0;
    for (let r = cuRows[s]!; r < cuRows[s + 1]!; r++) logRatio += learnt[r]! * (logprobs[r]! - oldLogprobs[r]!);
    const ratio = Math.exp(logRatio);
    const bounded = Math.min(Math.max(ratio, 1 - clipRange), 1 + clipRange);
    const isClipped = -advantage * bounded > -advantage * ratio;
    loss += (-advantage * (isClipped ? bounded : ratio)) / responses;
    if (isClipped) clipped++;
    else
      for (let r = cuRows[s]!; r < cuRows[s + 1]!; r++)
        if (learnt[r] !== 0) gradient[r] = (-advantage * ratio) / responses;
  });
  return { loss, gradient, clipped, count: responses };
}
