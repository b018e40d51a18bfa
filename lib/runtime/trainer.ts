/** Training: losses add to the gradients of a model, step() applies and clears them. */
import { rename, rm } from 'node:fs/promises';
import type * as addon from '../../bindings/addon.js';
import { optimizerFields, ppoOptions } from '../config/index.js';
import { DataError, HeedError } from '../core/errors.js';
import { type Abortable, call, native, run } from '../core/native.js';
import { layOut, match, readHeader } from '../huggingface/safetensors.js';
import type { PackedBatch } from './batch.js';
import type { EngineInfo } from './engine.js';
import { modelHandle } from './handles.js';
import type { LanguageModel, ScalarModel } from './model.js';

export interface TrainerOptions {
  /** Decay of AdamW's two moments. Default [0.9, 0.95]. */
  readonly adamBetas?: readonly [number, number] | undefined;
  /** Default 1e-8. */
  readonly adamEps?: number | undefined;
  /** Decoupled decay, on matrices only. Default 0. */
  readonly weightDecay?: number | undefined;
  /** Rate of residual dropout in {@link LanguageTrainer.sft}, which it applies to when given a `dropoutSeed`. Default 0. */
  readonly dropout?: number | undefined;
}

/** Losses are sums over rows, times this: 1 / (rows of the whole optimizer step), so that no split of the step changes them. */
export interface Scaled extends Abortable {
  readonly scale: number;
}

/** One optimizer step of one trainer. */
export interface StepOptions {
  readonly learningRate: number;
  /** The whole gradient is scaled down to this L2 norm when it is longer. Default 0: never. */
  readonly maxGradNorm?: number | undefined;
  /**
   * A model of the same configuration that follows the trained one: after the step `parameters += weight · (trained - parameters)`. For
   * an exponential moving average the weight is 1 - decay.
   */
  readonly average?: { readonly model: LanguageModel | ScalarModel; readonly weight: number } | undefined;
}

/** A step of {@link stepTogether}. */
export interface TrainerStep extends StepOptions {
  readonly trainer: LanguageTrainer | ScalarTrainer;
}

export interface StepResult {
  /** L2 norm of the whole gradient before it was clipped. */
  readonly gradNorm: number;
  /** Of what was added since {@link Trainer.setAside}. */
  readonly lastNorm: number;
}

const stateKind = 'optimizer';
// With the model's handle: a model that nothing else refers to would be collected, and its trainers go with it.
interface Handle {
  readonly trainer: addon.Trainer;
  readonly model: addon.Model;
  /** With bf16 the trainer also keeps the average of the weights, in float32. */
  averaged: boolean;
}
const handles = new WeakMap<Trainer, Handle>();

function recordOf(trainer: Trainer): Handle {
  const handle = handles.get(trainer);
  if (!handle) throw new TypeError('this is not a trainer of heed: models have a method trainer()');
  return handle;
}

const handleOf = (trainer: Trainer) => recordOf(trainer).trainer;

/** What both trainers have in common. Objects come from the models' method `trainer()`, never from `new`. */
abstract class Trainer implements AsyncDisposable {
  readonly #parameters: readonly addon.ParameterInfo[];
  readonly #dtype: EngineInfo['dtype'];

  protected constructor(model: addon.Model, options: TrainerOptions, dtype: EngineInfo['dtype']) {
    const {
      adamBetas: [beta1, beta2] = optimizerFields.adamBetas.default,
      adamEps: eps = optimizerFields.adamEps.default,
      weightDecay = optimizerFields.weightDecay.default,
      dropout = 0,
    } = options;
    this.#parameters = call(() => model.parameters());
    this.#dtype = dtype;
    const trainer = call(() => new (native().Trainer)(model, { beta1, beta2, eps, weightDecay, dropout }));
    handles.set(this, { trainer, model, averaged: false });
  }

  /** Optimizer steps taken. */
  get steps(): number {
    return handleOf(this).steps;
  }

  /**
   * Keeps the gradient so far apart until {@link step} adds it back, so that the norms of two losses are known.
   * @returns the L2 norm of what was kept
   */
  setAside({ signal }: Abortable = {}): Promise<number> {
    return run(signal, () => handleOf(this).setAside());
  }

  /** Clears the gradients; after a loss that failed or was aborted this is needed before anything else. */
  zero({ signal }: Abortable = {}): Promise<void> {
    return run(signal, () => handleOf(this).zero());
  }

  /**
   * One AdamW step with the gradients so far, which it clears.
   * @throws HeedError ERR_NOT_FINITE when the gradient is not finite; no parameter is changed then
   */
  async step({ signal, ...options }: StepOptions & Abortable): Promise<StepResult> {
    const [result] = await take([{ trainer: this, ...options }], signal);
    return result!;
  }

  /** One parameter's gradient so far, row-major. */
  gradient(name: string, { signal }: Abortable = {}): Promise<Float32Array> {
    return run(signal, () => handleOf(this).gradient(name));
  }

