/**
 * Reads rows of files into the phases' training data. An invalid row is an error; a valid row that cannot be used (empty, too long) is
 * dropped or cut, as `overlong` says, and counted.
 */
import { stat } from 'node:fs/promises';
import type { FeedbackKind } from '../feedback/kinds.js';
import type { ReadOptions } from './bytes.js';
import { Counts, type DataReport } from './counts.js';
import { filesOf } from './folder.js';
import { concat, Frame, isBlank } from './frame.js';
import { type Codec, Collector, feedbackCodec, type Items, rankingCodec, sequenceCodec } from './items.js';
import { eachRow, inPortions } from './portions.js';
import {
  type DataOptions,
  demonstrationReader,
  type Found,
  feedbackReader,
  type PromptRow,
  promptReader,
  type RowReader,
  rankingReader,
} from './readers.js';
import { noRows, streamRows } from './rows.js';
import { streamTexts } from './texts.js';
import { document, type Feedback, type RankedResponses, type TrainSequence } from './types.js';

/**
 * Items in the order of the files, each with a key that is equal for equal prompts. Beyond 256 MiB of token ids, items are in a temporary
 * file (in `TMPDIR`) and keys are digests.
 */
export interface Loaded<T> {
  readonly items: Items<T>;
  readonly keys: readonly string[];
  readonly report: DataReport;
}

/**
 * Demonstrations: `{prompt, response}`, `{prompt, completion}`, `{messages}`, `{conversations}`, `{instruction, input, output}`.
 *
 * @throws DataError naming file, line and field
 */
export function readDemonstrations(files: readonly string[], o: DataOptions): Promise<Loaded<TrainSequence>> {
  return load(files, o, sequenceCodec, demonstrationReader(o), 'demonstrations');
}

/**
 * Rankings: `{prompt, responses, ranks}` (0 is best, equal ranks are ties) and `{prompt, chosen, rejected}`, where the last two may be
 * whole dialogues without a prompt beside them. Rows of `heed label` whose `purpose` is `repeat` or `attention` are dropped and counted.
 *
 * @throws DataError naming file, line and field; a ranking of one response is an error
 */
export function readRankings(files: readonly string[], o: DataOptions): Promise<Loaded<RankedResponses>> {
  return load(files, o, rankingCodec, rankingReader(o), 'rankings');
}

/**
 * Responses that were called good or bad: `{prompt, response, label}` or `{prompt, completion, label}`, or `{messages, label}`, whose last
 * turn of the assistant the label is of; true, false, 1 or 0.
 *
 * @throws DataError naming file, line and field
 */
export function readFeedback(files: readonly string[], o: DataOptions): Promise<Loaded<Feedback>> {
  return load(files, o, feedbackCodec, feedbackReader(o), 'feedback');
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
  const items: PromptRow[] = [];
  const report = await readAll(files, o, promptReader(o), ({ item }) => items.push(item));
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
      if (!(weight > 0 && weight <= 1e6))
        throw new RangeError(`a weight is ${weight}, expected a number above 0 and at most a million`);
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

async function load<T>(
  files: readonly string[],
  o: DataOptions,
  codec: Codec<T>,
  read: RowReader<T>,
  kind: FeedbackKind,
): Promise<Loaded<T>> {
  const collected = new Collector(codec);
  const report = await readAll(files, o, read, ({ item, key, size }) => collected.add(item, key, size), kind);
  return { ...collected.finish(), report };
}

/** Reads the rows of all files; `take` gets what is found, in order. */
async function readAll<T>(
  files: readonly string[],
  o: DataOptions,
  read: RowReader<T>,
  take: (found: Found<T>) => void,
  kind?: FeedbackKind,
): Promise<DataReport> {
  const counts = new Counts();
  const reading = await Reading.of(files, o);
  for (const [f, file] of files.entries()) {
    let index = 0;
    const rows = eachRow(streamRows(file, { signal: o.signal, onBytes: reading.onBytes, kind }), o, async (row) => {
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
