/**
 * Phase 1 of InstructGPT: supervised fine-tuning on demonstrations (Ouyang et al. 2022, §3.5 and app. C.1).
 *
 * The loss is the mean over the response tokens of the batch, including end-of-text. With `pretrain`, pretraining documents are
 * mixed into every step, as for the model from which the paper starts PPO (app. C.3).
 */
import { fillIn, sftOptions } from '../config/index.js';
import type { Items, TrainSequence } from '../data/index.js';
import type { StepMetrics, SupervisedMetrics } from './metrics.js';
import { type OptimizerOptions, resolveOptimizer } from './optimizer.js';
import { batchesOf } from './order.js';
import { type SupervisedOptions, type SupervisedPlan, type SupervisedResult, trainSupervised } from './supervised.js';

export interface SftOptions extends SupervisedOptions, OptimizerOptions {
  /** Demonstrations: dialogues whose spans are the responses, including end-of-text. */
  readonly sequences: Items<TrainSequence>;
  /** Sequences per step. Default 32 (the paper's for 1.3B and 6B). */
  readonly batchSize?: number | undefined;
  /** Passes over the data. Default 16 (app. C.1). */
  readonly epochs?: number | undefined;
  /** Optimizer steps; overrides `epochs`. */
  readonly steps?: number | undefined;
  /** Default 9.65e-6 (app. C.1, 1.3B); use about 1e-3 for a model of a million parameters. */
  readonly learningRate?: number | undefined;
  /** Default 'cosine', to 10 %, without warm-up (app. C.1). */
  readonly schedule?: OptimizerOptions['schedule'];
  /** Default 1e-8. */
  readonly adamEps?: number | undefined;
  /** Residual dropout. Default 0.2 (app. C.1). */
  readonly dropout?: number | undefined;
  /** false keeps the sequences' order. Default true: reshuffled in every epoch. */
  readonly shuffle?: boolean | undefined;
  /** Pretraining documents mixed into every step. */
  readonly pretrain?: Items<TrainSequence> | undefined;
  /** Multiplies the documents' mean loss per token; the demonstrations' is 1. Default 0.1. */
  readonly ptxCoef?: number | undefined;
  /** Maximum document tokens per step. Default 1024. */
  readonly ptxTokens?: number | undefined;
}

/** Checks the options and counts the steps. @throws RangeError naming an invalid value */
export function planSft(o: Omit<SftOptions, 'model'>): SupervisedPlan {
  const { sequences, pretrain } = o;
  const resolved = fillIn(sftOptions, o);
  const { batchSize, epochs, shuffle, dropout, seed, ptxCoef, ptxTokens } = resolved;
  const batches = batchesOf({ count: sequences.length, batchSize, seed, shuffle, stream: 'sft' });
  return {
    name: 'sft',
    sequences,
    batches,
    totalSteps: resolved.steps ?? batches.steps(epochs),
    optimizer: resolveOptimizer(sftOptions, o),
    dropout,
    gradientCheckpointing: resolved.gradientCheckpointing,
    seed,
    validateEvery: resolved.validateEvery,
    keepBest: resolved.keepBest,
    ...(pretrain ? { mix: { documents: pretrain, ptxCoef, ptxTokens } } : {}),
    options: { batchSize, shuffle, ptxCoef: pretrain ? ptxCoef : 0, ptxTokens: pretrain ? ptxTokens : 0 },
  };
}

/**
 * Fine-tunes `model` in place, one optimizer step per metrics object. With `run`, it continues from the newest
 * checkpoint, writes metrics and checkpoints, and saves the final model as RUN/model.
 *
 * @throws DivergenceError when a loss or gradient is not finite; RangeError for an invalid option
 */
export async function* trainSft(
  o: SftOptions,
): AsyncGenerator<SupervisedMetrics & StepMetrics, SupervisedResult, void> {
  return yield* trainSupervised(planSft(o), o);
}