  /**
   * Writes the moments and the step count as safetensors, whole or not at all. With the model's parameters they are everything that
   * the next step depends on.
   * @throws HeedError ERR_IO when the disk is full or refuses
   */
  async saveState(file: string, { signal }: Abortable = {}): Promise<void> {
    const unfinished = `${file}.tmp-${process.pid}`;
    const writeWith = (steps: number) => {
      const { prefix, places } = layOut(this.#moments(), 'F32', { heed: stateKind, steps: String(steps) });
      return run(signal, () => handleOf(this).write(unfinished, prefix, places));
    };
    try {
      // A step that was asked for before, and not waited for, is in the moments but not yet in `steps`.
      let { steps } = this;
      for (let written = await writeWith(steps); written !== steps; written = await writeWith(steps)) steps = written;
      await rename(unfinished, file);
    } catch (cause) {
      await rm(unfinished, { force: true });
      if (typeof (cause as NodeJS.ErrnoException).errno !== 'number') throw cause;
      throw new HeedError('ERR_IO', `cannot save ${file}: ${(cause as Error).message}`, { cause });
    }
  }

  /** Takes over what {@link saveState} wrote. @throws DataError when the file is damaged or of another model */
  async loadState(file: string, { signal }: Abortable = {}): Promise<void> {
    const header = await readHeader(file);
    const steps = Number(header.metadata.steps);
    if (header.metadata.heed !== stateKind || !Number.isSafeInteger(steps) || steps < 0) {
      throw new DataError('is not the optimizer state of a trainer', { file });
    }
    recordOf(this).averaged = header.tensors.has(`a.${this.#parameters[0]!.name}`);
    const wanted = this.#moments().map((moment) => ({ ...moment, fileNames: [moment.name] }));
    const places = match(file, header, wanted, () => false);
    await run(signal, () => handleOf(this).read(file, places));
    await run(signal, () => handleOf(this).setSteps(steps));
  }

  /** Gives the memory back once the calls made before are done; later calls reject with ERR_DISPOSED. */
  async dispose(): Promise<void> {
    handleOf(this).dispose();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  /** The moments, and where the model is bf16 its weights and their average in float32. */
  #moments() {
    const kinds = ['m.', 'v.', ...(this.#dtype === 'bf16' ? ['w.', ...(recordOf(this).averaged ? ['a.'] : [])] : [])];
    return kinds.flatMap((kind) => this.#parameters.map(({ name, shape }) => ({ name: kind + name, shape })));
  }
}

/**
 * One AdamW step of each trainer, of all or of none: every gradient is found to be finite before the first parameter changes, and an
 * abort that comes later is too late. For models that must not part: PPO's policy, its value network, the policy's average.
 *
 * @param steps trainers of one engine, each once
 * @returns in their order
 * @throws HeedError ERR_NOT_FINITE that names the kind of model whose gradient is not finite; no parameter is changed then
 */
export function stepTogether(steps: readonly TrainerStep[], { signal }: Abortable = {}): Promise<StepResult[]> {
  return take(steps, signal);
}

async function take(
  steps: readonly (StepOptions & { readonly trainer: Trainer })[],
  signal: AbortSignal | undefined,
): Promise<StepResult[]> {
  const results = await run(signal, () =>
    native().stepTogether(
      steps.map(({ trainer, learningRate, maxGradNorm = 0, average }) => ({
        trainer: handleOf(trainer),
        learningRate,
        maxGradNorm,
        average: average && modelHandle(average.model),
        averageWeight: average?.weight ?? 0,
      })),
    ),
  );
  for (const { trainer, average } of steps) if (average) recordOf(trainer).averaged = true;
  return results;
}

/** The trainer when there was memory for it, taken now and not in the first step. */
async function withMemory<T extends Trainer>(trainer: T): Promise<T> {
  try {
    await trainer.zero();
    return trainer;
  } catch (error) {
    await trainer.dispose();
    throw error;
  }
}

export interface SftLossOptions extends Scaled {
  /** Which dropout mask; another for every call. Needed where the trainer's dropout is above 0. */
  readonly dropoutSeed?: number | undefined;
}

export interface PolicyLossOptions extends Scaled {
  /** (R) nats, as the sampler returned them. */
  readonly oldLogprobs: Float32Array;
  /** (R) */
  readonly advantages: Float32Array;
  /** ε: the ratio is clipped to 1 ± ε. Default 0.2. */
  readonly clipRange?: number | undefined;
  /** c: for negative advantages the loss is at most -c · advantage (Ye et al. 2020). Default 0: off. */
  readonly dualClip?: number | undefined;
  /** Weight of the entropy bonus. Default 0. */
  readonly entropyCoef?: number | undefined;
  /** The sampler's; logits are divided by it. Default 1. */
  readonly temperature?: number | undefined;
}

/** Sums over rows, not multiplied by scale. */
export interface PolicyLossResult {
  readonly loss: number;
  /** Rows whose ratio was clipped. */
  readonly clipped: number;
  /** Nats. */
  readonly entropy: number;
  /** (R) nats. */
  readonly logprobs: Float32Array;
  /** (R) exp(logprobs - oldLogprobs). */
  readonly ratio: Float32Array;
}

/** Trains a {@link LanguageModel}; from its `trainer()`. */
export class LanguageTrainer extends Trainer {
  readonly #dropout: number;

  private constructor(model: addon.Model, options: TrainerOptions, dtype: EngineInfo['dtype']) {
    super(model, options, dtype);
    this.#dropout = options.dropout ?? 0;
  }

  /** @internal */
  static create(model: addon.Model, options: TrainerOptions, dtype: EngineInfo['dtype']): Promise<LanguageTrainer> {
    return Promise.resolve().then(() => withMemory(new LanguageTrainer(model, options, dtype)));
  }

  /**
   * Adds the gradient of the cross-entropy of the batch's targets (Ouyang et al. 2022, §3.5, SFT).
   * @returns loss: Σ nats, not multiplied by scale; rowLoss: (R) nats
   */
  async sft(batch: PackedBatch, options: SftLossOptions): Promise<{ loss: number; rowLoss: Float32Array }> {
    const { scale, dropoutSeed, signal } = options;
    if (this.#dropout > 0 && dropoutSeed === undefined) {
      throw new TypeError(`dropoutSeed is undefined, expected a number: the trainer's dropout is ${this.#dropout}`);
    }
    return await run(signal, () => handleOf(this).sft(batch, { scale, dropoutSeed: dropoutSeed ?? 0 }));
  }

  /** Adds the gradient of PPO's clipped policy loss (Ouyang et al. 2022, §3.5, eq. 2; Schulman et al. 2017). */
  ppo(batch: PackedBatch, options: PolicyLossOptions): Promise<PolicyLossResult> {
    const {
      oldLogprobs,
      advantages,
      clipRange = ppoOptions.clipRange.default,
      dualClip = ppoOptions.dualClip.default,
      entropyCoef = ppoOptions.entropyCoef.default,
      temperature = ppoOptions.temperature.default,
      scale,
      signal,
    } = options;
    const given = { oldLogprobs, advantages, clipRange, dualClip, entropyCoef, temperature, scale };
    return run(signal, () => handleOf(this).ppo(batch, given));
  }
}

export interface RewardLossOptions extends Scaled {
  /** (R) 0 is best; equal is a tie, which is not compared. */
  readonly ranks: Int32Array;
  /** (G + 1) where each ranking starts among the rows. */
  readonly cuGroups: Int32Array;
}

export interface RewardLossResult {
  /** (R) */
  readonly scores: Float32Array;
  /** (G, 3) row-major: the mean loss over the pairs compared, how many they were, of them ranked as asked. */
  readonly groupStats: Float32Array;
}

export interface ValueLossOptions extends Scaled {
  /** (R) values before the update. */
  readonly oldValues: Float32Array;
  /** (R) */
  readonly returns: Float32Array;
  /** Values may move this far from the old ones before the loss stops pulling. Default 0.2; Infinity: not clipped. */
  readonly clipRange?: number | undefined;
}

/** Sums over rows, not multiplied by scale. */
export interface ValueLossResult {
  readonly loss: number;
  readonly clipped: number;
  /** (R) */
  readonly values: Float32Array;
}

/** Trains a {@link ScalarModel}; from its `trainer()`. */
export class ScalarTrainer extends Trainer {
  private constructor(model: addon.Model, options: TrainerOptions, dtype: EngineInfo['dtype']) {
    super(model, options, dtype);
  }

  /** @internal */
  static create(model: addon.Model, options: TrainerOptions, dtype: EngineInfo['dtype']): Promise<ScalarTrainer> {
    return Promise.resolve().then(() => withMemory(new ScalarTrainer(model, options, dtype)));
  }

  /**
   * Adds the gradient of the pairwise ranking loss: for each group the mean of -log σ(better - worse) over its pairs (Ouyang et al.
   * 2022, §3.5, eq. 1).
   */
  reward(batch: PackedBatch, { ranks, cuGroups, scale, signal }: RewardLossOptions): Promise<RewardLossResult> {
    return run(signal, () => handleOf(this).reward(batch, { ranks, cuGroups, scale }));
  }

  /** Adds the gradient of the clipped squared error of values: ½ max((v - return)², (clip(v) - return)²). */
  value(batch: PackedBatch, options: ValueLossOptions): Promise<ValueLossResult> {
    const { oldValues, returns, clipRange = ppoOptions.valueClipRange.default, scale, signal } = options;
    return run(signal, () => handleOf(this).value(batch, { oldValues, returns, clipRange, scale }));
  }
}
