/** Models: their parameters, inference, loading and saving. */
import { join, resolve } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import type * as addon from '../../bindings/addon.js';
import { DataError, HeedError } from '../core/errors.js';
import { type Abortable, call, native, run } from '../core/native.js';
import { familyOf, requireOfFamily } from '../huggingface/config.js';
import { type ModelFiles, openModel, readConfig, writeModelFolder, wrongKind } from '../huggingface/folder.js';
import {
  type AdapterFolder,
  adapterTargets,
  type LoraConfig,
  readAdapterFolder,
  writeAdapterFolder,
} from '../huggingface/lora.js';
import {
  type HfConfig,
  type ModelConfig,
  type ModelKind,
  type SpecialTokens,
  withPad,
} from '../huggingface/modelconfig.js';
import type { TensorPlace } from '../huggingface/safetensors.js';
import { findParameters } from '../huggingface/weights.js';
import { type Adapted, type AdapterOptions, adaptedOf, adapterOf, readAdapter, requireAdapter } from './adapter.js';
import { beforePadding, type PackedBatch } from './batch.js';
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
import { inKeys, nativeConfig } from './nativeconfig.js';
import { dropCalls, type Place, schedulerOf } from './scheduler.js';
import { LanguageTrainer, ScalarTrainer, type TrainerOptions } from './trainer.js';

export interface InitOptions extends Abortable {
  /** Seed of the random weights; a whole number from 0 to 2^53 - 1. */
  readonly seed: number;
  /** Written to `config.json` for other programs. */
  readonly specialTokens?: SpecialTokens | undefined;
  /** As in {@link LoadOptions}. Only in {@link Engine.plan}: such weights are read, not made. */
  readonly int8?: boolean | undefined;
}

export interface SaveOptions extends Abortable {
  /**
   * Number format of the file. Default: the engine's dtype. For an f32 model 'bf16' and 'f16' halve the file and round;
   * a number outside f16's range is an error.
   */
  readonly dtype?: 'f32' | 'bf16' | 'f16' | undefined;
  /** Larger weights are split into several files with an index. Bytes; default 5 · 10^9. */
  readonly maxShardBytes?: number | undefined;
  /** A folder whose tokenizer files are copied into this one. */
  readonly tokenizerFrom?: string | undefined;
}

export interface LoadOptions extends Abortable {
  /** A folder with an adapter in PEFT's format, for the model in `dir`: the model is loaded as its base. */
  readonly adapter?: string | undefined;
  /**
   * Keeps the weights of the blocks' linear layers in 8 bits, each output's with a scale: a quarter of the memory of float32, and no
   * packed copies. They are frozen: adapters to such a model are trained and saved, it itself is not. Default false.
   */
  readonly int8?: boolean | undefined;
  /**
   * Called with each notice on how the files were read: prefixes that training programs add to names, ignored keys, a head that
   * differs from the embedding although `config.json` ties them. Default: `process.emitWarning`.
   */
  readonly onNotice?: ((sentence: string) => void) | undefined;
}

const fileDTypes = { f32: 'F32', bf16: 'BF16', f16: 'F16' } as const;

/** Every parameter of a model of that configuration, by its name in transformers' files. */
export function parametersOf(config: ModelConfig, kind: ModelKind): addon.ParameterInfo[] {
  return call(() => native().parameters(nativeConfig(config, kind)));
}

/** Common to both kinds of model. Objects come from the static methods of the two classes, not from `new`. */
abstract class Model implements AsyncDisposable {
  /** The engine that it belongs to. */
  readonly engine: Engine;
  readonly config: ModelConfig;
  readonly specialTokens: SpecialTokens;
  /** The adapter that this model is; undefined: it has all parameters itself. */
  readonly lora: LoraConfig | undefined;
  /** The model that the adapter is for. It shares its memory with the adapter, and is not changed by it. */
  readonly base: LanguageModel | ScalarModel | undefined;
  /** The folder that it was loaded from. */
  readonly folder: string | undefined;
  /** Whether its weights, or those of its base, are in 8 bits and frozen. */
  readonly int8: boolean;
  #ownsBase = false;

