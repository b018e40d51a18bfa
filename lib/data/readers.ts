/** Makes a training item of a row, or counts why it is dropped: one reader per kind of data. */
import type { Tokenizer } from '../tokenizer/tokenizer.js';
import type { Counts } from './counts.js';
import { isCheck, labelField } from './fields.js';
import { concat, Frame, isBlank } from './frame.js';
import type { Row } from './rows.js';
import { cutOffIn, sampledIds } from './sampled.js';
import type { ChatTemplate, Piece } from './template.js';
import {
  demonstration,
  type Feedback,
  lossTokens,
  type Prompt,
  type RankedResponses,
  type TrainSequence,
} from './types.js';

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

/** A prompt and the row it comes from. */
export interface PromptRow {
  readonly tokens: Prompt;
  readonly text: string;
  readonly row: Row;
}

/** An item of a row. */
export interface Found<T> {
  readonly item: T;
  readonly key: string;
  /** In tokens. */
  readonly size: number;
}

/** @returns undefined for a row that is dropped and counted; @throws DataError naming the field that is wrong */
export type RowReader<T> = (row: Row, counts: Counts) => Promise<Found<T> | undefined>;

export function demonstrationReader(o: DataOptions): RowReader<TrainSequence> {
  const frame = new Frame(o.tokenizer, o.template);
  const keep = (whole: TrainSequence, key: string, counts: Counts) => {
    const item = shorten(whole, o.maxLength);
    if (item !== whole) {
      if (!item || o.overlong !== 'cut') return counts.drop('overlong');
      counts.cut++;
    }
    counts.keep(item.tokens.length, lossTokens(item));
    return { item, key, size: item.tokens.length };
  };
  return async (row, counts) => {
    if (isCheck(row)) return counts.drop('checks');
    const sampled = sampledIds(row, o.tokenizer, counts);
    if (sampled) {
      const whole = demonstration(sampled.prompt, sampled.responses[0]!);
      return keep(whole, o.tokenizer.decode(sampled.prompt, false), counts);
    }
    const rendered = frame.demonstration(row);
    if (!rendered) return counts.drop('unrendered');
    const { lastTurnOnly } = rendered;
    if (!rendered.pieces.some(({ learn }) => learn)) return counts.drop('unlearnt');
    const isEmpty = (text: string) => isBlank(text.replace(frame.endOfText, ''));
    const pieces = rendered.pieces.map(({ text, learn }) => ({ text, learn: learn && !isEmpty(text) }));
    if (!pieces.some(({ learn }) => learn) || isBlank(pieces[0]!.text)) return counts.drop('empty');
    const { sequence: whole, isJoined } = await toSequence(pieces, frame, o);
    const found = keep(whole, pieces[0]!.text, counts);
    if (!found) return undefined;
    if (lastTurnOnly) counts.lastTurnOnly++;
    if (!isJoined) counts.encodedApart++;
    return found;
  };
}

export function rankingReader(o: DataOptions): RowReader<RankedResponses> {
  const frame = new Frame(o.tokenizer, o.template);
  return async (row, counts) => {
    if (isCheck(row)) return counts.drop('checks');
    const sampled = sampledIds(row, o.tokenizer, counts);
    const compared = sampled ?? frame.compared(row);
    const ranks = frame.ranks(row);
    if (!compared) return counts.drop('unrendered');
    if ('texts' in compared && (isBlank(compared.prompt) || compared.texts.some(isBlank))) return counts.drop('empty');
    const text = 'texts' in compared ? compared.prompt : o.tokenizer.decode(compared.prompt, false);
    const ids = 'texts' in compared ? await frame.comparedIds({ ...compared, cutOff: cutOffIn(row) }, o) : compared;
    const { prompt, responses: whole } = ids;
    const room = o.maxLength - prompt.length;
    const isLong = whole.some((ids) => ids.length > room);
    if (isLong) {
      if (room < 1 || o.overlong !== 'cut') return counts.drop('overlong');
      counts.cut++;
    }
    const responses = whole.map((ids) => ids.slice(0, room));
    if ('isJoined' in ids && !ids.isJoined) counts.encodedApart++;
    const size = prompt.length + responses.reduce((n, ids) => n + ids.length, 0);
    counts.keep(size, 0);
    return { item: { prompt, responses, ranks }, key: text, size };
  };
}

/** `{prompt, response, label}`, or `{messages, label}` with the last turn's label: true, false, 1 or 0. */
export function feedbackReader(o: DataOptions): RowReader<Feedback> {
  const frame = new Frame(o.tokenizer, o.template);
  return async (row, counts) => {
    if (isCheck(row)) return counts.drop('checks');
    const desirable = labelField(row, 'label');
    const sampled = sampledIds(row, o.tokenizer, counts);
    const rendered = sampled ? { pieces: [] } : frame.demonstration(row);
    if (!rendered) return counts.drop('unrendered');
    const { pieces } = rendered;
    const last = pieces.findLastIndex(({ learn }) => learn);
    const before = pieces.slice(0, Math.max(0, last)).map((piece) => piece.text);
    const text = sampled ? o.tokenizer.decode(sampled.prompt, false) : before.join('');
    if (!sampled && (last < 0 || isBlank(text) || isBlank(pieces[last]!.text))) return counts.drop('empty');
    const compared =
      sampled ?? (await frame.comparedIds({ prompt: text, texts: [pieces[last]!.text], cutOff: cutOffIn(row) }, o));
    const { prompt } = compared;
    const room = o.maxLength - prompt.length;
    const whole = compared.responses[0]!;
    if (whole.length > room) {
      if (room < 1 || o.overlong !== 'cut') return counts.drop('overlong');
      counts.cut++;
    }
    const response = whole.slice(0, room);
    if ('isJoined' in compared && !compared.isJoined) counts.encodedApart++;
    const size = prompt.length + response.length;
    counts.keep(size, response.length);
    return { item: { prompt, response, desirable }, key: text, size };
  };
}

export function promptReader(o: DataOptions & { readonly maxNewTokens: number }): RowReader<PromptRow> {
  const frame = new Frame(o.tokenizer, o.template);
  return async (row, counts) => {
    const text = frame.prompt(row);
    if (isBlank(text)) return counts.drop('empty');
    const tokens = await frame.promptIds(text, o);
    if (tokens.length + o.maxNewTokens > o.maxLength) return counts.drop('overlong');
    counts.keep(tokens.length, 0);
    return { item: { tokens, text, row }, key: text, size: tokens.length };
  };
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
