/** Models: what they hold, what they compute without being trained, and their folders. */
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import type * as addon from '../../bindings/addon.js';
import { DataError, HeedError } from '../core/errors.js';
import { type Abortable, call, native, run } from '../core/native.js';
import { familyOf, requireOfFamily } from '../huggingface/config.js';
import { type ModelFiles, openModel, readConfig, writeModelFolder, wrongKind } from '../huggingface/folder.js';
import type { HfConfig, ModelConfig, ModelKind, SpecialTokens } from '../huggingface/modelconfig.js';
import { findParameters } from '../huggingface/weights.js';
import type { PackedBatch } from './batch.js';
import { type Engine, engineHandle } from './engine.js';
import {
  type Completion,
  type GenerateOptions,
  type GenerateRequest,
  generate,
  type StreamedToken,
  stream,
} from './generate.js';
import { modelHandle, modelHandles } from './handles.js';
import { nativeConfig } from './nativeconfig.js';
import { LanguageTrainer, ScalarTrainer, type TrainerOptions } from './trainer.js';

export interface InitOptions extends Abortable {
  /** Of the random weights; a whole number from 0 to 2^53 - 1. */
  readonly seed: number;
  /** Written to `config.json` for other programs. */
  readonly specialTokens?: SpecialTokens | undefined;
}

export interface SaveOptions extends Abortable {
  /**
   * How numbers are stored. Default: as the engine computes. Of an f32 model 'bf16' and 'f16' halve the file and round;
   * a number that 'f16' cannot hold is refused.
   */
  readonly dtype?: 'f32' | 'bf16' | 'f16' | undefined;
  /** Weights of more bytes go into several files, with an index. Default 5 · 10^9. */
  readonly maxShardBytes?: number | undefined;
  /** A folder whose tokenizer files go into this one. */
  readonly tokenizerFrom?: string | undefined;
}

export interface LoadOptions extends Abortable {
  /**
   * Told of what was recognised in the files and how it was taken: names that training programs wrapped, keys that were ignored, a
   * head that is not the embedding where `config.json` says so. Default: a warning of the process.
   */
  readonly onNotice?: ((sentence: string) => void) | undefined;
}

const fileDTypes = { f32: 'F32', bf16: 'BF16', f16: 'F16' } as const;

/** Every parameter of a model of that configuration, by its name in transformers' files. */
export function parametersOf(config: ModelConfig, kind: ModelKind): addon.ParameterInfo[] {
  return call(() => native().parameters(nativeConfig(config, kind)));
}

/** What both kinds of model have in common. Objects come from the methods of the two classes, never from `new`. */
abstract class Model implements AsyncDisposable {
  /** The engine it lives on. */
  readonly engine: Engine;
  readonly config: ModelConfig;
  readonly specialTokens: SpecialTokens;

  protected constructor(
    engine: Engine,
    { config, specialTokens }: Pick<HfConfig, 'config' | 'specialTokens'>,
    kind: ModelKind,
  ) {
    this.engine = engine;
    this.config = Object.freeze({ ...config });
    this.specialTokens = specialTokens;
    modelHandles.set(
      this,
      call(() => new (native().Model)(engineHandle(engine), nativeConfig(config, kind))),
    );
    requireOfFamily(config);
  }

  /** Every parameter's name, as transformers names it, and shape. */
  parameters(): { readonly name: string; readonly shape: readonly number[] }[] {
    return call(() => modelHandle(this).parameters());
  }

  /** One parameter's values, row-major. @throws HeedError ERR_INVALID_ARGUMENT for a name that {@link parameters} has not */
  parameter(name: string, { signal }: Abortable = {}): Promise<Float32Array> {
    return run(signal, () => modelHandle(this).parameter(name));
  }

  /**
   * Takes over all values of another model of the same kind and configuration.
   * @throws HeedError ERR_INVALID_ARGUMENT when they differ in kind, configuration or engine
   */
  async copyFrom(other: this, { signal }: Abortable = {}): Promise<void> {
    this.#checkAlike(other);
    await run(signal, () => modelHandle(this).copyFrom(modelHandle(other)));
  }