  protected constructor(
    engine: Engine,
    { config, specialTokens }: Pick<HfConfig, 'config' | 'specialTokens'>,
    kind: ModelKind,
    {
      adapted,
      folder,
      int8 = false,
    }: { readonly adapted?: Adapted; readonly folder?: string | undefined; readonly int8?: boolean | undefined } = {},
  ) {
    this.engine = engine;
    this.config = Object.freeze({ ...config });
    this.specialTokens = specialTokens;
    this.lora = adapted?.lora;
    this.base = adapted?.base;
    this.folder = folder;
    this.int8 = adapted ? adapted.base.int8 : int8;
    modelHandles.set(
      this,
      call(() =>
        adapted
          ? new (native().Model)(modelHandle(adapted.base), {
              head: kind,
              targets: adapterTargets(adapted.lora, config, false),
            })
          : new (native().Model)(engineHandle(engine), nativeConfig(config, kind, int8)),
      ),
    );
    requireOfFamily(config);
  }

  /** @internal Disposing of this model disposes of its base too: nobody else has it. */
  ownBase(): void {
    this.#ownsBase = true;
  }

  /** Every parameter's name, as transformers names it, and shape: of an adapter, those of the adapter. */
  parameters(): { readonly name: string; readonly shape: readonly number[] }[] {
    return call(() => modelHandle(this).parameters());
  }

  /** One parameter's values, row-major. @throws HeedError ERR_INVALID_ARGUMENT for a name that is not in {@link parameters} */
  parameter(name: string, { signal }: Abortable = {}): Promise<Float32Array> {
    return run(signal, () => modelHandle(this).parameter(name));
  }

  /**
   * Copies all parameter values from another model of the same kind and configuration.
   * @throws HeedError ERR_INVALID_ARGUMENT when they differ in kind, configuration or engine
   */
  async copyFrom(other: this, { signal }: Abortable = {}): Promise<void> {
    this.#checkAlike(other);
    await run(signal, () => modelHandle(this).copyFrom(modelHandle(other)));
  }

  /**
   * Interpolates every parameter towards another model's: `parameters += weight · (other - parameters)`. An exponential moving average
   * of a policy in training is `average.lerp(policy, 1 - decay)` after each step.
   */
  async lerp(other: this, weight: number, { signal }: Abortable = {}): Promise<void> {
    this.#checkAlike(other);
    await run(signal, () => modelHandle(this).lerp(modelHandle(other), weight));
  }

  /**
   * Writes a Hugging Face folder: `config.json` and `model.safetensors`, which transformers loads; of an adapter
   * `adapter_config.json` and `adapter_model.safetensors`, which PEFT loads. An existing folder of that name is replaced once the new
   * one is complete.
   * @throws HeedError ERR_IO when the disk is full or the write fails
   */
  async save(dir: string, options: SaveOptions = {}): Promise<void> {
    const { dtype = this.engine.info.dtype, maxShardBytes = 5e9, tokenizerFrom, signal } = options;
    if (!Object.hasOwn(fileDTypes, dtype)) throw new RangeError(`dtype is ${String(dtype)}, expected f32, bf16 or f16`);
    if (!(maxShardBytes > 0)) throw new RangeError(`maxShardBytes is ${maxShardBytes}, expected more than 0`);
    const handle = modelHandle(this);
    const info = await this.describe();
    const how = { dtype: fileDTypes[dtype], maxShardBytes, tokenizerFrom };
    const write = (path: string, prefix: Uint8Array, places: TensorPlace[]) =>
      run(signal, () => handle.write(path, prefix, places));
    if (!this.lora) return await writeModelFolder(dir, info, this.parameters(), how, write);
    const { kind, config, scoreOffset } = info;
    const base = this.base?.folder;
    const about = { lora: this.lora, kind, config, base: base && resolve(base), scoreOffset };
    await writeAdapterFolder(dir, about, this.parameters(), how, write);
  }

