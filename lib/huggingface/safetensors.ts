/**
 * The safetensors container: eight bytes with the header's length, a JSON header, then the tensors' bytes without gaps. Headers
 * are read, checked and written here; native code moves the bytes.
 */
import { open } from 'node:fs/promises';
import { DataError, HeedError } from '../core/errors.js';
import { kForeignBytes, refuseForeign } from '../core/foreign.js';
import { shown } from '../core/json.js';

/** Bytes of one element. Only F32, BF16 and F16 are read; the other sizes serve to check files. */
const elementBytes: Readonly<Record<string, number>> = {
  BOOL: 1, U8: 1, I8: 1, F8_E4M3: 1, F8_E5M2: 1, U16: 2, I16: 2, F16: 2, BF16: 2, U32: 4, I32: 4, F32: 4, U64: 8, I64: 8, F64: 8,
}; // biome-ignore format: a table

const maxHeaderBytes = 100_000_000;

export interface TensorEntry {
  /** The file that contains it. */
  readonly path: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  /** Offset of the values from the start of the file, bytes. */
  readonly offset: number;
  readonly bytes: number;
}

export interface SafetensorsHeader {
  readonly tensors: ReadonlyMap<string, TensorEntry>;
  readonly metadata: Readonly<Record<string, string>>;
}

/** A tensor to be written. */
export interface TensorSpec {
  readonly name: string;
  readonly shape: readonly number[];
}

/**
 * Reads and checks a file's header; files are not trusted.
 *
 * @throws DataError that names the file, and the tensor if it is about one: a header over 100 MB, invalid JSON, entries of
 * the wrong type, bytes that overlap, are missing, or belong to no tensor
 * @throws HeedError ERR_IO when the file cannot be read
 */
export async function readHeader(path: string): Promise<SafetensorsHeader> {
  const { json, dataStart, fileBytes } = await readJson(path);
  const bad = (message: string): never => {
    throw new DataError(message, { file: path });
  };
  let header: unknown;
  try {
    header = JSON.parse(json);
  } catch (cause) {
    throw new DataError(
      `the safetensors header is not valid JSON: ${(cause as Error).message}`,
      { file: path },
      { cause },
    );
  }
  if (!isRecord(header)) return bad('the safetensors header is not a JSON object');

  const tensors = new Map<string, TensorEntry>();
  let metadata: Record<string, string> = {};
  for (const [name, entry] of Object.entries(header)) {
    if (name === '__metadata__') metadata = checkMetadata(entry, bad);
    else tensors.set(name, { path, ...checkEntry(name, entry, dataStart, bad) });
  }
  let end = dataStart;
  let last = '';
  for (const [name, { offset, bytes }] of [...tensors].sort(
    ([, a], [, b]) => a.offset - b.offset || a.bytes - b.bytes,
  )) {
    if (offset < end) bad(`tensor ${name} overlaps tensor ${last}`);
    if (offset > end) bad(`${offset - end} bytes before tensor ${name} belong to no tensor`);
    if (offset + bytes > fileBytes) {
      bad(`tensor ${name} ends at byte ${offset + bytes}, but the file has ${fileBytes} bytes: it is truncated`);
    }
    end = offset + bytes;
    last = name;
  }
  if (end !== fileBytes) bad(`the last ${fileBytes - end} bytes belong to no tensor`);
  return { tensors, metadata };
}