  /**
   * Moves every parameter towards another model's: `parameters += weight · (other - parameters)`. An exponential moving average of a
   * policy in training is `average.lerp(policy, 1 - decay)` after each step.
   */
  async lerp(other: this, weight: number, { signal }: Abortable = {}): Promise<void> {
    this.#checkAlike(other);
    await run(signal, () => modelHandle(this).lerp(modelHandle(other), weight));
  }

  /**
   * Writes a Hugging Face folder: `config.json` and `model.safetensors`, which transformers loads. The folder appears whole or not at
   * all; an earlier one of that name stands until then.
   * @throws HeedError ERR_IO when the disk is full or refuses
   */
  async save(dir: string, options: SaveOptions = {}): Promise<void> {
    const { dtype = this.engine.info.dtype, maxShardBytes = 5e9, tokenizerFrom, signal } = options;
    if (!Object.hasOwn(fileDTypes, dtype)) throw new RangeError(`dtype is ${String(dtype)}, expected f32, bf16 or f16`);
    if (!(maxShardBytes > 0)) throw new RangeError(`maxShardBytes is ${maxShardBytes}, expected more than 0`);
    const handle = modelHandle(this);
    const info = await this.describe();
    const how = { dtype: fileDTypes[dtype], maxShardBytes, tokenizerFrom };
    await writeModelFolder(dir, info, this.parameters(), how, (path, prefix, places) =>
      run(signal, () => handle.write(path, prefix, places)),
    );
  }

  /** Gives the memory back once the calls made before are done. Trainers of this model go with it; later calls reject with ERR_DISPOSED. */
  async dispose(): Promise<void> {
    modelHandle(this).dispose();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  /** What `config.json` is to say. */
  protected abstract describe(): Promise<HfConfig>;

  #checkAlike(other: Model): void {
    modelHandle(other);
    if (other.constructor !== this.constructor || !isDeepStrictEqual(other.config, this.config)) {
      throw new HeedError('ERR_INVALID_ARGUMENT', 'the other model is of another kind or configuration');
    }
  }
}

/** A transformer with a language head: it generates and gives log-probabilities. */
export class LanguageModel extends Model {
  /**
   * A model with random weights (GPT-2's initialisation).
   * @throws HeedError ERR_INVALID_ARGUMENT that names the field of `config` that cannot be; ERR_OUT_OF_MEMORY
   */
  static async init(engine: Engine, config: ModelConfig, options: InitOptions): Promise<LanguageModel> {
    const model = new LanguageModel(engine, { config, specialTokens: options.specialTokens ?? {} }, 'language');
    return await whole(model, initialize(model, options));
  }

  /**
   * Loads a Hugging Face folder of GPT2LMHeadModel, LlamaForCausalLM, MistralForCausalLM or Qwen2ForCausalLM: `config.json` and
   * `model.safetensors`, or the several files that `model.safetensors.index.json` names, in F32, BF16 or F16.
   * @throws DataError that names the file and the key or tensor that is wrong; HeedError ERR_IO when a file cannot be read
   */
  static async load(engine: Engine, dir: string, options: LoadOptions = {}): Promise<LanguageModel> {
    if ((await readConfig(dir)).kind !== 'language')
      throw wrongKind(dir, 'a scalar head: load it with ScalarModel.load()');
    const files = await openModel(dir);
    const model = described(dir, () => new LanguageModel(engine, files.info, 'language'));
    return await whole(model, readParameters(model, files, options));
  }

  /** An independent copy on the same engine. */
  async clone(options: Abortable = {}): Promise<LanguageModel> {
    const copy = new LanguageModel(this.engine, this, 'language');
    return await whole(copy, copy.copyFrom(this, options));
  }

