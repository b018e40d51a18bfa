/** Low-rank adapters (LoRA, Hu et al. 2021) in the format of PEFT: `adapter_config.json` and `adapter_model.safetensors`. */
import { existsSync } from 'node:fs';
import { copyFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DataError, HeedError } from '../core/errors.js';
import { writeFolder, writeText } from '../core/files.js';
import { JsonObject, readJsonFile, shown } from '../core/json.js';
import { kTokenizerFiles, tokenizerFilesIn } from '../core/tokenizerfiles.js';
import { familyOf } from './config.js';
import type { Family } from './families/family.js';
import type { ModelConfig, ModelKind } from './modelconfig.js';
import {
  type FileDType,
  type FoundTensor,
  layOut,
  match,
  readHeader,
  type SafetensorsHeader,
  type TensorPlace,
  type TensorSpec,
} from './safetensors.js';

/** An adapter: `y += scale · (x·Aᵀ)·Bᵀ` in linear layers of a frozen base, with A of `rank` rows and B of `rank` columns. */
export interface LoraConfig {
  readonly rank: number;
  /** The scale is `alpha / rank`. */
  readonly alpha: number;
  /** Dropout of the adapter's input while it is trained by {@link LanguageTrainer.sft}. */
  readonly dropout: number;
  /**
   * The linear layers: `'all-linear'` for all of the blocks; names, or ends of names (`'q_proj'`); or a regular expression that
   * matches whole names. As in PEFT.
   */
  readonly targets: string | readonly string[];
  /** The scale is `alpha / √rank` (Kalajdzievski 2023). */
  readonly rslora: boolean;
  /** Other ranks, by names or regular expressions for the ends of names. */
  readonly rankPattern: Readonly<Record<string, number>>;
  /** Other values of `alpha`. */
  readonly alphaPattern: Readonly<Record<string, number>>;
}

/** A linear layer with its rank and scale. */
export interface AdapterTarget {
  readonly module: string;
  readonly rank: number;
  readonly scale: number;
}

export const kAdapterConfig = 'adapter_config.json';
const kAdapterWeights = 'adapter_model.safetensors';
const kAllLinear = 'all-linear';
const kPrefix = 'base_model.model.';
const kScoreOffset = 'heed.score_offset';

/** Whether a folder holds an adapter, not a model. */
export const isAdapter = (dir: string): boolean => existsSync(join(dir, kAdapterConfig));

/** The linear layers of the blocks, by their names in transformers. */
function linearModules({ names }: Family, numLayers: number): string[] {
  const ofLayer = [...names.qkv, names.attentionOut, ...names.up, names.down];
  return Array.from({ length: numLayers }, (_, l) => ofLayer.map((name) => name.replace('{}', String(l)))).flat();
}

const lastWord = (module: string) => module.slice(module.lastIndexOf('.') + 1);
const isEndOf = (name: string, module: string) => module === name || module.endsWith(`.${name}`);

/**
 * The linear layers that an adapter changes.
 * @param strict every name must match a layer; in a file, names of other models' layers are usual
 * @throws RangeError that names the target
 */
export function adapterTargets(lora: LoraConfig, config: ModelConfig, strict: boolean): AdapterTarget[] {
  const { targets } = lora;
  const modules = linearModules(familyOf(config.family), config.numLayers);
  const known = `expected some of ${[...new Set(modules.map(lastWord))].join(', ')}, or ${kAllLinear}`;
  let chosen = modules;
  if (typeof targets !== 'string') {
    const wrong = targets.find((name) => !modules.some((module) => isEndOf(name, module)));
    if (strict && wrong !== undefined)
      throw new RangeError(`targets has ${shown(wrong)}, which is no linear layer of the blocks; ${known}`);
    chosen = modules.filter((module) => targets.some((name) => isEndOf(name, module)));
  } else if (targets.toLowerCase() !== kAllLinear) {
    const pattern = expression(`^(?:${targets})$`, 'targets', targets);
    chosen = modules.filter((module) => pattern.test(module));
  }
  if (chosen.length === 0)
    throw new RangeError(`targets is ${shown(targets)}, which matches no linear layer of the blocks; ${known}`);
  const ranks = Object.entries(lora.rankPattern).map(([name, rank]) => [endPattern(name), rank] as const);
  const alphas = Object.entries(lora.alphaPattern).map(([name, alpha]) => [endPattern(name), alpha] as const);
  return chosen.map((module) => {
    const find = (list: readonly (readonly [RegExp, number])[]) => list.find(([pattern]) => pattern.test(module))?.[1];
    const rank = find(ranks) ?? lora.rank;
    const alpha = find(alphas) ?? lora.alpha;
    return { module, rank, scale: alpha / (lora.rslora ? Math.sqrt(rank) : rank) };
  });
}

