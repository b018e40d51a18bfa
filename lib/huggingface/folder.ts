/** A model folder in Hugging Face's format: `config.json`, `model.safetensors`, and the tokenizer's files. */
import { existsSync } from 'node:fs';
import { copyFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DataError } from '../core/errors.js';
import { writeFolder, writeText } from '../core/files.js';
import { JsonObject, readJsonFile } from '../core/json.js';
import { kTokenizerFiles, tokenizerFilesIn } from '../core/tokenizerfiles.js';
import { configFromHf, configToHf, eosOf, type ReadConfig, withinVocabulary } from './config.js';
import { families } from './families/index.js';
import type { HfConfig, SpecialTokens } from './modelconfig.js';
import { type FileDType, layOutShards, type TensorPlace, type TensorSpec } from './safetensors.js';
import { hasOwnHead, readWeights, type Weights } from './weights.js';

/** The `config.json` of a folder, and the end tokens of its `generation_config.json`. @throws DataError that names the key; HeedError ERR_IO */
export async function readConfig(dir: string): Promise<ReadConfig> {
  const file = join(dir, 'config.json');
  const read = configFromHf(await readJsonFile(file), file);
  const generation = join(dir, 'generation_config.json');
  const { tokens, notices } = withinVocabulary(
    await readGenerationConfig(generation),
    read.config.vocabSize,
    generation,
  );
  const specialTokens = tokens.eos === undefined ? read.specialTokens : { ...read.specialTokens, eos: tokens.eos };
  return { ...read, specialTokens, notices: [...read.notices, ...notices] };
}

/** The tokens that end a response, if `generation_config.json` names any: it wins over `config.json`, as in transformers. */
async function readGenerationConfig(file: string): Promise<Pick<SpecialTokens, 'eos'>> {
  if (!existsSync(file)) return {};
  const eos = eosOf(new JsonObject(await readJsonFile(file), file));
  return eos === undefined ? {} : { eos };
}

export function wrongKind(dir: string, what: string): DataError {
  return new DataError(`describes a model with ${what}`, { file: join(dir, 'config.json') });
}

/** A model folder: its configuration, and where its tensors are. */
export interface ModelFiles {
  readonly info: HfConfig;
  readonly weights: Weights;
  /** Messages about how the files were interpreted. */
  readonly notices: readonly string[];
}

/** The notice about keys that neither heed nor transformers knows, if there are any. */
export const ignoredNotice = (ignored: readonly string[], file: string): string[] =>
  ignored.length > 0 ? [`${ignored.join(', ')} in ${file} were ignored, as transformers does`] : [];

/** @throws DataError that names the file, and the key or tensor; HeedError ERR_IO */
export async function openModel(dir: string): Promise<ModelFiles> {
  const { ignored, notices: ofConfig, ...info } = await readConfig(dir);
  const weights = await readWeights(dir);
  const file = join(dir, 'config.json');
  const notices = [...ofConfig, ...ignoredNotice(ignored, file), ...weights.notices];
  const { config, kind } = info;
  if (kind === 'language' && config.tiedHead && (await hasOwnHead(weights, families[config.family]))) {
    notices.push(
      `${file} ties the language head to the embedding, but the weights contain a different head: that one is used, as transformers does`,
    );
    return { info: { ...info, config: { ...config, tiedHead: false } }, weights, notices };
  }
  return { info, weights, notices };
}

// transformers 5 takes no whole number for these keys: 30.0, not 30.
const configText = (config: Record<string, unknown>) =>
  JSON.stringify(config, null, 2).replace(/("(?:attn|final)_logit_softcapping": \d+)(?=,?\n)/g, '$1.0');

const weightFile = /^model(-\d{5}-of-\d{5})?\.safetensors(\.index\.json)?$/;
const isOfModel = (name: string) => name === 'config.json' || weightFile.test(name) || kTokenizerFiles.includes(name);

export interface WriteOptions {
  readonly dtype: FileDType;
  /** Maximum size of a file of weights, bytes. */
  readonly maxShardBytes: number;
  readonly tokenizerFrom: string | undefined;
}

/**
 * Writes a folder atomically.
 *
 * @param write writes the tensors at the given offsets, after the prefix
 */
export async function writeModelFolder(
  dir: string,
  info: HfConfig,
  parameters: readonly TensorSpec[],
  { dtype, maxShardBytes, tokenizerFrom }: WriteOptions,
  write: (path: string, prefix: Uint8Array, places: TensorPlace[]) => Promise<void>,
): Promise<void> {
  const { shards, index } = layOutShards(parameters, dtype, maxShardBytes);
  const specialTokens = await withTokensOf(tokenizerFrom, info);
  const config = configToHf({ ...info, specialTokens }, dtype);
  await writeFolder(dir, isOfModel, async (folder) => {
    for (const { name, prefix, places } of shards) await write(join(folder, name), prefix, places);
    if (index) await writeText(folder, 'model.safetensors.index.json', `${JSON.stringify(index, null, 2)}\n`);
    await writeText(folder, 'config.json', `${configText(config)}\n`);
    if (tokenizerFrom === undefined) return;
    for (const { path, name } of tokenizerFilesIn(tokenizerFrom)) await copyFile(path, join(folder, name));
  });
}

// If the model has no special tokens, those of the tokenizer's folder are used.
async function withTokensOf(
  dir: string | undefined,
  { kind, specialTokens: tokens }: HfConfig,
): Promise<SpecialTokens> {
  if (dir === undefined || !existsSync(join(dir, 'config.json'))) return tokens;
  const theirs = (await readConfig(dir)).specialTokens;
  const pad = kind === 'scalar' ? tokens.pad : (tokens.pad ?? theirs.pad); // a scalar model has its own
  return { bos: tokens.bos ?? theirs.bos, eos: tokens.eos ?? theirs.eos, pad };
}
