/**
 * Reads rows of files into the phases' training data. An invalid row is an error; a valid row that cannot be used (empty, too long) is
 * dropped or cut, as `overlong` says, and counted.
 */
import { stat } from 'node:fs/promises';
import { DataError, HeedError } from '../core/errors.js';
import type { Abortable } from '../core/native.js';
import { Pace } from '../core/pace.js';
import type { Tokenizer } from '../tokenizer/tokenizer.js';
import type { ReadOptions } from './bytes.js';
import { filesOf } from './folder.js';
import { concat, Frame, isBlank } from './frame.js';
import { type Codec, Collector, type Items, rankingCodec, sequenceCodec } from './items.js';
import { noRows, type Row, streamRows } from './rows.js';
import type { ChatTemplate, Piece } from './template.js';
import { streamTexts } from './texts.js';
import { document, lossTokens, type Prompt, type RankedResponses, type TrainSequence } from './types.js';

export interface DataOptions {
  readonly tokenizer: Tokenizer;
  /** Maximum tokens per sequence, prompt and response together: at most the model's positions. */
  readonly maxLength: number;
  /** How to treat a longer row: `'drop'` it (the default) or `'cut'` the end of its response. Prompts are never cut. */
  readonly overlong?: 'drop' | 'cut' | undefined;
  /** Chat template of prompts and dialogues. Default: prompts unchanged, dialogues by the tokenizer's own template. */
  readonly template?: ChatTemplate | undefined;
  /**
   * How often a row of each file is taken: 2 is twice, 0.25 every fourth row. Copies have the same key. Default 1 for every file.
   */
  readonly weights?: readonly number[] | undefined;
  /** Aborting it rejects with `signal.reason`. */
  readonly signal?: AbortSignal | undefined;
  /** Called from time to time with the number of bytes read, of all bytes of the files. */
  readonly onProgress?: ((progress: { readonly done: number; readonly total: number }) => void) | undefined;
}

/** Counts of rows read, kept and dropped; by weight a row may count several times. */
export interface DataReport {
  readonly rows: number;
  readonly kept: number;
  /** Dropped: a prompt or response that is empty or only white space. */
  readonly empty: number;
  /** Dropped: longer than `maxLength`. */
  readonly overlong: number;
  /** Dropped: the chat template does not let the assistant's turn follow its prompt. */
  readonly unrendered: number;
  /** Kept with the response cut at `maxLength`. */
  readonly cut: number;
  /** Kept with only the last turn learnt, because the chat template renders earlier turns differently once later ones follow. */
  readonly lastTurnOnly: number;
  /** Kept with prompt and response encoded by themselves, because a token of their joined text would span both. */
  readonly encodedApart: number;
  /** Tokens of the kept rows; a ranking's prompt counts once. */
  readonly tokens: number;
  /** Of these, tokens with loss; 0 for prompts and rankings. */
  readonly lossTokens: number;
}

/**
 * Items in the order of the files, each with a key that is equal for equal prompts. Beyond 256 MiB of token ids, items are in a temporary
 * file (in `TMPDIR`) and keys are digests.
 */
export interface Loaded<T> {
  readonly items: Items<T>;
  readonly keys: readonly string[];
  readonly report: DataReport;
}

/** A prompt and the row it comes from. */
export interface PromptRow {
  readonly tokens: Prompt;
  readonly text: string;
  readonly row: Row;
}

/**
 * Demonstrations: `{prompt, response}`, `{prompt, completion}`, `{messages}`, `{conversations}`, `{instruction, input, output}`.
 *
 * @throws DataError naming file, line and field
 */
export function readDemonstrations(files: readonly string[], o: DataOptions): Promise<Loaded<TrainSequence>> {
  const frame = new Frame(o.tokenizer, o.template);
  return load(files, o, sequenceCodec, async (row, counts) => {
    const rendered = frame.demonstration(row);
    if (!rendered) return counts.drop('unrendered');
    const { lastTurnOnly } = rendered;
    const isEmpty = (text: string) => isBlank(text.replace(frame.endOfText, ''));
    const pieces = rendered.pieces.map(({ text, learn }) => ({ text, learn: learn && !isEmpty(text) }));
    if (!pieces.some(({ learn }) => learn) || isBlank(pieces[0]!.text)) return counts.drop('empty');
    const { sequence: whole, isJoined } = await toSequence(pieces, frame, o);
    const item = shorten(whole, o.maxLength);
    if (item !== whole) {
      if (!item || o.overlong !== 'cut') return counts.drop('overlong');
      counts.cut++;
    }
    if (lastTurnOnly) counts.lastTurnOnly++;
    if (!isJoined) counts.encodedApart++;
    counts.keep(item.tokens.length, lossTokens(item));
    return { item, key: pieces[0]!.text, size: item.tokens.length };
  });
}

