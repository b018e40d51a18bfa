/** Training: losses add to a model's gradients, step() applies and clears them. */
import { rename, rm } from 'node:fs/promises';
import type * as addon from '../../bindings/addon.js';
import { optimizerFields, ppoOptions } from '../config/index.js';
import { DataError, HeedError } from '../core/errors.js';
import { type Abortable, call, native, run } from '../core/native.js';
import { layOut, match, readHeader } from '../huggingface/safetensors.js';
import { beforePadding, type PackedBatch } from './batch.js';
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
  /** Rate of residual dropout in {@link LanguageTrainer.sft} calls that have a `dropoutSeed`. Default 0. */
  readonly dropout?: number | undefined;
  /**
   * Blocks keep only their inputs for the backward pass, which computes the rest again: about a third more time, and memory for one
   * block's activations in place of all. Gradients are bit-identical. Default false.
   */
  readonly gradientCheckpointing?: boolean | undefined;
}

/** Factor on the sum over rows: 1 / (rows of the whole optimizer step), so that the gradient does not depend on how the step is split. */
export interface Scaled extends Abortable {
  readonly scale: number;
}

/** One optimizer step of one trainer. */
export interface StepOptions {
  readonly learningRate: number;
  /** Gradient clipping: the L2 norm over all parameters is limited to this. Default 0: off. */
  readonly maxGradNorm?: number | undefined;
  /**
   * A model of the same configuration that averages the trained one: after the step `parameters += weight · (trained - parameters)`.
   * For an exponential moving average the weight is 1 - decay.
   */
  readonly average?: { readonly model: LanguageModel | ScalarModel; readonly weight: number } | undefined;
}

/** A step of {@link stepTogether}. */
export interface TrainerStep extends StepOptions {
  readonly trainer: LanguageTrainer | ScalarTrainer;
}

export interface StepResult {
  /** L2 norm over all parameters, before clipping. */
  readonly gradNorm: number;
  /** L2 norm of the gradient added since {@link Trainer.setAside}. */
  readonly lastNorm: number;
}

const stateKind = 'optimizer';
// Holds the model's handle too: collecting an unreferenced model would dispose of its trainers.
interface Handle {
  readonly trainer: addon.Trainer;
  readonly model: addon.Model;
  /** Whether a step had an average: with bf16 the trainer keeps a float32 copy of it. */
  averaged: boolean;
}
const handles = new WeakMap<Trainer, Handle>();

function recordOf(trainer: Trainer): Handle {
  const handle = handles.get(trainer);
  if (!handle) throw new TypeError('expected a trainer of heed: create one with the model method trainer()');
  return handle;
}

const handleOf = (trainer: Trainer) => recordOf(trainer).trainer;

/** Common to both trainers. Objects come from the models' method `trainer()`, not from `new`. */
abstract class Trainer implements AsyncDisposable {
  readonly #parameters: readonly addon.ParameterInfo[];
  readonly #dtype: EngineInfo['dtype'];

  protected constructor(model: addon.Model, options: TrainerOptions, dtype: EngineInfo['dtype']) {
    const {
      adamBetas: [beta1, beta2] = optimizerFields.adamBetas.default,
      adamEps: eps = optimizerFields.adamEps.default,
      weightDecay = optimizerFields.weightDecay.default,
      dropout = 0,
      gradientCheckpointing = false,
    } = options;
    this.#parameters = call(() => model.parameters());
    this.#dtype = dtype;
    const given = { beta1, beta2, eps, weightDecay, dropout, gradientCheckpointing };
    const trainer = call(() => new (native().Trainer)(model, given));
    handles.set(this, { trainer, model, averaged: false });
  }

  /** Optimizer steps taken. */
  get steps(): number {
    return handleOf(this).steps;
  }

  /**
   * Sets the accumulated gradient aside until {@link step} adds it back, so that the norms of two losses can be measured separately.
   * @returns the L2 norm of the gradient set aside
   */
  setAside({ signal }: Abortable = {}): Promise<number> {
    return run(signal, () => handleOf(this).setAside());
  }

  /** Clears the gradients. Required after a loss that failed or was aborted. */
  zero({ signal }: Abortable = {}): Promise<void> {
    return run(signal, () => handleOf(this).zero());
  }

  /**
   * One AdamW step with the accumulated gradients, which it clears.
   * @throws HeedError ERR_NOT_FINITE when the gradient is not finite; then no parameter is changed
   */
  async step({ signal, ...options }: StepOptions & Abortable): Promise<StepResult> {
    const [result] = await take([{ trainer: this, ...options }], signal);
    return result!;
  }

