/**
 * Phase 0: pretraining a base model on documents, with a number of tokens per step. The paper starts from GPT-3 (§3.5); heed's small
 * base is made by this phase.
 */
import { fillIn, pretrainOptions } from '../config/index.js';
import type { Items, TrainSequence } from '../data/index.js';
import type { StepMetrics, SupervisedMetrics } from './metrics.js';
import { type OptimizerOptions, resolveOptimizer } from './optimizer.js';
import { batchesOfTokens } from './order.js';
import {
  lengthsOf,
  type SupervisedOptions,
  type SupervisedPlan,
  type SupervisedResult,
  trainSupervised,
} from './supervised.js';

export interface PretrainOptions extends SupervisedOptions, OptimizerOptions {
  /** Documents of at most the model's length: every token but the first of each is predicted. */
  readonly documents: Items<TrainSequence>;
  /** Maximum tokens per step; a longer document forms a step of its own. Default 2048. */
  readonly batchTokens?: number | undefined;
  /** Passes over the documents. Default 1. */
  readonly epochs?: number | undefined;
  /** Optimizer steps; overrides `epochs`. */
  readonly steps?: number | undefined;
  /** Default 3e-3: measured on models of a million parameters with steps of 1500 to 2000 tokens. */
  readonly learningRate?: number | undefined;
  /** Default 'cosine', to 10 %. */
  readonly schedule?: OptimizerOptions['schedule'];
  /** Default 1e-8. */
  readonly adamEps?: number | undefined;
  /** Default 0.1, on matrices only. */
  readonly weightDecay?: number | undefined;
  /** Default 0: one pass does not overfit. */
  readonly dropout?: number | undefined;
  /** false keeps the documents' order. Default true: reshuffled in every epoch. */
  readonly shuffle?: boolean | undefined;
}

/** Checks the options and counts the steps. @throws RangeError naming an invalid value */
export function planPretrain(o: Omit<PretrainOptions, 'model'>): SupervisedPlan {
  const { documents } = o;
  const resolved = fillIn(pretrainOptions, o);
  const { batchTokens, epochs, shuffle, dropout, seed } = resolved;
  const order = { ...lengthsOf(documents), seed, shuffle, stream: 'pretraining' };
  const batches = batchesOfTokens({ ...order, tokens: batchTokens });
  const totalSteps = resolved.steps ?? batches.steps(epochs);
  return {
    name: 'pretrain',
    sequences: documents,
    batches,
    totalSteps,
    optimizer: resolveOptimizer(pretrainOptions, {
      ...o,
      warmupSteps: resolved.warmupSteps ?? Math.min(100, Math.ceil(totalSteps / 20)),
    }),
    dropout,
    gradientCheckpointing: resolved.gradientCheckpointing,
    seed,
    validateEvery: resolved.validateEvery,
    keepBest: resolved.keepBest,
    options: { batchTokens, shuffle },
  };
}

/**
 * Trains `model` in place on documents, one optimizer step per metrics object; `run` works as in {@link trainSft}.
 *
 * @throws DivergenceError when a loss or gradient is not finite; RangeError for an invalid option
 */
export async function* trainPretrain(
  o: PretrainOptions,
): AsyncGenerator<SupervisedMetrics & StepMetrics, SupervisedResult, void> {
  return yield* trainSupervised(planPretrain(o), o);
}