  /**
   * Reads the parameters that {@link save} wrote, into a model of the same kind and configuration.
   * @throws DataError that names the file and what differs; HeedError ERR_IO
   */
  async restore(dir: string, { signal }: Abortable = {}): Promise<void> {
    const { kind } = await this.describe();
    if (this.lora) {
      const folder = await readAdapterFolder(dir);
      if (folder.kind !== kind) throw wrongKind(dir, 'another head');
      return await readAdapter(this, folder, { signal });
    }
    const files = await openModel(dir);
    if (files.info.kind !== kind || !isDeepStrictEqual(files.info.config, this.config))
      throw new DataError('describes a model of another kind or configuration, expected the same', {
        file: join(dir, 'config.json'),
      });
    await readParameters(this, files, { signal, onNotice: () => {} });
  }

  /**
   * Frees the memory, and this model's trainers, after all earlier calls. Later calls reject with ERR_DISPOSED. A base's memory is
   * freed with the last of its adapters.
   */
  async dispose(): Promise<void> {
    dropCalls(placeOf(this));
    modelHandle(this).dispose();
    if (this.#ownsBase) await this.base?.dispose();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  /** The contents of `config.json`. */
  protected abstract describe(): Promise<HfConfig>;

  #checkAlike(other: Model): void {
    modelHandle(other);
    const refuse = (what: string): never => {
      throw new HeedError('ERR_INVALID_ARGUMENT', `the other model has another ${what}, expected the same`);
    };
    if (other.constructor !== this.constructor || !isDeepStrictEqual(other.config, this.config))
      refuse('kind or configuration');
    if (other.base !== this.base || !isDeepStrictEqual(other.lora, this.lora)) refuse('base or adapter');
  }
}

/** From {@link LanguageModel.keepCache}. */
export interface KeptCache extends AsyncDisposable {
  /** Frees the cache, when no call runs. A second call does nothing. */
  dispose(): Promise<void>;
}

/** A transformer with a language-model head. */
export class LanguageModel extends Model {
  /**
   * A model with random weights (GPT-2's initialisation).
   * @throws HeedError ERR_INVALID_ARGUMENT that names the invalid field of `config`; ERR_OUT_OF_MEMORY
   */
  static async init(engine: Engine, config: ModelConfig, options: InitOptions): Promise<LanguageModel> {
    const { specialTokens = {}, int8 } = options;
    const model = new LanguageModel(engine, { config, specialTokens }, 'language', { int8 });
    return await disposeOnFailure(model, initialize(model, options));
  }

  /**
   * Loads a Hugging Face folder of a language model of one of the {@link familyNames}: `config.json` and `model.safetensors`, or the
   * several files that `model.safetensors.index.json` names, in F32, BF16 or F16.
   * @throws DataError that names the file and the key or tensor that is wrong; HeedError ERR_IO when a file cannot be read
   */
  static async load(engine: Engine, dir: string, options: LoadOptions = {}): Promise<LanguageModel> {
    if ((await readConfig(dir)).kind !== 'language')
      throw wrongKind(dir, 'a scalar head: load it with ScalarModel.load()');
    const files = await openModel(dir);
    const make = () => new LanguageModel(engine, files.info, 'language', { folder: dir, int8: options.int8 });
    const model = namingConfigFile(dir, files.info, make);
    await disposeOnFailure(model, readParameters(model, files, options));
    return options.adapter === undefined
      ? model
      : await adapted(model, options.adapter, (o) => model.adapter(o), options);
  }

  /** An independent copy on the same engine; of an adapter, another adapter to the same base. */
  async clone(options: Abortable = {}): Promise<LanguageModel> {
    const { folder, int8 } = this;
    const copy = new LanguageModel(this.engine, this, 'language', { ...adaptedOf(this), folder, int8 });
    return await disposeOnFailure(copy, copy.copyFrom(this, options));
  }

