/**
 * Next-token training on the spans of sequences: the loop behind supervised fine-tuning (all of §3.5's first step and app. C.1
 * of Ouyang et al. 2022) and pretraining. They differ in what a batch is and in their defaults.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { lossTokens, packSequences, type TrainSequence } from '../data/index.js';
import { LanguageModel } from '../runtime/model.js';
import type { LanguageTrainer } from '../runtime/trainer.js';
import { DivergenceError, digest, type PhaseOptions, type PhaseSteps, runSteps, takeStep } from './loop.js';
import type { StepMetrics, SupervisedMetrics } from './metrics.js';
import { learningRates, type ResolvedOptimizer, trainerOptions } from './optimizer.js';
import { type Batches, batchesOfTokens, keyedSeed } from './order.js';

/** Options that fine-tuning and pretraining share. */
export interface SupervisedOptions extends PhaseOptions {
  /** Trained in place; at the end it holds the best weights, if there was a validation, else the last. */
  readonly model: LanguageModel;
  /** Held-out sequences: their loss is measured every `validateEvery` steps and at the end. */
  readonly validation?: readonly TrainSequence[] | undefined;
  /** Optimizer steps between validations. Default: an epoch. */
  readonly validateEvery?: number | undefined;
  /**
   * A number to choose the best weights by, higher is better, in place of the validation loss: in the paper the reward model's
   * score on validation prompts (app. C.1; `meanReward` makes it). Called when a validation is due.
   */
  readonly evaluate?:
    | ((model: LanguageModel, context: { step: number; signal: AbortSignal | undefined }) => number | Promise<number>)
    | undefined;
  /** Ends with the weights of the best validation. Default true. */
  readonly keepBest?: boolean | undefined;
}

/** How supervised training ended. */
export interface SupervisedResult {
  readonly steps: number;
  /** The validation whose weights the model holds. */
  readonly best?: Best;
}

export interface Best {
  readonly step: number;
  readonly validationLoss?: number;
  readonly validationMetric?: number;
}

/** What distinguishes one supervised phase from the other. */
export interface SupervisedPlan {
  readonly name: 'sft' | 'pretrain';
  readonly sequences: readonly TrainSequence[];
  readonly batches: Batches;
  readonly totalSteps: number;
  readonly optimizer: ResolvedOptimizer;
  readonly dropout: number;
  readonly seed: number;
  readonly validateEvery: number | undefined;
  readonly keepBest: boolean;
  readonly mix?: {
    readonly documents: readonly TrainSequence[];
    readonly ptxCoef: number;
    readonly ptxTokens: number;
  };
  /** See RunState.options. */
  readonly options: Readonly<Record<string, unknown>>;
}

export async function* trainSupervised(
  plan: SupervisedPlan,
  o: SupervisedOptions,
): AsyncGenerator<SupervisedMetrics & StepMetrics, SupervisedResult, void> {
  const { model, run, signal, validation, evaluate } = o;
  const { sequences, batches, totalSteps, optimizer, mix, seed, keepBest } = plan;
  const { engine } = model;
  const { maxTokens } = engine.info; // it cuts passes, and with them rounding
  const validates = evaluate !== undefined || (validation !== undefined && validation.length > 0);
  const validateEvery = plan.validateEvery ?? batches.steps(1);
  checkLengths(plan.name === 'sft' ? 'sequence' : 'document', sequences, model);
  checkLengths('validation sequence', validation ?? [], model);
  checkLengths('pretraining document', mix?.documents ?? [], model);

  const rate = learningRates(optimizer, totalSteps);
  const mixed =
    mix &&
    batchesOfTokens({
      count: mix.documents.length,
      lengthOf: (i) => mix.documents[i]!.tokens.length,
      tokens: mix.ptxTokens,
      seed,
      shuffle: true,
      stream: 'pretraining',
    });
  const data = await digest(signal, contents(sequences), contents(mix?.documents ?? []), contents(validation ?? []));
  const trainer: LanguageTrainer = await model.trainer(trainerOptions(optimizer, plan.dropout));
  let best: Best | undefined;
  let bestModel: LanguageModel | undefined;

  const phase: PhaseSteps<SupervisedMetrics> = {
    name: plan.name,
    total: totalSteps,
    options: {
      ...plan.options,
      seed,
      optimizer,
      dropout: plan.dropout,
      totalSteps,
      validateEvery,
      keepBest,
      bestBy: evaluate ? 'evaluate' : 'loss',
      maxTokens,
    },
    data,
    device: engine.info.device,
    tokensComputed: () => engine.usage().tokensComputed,

    async update(step) {
      const batch = packSequences(batches.at(step).map((i) => sequences[i]!));
      const tokens = batch.rows.length;
      const dropoutSeed = keyedSeed(seed, 'dropout', step);
      const { loss } = await trainer.sft(batch, { scale: 1 / tokens, dropoutSeed, signal });
      requireFinite(step, 'loss', loss / tokens);
      let ptxLoss: number | undefined;
      if (mix && mixed) {
        const documents = packSequences(mixed.at(step).map((i) => mix.documents[i]!));
        const scale = mix.ptxCoef / documents.rows.length;
        const mixSeed = keyedSeed(seed, 'dropout', 'pretraining', step);
        const added = await trainer.sft(documents, { scale, dropoutSeed: mixSeed, signal });
        ptxLoss = added.loss / documents.rows.length;
        requireFinite(step, 'loss on pretraining documents', ptxLoss);
      }
      const learningRate = rate(step);
      const { gradNorm } = await takeStep(trainer, step, { learningRate, maxGradNorm: optimizer.maxGradNorm });
      return {
        epoch: (step + 1) / batches.steps(1),
        loss: loss / tokens,
        tokens,
        ...(ptxLoss === undefined ? {} : { ptxLoss }),
        gradNorm,
        learningRate,
      };
    },

    async after(step) {
      if (!validates || !((step + 1) % validateEvery === 0 || step + 1 === totalSteps)) return {};
      const found: { validationLoss?: number; validationMetric?: number } = {};
      if (validation && validation.length > 0) {
        found.validationLoss = await meanLoss(model, validation, o);
        requireFinite(step, 'validation loss', found.validationLoss);
      }
      if (evaluate) {
        const metric = await evaluate(model, { step: step + 1, signal });
        if (!Number.isFinite(metric))
          throw new RangeError(`evaluate returned ${metric} after step ${step + 1}, expected a finite number`);
        found.validationMetric = metric;
      }
      const isBest = isBetter(found, best);
      if (isBest) {
        if (keepBest) {
          bestModel ??= await model.clone();
          await bestModel.copyFrom(model);
        }
        best = { step: step + 1, ...found };
      }
      return { ...found, best: isBest };
    },

    async save(dir) {
      await model.save(join(dir, 'model'));
      await trainer.saveState(join(dir, 'model.optimizer.safetensors'));
      if (bestModel) await bestModel.save(join(dir, 'best'));
    },

    async restore({ dir }, progress) {
      await read(model, join(dir, 'model'));
      await trainer.loadState(join(dir, 'model.optimizer.safetensors'));
      best = (progress.best as Best | null) ?? undefined;
      if (!best || !keepBest) return;
      if (existsSync(join(dir, 'best'))) {
        bestModel ??= await model.clone();
        await read(bestModel, join(dir, 'best'));
      } else {
        best = undefined; // it was not kept: the best from here on is
      }
    },

    progress: () => ({ best: best ?? null }),
  };

  try {
    yield* runSteps(phase, o);
    if (bestModel) await model.copyFrom(bestModel);
    const result = best ? { steps: totalSteps, best } : { steps: totalSteps };
    if (run) {
      await model.save(join(run.dir, 'model'), tokenizerOf(run));
      await run.writeJson('result.json', result);
    }
    return result;
  } finally {
    await trainer.dispose();
    await bestModel?.dispose();
  }
}