/**
 * Rankings: `{prompt, responses, ranks}` (0 is best, equal ranks are ties) and `{prompt, chosen, rejected}`, where the last two may be
 * whole dialogues without a prompt beside them.
 *
 * @throws DataError naming file, line and field; a ranking of one response is an error
 */
export function readRankings(files: readonly string[], o: DataOptions): Promise<Loaded<RankedResponses>> {
  const frame = new Frame(o.tokenizer, o.template);
  return load(files, o, rankingCodec, async (row, counts) => {
    const ranking = frame.ranking(row);
    if (!ranking) return counts.drop('unrendered');
    const { prompt: text, texts, ranks } = ranking;
    if (isBlank(text) || texts.some(isBlank)) return counts.drop('empty');
    const { prompt, responses: whole, isJoined } = await frame.comparedIds(ranking, o);
    const room = o.maxLength - prompt.length;
    const isLong = whole.some((ids) => ids.length > room);
    if (isLong) {
      if (room < 1 || o.overlong !== 'cut') return counts.drop('overlong');
      counts.cut++;
    }
    const responses = whole.map((ids) => ids.slice(0, room));
    if (!isJoined) counts.encodedApart++;
    const size = prompt.length + responses.reduce((n, ids) => n + ids.length, 0);
    counts.keep(size, 0);
    return { item: { prompt, responses, ranks }, key: text, size };
  });
}

/**
 * Prompts: a row's `prompt`, `instruction` with `input`, or `messages` up to the last turn that is not the assistant's. A prompt that
 * leaves room for fewer than `maxNewTokens` within `maxLength` is dropped and counted.
 *
 * @throws DataError naming file, line and field
 */
export async function readPrompts(
  files: readonly string[],
  o: DataOptions & { readonly maxNewTokens: number },
): Promise<Loaded<PromptRow> & { readonly items: readonly PromptRow[] }> {
  const frame = new Frame(o.tokenizer, o.template);
  const items: PromptRow[] = [];
  const read = async (row: Row, counts: Counts) => {
    const text = frame.prompt(row);
    if (isBlank(text)) return counts.drop('empty');
    const tokens = await frame.promptIds(text, o);
    if (tokens.length + o.maxNewTokens > o.maxLength) return counts.drop('overlong');
    counts.keep(tokens.length, 0);
    return { tokens, text, row };
  };
  const report = await readAll(files, o, read, (item) => items.push(item));
  return { items, keys: items.map(({ text }) => text), report };
}

/**
 * Documents for pretraining: `{text}` rows, or `.txt` files, which hold one document or several separated by `<|endoftext|>`. Each ends
 * with the end-of-text token. A long document is split into windows of `maxLength` tokens that overlap by one token, so that every
 * token but the document's first is predicted once.
 *
 * @param longest characters after which a document is encoded in parts, cut at the next line break between words
 * @throws DataError naming file, line and field
 */
export async function readDocuments(
  files: readonly string[],
  o: DataOptions,
  longest?: number,
): Promise<Loaded<TrainSequence>> {
  if (o.maxLength < 2) throw new RangeError(`maxLength is ${o.maxLength}, expected at least 2`);
  const frame = new Frame(o.tokenizer);
  const collected = new Collector(sequenceCodec);
  const counts = new Counts();
  const reading = await Reading.of(files, o);
  for (const [f, file] of files.entries()) {
    let index = 0;
    let key = '';
    let rest: Int32Array = new Int32Array(); // tokens of the document that are in no window yet
    let isEmpty = true;
    const encoded = inPortions(streamTexts(file, reading, longest), lengthOf, o, async (part) => {
      return { ...part, ids: isBlank(part.text) ? new Int32Array() : await frame.partIds(part, o) };
    });
    for await (const { text, isFirst, isLast, ids } of encoded) {
      if (isFirst) {
        key = Buffer.from(text.slice(0, 200)).toString(); // a slice would keep the whole text in memory
        rest = ids;
        isEmpty = ids.length === 0;
      } else {
        rest = concat([rest, ids]);
        isEmpty &&= ids.length === 0;
      }
      if (isLast && !isEmpty) rest = frame.ended(rest);
      const copies = reading.copies(f, index);
      const kept = new Counts();
      let from = 0;
      for (; rest.length - from > (isLast ? 1 : o.maxLength); from += o.maxLength - 1) {
        const window = rest.slice(from, from + o.maxLength);
        for (let c = 0; c < copies; c++) collected.add(document(window), key, window.length);
        kept.tokens += window.length;
        kept.lossTokens += window.length - 1;
      }
      rest = rest.slice(from);
      if (isLast) {
        kept.rows = 1;
        kept[isEmpty ? 'empty' : 'kept'] = 1;
        index++;
      }
      counts.add(kept, copies);
      reading.report();
    }
  }
  return { ...collected.finish(), report: counts.report() };
}

const lengthOf = ({ text }: { readonly text: string }) => text.length + 1;

