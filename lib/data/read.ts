/**
 * Reads rows of files into the phases' training data. An invalid row is an error; a valid row that cannot be used (empty, too long) is
 * dropped or cut, as `overlong` says, and counted.
 */
import { DataError, HeedError } from '../core/errors.js';
import { Pace } from '../core/pace.js';
import { END_OF_TEXT } from '../tokenizer/bpe.js';
import type { Tokenizer } from '../tokenizer/tokenizer.js';
import { stringField } from './fields.js';
import { concat, Frame, isBlank } from './frame.js';
import { isTextFile, type Row, readSomeRows, readTextFile } from './rows.js';
import type { ChatTemplate, Piece } from './template.js';
import { document, lossTokens, type Prompt, type RankedResponses, type TrainSequence } from './types.js';

export interface DataOptions {
  readonly tokenizer: Tokenizer;
  /** Maximum tokens per sequence, prompt and response together: at most the model's positions. */
  readonly maxLength: number;
  /** How to treat a longer row: `'drop'` it (the default) or `'cut'` the end of its response. Prompts are never cut. */
  readonly overlong?: 'drop' | 'cut' | undefined;
  /** Chat template of prompts and dialogues. Default: prompts unchanged, dialogues by the tokenizer's own template. */
  readonly template?: ChatTemplate | undefined;
  /** Aborting it rejects with `signal.reason`. */
  readonly signal?: AbortSignal | undefined;
  /** Called from time to time with the number of rows read from a file. */
  readonly onProgress?: ((progress: { readonly done: number; readonly total: number }) => void) | undefined;
}

/** Counts of rows read, kept and dropped. */
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

/** Items in the order of the files, each with a key that is equal for equal prompts. */
export interface Loaded<T> {
  readonly items: readonly T[];
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
  return load(files, o, async (row, counts) => {
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
    return { item, key: pieces[0]!.text };
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
  return load(files, o, async (row, counts) => {
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
    counts.keep(prompt.length + responses.reduce((n, ids) => n + ids.length, 0), 0);
    return { item: { prompt, responses, ranks }, key: text };
  });
}

/**
 * Prompts: a row's `prompt`, `instruction` with `input`, or `messages` up to the last turn that is not the assistant's. A prompt that
 * leaves room for fewer than `maxNewTokens` within `maxLength` is dropped and counted.
 *
 * @throws DataError naming file, line and field
 */
export function readPrompts(
  files: readonly string[],
  o: DataOptions & { readonly maxNewTokens: number },
): Promise<Loaded<PromptRow>> {
  const frame = new Frame(o.tokenizer, o.template);
  return load(files, o, async (row, counts) => {
    const text = frame.prompt(row);
    if (isBlank(text)) return counts.drop('empty');
    const tokens = await frame.promptIds(text, o);
    if (tokens.length + o.maxNewTokens > o.maxLength) return counts.drop('overlong');
    counts.keep(tokens.length, 0);
    return { item: { tokens, text, row }, key: text };
  });
}

/**
 * Documents for pretraining: `{text}` rows, or `.txt` files, which hold one document or several separated by `<|endoftext|>`. Each ends
 * with the end-of-text token. A long document is split into windows of `maxLength` tokens that overlap by one token, so that every
 * token but the document's first is predicted once.
 *
 * @throws DataError naming file, line and field
 */
export async function readDocuments(files: readonly string[], o: DataOptions): Promise<Loaded<TrainSequence>> {
  const frame = new Frame(o.tokenizer);
  const items: TrainSequence[] = [];
  const keys: string[] = [];
  const counts = new Counts();
  const pace = new Pace(o.signal, kCharacters);
  for (const file of files) {
    const documents = await readTexts(file, o);
    const encoded = await inPortions(
      documents,
      (text) => text.length + 1,
      o,
      async (text) => {
        if (isBlank(text)) return counts.drop('empty');
        return frame.documentIds(text, o);
      },
    );
    counts.rows += documents.length;
    for (const [i, ids] of encoded.entries()) {
      if (!ids) continue;
      for (const window of windows(ids, o.maxLength)) {
        items.push(document(window));
        keys.push(documents[i]!.slice(0, 200));
        counts.tokens += window.length;
        counts.lossTokens += window.length - 1;
      }
      counts.kept++;
      await pace.add(ids.length);
    }
  }
  return { items, keys, report: counts.report() };
}

/** The documents of a pretraining file, as text. @throws DataError naming file, line and field */
export async function readTexts(file: string, options: Pick<DataOptions, 'signal'> = {}): Promise<string[]> {
  if (isTextFile(file)) return (await readTextFile(file, options)).split(END_OF_TEXT);
  return (await readSomeRows(file, options)).map((row) => stringField(row, 'text'));
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

  report(): DataReport {
    return { ...this };
  }
}

async function load<T>(
  files: readonly string[],
  o: DataOptions,
  read: (row: Row, counts: Counts) => Promise<{ item: T; key: string } | undefined>,
): Promise<Loaded<T>> {
  const items: T[] = [];
  const keys: string[] = [];
  const counts = new Counts();
  for (const file of files) {
    const rows = await readSomeRows(file, o);
    counts.rows += rows.length;
    for (const found of await eachRow(rows, o, (row) => read(row, counts))) {
      if (!found) continue;
      items.push(found.item);
      keys.push(found.key);
    }
  }
  return { items, keys, report: counts.report() };
}

/** Characters read between two turns of the event loop: a few milliseconds of rendering templates. */
export const kCharacters = 1 << 13;

/** The items read from each row, in order. Errors without a place (from a template or the tokenizer) get the row's. */
export function eachRow<T>(
  rows: readonly Row[],
  options: Pick<DataOptions, 'signal' | 'onProgress'>,
  read: (row: Row) => Promise<T>,
): Promise<T[]> {
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
async function inPortions<Item, T>(
  items: readonly Item[],
  sizeOf: (item: Item) => number,
  { signal, onProgress }: Pick<DataOptions, 'signal' | 'onProgress'>,
  read: (item: Item) => Promise<T>,
): Promise<T[]> {
  const results: T[] = [];
  const pace = new Pace(signal, kCharacters);
  for (let begin = 0; begin < items.length; ) {
    let end = begin;
    let size = 0;
    while (end < items.length && size < kCharacters) size += sizeOf(items[end++]!);
    onProgress?.({ done: begin, total: items.length });
    for (const one of await Promise.allSettled(items.slice(begin, end).map(read))) {
      if (one.status === 'rejected') throw one.reason; // the first error in order
      results.push(one.value);
    }
    await pace.add(size);
    begin = end;
  }
  return results;
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

function* windows(ids: Int32Array, maxLength: number): Generator<Int32Array> {
  if (maxLength < 2) throw new RangeError(`maxLength is ${maxLength}, expected at least 2`);
  for (let start = 0; start < ids.length - 1; start += maxLength - 1) yield ids.slice(start, start + maxLength);
}