async function readJson(path: string): Promise<{ json: string; dataStart: number; fileBytes: number }> {
  try {
    const file = await open(path, 'r');
    try {
      const { size } = await file.stat();
      const { buffer: start, bytesRead: startBytes } = await file.read(
        Buffer.alloc(kForeignBytes),
        0,
        kForeignBytes,
        0,
      );
      refuseForeign(start.subarray(0, startBytes), path, 'a safetensors file');
      if (size < 8) throw new DataError(`has ${size} bytes, expected at least 8 in a safetensors file`, { file: path });
      const headerBytes = start.readBigUInt64LE();
      if (headerBytes > BigInt(maxHeaderBytes)) {
        throw new DataError(`the safetensors header has ${headerBytes} bytes, expected at most 100 MB`, { file: path });
      }
      const bytes = Number(headerBytes);
      if (8 + bytes > size) {
        throw new DataError(
          `the safetensors header ends at byte ${8 + bytes}, but the file has ${size} bytes: it is truncated`,
          {
            file: path,
          },
        );
      }
      const header = Buffer.alloc(bytes);
      const { bytesRead } = await file.read(header, 0, bytes, 8);
      if (bytesRead !== bytes) throw new DataError('ended while its header was read', { file: path });
      return { json: header.toString('utf8'), dataStart: 8 + bytes, fileBytes: size };
    } finally {
      await file.close();
    }
  } catch (cause) {
    if (cause instanceof HeedError) throw cause;
    throw new HeedError('ERR_IO', `cannot read ${path}: ${(cause as Error).message}`, { cause });
  }
}

type Bad = (message: string) => never;

function checkMetadata(entry: unknown, bad: Bad): Record<string, string> {
  if (!isRecord(entry) || Object.values(entry).some((value) => typeof value !== 'string')) {
    bad('__metadata__ is not an object of strings');
  }
  return entry as Record<string, string>;
}

function checkEntry(name: string, entry: unknown, dataStart: number, bad: Bad): Omit<TensorEntry, 'path'> {
  if (!isRecord(entry)) return bad(`tensor ${name} is ${shown(entry)}, expected an object`);
  const { dtype, shape, data_offsets: offsets } = entry;
  const size = typeof dtype === 'string' ? elementBytes[dtype] : undefined;
  if (size === undefined)
    return bad(`tensor ${name} has the dtype ${shown(dtype)}, expected a dtype of the safetensors format`);
  if (!isCounts(shape)) {
    return bad(`tensor ${name} has the shape ${shown(shape)}, expected whole numbers of at least 0`);
  }
  if (!isCounts(offsets) || offsets.length !== 2 || offsets[0]! > offsets[1]!) {
    return bad(`tensor ${name} has the data_offsets ${shown(offsets)}, expected a start and an end`);
  }
  const bytes = offsets[1]! - offsets[0]!;
  const wanted = shape.reduce((n, d) => n * d, 1) * size;
  if (bytes !== wanted) {
    bad(`tensor ${name} has ${bytes} bytes, but ${dtype} of shape (${shape.join(', ')}) takes ${wanted}`);
  }
  return { dtype: dtype as string, shape, offset: dataStart + offsets[0]!, bytes };
}

/** Number format in a file. */
export const fileDTypes = ['F32', 'BF16', 'F16'] as const;
export type FileDType = (typeof fileDTypes)[number];

/** Where a tensor's values are in a file. */
export interface TensorPlace {
  readonly name: string;
  readonly dtype: FileDType;
  /** Offset from the start of the file, bytes. */
  readonly offset: number;
}

/** A place in one of several files. */
export interface FoundTensor extends TensorPlace {
  readonly path: string;
}

/**
 * The bytes before the tensors, and each tensor's offset.
 *
 * @param tensors in the order of the file
 * @param metadata strings kept beside them; `format` is always 'pt', as transformers expects
 */
export function layOut(
  tensors: readonly TensorSpec[],
  dtype: FileDType,
  metadata: Readonly<Record<string, string>> = {},
): { prefix: Uint8Array; places: TensorPlace[] } {
  const header: Record<string, unknown> = { __metadata__: { format: 'pt', ...metadata } };
  let end = 0;
  const starts = tensors.map(({ name, shape }) => {
    const begin = end;
    end += bytesOf(shape, dtype);
    header[name] = { dtype, shape, data_offsets: [begin, end] };
    return begin;
  });
  const json = Buffer.from(JSON.stringify(header));
  const padded = Math.ceil(json.length / 8) * 8; // the format requires tensors to start at a multiple of 8
  const prefix = Buffer.alloc(8 + padded, ' ');
  prefix.writeBigUInt64LE(BigInt(padded));
  json.copy(prefix, 8);
  return { prefix, places: tensors.map(({ name }, i) => ({ name, dtype, offset: prefix.length + starts[i]! })) };
}