const endPattern = (name: string) => expression(`^(?:.*\\.)?(?:${name})$`, 'pattern', name);

function expression(source: string, what: string, text: string): RegExp {
  try {
    return new RegExp(source, 's');
  } catch {
    throw new RangeError(`${what} is ${shown(text)}, which is not a regular expression that heed can read`);
  }
}

/** An adapter folder whose weights have not been read yet. */
export interface AdapterFolder {
  readonly dir: string;
  readonly lora: LoraConfig;
  readonly kind: ModelKind;
  /** The base that the file names, if any: a folder, or a name on the Hugging Face hub. */
  readonly base: string | undefined;
  /** Added to every score. */
  readonly scoreOffset: number;
  readonly header: SafetensorsHeader;
}

/** @throws DataError that names the file, and the key or tensor; HeedError ERR_IO */
export async function readAdapterFolder(dir: string): Promise<AdapterFolder> {
  const file = join(dir, kAdapterConfig);
  const keys = new JsonObject(await readJsonFile(file), file);
  const lora = readLoraConfig(keys);
  const task = keys.get('task_type');
  if (task !== undefined && task !== 'CAUSAL_LM' && task !== 'SEQ_CLS')
    keys.fail('task_type', `is ${shown(task)}, heed implements "CAUSAL_LM" and "SEQ_CLS"`);
  const saved = keys.get('modules_to_save') ?? [];
  const wrong = Array.isArray(saved) ? saved.find((name) => name !== 'score' && name !== 'classifier') : saved;
  if (wrong !== undefined)
    keys.fail('modules_to_save', `has ${shown(wrong)}, heed implements only the head "score" of SEQ_CLS`);
  const base = keys.get('base_model_name_or_path');
  const weights = join(dir, kAdapterWeights);
  if (!existsSync(weights)) {
    const hint = existsSync(join(dir, 'adapter_model.bin')) ? '; save adapter_model.bin with safetensors' : '';
    throw new HeedError('ERR_IO', `${weights} does not exist${hint}`);
  }
  const header = await readHeader(weights);
  const scoreOffset = Number(header.metadata[kScoreOffset] ?? 0);
  if (!Number.isFinite(scoreOffset))
    throw new DataError(`${kScoreOffset} is ${header.metadata[kScoreOffset]}, expected a number`, { file: weights });
  const kind = task === 'SEQ_CLS' || header.tensors.has(`${kPrefix}score.weight`) ? 'scalar' : 'language';
  return { dir, lora, kind, base: typeof base === 'string' && base !== '' ? base : undefined, scoreOffset, header };
}

// What changes the result, and is not implemented: the value that means none.
const kRefused: Readonly<Record<string, readonly unknown[]>> = {
  alora_invocation_tokens: [null],
  arrow_config: [null],
  bias: ['none'],
  exclude_modules: [null],
  kasa_config: [null],
  layer_replication: [null],
  layers_pattern: [null],
  layers_to_transform: [null],
  lora_bias: [false],
  monteclora_config: [null],
  target_parameters: [null],
  trainable_token_indices: [null],
  use_bdlora: [false],
  use_dora: [false],
  use_qalora: [false],
  velora_config: [null],
};

/** Whether a scale can be made of it: in float32. */
export const isAlpha = (alpha: number): boolean => Number.isFinite(Math.fround(alpha));

function readLoraConfig(keys: JsonObject): LoraConfig {
  keys.requireOneOf('peft_type', ['LORA']);
  if (keys.get('peft_type') === undefined) keys.fail('peft_type', 'is missing, heed implements "LORA"');
  for (const [key, values] of Object.entries(kRefused)) keys.requireOneOf(key, values);
  // PiSSA, OLoRA and others change the base's weights too.
  keys.requireOneOf('init_lora_weights', [true, false, 'gaussian', 'eva', 'orthogonal']);
  const targets = keys.get('target_modules');
  const isList = Array.isArray(targets) && targets.length > 0 && targets.every((name) => typeof name === 'string');
  if (!isList && (typeof targets !== 'string' || targets === ''))
    keys.fail('target_modules', `is ${shown(targets)}, expected names or a regular expression`);
  const rank = keys.number('r');
  if (!Number.isSafeInteger(rank) || rank < 1) keys.fail('r', `is ${rank}, expected a whole number above 0`);
  const alpha = keys.number('lora_alpha', 8);
  if (!isAlpha(alpha)) keys.fail('lora_alpha', `is ${alpha}, expected a number that float32 can hold`);
  const dropout = keys.number('lora_dropout', 0);
  if (!(dropout >= 0 && dropout < 1)) keys.fail('lora_dropout', `is ${dropout}, expected 0 or more and less than 1`);
  return {
    rank,
    alpha,
    dropout,
    targets: targets as string | string[],
    rslora: keys.boolean('use_rslora', false),
    rankPattern: readPattern(keys, 'rank_pattern', (n) => Number.isSafeInteger(n) && n > 0),
    alphaPattern: readPattern(keys, 'alpha_pattern', isAlpha),
  };
}

