/**
 * Phase 1 of InstructGPT: supervised fine-tuning on demonstrations (Ouyang et al. 2022, §3.5 and app. C.1).
 *
 * The loss is on response tokens only, end-of-text included: the mean over the response tokens of the batch. With
 * `pretrain`, pretraining documents are mixed into every step: the model the paper starts PPO from (app. C.3).
 */
import { fillIn, sftOptions } from '../config/index.js';
import type { TrainSequence } from '../data/index.js';
import type { StepMetrics, SupervisedMetrics } from './metrics.js';
import { type OptimizerOptions, resolveOptimizer } from './optimizer.js';
import { batchesOf } from './order.js';
import { type SupervisedOptions, type SupervisedPlan, type SupervisedResult, trainSupervised } from './supervised.js';

export interface SftOptions extends SupervisedOptions, OptimizerOptions {
  /** Demonstrations: dialogues whose spans are the responses, end-of-text included. */
  readonly sequences: readonly TrainSequence[];
  /** Sequences of a step. Default 32 (the paper's for 1.3B and 6B). */
  readonly batchSize?: number | undefined;
  /** Passes over the data. Default 16 (app. C.1). */
  readonly epochs?: number | undefined;
  /** Optimizer steps in place of epochs. */
  readonly steps?: number | undefined;
  /** Default 9.65e-6 (app. C.1, 1.3B); a model of a million parameters wants about 1e-3. */
  readonly learningRate?: number | undefined;
  /** Default 'cosine', to 10 %, without warm-up (app. C.1). */
  readonly schedule?: OptimizerOptions['schedule'];
  /** Default 1e-8. */
  readonly adamEps?: number | undefined;
  /** Residual dropout. Default 0.2 (app. C.1). */
  readonly dropout?: number | undefined;
  /** false takes the sequences in their order. Default true: another order in every epoch. */
  readonly shuffle?: boolean | undefined;
  /** Pretraining documents mixed into every step. */
  readonly pretrain?: readonly TrainSequence[] | undefined;
  /** Multiplies the documents' mean loss per token; the demonstrations' is 1. Default 0.1. */
  readonly ptxCoef?: number | undefined;
  /** Tokens of documents in a step, at most. Default 1024. */
  readonly ptxTokens?: number | undefined;
}

/** Checks the options and says how many steps there will be. @throws RangeError naming a value that is not allowed */
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
    seed,
    validateEvery: resolved.validateEvery,
    keepBest: resolved.keepBest,
    ...(pretrain ? { mix: { documents: pretrain, ptxCoef, ptxTokens } } : {}),
    options: { batchSize, shuffle, ptxCoef: pretrain ? ptxCoef : 0, ptxTokens: pretrain ? ptxTokens : 0 },
  };
}

/**
 * Fine-tunes `model` in place, one optimizer step per metrics object. With `run`, metrics and checkpoints are written, the
 * run goes on from its newest checkpoint, and the final model is RUN/model.
 *
 * @throws DivergenceError when a loss or gradient is not finite; RangeError for an option whose value is not allowed
 */
export async function* trainSft(
  o: SftOptions,
): AsyncGenerator<SupervisedMetrics & StepMetrics, SupervisedResult, void> {
  return yield* trainSupervised(planSft(o), o);
}
