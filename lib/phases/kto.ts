/**
 * Kahneman-Tversky optimisation (Ethayarajh et al. 2024): learns from single responses that were called good or bad, as services collect
 * them, by how much better or worse than the reference they became.
 */
import { fillIn, ktoOptions } from '../config/index.js';
import { type Feedback, type Items, mapItems } from '../data/index.js';
import { sigmoid } from './comparisons.js';
import type { OfflineMetrics, StepMetrics } from './metrics.js';
import {
  type BatchLoss,
  type Likelihood,
  type OfflineOptions,
  type OfflinePlan,
  type OfflineResult,
  trainOffline,
} from './offline.js';
import { type OptimizerOptions, resolveOptimizer } from './optimizer.js';
import { batchesOf } from './order.js';
import type { Pairs } from './pairs.js';

export interface KtoOptions extends OfflineOptions, OptimizerOptions {
  readonly feedback: Items<Feedback>;
  /** Held-out feedback. */
  readonly validation?: Items<Feedback> | undefined;
  /** Optimizer steps between validations. Default 0: only at the end. */
  readonly validateEvery?: number | undefined;
  /** Passes over the feedback. Default 1. */
  readonly epochs?: number | undefined;
  /** Optimizer steps; overrides `epochs`. */
  readonly steps?: number | undefined;
  /** Responses per step, at least 2: the KL is estimated in the batch. Default 32. */
  readonly batchSize?: number | undefined;
  /** false keeps the order. Default true: reshuffled in every epoch. */
  readonly shuffle?: boolean | undefined;
  /** Weight of the implicit KL penalty: larger stays closer to the reference. Default 0.1. */
  readonly beta?: number | undefined;
  /** λ_D. With the other weight, make desirableWeight · good / (undesirableWeight · bad) 1 to 3/2. Default 1. */
  readonly desirableWeight?: number | undefined;
  /** λ_U. Default 1. */
  readonly undesirableWeight?: number | undefined;
  /** Default 5e-6. */
  readonly learningRate?: number | undefined;
}

/** A response with the response to another prompt, which tells how the policy has moved on the whole. */
interface KtoItem {
  readonly prompt: Int32Array;
  readonly responses: readonly [Int32Array];
  readonly other: Int32Array;
  readonly desirable: boolean;
}

/** Checks the options and counts the steps. @throws RangeError naming an invalid value */
export function planKto(o: Omit<KtoOptions, 'model'>): OfflinePlan<KtoItem> {
  const resolved = fillIn(ktoOptions, o);
  const { batchSize, shuffle, seed, beta, desirableWeight, undesirableWeight } = resolved;
  const settings = { beta, desirableWeight, undesirableWeight };
  const { feedback } = o;
  if (feedback.length === 1) throw new RangeError('there is 1 response with feedback, expected at least 2');
  const batches = batchesOf({ count: feedback.length, batchSize, seed, shuffle, stream: 'kto' });
  return {
    objective: {
      name: 'kto',
      usesReference: true,
      constantsOf: ({ prompt, other }) => ({ prompt, responses: [other] }),
      loss: (items, likelihoods, constants) => ktoLoss(items, likelihoods, constants, settings),
      labelsOf: ({ desirable }) => Int32Array.of(desirable ? 1 : 0),
    },
    items: withOthers(feedback),
    skipped: 0,
    validation: withOthers(o.validation ?? []),
    batches,
    totalSteps: resolved.steps ?? batches.steps(resolved.epochs),
    optimizer: resolveOptimizer(ktoOptions, o),
    gradientCheckpointing: resolved.gradientCheckpointing,
    seed,
    validateEvery: resolved.validateEvery,
    options: { batchSize, shuffle, ...settings },
  };
}

const withOthers = (feedback: Items<Feedback>): Items<KtoItem> =>
  mapItems(feedback, ({ prompt, response, desirable }, i) => {
    const other = feedback.at((i + 1) % feedback.length)!.response;
    return { prompt, responses: [response], other, desirable };
  });

/**
 * Trains `model` in place, as {@link trainDpo} does.
 *
 * @throws DivergenceError when the loss or a gradient is not finite; RangeError for an invalid option
 */
export function trainKto(o: KtoOptions): AsyncGenerator<OfflineMetrics & StepMetrics, OfflineResult, void> {
  return trainOffline(planKto(o), o);
}

/**
 * The mean loss, and its derivative by each response's log-probability. With r = log(π / π_ref) of a response, and z the mean of the
 * same of responses to other prompts, at least 0 and taken as a constant (Ethayarajh et al. 2024, eq. 8):
 *
 *   desirable:   λ_D (1 - σ(β (r - z)))        undesirable:   λ_U (1 - σ(β (z - r)))
 */
export function ktoLoss(
  items: readonly { readonly desirable: boolean }[],
  likelihoods: readonly (readonly Likelihood[])[],
  constants: readonly (readonly Likelihood[])[],
  o: { readonly beta: number; readonly desirableWeight: number; readonly undesirableWeight: number },
): BatchLoss {
  const { beta, desirableWeight, undesirableWeight } = o;
  const logRatio = ({ logprob, reference }: Likelihood) => logprob - reference;
  const count = items.length;
  const others = constants.flat().map(logRatio);
  const kl = Math.max(0, others.reduce((sum, each) => sum + each, 0) / others.length);
  const rewards = { desirable: [] as number[], undesirable: [] as number[] };
  let loss = 0;
  const ordered: Pairs[] = [];
  const gradient = items.map(({ desirable }, i) => {
    const ratio = logRatio(likelihoods[i]![0]!);
    const sign = desirable ? 1 : -1;
    const weight = desirable ? desirableWeight : undesirableWeight;
    const x = sign * beta * (ratio - kl);
    rewards[desirable ? 'desirable' : 'undesirable'].push(beta * ratio);
    loss += weight * sigmoid(-x);
    ordered.push({ pairs: 1, correct: x > 0 ? 1 : x === 0 ? 0.5 : 0, loss: sigmoid(-x) });
    return [(-sign * weight * beta * sigmoid(x) * sigmoid(-x)) / count];
  });
  const mean = (x: readonly number[]) => x.reduce((sum, each) => sum + each, 0) / x.length;
  const chosenReward = mean(rewards.desirable);
  const rejectedReward = mean(rewards.undesirable);
  const measured = {
    ...(rewards.desirable.length > 0 ? { chosenReward } : {}),
    ...(rewards.undesirable.length > 0 ? { rejectedReward } : {}),
    ...(rewards.desirable.length > 0 && rewards.undesirable.length > 0
      ? { margin: chosenReward - rejectedReward }
      : {}),
  };
  const accuracy = ordered.reduce((sum, { correct }) => sum + correct, 0) / count;
  return { loss: loss / count, gradient, metrics: { accuracy, kl, ...measured }, ordered };
}
