/**
 * Event files of TensorBoard: records of protocol buffers (tensorflow/core/util/event.proto), each with its length and masked CRC-32C
 * (tensorflow/core/lib/io/record_writer).
 */
import { type FileHandle, mkdir, open } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import crc32c from 'crc-32/crc32c.js';
import { HeedError } from '../core/errors.js';

/** Writes scalars as they come; a run that goes on writes a further file, which TensorBoard joins. */
export class EventFile {
  readonly #file: FileHandle;

  private constructor(file: FileHandle) {
    this.#file = file;
  }

  /** @throws HeedError when the folder or the file cannot be written */
  static async open(dir: string): Promise<EventFile> {
    const seconds = Math.floor(Date.now() / 1000);
    try {
      await mkdir(dir, { recursive: true });
      const file = await open(join(dir, `events.out.tfevents.${seconds}.${hostname()}.${process.pid}`), 'a');
      await file.appendFile(record([...wallTime(), ...bytes(3, Buffer.from('brain.Event:2'))]));
      return new EventFile(file);
    } catch (cause) {
      throw new HeedError('ERR_IO', `cannot write events to ${dir}: ${(cause as Error).message}`, { cause });
    }
  }

  /** Adds the numbers of a step; those within objects as `name/inner`. Others are left out. */
  async append(step: number, metrics: Readonly<Record<string, unknown>>): Promise<void> {
    const values = scalarsOf(metrics).flatMap(([tag, value]) => {
      const float = Buffer.alloc(4);
      float.writeFloatLE(value);
      return bytes(1, Buffer.from([...bytes(1, Buffer.from(tag)), (2 << 3) | 5, ...float]));
    });
    await this.#file.appendFile(record([...wallTime(), 2 << 3, ...varint(step), ...bytes(5, Buffer.from(values))]));
  }

  async close(): Promise<void> {
    await this.#file.close();
  }
}

/** The numbers of metrics, those within objects as `name/inner`; without the step. */
export function scalarsOf(metrics: Readonly<Record<string, unknown>>, prefix = ''): (readonly [string, number])[] {
  return Object.entries(metrics).flatMap(([name, value]) => {
    if (typeof value === 'number') return name === 'step' ? [] : [[`${prefix}${name}`, value] as const];
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return [];
    return scalarsOf(value as Record<string, unknown>, `${prefix}${name}/`);
  });
}

function wallTime(): number[] {
  const seconds = Buffer.alloc(8);
  seconds.writeDoubleLE(Date.now() / 1000);
  return [(1 << 3) | 1, ...seconds];
}

/** A field of bytes. */
const bytes = (field: number, content: Uint8Array): number[] => [
  (field << 3) | 2,
  ...varint(content.length),
  ...content,
];

function varint(value: number): number[] {
  const out: number[] = [];
  let left = value;
  for (; left >= 0x80; left = Math.floor(left / 0x80)) out.push((left % 0x80) | 0x80);
  return [...out, left];
}

function record(content: readonly number[]): Buffer {
  const data = Buffer.from(content);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(data.length));
  return Buffer.concat([length, masked(length), data, masked(data)]);
}

function masked(data: Uint8Array): Buffer {
  const crc = crc32c.buf(data) >>> 0;
  const out = Buffer.alloc(4);
  out.writeUInt32LE((((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0);
  return out;
}
