/** A model on disk, as Hugging Face's tools have it: `config.json`, `model.safetensors`, and the tokenizer's files. */
import { existsSync } from 'node:fs';
import { copyFile, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DataError, HeedError } from './errors.js';
import { writeFolder, writeText } from './folder.js';
import { configFromHf, configToHf } from './hfconfig.js';
import type { HfConfig, SpecialTokens } from './modelconfig.js';
import { layOut, match, readHeader, type TensorPlace, type TensorSpec } from './safetensors.js';

const tokenizerFiles = [
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'added_tokens.json',
  'chat_template.jinja',
  'vocab.json',
  'merges.txt',
];

/** The `config.json` of a folder. @throws DataError that names the key; HeedError ERR_IO */
export async function readConfig(dir: string): Promise<HfConfig> {
  const file = join(dir, 'config.json');
  const text = await readFile(file, 'utf8').catch((cause: Error) => {
    throw new HeedError('ERR_IO', `cannot read ${file}: ${cause.message}`, { cause });
  });
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new DataError(`is not JSON: ${(cause as Error).message}`, { file }, { cause });
  }
  return configFromHf(json, file);
}

export function wrongKind(dir: string, what: string): DataError {
  return new DataError(`describes a model with ${what}`, { file: join(dir, 'config.json') });
}

// Buffers that older versions of transformers saved, and a tied head that was saved twice.
const bufferName = /(\.attn\.(masked_)?bias|rotary_emb\.inv_freq)$/;

/** The file of a folder's weights and where each parameter stands in it. @throws DataError that names the tensor; HeedError ERR_IO */
export async function findWeights(
  dir: string,
  parameters: readonly TensorSpec[],
  tiedHead: boolean,
): Promise<{ path: string; places: TensorPlace[] }> {
  const path = join(dir, 'model.safetensors');
  if (!existsSync(path) && existsSync(join(dir, 'model.safetensors.index.json'))) {
    throw new DataError('is split into several files; heed reads a single one', { file: path });
  }
  // With and without the prefix of the class: both kinds of file are about.
  const wanted = parameters.map((p) => ({ ...p, fileNames: [p.name, p.name.replace(/^(transformer|model)\./, '')] }));
  const places = match(path, await readHeader(path), wanted, (name) => {
    return bufferName.test(name) || (tiedHead && name === 'lm_head.weight');
  });
  return { path, places };
}

/**
 * Writes a folder, whole or not at all.
 *
 * @param write puts the tensors where they are told, after the prefix
 */
export async function writeModelFolder(
  dir: string,
  info: HfConfig,
  parameters: readonly TensorSpec[],
  dtype: 'F32' | 'BF16',
  tokenizerFrom: string | undefined,
  write: (path: string, prefix: Uint8Array, places: TensorPlace[]) => Promise<void>,
): Promise<void> {
  const { prefix, places } = layOut(parameters, dtype);
  const specialTokens = await withTokensOf(tokenizerFrom, info.specialTokens);
  const config = configToHf({ ...info, specialTokens }, dtype);
  await writeFolder(dir, async (folder) => {
    await write(join(folder, 'model.safetensors'), prefix, places);
    await writeText(folder, 'config.json', `${JSON.stringify(config, null, 2)}\n`);
    if (tokenizerFrom === undefined) return;
    for (const name of tokenizerFiles) {
      if (existsSync(join(tokenizerFrom, name))) await copyFile(join(tokenizerFrom, name), join(folder, name));
    }
  });
}

// A tokenizer's folder may know the special tokens of a model that was made without them.
async function withTokensOf(dir: string | undefined, tokens: SpecialTokens): Promise<SpecialTokens> {
  if (dir === undefined || !existsSync(join(dir, 'config.json'))) return tokens;
  const theirs = (await readConfig(dir)).specialTokens;
  return { bos: tokens.bos ?? theirs.bos, eos: tokens.eos ?? theirs.eos, pad: tokens.pad ?? theirs.pad };
}