  /** (R, V) next-token logits at the batch's rows, row-major. */
  logits(batch: PackedBatch, { signal }: Abortable = {}): Promise<Float32Array> {
    return run(signal, () => modelHandle(this).logits(batch));
  }

  /**
   * Log-probability of each row's target, and the entropy of the distribution it comes from.
   *
   * @param options temperature: logits are divided by it; default 1
   * @returns (R) nats each
   */
  logprobs(
    batch: PackedBatch,
    options: Abortable & { readonly temperature?: number | undefined } = {},
  ): Promise<{ logprobs: Float32Array; entropy: Float32Array }> {
    const { temperature = 1, signal } = options;
    return run(signal, () => modelHandle(this).logprobs(batch, { temperature }));
  }

  /**
   * Samples responses. A response depends on its prompt, seed and sample number alone, not on what else is generated with it.
   * @returns in order of request, then sample
   * @throws RangeError that names the request; HeedError
   */
  generate(requests: readonly GenerateRequest[], options: GenerateOptions): Promise<Completion[]> {
    return generate(this, modelHandle(this), requests, options);
  }

  /**
   * Samples responses token by token, as they come. No token is dropped: decoding waits while the reader does, and `break` ends it.
   * The tokens are those of {@link generate}.
   */
  stream(requests: readonly GenerateRequest[], options: GenerateOptions): AsyncGenerator<StreamedToken, void, void> {
    return stream(this, modelHandle(this), requests, options);
  }

  /** Gradients and AdamW state for this model. @throws HeedError ERR_OUT_OF_MEMORY, or ERR_INVALID_ARGUMENT for an option */
  trainer(options: TrainerOptions = {}): Promise<LanguageTrainer> {
    return LanguageTrainer.create(modelHandle(this), options, this.engine.info.dtype);
  }

  protected async describe(): Promise<HfConfig> {
    return { config: this.config, kind: 'language', specialTokens: this.specialTokens, scoreOffset: 0 };
  }
}

/** A transformer with a scalar head: a reward model, read at a response's end, or a value function, read at every state. */
export class ScalarModel extends Model {
  /** A model with random weights. */
  static async init(engine: Engine, config: ModelConfig, options: InitOptions): Promise<ScalarModel> {
    const model = new ScalarModel(engine, { config, specialTokens: options.specialTokens ?? {} }, 'scalar');
    return await whole(model, initialize(model, options));
  }

  /**
   * Loads a Hugging Face folder of a family's …ForSequenceClassification with one label.
   * @throws DataError that names the file and the key or tensor that is wrong; HeedError ERR_IO when a file cannot be read
   */
  static async load(engine: Engine, dir: string, options: LoadOptions = {}): Promise<ScalarModel> {
    if ((await readConfig(dir)).kind !== 'scalar')
      throw wrongKind(dir, 'a language head: load it with LanguageModel.load() or ScalarModel.loadOrFrom()');
    const files = await openModel(dir);
    const model = described(dir, () => new ScalarModel(engine, files.info, 'scalar'));
    return await whole(model, readParameters(model, files, options));
  }

  /**
   * The trunk of a language model with a fresh head: weights normal with variance 1 / (channels + 1) (Ziegler et al. 2019, their code).
   * @param options seed: of the head
   */
  static async from(model: LanguageModel, options: InitOptions): Promise<ScalarModel> {
    const { config, engine, specialTokens } = model;
    const scalar = new ScalarModel(engine, { config, specialTokens: options.specialTokens ?? specialTokens }, 'scalar');
    const copy = async () => {
      await initialize(scalar, options);
      await run(options.signal, () => modelHandle(scalar).copyFrom(modelHandle(model)));
    };
    return await whole(scalar, copy());
  }

  /** A folder that has a scalar head is loaded as it is; of a language model, the trunk with a fresh head. */
  static async loadOrFrom(engine: Engine, dir: string, options: InitOptions & LoadOptions): Promise<ScalarModel> {
    const { kind } = await readConfig(dir);
    if (kind === 'scalar') return await ScalarModel.load(engine, dir, options);
    const language = await LanguageModel.load(engine, dir, options);
    try {
      return await ScalarModel.from(language, options);
    } finally {
      await language.dispose();
    }
  }