const bytesOf = (shape: readonly number[], dtype: FileDType) => shape.reduce((n, d) => n * d, 1) * elementBytes[dtype]!;

/** A file of weights to be written. */
export interface Shard {
  readonly name: string;
  readonly prefix: Uint8Array;
  readonly places: TensorPlace[];
}

/**
 * One file, or several with an index if the tensors take more than `maxBytes`; named as in transformers.
 *
 * @param maxBytes maximum bytes of tensors per file; a larger tensor gets a file of its own
 */
export function layOutShards(
  tensors: readonly TensorSpec[],
  dtype: FileDType,
  maxBytes: number,
): { shards: Shard[]; index: object | undefined } {
  const groups: TensorSpec[][] = [[]];
  let [total, size] = [0, 0];
  for (const tensor of tensors) {
    const bytes = bytesOf(tensor.shape, dtype);
    if (size > 0 && size + bytes > maxBytes) {
      groups.push([]);
      size = 0;
    }
    groups.at(-1)!.push(tensor);
    size += bytes;
    total += bytes;
  }
  const digits = (n: number) => String(n).padStart(5, '0');
  const nameOf = (i: number) =>
    groups.length === 1 ? 'model.safetensors' : `model-${digits(i + 1)}-of-${digits(groups.length)}.safetensors`;
  const shards = groups.map((group, i) => ({ name: nameOf(i), ...layOut(group, dtype) }));
  if (groups.length === 1) return { shards, index: undefined };
  const map = groups.flatMap((group, i) => group.map(({ name }) => [name, nameOf(i)]));
  return { shards, index: { metadata: { total_size: total }, weight_map: Object.fromEntries(map) } };
}

/** A tensor that a model needs, and the names it may have in a file. */
export interface WantedTensor extends TensorSpec {
  readonly fileNames: readonly string[];
}

/**
 * Finds each needed tensor and checks its dtype and shape.
 *
 * @param path the file that errors name
 * @param ignored whether a file may also hold a tensor of this name
 * @throws DataError that names the file and the tensor that is missing, unknown, or of another shape or dtype
 */
export function match(
  path: string,
  header: Pick<SafetensorsHeader, 'tensors'>,
  wanted: readonly WantedTensor[],
  ignored: (name: string) => boolean,
): FoundTensor[] {
  const { places, problems } = compare(header, wanted, ignored);
  if (problems[0] !== undefined) throw new DataError(problems[0], { file: path });
  return places;
}

/** The places of the needed tensors, and what is wrong with any of a file's tensors. */
export function compare(
  header: Pick<SafetensorsHeader, 'tensors'>,
  wanted: readonly WantedTensor[],
  ignored: (name: string) => boolean,
): { places: FoundTensor[]; problems: string[] } {
  const problems: string[] = [];
  const places: FoundTensor[] = [];
  const used = new Set<string>();
  for (const { name, shape, fileNames } of wanted) {
    const found = fileNames.find((n) => header.tensors.has(n));
    if (found === undefined) {
      problems.push(`tensor ${name} is missing`);
      continue;
    }
    used.add(found);
    const entry = header.tensors.get(found)!;
    const dtype = fileDTypes.find((one) => one === entry.dtype);
    if (dtype === undefined) problems.push(`tensor ${found} has the dtype ${entry.dtype}, expected F32, BF16 or F16`);
    else if (entry.shape.length !== shape.length || entry.shape.some((n, i) => n !== shape[i])) {
      problems.push(
        `tensor ${found} has the shape (${entry.shape.join(', ')}), expected (${shape.join(', ')}) by the configuration`,
      );
    } else places.push({ name, dtype, offset: entry.offset, path: entry.path });
  }
  for (const name of header.tensors.keys()) {
    if (!used.has(name) && !ignored(name))
      problems.push(`tensor ${name} is not part of the model that the configuration describes`);
  }
  return { places, problems };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isCounts(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((n) => Number.isSafeInteger(n) && n >= 0);
}