  /**
   * An adapter to this model (LoRA, Hu et al. 2021), itself a model that can be trained, saved and used like any other. It shares this
   * model's parameters, which it does not change. A new one changes nothing yet.
   * @throws RangeError for an invalid option; DataError naming the file and the tensor, for a folder of another base
   */
  async adapter(options: AdapterOptions): Promise<LanguageModel> {
    const { lora, folder } = await adapterOf(this, 'language', options);
    const model = new LanguageModel(this.engine, this, 'language', { adapted: { base: this, lora } });
    return await disposeOnFailure(model, beginAdapter(model, folder, options));
  }

  /** As {@link adapter}, with a scalar head of its own: a reward model or a value function that shares this model's parameters. */
  async scalarAdapter(options: AdapterOptions): Promise<ScalarModel> {
    return await ScalarModel.adapt(this, options);
  }

  /** A model without an adapter that computes the same, within rounding: the base's parameters plus the adapter's terms. */
  async merge({ signal }: Abortable = {}): Promise<LanguageModel> {
    requireAdapter(this);
    const merged = new LanguageModel(this.engine, this, 'language');
    return await disposeOnFailure(
      merged,
      run(signal, () => modelHandle(merged).merge(modelHandle(this))),
    );
  }

  /** (R, V) next-token logits at the batch's rows, row-major. */
  logits(batch: PackedBatch, { signal }: Abortable = {}): Promise<Float32Array> {
    return run(signal, () => modelHandle(this).logits(batch));
  }

  /**
   * Log-probability of each row's target, and the entropy of the row's distribution.
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
   * Samples responses. A response depends only on its prompt, seed, sample index and options, not on the rest of the batch, which calls
   * that run at the same time share, of this model, of its base and of all adapters to that: each joins between two tokens of the others.
   * When the parameters change meanwhile (a trainer's step),
   * the remaining tokens are sampled with the new ones, from a cache that is computed anew.
   * @returns ordered by request, then by sample
   * @throws RangeError that names the request; HeedError
   */
  generate(requests: readonly GenerateRequest[], options: GenerateOptions): Promise<Completion[]> {
    return generate({ config: this.config, ...placeOf(this) }, requests, options);
  }

  /**
   * Streams the tokens of responses as they are sampled; they are those of {@link generate}. Decoding pauses while the reader does,
   * and `break` ends it.
   */
  stream(requests: readonly GenerateRequest[], options: GenerateOptions): AsyncGenerator<StreamedToken, void, void> {
    return stream({ config: this.config, ...placeOf(this) }, requests, options);
  }

  /**
   * Keeps the cache of keys and values between calls of {@link generate} and {@link stream} until it is disposed of: a prompt that
   * begins as an earlier prompt and its response did is computed from where they differ, with the same bits. For the turns of a
   * dialogue, and prompts with one system message. Without it the cache is freed when the last call ends.
   *
   * @param options slots: responses decoded at the same time by all calls together, at most; default 64
   */
  keepCache({ slots = 64 }: { readonly slots?: number | undefined } = {}): KeptCache {
    if (!Number.isSafeInteger(slots) || slots < 1 || slots > 65536)
      throw new RangeError(`slots is ${slots}, expected a whole number from 1 to 65536`);
    const place = placeOf(this);
    const release = schedulerOf(place, this.config.maxPositions).hold(slots, place.adapter);
    const dispose = async () => release();
    return { dispose, [Symbol.asyncDispose]: dispose };
  }

  /** Gradients and AdamW state for this model. @throws HeedError ERR_OUT_OF_MEMORY, or ERR_INVALID_ARGUMENT for an option */
  trainer(options: TrainerOptions = {}): Promise<LanguageTrainer> {
    return LanguageTrainer.create(modelHandle(this), options, this.engine.info.dtype, this.lora?.dropout ?? 0);
  }

