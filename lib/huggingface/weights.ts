/** The tensors of a model folder: in one file or several, under names to which training programs may have added prefixes. */
import { existsSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { DataError, HeedError } from '../core/errors.js';
import { JsonObject, readJsonFile, shown } from '../core/json.js';
import type { Family } from './families/family.js';
import { compare, match, readHeader, type TensorEntry, type TensorPlace, type TensorSpec } from './safetensors.js';

export interface Weights {
  /** The path in errors: the file, or the index of several. */
  readonly file: string;
  /** Tensors by their names in transformers. */
  readonly tensors: ReadonlyMap<string, TensorEntry>;
  /** Messages about how the files were interpreted. */
  readonly notices: readonly string[];
}

// Prefixes that training programs add to a model's names, and tensors of their own.
const wrappers: Readonly<Record<string, string>> = {
  _orig_mod: 'torch.compile',
  module: 'DataParallel',
  _fsdp_wrapped_module: 'FSDP',
  _checkpoint_wrapped_module: 'activation checkpointing',
  pretrained_model: "TRL's value head",
};
const valueHead = /^v_head\./;

/** @throws DataError that names the file and the tensor; HeedError ERR_IO */
export async function readWeights(dir: string): Promise<Weights> {
  const { file, tensors } = await readTensors(dir);
  const renamed = new Map<string, TensorEntry>();
  const found = new Set<string>();
  const left: string[] = [];
  for (const [name, entry] of tensors) {
    const words = name.split('.');
    for (const word of words) if (Object.hasOwn(wrappers, word)) found.add(word);
    const plain = words.filter((word) => !Object.hasOwn(wrappers, word)).join('.');
    if (valueHead.test(plain)) left.push(name);
    else if (renamed.has(plain))
      throw new DataError(`tensor ${name} is present twice, the other time as ${plain}`, { file });
    else renamed.set(plain, entry);
  }
  const notices = [...found].map(
    (word) => `the names in ${file} were read without the prefix "${word}.", which ${wrappers[word]} adds`,
  );
  if (left.length > 0) notices.push(`${left.join(', ')} in ${file} were not read: they are TRL's value head`);
  return { file, tensors: renamed, notices };
}

/** The tensors of `model.safetensors`, or of the files named in the index. */
async function readTensors(dir: string): Promise<{ file: string; tensors: ReadonlyMap<string, TensorEntry> }> {
  const single = join(dir, 'model.safetensors');
  const index = `${single}.index.json`;
  if (existsSync(single)) return { file: single, tensors: (await readHeader(single)).tensors };
  if (!existsSync(index)) {
    const pickled = existsSync(join(dir, 'pytorch_model.bin'));
    const hint = pickled ? '; heed does not read pytorch_model.bin: convert it to safetensors with transformers' : '';
    throw new HeedError('ERR_IO', `${single} does not exist${hint}`);
  }
  const tensors = new Map<string, TensorEntry>();
  for (const name of await shardsOf(index)) {
    for (const [tensor, entry] of (await readHeader(join(dir, name))).tensors) {
      const other = tensors.get(tensor);
      if (other) throw new DataError(`tensor ${tensor} is also in ${other.path}`, { file: entry.path });
      tensors.set(tensor, entry);
    }
  }
  return { file: index, tensors };
}

async function shardsOf(file: string): Promise<Set<string>> {
  const map = new JsonObject(await readJsonFile(file), file).object('weight_map');
  return new Set(
    map.keys().map((tensor) => {
      const name = map.get(tensor);
      if (typeof name === 'string' && name === basename(name)) return name;
      return map.fail(tensor, `is ${shown(name)}, expected the name of a file beside it`);
    }),
  );
}

// With and without the class's prefix: both kinds of file exist.
const namesOf = (name: string, { prefix }: Family) => [
  name,
  name.startsWith(prefix) ? name.slice(prefix.length) : name,
];

/** Whether the file contains a language head that differs from the embedding. */
export async function hasOwnHead({ tensors }: Weights, family: Family): Promise<boolean> {
  const head = tensors.get(`${family.names.languageHead}.weight`);
  const [embedding] = namesOf(`${family.names.embedding}.weight`, family).flatMap((name) => tensors.get(name) ?? []);
  return head !== undefined && embedding !== undefined && !(await sameValues(head, embedding));
}

/** Where each parameter is, by file. @throws DataError that names the tensor that is missing, unknown, or of another shape or dtype */
export function findParameters(
  { file, tensors }: Weights,
  parameters: readonly TensorSpec[],
  family: Family,
  tiedHead: boolean,
): Map<string, TensorPlace[]> {
  const { wanted, ignored } = rulesOf(parameters, family, tiedHead);
  const found = match(file, { tensors }, wanted, ignored);
  const files = new Map<string, TensorPlace[]>();
  for (const place of found) {
    const places = files.get(place.path) ?? [];
    places.push(place);
    files.set(place.path, places);
  }
  return files;
}

/** Everything for which {@link findParameters} would throw. */
export function problemsOfParameters(
  { tensors }: Weights,
  parameters: readonly TensorSpec[],
  family: Family,
  tiedHead: boolean,
): string[] {
  const { wanted, ignored } = rulesOf(parameters, family, tiedHead);
  return compare({ tensors }, wanted, ignored).problems;
}

/** The names that each parameter may have in files, and what else may be there. */
function rulesOf(parameters: readonly TensorSpec[], family: Family, tiedHead: boolean) {
  const head = `${family.names.languageHead}.weight`;
  const wanted = parameters.map((p) => {
    const fileNames = namesOf(p.name, family);
    const tied = tiedHead && p.name === `${family.names.embedding}.weight`;
    return { ...p, fileNames: tied ? [...fileNames, head] : fileNames }; // one matrix under either name
  });
  return { wanted, ignored: (name: string) => family.buffers.test(name) || (tiedHead && name === head) };
}

const kChunk = 1 << 22; // bytes

async function sameValues(a: TensorEntry, b: TensorEntry): Promise<boolean> {
  if (a.dtype !== b.dtype || a.shape.join() !== b.shape.join()) return false;
  const files = await Promise.all([a.path, b.path].map((path) => open(path)));
  try {
    for (let at = 0; at < a.bytes; at += kChunk) {
      const bytes = Math.min(kChunk, a.bytes - at);
      const [x, y] = await Promise.all([read(files[0]!, a.offset + at, bytes), read(files[1]!, b.offset + at, bytes)]);
      if (!x.equals(y)) return false;
    }
    return true;
  } finally {
    await Promise.all(files.map((file) => file.close()));
  }
}

async function read(file: FileHandle, offset: number, bytes: number): Promise<Buffer> {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(bytes), 0, bytes, offset);
  return buffer.subarray(0, bytesRead);
}
