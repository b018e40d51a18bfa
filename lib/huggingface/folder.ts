/** A model on disk, as Hugging Face's tools have it: `config.json`, `model.safetensors`, and the tokenizer's files. */
import { existsSync } from 'node:fs';
import { copyFile, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { DataError, HeedError } from '../core/errors.js';
import { writeFolder, writeText } from '../core/files.js';
import { JsonObject } from '../core/json.js';
import { configFromHf, configToHf } from './config.js';
import type { HfConfig, SpecialTokens } from './modelconfig.js';
import { layOut, match, readHeader, type TensorEntry, type TensorPlace, type TensorSpec } from './safetensors.js';

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
  return configFromHf(await readJsonFile(file), file);
}

async function readJsonFile(file: string): Promise<unknown> {
  const text = await readFile(file, 'utf8').catch((cause: Error) => {
    throw new HeedError('ERR_IO', `cannot read ${file}: ${cause.message}`, { cause });
  });
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new DataError(`is not JSON: ${(cause as Error).message}`, { file }, { cause });
  }
}

export function wrongKind(dir: string, what: string): DataError {
  return new DataError(`describes a model with ${what}`, { file: join(dir, 'config.json') });
}

// Buffers that older versions of transformers saved, and a tied head that was saved twice.
const bufferName = /(\.attn\.(masked_)?bias|rotary_emb\.inv_freq)$/;

/** The files of a folder's weights and where each parameter stands in them. @throws DataError that names the tensor; HeedError ERR_IO */
export async function findWeights(
  dir: string,
  parameters: readonly TensorSpec[],
  tiedHead: boolean,
): Promise<Map<string, TensorPlace[]>> {
  const { path, tensors } = await readTensors(dir);
  // With and without the prefix of the class: both kinds of file are about.
  const wanted = parameters.map((p) => ({ ...p, fileNames: [p.name, p.name.replace(/^(transformer|model)\./, '')] }));
  const found = match(path, { tensors }, wanted, (name) => {
    return bufferName.test(name) || (tiedHead && name === 'lm_head.weight');
  });
  const files = new Map<string, TensorPlace[]>();
  for (const place of found) {
    const places = files.get(place.path) ?? [];
    places.push(place);
    files.set(place.path, places);
  }
  return files;
}

/** The tensors of `model.safetensors`, or of the files that its index names, and the file to name when one is wrong. */
async function readTensors(dir: string): Promise<{ path: string; tensors: ReadonlyMap<string, TensorEntry> }> {
  const single = join(dir, 'model.safetensors');
  const index = `${single}.index.json`;
  if (existsSync(single)) return { path: single, tensors: (await readHeader(single)).tensors };
  if (!existsSync(index)) {
    const pickled = existsSync(join(dir, 'pytorch_model.bin'));
    const hint = pickled ? '; pytorch_model.bin is not read: transformers saves it as safetensors' : '';
    throw new HeedError('ERR_IO', `${single} does not exist${hint}`);
  }
  const tensors = new Map<string, TensorEntry>();
  for (const name of await shardsOf(index)) {
    for (const [tensor, entry] of (await readHeader(join(dir, name))).tensors) {
      const other = tensors.get(tensor);
      if (other) throw new DataError(`tensor ${tensor} stands in ${other.path} too`, { file: entry.path });
      tensors.set(tensor, entry);
    }
  }
  return { path: index, tensors };
}

async function shardsOf(file: string): Promise<Set<string>> {
  const map = new JsonObject(await readJsonFile(file), file).inner('weight_map');
  return new Set(
    map.names().map((tensor) => {
      const name = map.get(tensor);
      if (typeof name === 'string' && name === basename(name)) return name;
      return map.fail(tensor, `is ${JSON.stringify(name)}, expected the name of a file beside it`);
    }),
  );
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
  const names = ['config.json', 'model.safetensors', ...tokenizerFiles];
  await writeFolder(dir, names, async (folder) => {
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
