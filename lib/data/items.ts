/** The items of a data set by index, in memory or, beyond what memory should hold, in a temporary file. */
import { createHash } from 'node:crypto';
import { closeSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { HeedError } from '../core/errors.js';
import { concat } from './frame.js';
import type { Feedback, RankedResponses, TrainSequence } from './types.js';

/** Items by index. An array is one. */
export interface Items<T> extends Iterable<T> {
  readonly length: number;
  at(index: number): T | undefined;
}

/** An item as integers. */
export interface Codec<T> {
  encode(item: T): Int32Array;
  decode(ints: Int32Array): T;
}

/** Token ids, or what takes as much memory, that are kept in memory: 256 MiB. */
export const kInMemory = 1 << 26;
const kPerItem = 64; // what an item takes besides its tokens
const kBuffered = 1 << 20;

/** Collects items with their keys: in memory up to a limit, beyond it in a file. */
export class Collector<T> {
  readonly #codec: Codec<T>;
  readonly #limit: number;
  #items: T[] = [];
  #keys: string[] = [];
  #file: ItemFile<T> | undefined;
  #size = 0;

  constructor(codec: Codec<T>, limit = kInMemory) {
    this.#codec = codec;
    this.#limit = limit;
  }

  /** @throws HeedError if there is no room for the file */
  add(item: T, key: string, size: number): void {
    this.#size += size + kPerItem;
    if (this.#file) {
      this.#file.add(item);
      this.#keys.push(digest(key));
      return;
    }
    this.#items.push(item);
    this.#keys.push(key);
    if (this.#size <= this.#limit) return;
    this.#file = new ItemFile(this.#codec);
    for (const each of this.#items) this.#file.add(each);
    this.#items = [];
    this.#keys = this.#keys.map(digest);
  }

  finish(): { items: Items<T>; keys: readonly string[] } {
    this.#file?.flush();
    return { items: this.#file ?? this.#items, keys: this.#keys };
  }
}

const digest = (key: string) => createHash('sha256').update(key).digest('base64').slice(0, 16);

const closing = new FinalizationRegistry<number>((descriptor) => closeSync(descriptor));

/** Items in a file that has no name any more: it is gone with the process, however that ends. */
class ItemFile<T> implements Items<T> {
  readonly #codec: Codec<T>;
  readonly #descriptor: number;
  readonly #ends: number[] = []; // in integers
  #buffered: Int32Array[] = [];
  #waiting = 0; // integers in #buffered

  constructor(codec: Codec<T>) {
    this.#codec = codec;
    const path = join(tmpdir(), `heed-${process.pid}-${Math.random().toString(36).slice(2)}.ids`);
    this.#descriptor = inRoom(() => openSync(path, 'wx+', 0o600));
    rmSync(path);
    closing.register(this, this.#descriptor);
  }

  get length(): number {
    return this.#ends.length;
  }

  add(item: T): void {
    const ints = this.#codec.encode(item);
    this.#buffered.push(ints);
    this.#waiting += ints.length;
    this.#ends.push((this.#ends.at(-1) ?? 0) + ints.length);
    if (this.#waiting >= kBuffered) this.flush();
  }

  flush(): void {
    const { buffer } = concat(this.#buffered);
    const bytes = new Uint8Array(buffer);
    for (let at = 0; at < bytes.length; ) at += inRoom(() => writeSync(this.#descriptor, bytes, at));
    this.#buffered = [];
    this.#waiting = 0;
  }

  at(index: number): T | undefined {
    const i = index < 0 ? index + this.length : index;
    const end = this.#ends[i];
    if (end === undefined) return undefined;
    const begin = i === 0 ? 0 : this.#ends[i - 1]!;
    const ints = new Int32Array(end - begin);
    const bytes = new Uint8Array(ints.buffer);
    for (let at = 0; at < bytes.length; ) {
      const read = readSync(this.#descriptor, bytes, at, bytes.length - at, 4 * begin + at);
      if (read === 0) throw new HeedError('ERR_IO', `the temporary file in ${tmpdir()} was cut short`);
      at += read;
    }
    return this.#codec.decode(ints);
  }

  *[Symbol.iterator](): Generator<T> {
    for (let i = 0; i < this.length; i++) yield this.at(i)!;
  }
}

function inRoom<R>(work: () => R): R {
  try {
    return work();
  } catch (cause) {
    const { message } = cause as Error;
    const advice = 'the data is larger than memory should hold and needs a temporary file: free space, or set TMPDIR';
    throw new HeedError('ERR_IO', `${message}; ${advice}`, { cause });
  }
}

/** Some of the items, in the order of their indices. */
export function select<T>(items: Items<T>, indices: readonly number[]): Items<T> {
  if (Array.isArray(items)) return indices.map((i) => items[i] as T);
  return {
    length: indices.length,
    at: (index) => items.at(indices.at(index) ?? items.length),
    *[Symbol.iterator]() {
      for (const i of indices) yield items.at(i)!;
    },
  };
}

/** The items changed by `f`, each when it is asked for. */
export function mapItems<T, U>(items: Items<T>, f: (item: T, index: number) => U): Items<U> {
  return {
    length: items.length,
    at(index) {
      const i = index < 0 ? index + items.length : index;
      const item = items.at(i);
      return item === undefined ? undefined : f(item, i);
    },
    *[Symbol.iterator]() {
      let i = 0;
      for (const item of items) yield f(item, i++);
    },
  };
}

export const sequenceCodec: Codec<TrainSequence> = {
  encode: ({ tokens, spans }) => concat([Int32Array.of(tokens.length), tokens, spans]),
  decode: (ints) => ({ tokens: ints.subarray(1, 1 + ints[0]!), spans: ints.subarray(1 + ints[0]!) }),
};

export const feedbackCodec: Codec<Feedback> = {
  encode: ({ prompt, response, desirable }) =>
    concat([Int32Array.of(desirable ? 1 : 0, prompt.length), prompt, response]),
  decode: (ints) => ({
    prompt: ints.subarray(2, 2 + ints[1]!),
    response: ints.subarray(2 + ints[1]!),
    desirable: ints[0] === 1,
  }),
};

export const rankingCodec: Codec<RankedResponses> = {
  encode: ({ prompt, responses, ranks }) =>
    concat([
      Int32Array.of(responses.length, prompt.length, ...responses.map(({ length }) => length)),
      ranks,
      prompt,
      ...responses,
    ]),
  decode(ints) {
    const count = ints[0]!;
    let at = 2 + count;
    const take = (length: number) => {
      at += length;
      return ints.subarray(at - length, at);
    };
    const ranks = take(count);
    const prompt = take(ints[1]!);
    return { prompt, responses: Array.from(ints.subarray(2, 2 + count), take), ranks };
  },
};
