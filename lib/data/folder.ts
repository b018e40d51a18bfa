/** The data files of a folder: one that the `datasets` library saved, or files of a known kind. */
import { readdir, readFile, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { DataError } from '../core/errors.js';
import { isObject } from '../core/json.js';
import { unreadable } from './bytes.js';

const kData = /\.(jsonl|ndjson|json|csv|tsv|parquet|arrow)(\.(gz|zst))?$/i;
const kSplit = /^(train|validation|valid|val|dev|test|eval)(?![a-z])/i;
const kTrain = /^train(?![a-z])/i;

/**
 * The path itself unless it is a folder. Of a folder, the `train` split where there are several; other splits are given by their own
 * folder or file.
 *
 * @throws DataError naming a path that does not exist, or a folder without data
 */
export async function filesOf(path: string): Promise<string[]> {
  const found = await stat(path).catch((cause) => {
    throw unreadable(path, cause);
  });
  if (!found.isDirectory()) return [path];
  const names = (await readdir(path)).sort();
  if (names.includes('dataset_dict.json')) return filesOf(join(path, await trainOf(path)));
  if (names.includes('state.json')) return shardsOf(path);
  const files = names.filter(
    (name) => kData.test(name) && !/^dataset_infos?\.json$/.test(name) && !isTwin(name, names),
  );
  const inner = ['train', 'data'].find((name) => names.includes(name));
  if (files.length === 0 && inner !== undefined) return filesOf(join(path, inner));
  const splits = files.filter((name) => kSplit.test(name));
  const train = files.filter((name) => kTrain.test(name));
  if (splits.length > 0 && train.length === 0)
    throw new DataError(`has no train split, only ${splits.join(', ')}: name the files to read`, { file: path });
  const chosen = train.length > 0 ? train : files;
  if (chosen.length > 0) return chosen.map((name) => join(path, name));
  throw new DataError('is a folder without data files, expected .jsonl, .json, .csv, .parquet or .arrow', {
    file: path,
  });
}

/** Whether a file is there uncompressed too. */
const isTwin = (name: string, names: readonly string[]) =>
  names.includes(name.replace(/\.(gz|zst)$/i, '')) && /\.(gz|zst)$/i.test(name);

/** `datasets` lists the splits of a DatasetDict. */
async function trainOf(path: string): Promise<string> {
  const { splits } = await readObject(join(path, 'dataset_dict.json'));
  if (Array.isArray(splits) && splits.includes('train')) return 'train';
  throw new DataError(`has no train split, only ${[splits].flat().join(', ')}: name the folder of the one to read`, {
    file: path,
  });
}

/** `datasets` lists the files of a Dataset. */
async function shardsOf(path: string): Promise<string[]> {
  const file = join(path, 'state.json');
  const { _data_files: listed, _indices_files: selected } = await readObject(file);
  if (Array.isArray(selected) && selected.length > 0)
    throw new DataError('selects rows by an indices file, which heed does not read: save it after flatten_indices()', {
      file,
    });
  const names = Array.isArray(listed) ? listed.map((each) => isObject(each) && each.filename) : [];
  const isName = (name: unknown): name is string => typeof name === 'string' && name === basename(name);
  if (names.length > 0 && names.every(isName)) return names.map((name) => join(path, name));
  throw new DataError('lists no files, expected the folder of a data set that `datasets` saved', {
    file,
    field: '_data_files',
  });
}

async function readObject(file: string): Promise<Record<string, unknown>> {
  const text = await readFile(file, 'utf8').catch((cause) => {
    throw unreadable(file, cause);
  });
  try {
    const value: unknown = JSON.parse(text);
    if (isObject(value)) return value;
  } catch (cause) {
    throw new DataError('is not valid JSON', { file }, { cause });
  }
  throw new DataError('is not a JSON object', { file });
}