  protected async describe(): Promise<HfConfig> {
    return { config: this.config, kind: 'language', specialTokens: this.specialTokens, scoreOffset: 0 };
  }
}

/** A transformer with a scalar head: a reward model, evaluated at the end of each response, or a value function, at every token. */
export class ScalarModel extends Model {
  /** A model with random weights. */
  static async init(engine: Engine, config: ModelConfig, options: InitOptions): Promise<ScalarModel> {
    const specialTokens = withPad(options.specialTokens ?? {}, config.vocabSize);
    const model = new ScalarModel(engine, { config, specialTokens }, 'scalar', { int8: options.int8 });
    return await disposeOnFailure(model, initialize(model, options));
  }

  /**
   * Loads a Hugging Face folder of a family's …ForSequenceClassification with one label.
   * @throws DataError that names the file and the key or tensor that is wrong; HeedError ERR_IO when a file cannot be read
   */
  static async load(engine: Engine, dir: string, options: LoadOptions = {}): Promise<ScalarModel> {
    const { kind } = await readConfig(dir);
    const { adapter, ...others } = options;
    if (kind !== 'scalar' && adapter !== undefined) {
      const base = await LanguageModel.load(engine, dir, others);
      return await adapted(base, adapter, (o) => base.scalarAdapter(o), options);
    }
    if (kind !== 'scalar')
      throw wrongKind(dir, 'a language head: load it with LanguageModel.load() or ScalarModel.loadOrFrom()');
    const files = await openModel(dir);
    const make = () => new ScalarModel(engine, files.info, 'scalar', { folder: dir, int8: options.int8 });
    const model = namingConfigFile(dir, files.info, make);
    await disposeOnFailure(model, readParameters(model, files, options));
    return adapter === undefined ? model : await adapted(model, adapter, (o) => model.adapter(o), options);
  }

  /**
   * The trunk of a language model with a fresh head: weights normal with variance 1 / (channels + 1) (Ziegler et al. 2019, their code).
   * Of an adapter, an adapter to the same base.
   * @param options seed: of the head's weights
   */
  static async from(model: LanguageModel, options: InitOptions): Promise<ScalarModel> {
    const { config, engine } = model;
    const specialTokens = withPad(options.specialTokens ?? model.specialTokens, config.vocabSize);
    const scalar = new ScalarModel(engine, { config, specialTokens }, 'scalar', adaptedOf(model));
    const copy = async () => {
      await initialize(scalar, options);
      await run(options.signal, () => modelHandle(scalar).copyFrom(modelHandle(model)));
    };
    return await disposeOnFailure(scalar, copy());
  }

  /** Loads a folder with a scalar head; for a language model's folder, its trunk with a fresh head. */
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

  /** An independent copy on the same engine; of an adapter, another adapter to the same base. */
  async clone(options: Abortable = {}): Promise<ScalarModel> {
    const { folder, int8 } = this;
    const copy = new ScalarModel(this.engine, this, 'scalar', { ...adaptedOf(this), folder, int8 });
    return await disposeOnFailure(copy, copy.copyFrom(this, options));
  }

  /** An adapter to this model, as {@link LanguageModel.adapter}; a new one begins with this model's head. */
  async adapter(options: AdapterOptions): Promise<ScalarModel> {
    return await ScalarModel.adapt(this, options);
  }

  /** @internal */
  static async adapt(base: LanguageModel | ScalarModel, options: AdapterOptions): Promise<ScalarModel> {
    const { config, engine } = base;
    const { lora, folder } = await adapterOf(base, 'scalar', options);
    const specialTokens = withPad(base.specialTokens, config.vocabSize);
    const model = new ScalarModel(engine, { config, specialTokens }, 'scalar', { adapted: { base, lora } });
    const begin = async () => {
      await beginAdapter(model, folder, options);
      // the head, which is its own
      if (!folder) await run(options.signal, () => modelHandle(model).copyFrom(modelHandle(base)));
    };
    return await disposeOnFailure(model, begin());
  }

