/** Reads rows several at a time, so that their texts are encoded together while the event loop turns. */
import { DataError, HeedError } from '../core/errors.js';
import type { Abortable } from '../core/native.js';
import { Pace } from '../core/pace.js';
import type { Row } from './rows.js';

/** Characters read between two turns of the event loop: a few milliseconds of rendering templates. */
export const kCharacters = 1 << 13;

/** What is read from each row, in order. Errors without a place (from a template or the tokenizer) get the row's. */
export function eachRow<T>(
  rows: AsyncIterable<Row> | Iterable<Row>,
  options: Abortable,
  read: (row: Row) => Promise<T>,
): AsyncGenerator<T> {
  const located = async (row: Row) => {
    try {
      return await read(row);
    } catch (cause) {
      if (cause instanceof DataError || !(cause instanceof HeedError)) throw cause;
      throw new DataError(cause.message, { file: row.file, line: row.line }, { cause });
    }
  };
  return inPortions(rows, (row) => sizeOf(row.value), options, located);
}

/** Reads several items at a time, so that their texts are encoded together. */
export async function* inPortions<Item, T>(
  items: AsyncIterable<Item> | Iterable<Item>,
  sizeOf: (item: Item) => number,
  { signal }: Abortable,
  read: (item: Item) => Promise<T>,
): AsyncGenerator<T> {
  const pace = new Pace(signal, kCharacters);
  let portion: Item[] = [];
  let size = 0;
  const results = async () => {
    const settled = await Promise.allSettled(portion.map(read));
    await pace.add(size);
    portion = [];
    size = 0;
    return settled.map((one) => {
      if (one.status === 'rejected') throw one.reason; // the first error in order
      return one.value;
    });
  };
  for await (const item of items) {
    portion.push(item);
    size += sizeOf(item);
    if (size >= kCharacters) yield* await results();
  }
  yield* await results();
}

/** Approximate number of characters of a row, as the cost of tokenising it. */
function sizeOf(value: unknown): number {
  if (typeof value === 'string') return value.length;
  if (typeof value !== 'object' || value === null) return 1;
  let size = 1;
  for (const inner of Object.values(value)) size += sizeOf(inner);
  return size;
}