function readPattern(keys: JsonObject, key: string, isAllowed: (n: number) => boolean): Record<string, number> {
  if (keys.isEmpty(key)) return {};
  const pattern = keys.object(key);
  const entries = pattern.keys().map((name) => {
    const value = pattern.number(name);
    if (!isAllowed(value)) pattern.fail(name, `is ${value}, expected a rank or an alpha`);
    return [name, value] as const;
  });
  return Object.fromEntries(entries);
}

/** Names of embeddings and language heads, which PEFT adapts or keeps beside an adapter. */
const kOuter = /\.(lm_head|embed_out|embed_tokens|embed_in|wte|wpe)\./;

/**
 * Where an adapter's parameters are, for a base of that configuration.
 *
 * @param parameters the adapter's
 * @param base its folder, for messages
 * @throws DataError that names the tensor that is missing, unknown, or of another shape
 */
export function findAdapter(
  { dir, header }: AdapterFolder,
  parameters: readonly TensorSpec[],
  base: string | undefined,
): FoundTensor[] {
  const wanted = parameters.map((p) => ({ ...p, fileNames: [kPrefix + p.name] }));
  const file = join(dir, kAdapterWeights);
  const outer = [...header.tensors.keys()].find((name) => kOuter.test(name));
  if (outer !== undefined)
    throw new DataError(`has ${outer}, heed implements adapters of the linear layers of blocks`, { file });
  try {
    return match(file, header, wanted, () => false);
  } catch (cause) {
    if (!(cause instanceof DataError)) throw cause;
    const { message } = cause;
    const why = `the adapter is for another base than ${base ?? 'this one'}, or ${kAdapterConfig} is not its own`;
    throw new DataError(`${message.replace(`${file}: `, '')}: ${why}`, { file }, { cause });
  }
}

/** What is written beside an adapter's weights. */
export interface AdapterInfo {
  readonly lora: LoraConfig;
  readonly kind: ModelKind;
  readonly config: ModelConfig;
  /** The folder of the base. */
  readonly base: string | undefined;
  readonly scoreOffset: number;
}

const isOfAdapter = (name: string) =>
  name === kAdapterConfig || name === kAdapterWeights || kTokenizerFiles.includes(name);

/** Writes a folder that PEFT loads, atomically. */
export async function writeAdapterFolder(
  dir: string,
  info: AdapterInfo,
  parameters: readonly TensorSpec[],
  { dtype, tokenizerFrom }: { readonly dtype: FileDType; readonly tokenizerFrom: string | undefined },
  write: (path: string, prefix: Uint8Array, places: TensorPlace[]) => Promise<void>,
): Promise<void> {
  const metadata: Record<string, string> = info.scoreOffset === 0 ? {} : { [kScoreOffset]: String(info.scoreOffset) };
  const named = parameters.map(({ name, shape }) => ({ name: kPrefix + name, shape }));
  const { prefix, places } = layOut(named, dtype, metadata);
  const own = places.map((place, i) => ({ ...place, name: parameters[i]!.name }));
  await writeFolder(dir, isOfAdapter, async (folder) => {
    await write(join(folder, kAdapterWeights), prefix, own);
    await writeText(folder, kAdapterConfig, `${JSON.stringify(adapterConfig(info), null, 2)}\n`);
    if (tokenizerFrom === undefined) return;
    for (const { path, name } of tokenizerFilesIn(tokenizerFrom)) await copyFile(path, join(folder, name));
  });
}

function adapterConfig({ lora, kind, config, base }: AdapterInfo): Record<string, unknown> {
  const { targets } = lora;
  const isAll = typeof targets === 'string' && targets.toLowerCase() === kAllLinear;
  const all = () => [...new Set(linearModules(familyOf(config.family), 1).map(lastWord))];
  return {
    base_model_name_or_path: base ?? null,
    bias: 'none',
    fan_in_fan_out: config.weightLayout === 'in,out',
    inference_mode: true,
    init_lora_weights: true,
    lora_alpha: lora.alpha,
    lora_dropout: lora.dropout,
    modules_to_save: kind === 'scalar' ? ['score'] : null,
    peft_type: 'LORA',
    r: lora.rank,
    rank_pattern: lora.rankPattern,
    alpha_pattern: lora.alphaPattern,
    target_modules: isAll ? all() : targets,
    task_type: kind === 'scalar' ? 'SEQ_CLS' : 'CAUSAL_LM',
    use_dora: false,
    use_rslora: lora.rslora,
  };
}