  /** A model without an adapter that computes the same, within rounding; see {@link LanguageModel.merge}. */
  async merge({ signal }: Abortable = {}): Promise<ScalarModel> {
    requireAdapter(this);
    const merged = new ScalarModel(this.engine, this, 'scalar');
    const move = async () => {
      await run(signal, () => modelHandle(merged).merge(modelHandle(this)));
    };
    return await disposeOnFailure(merged, move());
  }

  /**
   * (R) the head's output at each of the batch's rows. A row at the end of a sequence is read before its padding tokens
   * (`specialTokens.pad`), as transformers does: a model that was trained with its end-of-text token as padding scores a response
   * before that token.
   */
  scores(batch: PackedBatch, { signal }: Abortable = {}): Promise<Float32Array> {
    return run(signal, () => modelHandle(this).scores(beforePadding(batch, this.specialTokens.pad)));
  }

  /**
   * Adds `delta` to every score. It goes into the bias of the final norm (GPT-2), so that transformers gives the same score; an
   * RMSNorm has no bias, and an adapter does not change its base's, so there it is kept as {@link scoreOffset} and saved as
   * `heed.score_offset` in `config.json`, or in the header of the adapter's file.
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

  /** Added to every score where the final norm has no bias; else 0. */
  scoreOffset(): Promise<number> {
    return run(undefined, () => modelHandle(this).scoreOffset());
  }

  /** Gradients and AdamW state for this model. @throws HeedError ERR_OUT_OF_MEMORY, or ERR_INVALID_ARGUMENT for an option */
  trainer(options: TrainerOptions = {}): Promise<ScalarTrainer> {
    return ScalarTrainer.create(modelHandle(this), options, this.engine.info.dtype, this.specialTokens.pad);
  }

  protected async describe(): Promise<HfConfig> {
    const scoreOffset = await this.scoreOffset();
    return { config: this.config, kind: 'scalar', specialTokens: this.specialTokens, scoreOffset };
  }
}

function placeOf(model: Model): Place {
  const handle = modelHandle(model);
  return model.base ? { base: modelHandle(model.base), adapter: handle } : { base: handle, adapter: undefined };
}

/** Initialises an adapter, or reads it. */
async function beginAdapter(
  model: LanguageModel | ScalarModel,
  folder: AdapterFolder | undefined,
  options: AdapterOptions,
): Promise<void> {
  if (folder) await readAdapter(model, folder, options);
  else await initialize(model, options as InitOptions);
}

/** Reads an adapter to a base that was loaded for it alone. */
async function adapted<M extends LanguageModel | ScalarModel>(
  base: LanguageModel | ScalarModel,
  from: string,
  make: (options: AdapterOptions) => Promise<M>,
  { signal }: Abortable,
): Promise<M> {
  try {
    const model = await make({ from, signal });
    model.ownBase();
    return model;
  } catch (error) {
    await base.dispose();
    throw error;
  }
}

/** Calls `make`; an invalid configuration becomes a DataError that names the folder's `config.json` and its keys. */
function namingConfigFile<M extends Model>(dir: string, { config }: HfConfig, make: () => M): M {
  try {
    return make();
  } catch (cause) {
    if (!(cause instanceof HeedError) || cause.code !== 'ERR_INVALID_ARGUMENT') throw cause;
    throw new DataError(inKeys(cause.message, config), { file: join(dir, 'config.json') }, { cause });
  }
}

/** Resolves to `model` after `initializing`; disposes of the model if that fails. */
async function disposeOnFailure<M extends Model>(model: M, initializing: Promise<void>): Promise<M> {
  try {
    await initializing;
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
  if (info.kind === 'scalar') await run(signal, () => modelHandle(model).setScoreOffset(info.scoreOffset));
}