  /** One parameter's accumulated gradient, row-major. */
  gradient(name: string, { signal }: Abortable = {}): Promise<Float32Array> {
    return run(signal, () => handleOf(this).gradient(name));
  }

  /**
   * Writes the moments and the step count as safetensors, atomically. Together with the model's parameters they are all that the next
   * step depends on.
   * @throws HeedError ERR_IO when the disk is full or the write fails
   */
  async saveState(file: string, { signal }: Abortable = {}): Promise<void> {
    const unfinished = `${file}.tmp-${process.pid}`;
    const writeWith = (steps: number) => {
      const { prefix, places } = layOut(this.#moments(), 'F32', { heed: stateKind, steps: String(steps) });
      return run(signal, () => handleOf(this).write(unfinished, prefix, places));
    };
    try {
      // A step that was called but not awaited is in the moments, but not yet in `steps`.
      let { steps } = this;
      for (let written = await writeWith(steps); written !== steps; written = await writeWith(steps)) steps = written;
      await rename(unfinished, file);
    } catch (cause) {
      await rm(unfinished, { force: true });
      if (typeof (cause as NodeJS.ErrnoException).errno !== 'number') throw cause;
      throw new HeedError('ERR_IO', `cannot save ${file}: ${(cause as Error).message}`, { cause });
    }
  }

  /** Loads a file written by {@link saveState}. @throws DataError when the file is damaged or from another model */
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

  /** Frees the memory after all earlier calls; later calls reject with ERR_DISPOSED. */
  async dispose(): Promise<void> {
    handleOf(this).dispose();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  /** The moments; for a bf16 model also its float32 weights and their average. */
  #moments() {
    const kinds = ['m.', 'v.', ...(this.#dtype === 'bf16' ? ['w.', ...(recordOf(this).averaged ? ['a.'] : [])] : [])];
    return kinds.flatMap((kind) => this.#parameters.map(({ name, shape }) => ({ name: kind + name, shape })));
  }
}

/**
 * One AdamW step of several trainers, all or none: all gradients are checked to be finite before the first parameter changes, and an
 * abort after that has no effect. For models that must stay in step: PPO's policy, its value network, the policy's average.
 *
 * @param steps trainers of one engine, each once
 * @returns one result per step, in order
 * @throws HeedError ERR_NOT_FINITE that names the kind of model whose gradient is not finite; then no parameter is changed
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

/** Allocates the trainer's state now, not in its first step; disposes of the trainer if there is not enough memory. */
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
  /**
   * Seed of the dropout masks; use another for every call. Required if the trainer's dropout is above 0; without it, an adapter's
   * inputs have no dropout either.
   */
  readonly dropoutSeed?: number | undefined;
}

export interface PolicyLossOptions extends Scaled {
  /** (R) log-probabilities from the sampler, nats. */
  readonly oldLogprobs: Float32Array;
  /** (R) */
  readonly advantages: Float32Array;
  /** ε: the ratio is clipped to 1 ± ε. Default 0.2. */
  readonly clipRange?: number | undefined;
  /** c: for negative advantages the loss is at most -c · advantage (Ye et al. 2020). Default 0: off. */
  readonly dualClip?: number | undefined;
  /** Weight of the entropy bonus. Default 0. */
  readonly entropyCoef?: number | undefined;
  /** The sampler's temperature; logits are divided by it. Default 1. */
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
  readonly #adapterDropout: number;

  private constructor(model: addon.Model, options: TrainerOptions, dtype: EngineInfo['dtype'], adapterDropout: number) {
    super(model, options, dtype);
    this.#dropout = options.dropout ?? 0;
    this.#adapterDropout = adapterDropout;
  }

  /** @internal */
  static create(
    model: addon.Model,
    options: TrainerOptions,
    dtype: EngineInfo['dtype'],
    adapterDropout: number,
  ): Promise<LanguageTrainer> {
    return Promise.resolve().then(() => withMemory(new LanguageTrainer(model, options, dtype, adapterDropout)));
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
    const adapterDropout = dropoutSeed === undefined ? 0 : this.#adapterDropout;
    const given = { scale, dropoutSeed: dropoutSeed ?? 0, adapterDropout };
    return await run(signal, () => handleOf(this).sft(batch, given));
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

  /**
   * Adds the gradient of any loss of the log-probabilities of the batch's targets. The caller computes the loss and its derivative; the
   * backward pass is one op, that of the policy gradient with the derivatives as weights. All objectives besides SFT and PPO are built on
   * this (docs/objectives.md).
   *
   * @param loss is given the (R) log-probabilities, nats, and returns `gradient`, (R) d loss / d logprob, with whatever else the caller
   *   wants back
   * @param options temperature: logits are divided by it; default 1
   * @returns what `loss` returned, the log-probabilities, and the sum of the rows' entropies, nats
   * @throws RangeError when the gradient has another length or is not finite; HeedError ERR_INVALID_ARGUMENT when the model was changed
   *   while `loss` ran: then call {@link zero}
   */
  async policyGradient<Loss extends { readonly gradient: ArrayLike<number> }>(
    batch: PackedBatch,
    loss: (logprobs: Float32Array) => Loss | Promise<Loss>,
    { temperature = 1, signal }: Abortable & { readonly temperature?: number | undefined } = {},
  ): Promise<Loss & { readonly logprobs: Float32Array; readonly entropy: number }> {
    const { model } = recordOf(this);
    const { logprobs } = await run(signal, () => model.logprobs(batch, { temperature }));
    const found = await loss(logprobs.slice());
    const advantages = weightsOf(found?.gradient, logprobs.length);
    // At a ratio of exactly 1, the gradient of the unclipped policy loss is -advantage.
    const { ratio, entropy } = await run(signal, () =>
      handleOf(this).ppo(batch, {
        oldLogprobs: logprobs,
        advantages,
        clipRange: Number.POSITIVE_INFINITY,
        dualClip: 0,
        entropyCoef: 0,
        temperature,
        scale: 1,
      }),
    );
    if (ratio.every((each) => each === 1)) return { ...found, logprobs, entropy };
    throw new HeedError(
      'ERR_INVALID_ARGUMENT',
      'the model was changed while the loss was computed, and the gradient is wrong: call zero()',
    );
  }
}

/** The derivatives with their sign changed: gradients descend, advantages ascend. */
function weightsOf(gradient: ArrayLike<number> | undefined, rows: number): Float32Array {
  if (gradient?.length !== rows)
    throw new RangeError(
      `gradient has length ${gradient?.length ?? 'none'}, expected ${rows}: one per row of the batch`,
    );
  return Float32Array.from(gradient, (derivative, row) => {
    if (Number.isFinite(Math.fround(derivative))) return -derivative;
    throw new RangeError(`gradient[${row}] is ${derivative}, expected a finite number`);
  });
}

export interface RewardLossOptions extends Scaled {
  /** (R) 0 is best; pairs with equal ranks are not compared. */
  readonly ranks: Int32Array;
  /** (G + 1) where each ranking's rows start. */
  readonly cuGroups: Int32Array;
}

export interface RewardLossResult {
  /** (R) */
  readonly scores: Float32Array;
  /** (G, 3) row-major: mean loss over the compared pairs, number of compared pairs, number ranked correctly. */
  readonly groupStats: Float32Array;
}

export interface ValueLossOptions extends Scaled {
  /** (R) values before the update. */
  readonly oldValues: Float32Array;
  /** (R) */
  readonly returns: Float32Array;
  /** Values are clipped to the old ones ± this. Default 0.2; Infinity: not clipped. */
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
  readonly #pad: number | undefined;

  private constructor(model: addon.Model, options: TrainerOptions, dtype: EngineInfo['dtype'], pad?: number) {
    super(model, options, dtype);
    this.#pad = pad;
  }

  /** @internal */
  static create(
    model: addon.Model,
    options: TrainerOptions,
    dtype: EngineInfo['dtype'],
    pad: number | undefined,
  ): Promise<ScalarTrainer> {
    return Promise.resolve().then(() => withMemory(new ScalarTrainer(model, options, dtype, pad)));
  }

  /**
   * Adds the gradient of the pairwise ranking loss: for each group the mean of -log σ(better - worse) over its pairs (Ouyang et al.
   * 2022, §3.5, eq. 1). Scores are read as by `ScalarModel.scores`.
   */
  reward(batch: PackedBatch, { ranks, cuGroups, scale, signal }: RewardLossOptions): Promise<RewardLossResult> {
    return run(signal, () => handleOf(this).reward(beforePadding(batch, this.#pad), { ranks, cuGroups, scale }));
  }

  /** Adds the gradient of the clipped squared error of values: ½ max((v - return)², (clip(v) - return)²). */
  value(batch: PackedBatch, options: ValueLossOptions): Promise<ValueLossResult> {
    const { oldValues, returns, clipRange = ppoOptions.valueClipRange.default, scale, signal } = options;
    return run(signal, () => handleOf(this).value(batch, { oldValues, returns, clipRange, scale }));
  }
}
