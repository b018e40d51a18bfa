/**
 * Next-token training on the spans of sequences: the loop of supervised fine-tuning (Ouyang et al. 2022, §3.5 and app. C.1) and
 * pretraining. They differ in their batches and their defaults.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type Items, lossTokens, packSequences, type TrainSequence } from '../data/index.js';
import type { LanguageModel } from '../runtime/model.js';
import type { LanguageTrainer } from '../runtime/trainer.js';
import { DivergenceError, digest, type PhaseOptions, type PhaseSteps, runSteps, takeStep } from './loop.js';
import type { StepMetrics, SupervisedMetrics } from './metrics.js';
import { learningRates, type ResolvedOptimizer, trainerOptions } from './optimizer.js';
import { type Batches, batchesOfTokens, keyedSeed } from './order.js';

/** Options that fine-tuning and pretraining share. */
export interface SupervisedOptions extends PhaseOptions {
  /** Trained in place; at the end it has the weights with the best validation, or without validation the last ones. */
  readonly model: LanguageModel;
  /** Held-out sequences: their loss is measured every `validateEvery` steps and at the end. */
  readonly validation?: Items<TrainSequence> | undefined;
  /** Optimizer steps between validations. Default: one epoch. */
  readonly validateEvery?: number | undefined;
  /**
   * Measures the model in place of the validation loss, to choose the best weights; higher is better. In the paper it is the reward
   * model's score on validation prompts (app. C.1; see `meanReward`). Called when a validation is due.
   */
  readonly evaluate?:
    | ((model: LanguageModel, context: { step: number; signal: AbortSignal | undefined }) => number | Promise<number>)
    | undefined;
  /** Whether to end with the weights of the best validation. Default true. */
  readonly keepBest?: boolean | undefined;
}

/** The result of supervised training. */
export interface SupervisedResult {
  readonly steps: number;
  /** The validation of the weights that the model has at the end. */
  readonly best?: Best;
}

export interface Best {
  readonly step: number;
  readonly validationLoss?: number;
  readonly validationMetric?: number;
}

/** What differs between supervised phases. */
export interface SupervisedPlan {
  readonly name: 'sft' | 'pretrain';
  readonly sequences: Items<TrainSequence>;
  readonly batches: Batches;
  readonly totalSteps: number;
  readonly optimizer: ResolvedOptimizer;
  readonly dropout: number;
  readonly gradientCheckpointing: boolean;
  readonly seed: number;
  readonly validateEvery: number | undefined;
  readonly keepBest: boolean;
  readonly mix?: {
    readonly documents: Items<TrainSequence>;
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
  const { maxTokens } = engine.info; // determines the passes, and thus rounding
  const validates = evaluate !== undefined || (validation !== undefined && validation.length > 0);
  const validateEvery = plan.validateEvery ?? batches.steps(1);
  checkLengths(plan.name === 'sft' ? 'sequence' : 'document', sequences, model);
  checkLengths('validation sequence', validation ?? [], model);
  checkLengths('pretraining document', mix?.documents ?? [], model);

  const rate = learningRates(optimizer, totalSteps);
  const mixed =
    mix &&
    batchesOfTokens({
      ...lengthsOf(mix.documents),
      tokens: mix.ptxTokens,
      seed,
      shuffle: true,
      stream: 'pretraining',
    });
  const data = await digest(signal, contents(sequences), contents(mix?.documents ?? []), contents(validation ?? []));
  const trainer: LanguageTrainer = await model.trainer(trainerOptions(optimizer, plan));
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
    engine,

    async update(step) {
      const batch = packSequences(batches.at(step).map((i) => sequences.at(i)!));
      const tokens = batch.rows.length;
      const dropoutSeed = keyedSeed(seed, 'dropout', step);
      const { loss } = await trainer.sft(batch, { scale: 1 / tokens, dropoutSeed, signal });
      requireFinite(step, 'loss', loss / tokens);
      let ptxLoss: number | undefined;
      if (mix && mixed) {
        const documents = packSequences(mixed.at(step).map((i) => mix.documents.at(i)!));
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
      await model.restore(join(dir, 'model'));
      await trainer.loadState(join(dir, 'model.optimizer.safetensors'));
      best = (progress.best as Best | null) ?? undefined;
      if (!best || !keepBest) return;
      if (existsSync(join(dir, 'best'))) {
        bestModel ??= await model.clone();
        await bestModel.restore(join(dir, 'best'));
      } else {
        best = undefined; // its weights were not saved: restart the search from here
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

/** Mean loss in nats over the sequences' tokens that carry loss. */
export async function meanLoss(
  model: LanguageModel,
  sequences: Items<TrainSequence>,
  { signal, onProgress }: PhaseOptions = {},
): Promise<number> {
  // A few passes at a time, so that an abort does not wait for all of them.
  const chunks = batchesOfTokens({
    ...lengthsOf(sequences),
    tokens: 4 * model.engine.info.maxTokens,
    seed: 0,
    shuffle: false,
    stream: 'validation',
  });
  let sum = 0;
  let rows = 0;
  for (let c = 0; c < chunks.steps(1); c++) {
    const batch = packSequences(chunks.at(c).map((i) => sequences.at(i)!));
    const { logprobs } = await model.logprobs(batch, { signal });
    for (const logprob of logprobs) sum -= logprob;
    rows += logprobs.length;
    onProgress?.({ doing: 'validation', done: c + 1, total: chunks.steps(1) });
  }
  return sum / rows;
}

function isBetter(found: Omit<Best, 'step'>, best: Best | undefined): boolean {
  if (!best) return true;
  // A resumed run may use another criterion than before: the first value of the new one is the best.
  if (found.validationMetric !== undefined) return found.validationMetric > (best.validationMetric ?? -Infinity);
  return found.validationLoss! < (best.validationLoss ?? Infinity);
}

function requireFinite(step: number, name: string, value: number): void {
  if (!Number.isFinite(value)) throw new DivergenceError(step + 1, `the ${name} is ${value}`);
}

/** Checks before the first step that every sequence fits into a pass. */
export function checkLengths(
  what: string,
  sequences: Items<TrainSequence>,
  model: Pick<LanguageModel, 'config' | 'engine'>,
): void {
  const limit = Math.min(model.config.maxPositions, model.engine.info.maxTokens);
  let i = 0;
  for (const { tokens } of sequences) {
    if (tokens.length > limit) {
      throw new RangeError(
        `${what} ${i} has ${tokens.length} tokens, expected at most ${limit}, the limit of the model and the engine`,
      );
    }
    i++;
  }
}

/** The number of sequences and their lengths, for batches of tokens. */
export function lengthsOf(sequences: Items<TrainSequence>): { count: number; lengthOf: (item: number) => number } {
  const lengths = Int32Array.from(sequences, ({ tokens }) => tokens.length);
  return { count: lengths.length, lengthOf: (i) => lengths[i]! };
}

/** Ids and spans of sequences, for {@link digest}. */
export function* contents(sequences: Items<TrainSequence>): Iterable<Int32Array> {
  for (const { tokens, spans } of sequences) {
    yield tokens;
    yield spans;
  }
}

const tokenizerOf = ({ tokenizerFrom }: { tokenizerFrom: string | undefined }) =>
  tokenizerFrom === undefined ? {} : { tokenizerFrom };

/** Tokens per epoch that carry loss, for a printed plan. */
export function totalLossTokens(sequences: Items<TrainSequence>): number {
  let sum = 0;
  for (const sequence of sequences) sum += lossTokens(sequence);
  return sum;
}