  /** An independent copy on the same engine. */
  async clone(options: Abortable = {}): Promise<ScalarModel> {
    const copy = new ScalarModel(this.engine, this, 'scalar');
    return await whole(copy, copy.copyFrom(this, options));
  }

  /** (R) the head's output at each of the batch's rows. */
  scores(batch: PackedBatch, { signal }: Abortable = {}): Promise<Float32Array> {
    return run(signal, () => modelHandle(this).scores(batch));
  }

  /**
   * Adds `delta` to every score. A final norm with a bias (GPT-2's) takes it, so that transformers gives the same score; where it
   * has none (RMSNorm) it is kept as {@link scoreOffset} and saved as `heed.score_offset` in `config.json`.
   */
  shiftScores(delta: number, { signal }: Abortable = {}): Promise<void> {
    if (!Number.isFinite(delta)) return Promise.reject(new RangeError(`delta is ${delta}, expected a finite number`));
    return run(signal, () => modelHandle(this).shiftScores(delta));
  }

  /** Multiplies every score by `factor`: the head's weights and {@link scoreOffset}. */
  scaleScores(factor: number, { signal }: Abortable = {}): Promise<void> {
    if (!Number.isFinite(factor))
      return Promise.reject(new RangeError(`factor is ${factor}, expected a finite number`));
    return run(signal, () => modelHandle(this).scaleScores(factor));
  }

  /** What is added to every score, where the final norm has no bias that holds it; else 0. */
  scoreOffset(): Promise<number> {
    return run(undefined, () => modelHandle(this).scoreOffset());
  }

  /** Gradients and AdamW state for this model. @throws HeedError ERR_OUT_OF_MEMORY, or ERR_INVALID_ARGUMENT for an option */
  trainer(options: TrainerOptions = {}): Promise<ScalarTrainer> {
    return ScalarTrainer.create(modelHandle(this), options, this.engine.info.dtype);
  }

  protected async describe(): Promise<HfConfig> {
    const scoreOffset = await this.scoreOffset();
    return { config: this.config, kind: 'scalar', specialTokens: this.specialTokens, scoreOffset };
  }
}

/** A model of the sizes that a folder's `config.json` gives. @throws DataError naming the file for sizes that cannot be */
function described<M extends Model>(dir: string, make: () => M): M {
  try {
    return make();
  } catch (cause) {
    if (!(cause instanceof HeedError) || cause.code !== 'ERR_INVALID_ARGUMENT') throw cause;
    throw new DataError(cause.message, { file: join(dir, 'config.json') }, { cause });
  }
}

/** The model when its filling succeeded; else its memory goes back at once. */
async function whole<M extends Model>(model: M, filling: Promise<void>): Promise<M> {
  try {
    await filling;
    return model;
  } catch (error) {
    await model.dispose();
    throw error;
  }
}

async function initialize(model: Model, { seed, signal }: InitOptions): Promise<void> {
  if (!Number.isSafeInteger(seed) || seed < 0)
    throw new RangeError(`seed is ${seed}, expected a whole number from 0 to 2^53 - 1`);
  await run(signal, () => modelHandle(model).initialize(seed));
}

async function readParameters(
  model: Model,
  { info, weights, notices }: ModelFiles,
  options: LoadOptions,
): Promise<void> {
  const { signal, onNotice = (sentence) => process.emitWarning(sentence, 'HeedWarning') } = options;
  const { family, tiedHead } = model.config;
  const files = findParameters(weights, model.parameters(), familyOf(family), tiedHead);
  notices.forEach(onNotice);
  for (const [path, places] of files) await run(signal, () => modelHandle(model).read(path, places));
  if (info.scoreOffset !== 0) await run(signal, () => modelHandle(model).setScoreOffset(info.scoreOffset));
}
