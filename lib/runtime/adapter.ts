/** Adapters of models: their options, and reading them. */
import { join } from 'node:path';
import { DataError, HeedError } from '../core/errors.js';
import { type Abortable, run } from '../core/native.js';
import {
  type AdapterFolder,
  adapterTargets,
  findAdapter,
  isAlpha,
  kAdapterConfig,
  type LoraConfig,
  readAdapterFolder,
} from '../huggingface/lora.js';
import type { ModelConfig, ModelKind } from '../huggingface/modelconfig.js';
import { modelHandle } from './handles.js';
import type { LanguageModel, ScalarModel } from './model.js';

/** A new adapter: {@link LoraConfig}, with defaults. */
export interface LoraOptions {
  readonly rank: number;
  /** Default: `rank`, a scale of 1. */
  readonly alpha?: number | undefined;
  /** Default 0. */
  readonly dropout?: number | undefined;
  /** Default `'all-linear'`. */
  readonly targets?: string | readonly string[] | undefined;
  /** Default false. */
  readonly rslora?: boolean | undefined;
  readonly rankPattern?: Readonly<Record<string, number>> | undefined;
  readonly alphaPattern?: Readonly<Record<string, number>> | undefined;
}

/** Options of an adapter: a new one, or one from a folder that PEFT or {@link LanguageModel.save} wrote. */
export type AdapterOptions = Abortable &
  (
    | (LoraOptions & { readonly seed: number; readonly from?: undefined })
    | { readonly from: string; readonly rank?: undefined }
  );

/** The base of an adapter. */
export interface Adapted {
  readonly base: LanguageModel | ScalarModel;
  readonly lora: LoraConfig;
}

/** What the functions below use of a model. */
interface AdaptableModel {
  readonly config: ModelConfig;
  readonly lora: LoraConfig | undefined;
  readonly base: Adapted['base'] | undefined;
  parameters(): { readonly name: string; readonly shape: readonly number[] }[];
}

/** The same base and adapter configuration as a model has. */
export function adaptedOf({ base, lora }: AdaptableModel): { adapted?: Adapted } {
  return base && lora ? { adapted: { base, lora } } : {};
}

/** @throws HeedError ERR_INVALID_ARGUMENT */
export function requireAdapter(model: AdaptableModel): void {
  if (!model.lora) throw new HeedError('ERR_INVALID_ARGUMENT', 'the model has no adapter to merge');
}

/**
 * The configuration of an adapter, with the defaults of a new one, and the folder of one to be read.
 * @throws RangeError for an invalid option; DataError that names the file and the key; HeedError
 */
export async function adapterOf(base: AdaptableModel, kind: ModelKind, options: AdapterOptions) {
  if (base.lora)
    throw new HeedError('ERR_INVALID_ARGUMENT', 'the model is an adapter itself: merge() it, or adapt its base');
  if (options.from === undefined) {
    const lora = loraConfig(options);
    adapterTargets(lora, base.config, true);
    return { lora, folder: undefined };
  }
  const folder = await readAdapterFolder(options.from);
  const file = join(options.from, kAdapterConfig);
  if (folder.kind !== kind)
    throw new DataError(
      kind === 'language'
        ? 'is the adapter of a scalar model: load it with ScalarModel'
        : 'is the adapter of a language model: load it with LanguageModel',
      { file },
    );
  try {
    adapterTargets(folder.lora, base.config, false);
  } catch (cause) {
    if (cause instanceof RangeError) throw new DataError(cause.message, { file, field: 'target_modules:' }, { cause });
    throw cause;
  }
  return { lora: folder.lora, folder };
}

function loraConfig(options: LoraOptions): LoraConfig {
  const { rank, alpha = rank, dropout = 0, targets = 'all-linear', rslora = false } = options;
  const { rankPattern = {}, alphaPattern = {} } = options;
  if (!Number.isSafeInteger(rank) || rank < 1) throw new RangeError(`rank is ${rank}, expected a whole number above 0`);
  if (!isAlpha(alpha)) throw new RangeError(`alpha is ${alpha}, expected a number that float32 can hold`);
  if (!(dropout >= 0 && dropout < 1)) throw new RangeError(`dropout is ${dropout}, expected 0 or more and less than 1`);
  return { rank, alpha, dropout, targets, rslora, rankPattern, alphaPattern };
}

/** Reads an adapter into a model. @throws DataError that names the file and the tensor; HeedError ERR_IO */
export async function readAdapter(model: AdaptableModel, folder: AdapterFolder, { signal }: Abortable): Promise<void> {
  const handle = modelHandle(model);
  for (const place of findAdapter(folder, model.parameters(), model.base?.folder)) {
    await run(signal, () => handle.read(place.path, [place]));
    const values = await run(signal, () => handle.parameter(place.name));
    const wrong = values.findIndex((value) => !Number.isFinite(value));
    if (wrong >= 0)
      throw new DataError(`tensor ${place.name} has ${values[wrong]} at ${wrong}, expected finite numbers`, {
        file: place.path,
      });
  }
  if (folder.kind === 'scalar') await run(signal, () => handle.setScoreOffset(folder.scoreOffset));
}
