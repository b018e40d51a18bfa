/** What both kinds of model have in common: parameters, loading and saving. */
import { join, resolve } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import type * as addon from '../../bindings/addon.js';
import { DataError, HeedError } from '../core/errors.js';
import { type Abortable, call, native, run } from '../core/native.js';
import { familyOf, requireOfFamily } from '../huggingface/config.js';
import { type ModelFiles, openModel, writeModelFolder, wrongKind } from '../huggingface/folder.js';
import {
  type AdapterFolder,
  adapterTargets,
  type LoraConfig,
  readAdapterFolder,
  writeAdapterFolder,
} from '../huggingface/lora.js';
import type { HfConfig, ModelConfig, ModelKind, SpecialTokens } from '../huggingface/modelconfig.js';
import type { TensorPlace } from '../huggingface/safetensors.js';
import { findParameters } from '../huggingface/weights.js';
import { type Adapted, type AdapterOptions, readAdapter } from './adapter.js';
import { type Engine, engineHandle } from './engine.js';
import { modelHandle, modelHandles } from './handles.js';
import type { LanguageModel } from './languagemodel.js';
import { inKeys, nativeConfig } from './nativeconfig.js';
import type { ScalarModel } from './scalarmodel.js';
import { dropCalls, type Place } from './scheduler.js';

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
export abstract class Model implements AsyncDisposable {
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

export function placeOf(model: Model): Place {
  const handle = modelHandle(model);
  return model.base ? { base: modelHandle(model.base), adapter: handle } : { base: handle, adapter: undefined };
}

/** Initialises an adapter, or reads it. */
export async function beginAdapter(
  model: LanguageModel | ScalarModel,
  folder: AdapterFolder | undefined,
  options: AdapterOptions,
): Promise<void> {
  if (folder) await readAdapter(model, folder, options);
  else await initialize(model, options as InitOptions);
}

/** Reads an adapter to a base that was loaded for it alone. */
export async function adapted<M extends LanguageModel | ScalarModel>(
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
export function namingConfigFile<M extends Model>(dir: string, { config }: HfConfig, make: () => M): M {
  try {
    return make();
  } catch (cause) {
    if (!(cause instanceof HeedError) || cause.code !== 'ERR_INVALID_ARGUMENT') throw cause;
    throw new DataError(inKeys(cause.message, config), { file: join(dir, 'config.json') }, { cause });
  }
}

/** Resolves to `model` after `initializing`; disposes of the model if that fails. */
export async function disposeOnFailure<M extends Model>(model: M, initializing: Promise<void>): Promise<M> {
  try {
    await initializing;
    return model;
  } catch (error) {
    await model.dispose();
    throw error;
  }
}

export async function initialize(model: Model, { seed, signal }: InitOptions): Promise<void> {
  if (!Number.isSafeInteger(seed) || seed < 0)
    throw new RangeError(`seed is ${seed}, expected a whole number from 0 to 2^53 - 1`);
  await run(signal, () => modelHandle(model).initialize(seed));
}

export async function readParameters(
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