/** Mean loss of the model over the sequences' tokens that carry loss, nats. */
export async function meanLoss(
  model: LanguageModel,
  sequences: readonly TrainSequence[],
  { signal, onProgress }: PhaseOptions = {},
): Promise<number> {
  // Some passes at a time, so that an abort need not wait for all of them.
  const chunks = batchesOfTokens({
    count: sequences.length,
    lengthOf: (i) => sequences[i]!.tokens.length,
    tokens: 4 * model.engine.info.maxTokens,
    seed: 0,
    shuffle: false,
    stream: 'validation',
  });
  let sum = 0;
  let rows = 0;
  for (let c = 0; c < chunks.steps(1); c++) {
    const batch = packSequences(chunks.at(c).map((i) => sequences[i]!));
    const { logprobs } = await model.logprobs(batch, { signal });
    for (const logprob of logprobs) sum -= logprob;
    rows += logprobs.length;
    onProgress?.({ doing: 'validation', done: c + 1, total: chunks.steps(1) });
  }
  return sum / rows;
}

function isBetter(found: Omit<Best, 'step'>, best: Best | undefined): boolean {
  if (!best) return true;
  // A run that was resumed may choose by another number than before: the first of its kind is the best.
  if (found.validationMetric !== undefined) return found.validationMetric > (best.validationMetric ?? -Infinity);
  return found.validationLoss! < (best.validationLoss ?? Infinity);
}

function requireFinite(step: number, name: string, value: number): void {
  if (!Number.isFinite(value)) throw new DivergenceError(step + 1, `the ${name} is ${value}`);
}

/** Refuses a sequence that no pass can hold, before the first step. */
export function checkLengths(
  what: string,
  sequences: readonly TrainSequence[],
  model: Pick<LanguageModel, 'config' | 'engine'>,
): void {
  const limit = Math.min(model.config.maxPositions, model.engine.info.maxTokens);
  sequences.forEach(({ tokens }, i) => {
    if (tokens.length > limit) {
      throw new RangeError(`${what} ${i} has ${tokens.length} tokens, at most ${limit} fit the model and the engine`);
    }
  });
}

/** Ids and spans of sequences, as {@link digest} takes them. */
export function* contents(sequences: readonly TrainSequence[]): Iterable<Int32Array> {
  for (const { tokens, spans } of sequences) {
    yield tokens;
    yield spans;
  }
}

/** Reads a saved model's weights into one that stands. */
async function read(model: LanguageModel, dir: string): Promise<void> {
  const saved = await LanguageModel.load(model.engine, dir);
  try {
    await model.copyFrom(saved);
  } finally {
    await saved.dispose();
  }
}

const tokenizerOf = ({ tokenizerFrom }: { tokenizerFrom: string | undefined }) =>
  tokenizerFrom === undefined ? {} : { tokenizerFrom };

/** Tokens that carry loss in an epoch: what a plan prints. */
export const totalLossTokens = (sequences: readonly TrainSequence[]) =>
  sequences.reduce((sum, sequence) => sum + lossTokens(sequence), 0);