/** What is read of files: how far, and how often each row is taken. */
class Reading implements ReadOptions {
  readonly signal: AbortSignal | undefined;
  readonly #weights: readonly number[] | undefined;
  readonly #onProgress: DataOptions['onProgress'];
  readonly #total: number;
  #done = 0;

  private constructor(o: DataOptions, total: number) {
    this.signal = o.signal;
    this.#weights = o.weights;
    this.#onProgress = o.onProgress;
    this.#total = total;
  }

  static async of(paths: readonly string[], o: DataOptions): Promise<Reading> {
    const { weights } = o;
    if (weights && weights.length !== paths.length)
      throw new RangeError(`weights has length ${weights.length}, expected ${paths.length}: one per file`);
    for (const weight of weights ?? [])
      if (!(weight > 0 && weight < 1e6)) throw new RangeError(`a weight is ${weight}, expected more than 0`);
    const files = (await Promise.all(paths.map(filesOf))).flat();
    const sizes = await Promise.all(files.map(async (file) => (await stat(file)).size));
    return new Reading(
      o,
      sizes.reduce((sum, size) => sum + size, 0),
    );
  }

  readonly onBytes = (count: number): void => {
    this.#done += count;
  };

  report(): void {
    this.#onProgress?.({ done: Math.min(this.#done, this.#total), total: this.#total });
  }

  /** How often row `index` (from 0) of a file is taken, evenly over the file. */
  copies(file: number, index: number): number {
    const weight = this.#weights?.[file] ?? 1;
    return Math.floor((index + 1) * weight) - Math.floor(index * weight);
  }
}

class Counts {
  rows = 0;
  kept = 0;
  empty = 0;
  overlong = 0;
  unrendered = 0;
  cut = 0;
  lastTurnOnly = 0;
  encodedApart = 0;
  tokens = 0;
  lossTokens = 0;

  drop(why: 'empty' | 'overlong' | 'unrendered'): undefined {
    this[why]++;
    return undefined;
  }

  keep(tokens: number, learnt: number): void {
    this.kept++;
    this.tokens += tokens;
    this.lossTokens += learnt;
  }

  add(other: Counts, times: number): void {
    for (const name of Object.keys(other) as (keyof DataReport)[]) this[name] += times * other[name];
  }

  report(): DataReport {
    return { ...this };
  }
}

interface Found<T> {
  readonly item: T;
  readonly key: string;
  /** In tokens. */
  readonly size: number;
}

async function load<T>(
  files: readonly string[],
  o: DataOptions,
  codec: Codec<T>,
  read: (row: Row, counts: Counts) => Promise<Found<T> | undefined>,
): Promise<Loaded<T>> {
  const collected = new Collector(codec);
  const report = await readAll(files, o, read, ({ item, key, size }) => collected.add(item, key, size));
  return { ...collected.finish(), report };
}

/** Reads the rows of all files; `take` gets what is found, in order. */
async function readAll<T>(
  files: readonly string[],
  o: DataOptions,
  read: (row: Row, counts: Counts) => Promise<T | undefined>,
  take: (found: T) => void,
): Promise<DataReport> {
  const counts = new Counts();
  const reading = await Reading.of(files, o);
  for (const [f, file] of files.entries()) {
    let index = 0;
    const rows = eachRow(streamRows(file, reading), o, async (row) => {
      const copies = reading.copies(f, index++);
      const one = new Counts();
      one.rows = 1;
      return { copies, one, found: copies > 0 ? await read(row, one) : undefined };
    });
    for await (const { copies, one, found } of rows) {
      counts.add(one, copies);
      for (let c = 0; c < copies && found !== undefined; c++) take(found);
      reading.report();
    }
    if (index === 0) throw noRows(file);
  }
  return counts.report();
}

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
async function* inPortions<Item, T>(
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

/** The pieces as one sequence, with the spans that carry loss. */
export async function toSequence(
  pieces: readonly Piece[],
  frame: Frame,
  options: Pick<DataOptions, 'signal'>,
): Promise<{ readonly sequence: TrainSequence; readonly isJoined: boolean }> {
  const { ids: parts, isJoined } = await frame.pieceIds(pieces, options);
  const spans: number[] = [];
  let length = 0;
  parts.forEach((ids, i) => {
    if (pieces[i]!.learn) spans.push(length, length + ids.length);
    length += ids.length;
  });
  return { sequence: { tokens: concat(parts), spans: Int32Array.from(spans) }, isJoined };
}

/** The sequence cut to `maxLength`; undefined if no token with loss is left. */
function shorten(sequence: TrainSequence, maxLength: number): TrainSequence | undefined {
  if (sequence.tokens.length <= maxLength) return sequence;
  const spans = sequence.spans.map((at) => Math.min(at, maxLength));
  const kept = spans.filter((_, i) => spans[i - (i % 2)]! < spans[i - (i % 2) + 1]!);
  if (kept.length === 0) return undefined;
  // Tokens after the last span carry no loss.
  return { tokens: sequence.tokens.slice(0, kept.at(-1)!), spans: kept };
}
