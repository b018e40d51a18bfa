/** The GGUF container, version 3: keys with typed values, the tensors' shapes and places, then their bytes. */
import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import { HeedError } from '../core/errors.js';
import type { GgufType } from './formats.js';
import { encode, kTypes } from './formats.js';

const kAlignment = 32;

/** A value with its type; `strings`, `i32` and `f32s` are arrays. */
export type GgufValue =
  | { readonly u32: number }
  | { readonly f32: number }
  | { readonly bool: boolean }
  | { readonly string: string }
  | { readonly strings: readonly string[] }
  | { readonly i32s: readonly number[] }
  | { readonly f32s: readonly number[] };

/** A tensor to be written. */
export interface GgufTensor {
  readonly name: string;
  /** Rows and columns, or the length of a vector. */
  readonly shape: readonly number[];
  readonly type: GgufType;
  /** Its values, row-major; asked for when it is written. */
  values(): Promise<Float32Array>;
}

/** Writes a file, which has its name only once it is complete. @throws HeedError ERR_IO */
export async function writeGguf(
  file: string,
  keys: Readonly<Record<string, GgufValue>>,
  tensors: readonly GgufTensor[],
): Promise<void> {
  const unfinished = `${file}.tmp-${process.pid}`;
  try {
    const handle = await open(unfinished, 'w');
    try {
      await writeAll(handle, keys, tensors);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(unfinished, file);
  } catch (cause) {
    await rm(unfinished, { force: true });
    if (typeof (cause as NodeJS.ErrnoException).errno !== 'number') throw cause;
    throw new HeedError('ERR_IO', `cannot save ${file}: ${(cause as Error).message}`, { cause });
  }
}

async function writeAll(
  handle: FileHandle,
  keys: Readonly<Record<string, GgufValue>>,
  tensors: readonly GgufTensor[],
): Promise<void> {
  const entries = Object.entries({ 'general.alignment': { u32: kAlignment }, ...keys });
  let offset = 0;
  const infos = tensors.map(({ name, shape, type }) => {
    const at = offset;
    const cols = shape.at(-1)!;
    const rows = shape.length === 1 ? 1 : shape[0]!;
    offset += padded((rows * cols * kTypes[type].blockBytes) / kTypes[type].block);
    const sizes = [...shape].reverse().map(long); // the contiguous dimension first
    return Buffer.concat([text(name), word(shape.length), ...sizes, word(kTypes[type].id), long(at)]);
  });
  const head = Buffer.concat([
    Buffer.from('GGUF'),
    word(3),
    long(tensors.length),
    long(entries.length),
    ...entries.flatMap(([key, value]) => [text(key), bytesOf(value)]),
    ...infos,
  ]);
  const write = async (bytes: Uint8Array) => {
    await handle.write(bytes);
    const gap = padded(bytes.byteLength) - bytes.byteLength;
    if (gap > 0) await handle.write(new Uint8Array(gap));
  };
  await write(head);
  for (const tensor of tensors) await write(encode(await tensor.values(), tensor.type));
}

const padded = (bytes: number) => Math.ceil(bytes / kAlignment) * kAlignment;

const [kI32, kF32, kString, kArray] = [5, 6, 8, 9];

function bytesOf(value: GgufValue): Buffer {
  if ('u32' in value) return Buffer.concat([word(4), word(value.u32)]);
  if ('f32' in value) return Buffer.concat([word(kF32), floats([value.f32])]);
  if ('bool' in value) return Buffer.concat([word(7), Buffer.of(value.bool ? 1 : 0)]);
  if ('string' in value) return Buffer.concat([word(kString), text(value.string)]);
  const array = (type: number, length: number, items: Buffer) =>
    Buffer.concat([word(kArray), word(type), long(length), items]);
  if ('strings' in value) return array(kString, value.strings.length, Buffer.concat(value.strings.map(text)));
  if ('i32s' in value) return array(kI32, value.i32s.length, Buffer.from(Int32Array.from(value.i32s).buffer));
  return array(kF32, value.f32s.length, floats(value.f32s));
}

function word(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}
function long(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}
const text = (value: string) => Buffer.concat([long(Buffer.byteLength(value)), Buffer.from(value)]);
const floats = (values: readonly number[]) => Buffer.from(Float32Array.from(values).buffer);
