/** What is common to rankings of all formats: their fields, checked. */

import { isObject } from '../core/json.js';
import { promptOf } from '../data/dialogue.js';
import { rowError } from '../data/fields.js';
import type { Row } from '../data/index.js';
import type { FeedbackRow } from '../feedback/rows.js';
import { kMostResponses } from './check.js';
import type { NewResponse } from './store.js';
import { flags as allFlags, type Flag, kBestRating, type Rating, type ShownPrompt } from './types.js';

/** What is known of a response besides its text. */
export type Kept = Omit<NewResponse, 'model' | 'text'>;

interface Foreign {
  readonly prompt: ShownPrompt;
  readonly category?: string | undefined;
  readonly labeler?: string | undefined;
  /** Milliseconds since 1970. */
  readonly created?: number | undefined;
  readonly purpose?: string | undefined;
}

/** A ranking that somebody made elsewhere. */
export interface ForeignRanking extends Foreign {
  readonly kind: 'ranking';
  readonly responses: readonly string[];
  /** (K) 0 is best, equal ranks are ties. */
  readonly ranks: readonly number[];
  /** 1 to 3. */
  readonly confidence?: number | undefined;
  readonly seconds?: number | undefined;
  /** (K) which model wrote each response. */
  readonly models?: readonly string[] | undefined;
  /** (K) */
  readonly ratings?: readonly Rating[] | undefined;
  /** (K) */
  readonly kept?: readonly Kept[] | undefined;
}

/** A response that somebody called good or bad. */
export interface ForeignThumb extends Foreign {
  readonly kind: 'thumb';
  readonly response: string;
  readonly label: boolean;
  readonly model?: string | undefined;
  readonly kept?: Kept | undefined;
}

/** A response that somebody wrote. */
export interface ForeignDemonstration extends Foreign {
  readonly kind: 'demonstration';
  readonly response: string;
  /** What was changed into it. */
  readonly edited?: { readonly text: string; readonly model?: string | undefined; readonly kept?: Kept } | undefined;
}

export type ForeignLabel = ForeignRanking | ForeignThumb | ForeignDemonstration;

/** What a ranking's row says besides prompt, responses and ranks, unchecked. */
export interface Said {
  readonly labeler?: unknown;
  /** ISO 8601. */
  readonly created?: unknown;
  readonly purpose?: unknown;
  readonly confidence?: unknown;
  readonly seconds?: unknown;
  readonly category?: unknown;
  readonly models?: unknown;
  readonly ratings?: unknown;
  readonly flags?: unknown;
}

/** Called with what of a row is not kept, in words. */
export type OnLost = (what: string) => void;

/** @param count responses */
export function detailsOf(said: Said, count: number, onLost: OnLost) {
  function take<T>(field: keyof Said, expected: string, is: (value: unknown) => value is T): T | undefined {
    const value = said[field];
    if (value === undefined || value === null || value === '') return undefined;
    if (is(value)) return value;
    onLost(`${field} that is not ${expected}`);
    return undefined;
  }
  const isText = (value: unknown): value is string => typeof value === 'string';
  const isPurpose = (value: unknown): value is string => ['label', 'repeat', 'attention'].includes(value as string);
  const isTime = (value: unknown): value is string => isText(value) && !Number.isNaN(Date.parse(value));
  const isConfidence = (value: unknown): value is number => [1, 2, 3].includes(value as number);
  const isSeconds = (value: unknown): value is number => Number.isFinite(value) && (value as number) >= 0;
  const isList = <T>(is: (one: unknown) => one is T) => {
    return (value: unknown): value is T[] => Array.isArray(value) && value.length === count && value.every(is);
  };
  const isRating = (value: unknown): value is number =>
    Number.isInteger(value) && (value as number) >= 1 && (value as number) <= kBestRating;
  const isFlags = (value: unknown): value is Flag[] =>
    Array.isArray(value) && value.every((one) => allFlags.some(([name]) => name === one));
  const ratings = take('ratings', `${count} integers from 1 to ${kBestRating}`, isList(isRating));
  const flags = take('flags', `${count} lists of known names`, isList(isFlags));
  if (flags && !ratings) onLost('flags without ratings');
  const created = take('created', 'a time', isTime);
  return {
    labeler: take('labeler', 'a name', isText),
    created: created === undefined ? undefined : Date.parse(created),
    purpose: take('purpose', 'label, repeat or attention', isPurpose),
    confidence: take('confidence', '1 to 3', isConfidence),
    seconds: take('seconds', 'a number of at least 0', isSeconds),
    category: take('category', 'a text', isText),
    models: take('models', `${count} names`, isList(isText)),
    ratings: ratings?.map((rating, k) => ({ rating, flags: flags?.[k] ?? [] })),
  };
}

/** What was sampled, of one response: the fields of a row that `heed label --export` writes. */
export function keptOf(said: Readonly<Record<string, unknown>>, onLost: OnLost): Kept {
  const isList = (is: (one: unknown) => boolean) => (value: unknown) => Array.isArray(value) && value.every(is);
  const isIds = isList((id) => Number.isInteger(id) && (id as number) >= 0 && (id as number) < 2 ** 31);
  const take = <T>(field: string, expected: string, is: (value: unknown) => boolean): T | undefined => {
    const value = said[field] ?? undefined;
    if (value === undefined || is(value)) return value as T | undefined;
    onLost(`${field} that is not ${expected}`);
    return undefined;
  };
  const before = take<number[]>('prompt_tokens', 'a list of ids', isIds);
  const tokens = take<number[]>('tokens', 'a list of ids', isIds);
  const logprobs = take<number[]>(
    'logprobs',
    'one number per token',
    (value) => isList(Number.isFinite)(value) && (value as unknown[]).length === tokens?.length,
  );
  return {
    promptTokens: before && Int32Array.from(before),
    tokens: tokens && Int32Array.from(tokens),
    logprobs: logprobs && Float32Array.from(logprobs),
    finish: take('finish', 'stop, length or abort', (value) => ['stop', 'length', 'abort'].includes(value as string)),
    sampling: take('sampling', 'an object', isObject),
  };
}

/** The same of each response of a ranking. */
export function keptOfEach(
  value: Readonly<Record<string, unknown>>,
  count: number,
  onLost: OnLost,
): readonly Kept[] | undefined {
  const given = kKept.filter((field) => value[field] !== undefined && value[field] !== null);
  if (given.length === 0) return undefined;
  const lists = given.flatMap((field): [string, unknown[]][] => {
    const own = value[field];
    // One list of ids is that of all.
    if (field === 'prompt_tokens' && Array.isArray(own) && own.every(Number.isInteger))
      return [[field, Array(count).fill(own)]];
    if (Array.isArray(own) && own.length === count) return [[field, own]];
    onLost(`${field} that is not ${count} entries`);
    return [];
  });
  return Array.from({ length: count }, (_, k) =>
    keptOf(Object.fromEntries(lists.map(([field, list]) => [field, list[k]])), onLost),
  );
}

export const kKept = ['prompt_tokens', 'tokens', 'logprobs', 'finish', 'sampling'];

/** What a button or a label says of a response: true for good; undefined if it is no such word. */
export function thumbOf(value: unknown): boolean | undefined {
  if (typeof value === 'boolean') return value;
  const word = String(value).trim().toLowerCase().replaceAll(/[_-]/g, ' ');
  if (['good', 'yes', 'true', 'thumbs up', 'up', 'positive', 'accept', 'accepted', '1', '👍'].includes(word))
    return true;
  if (['bad', 'no', 'false', 'thumbs down', 'down', 'negative', 'reject', 'rejected', '0', '👎'].includes(word))
    return false;
  return undefined;
}

/** A prompt for people who read it in another program. */
export const textOf = (prompt: unknown): string =>
  typeof prompt === 'string'
    ? prompt
    : (prompt as { role: string; content: string }[]).map(({ role, content }) => `${role}: ${content}`).join('\n\n');

/** A row's ranks, ratings and flags in the order of the first row's responses. */
export function likeFirst(first: FeedbackRow, row: FeedbackRow) {
  const own = row.responses as string[];
  const order = (first.responses as string[]).map((text) => own.indexOf(text));
  const sorted = <T>(list: unknown): T[] | undefined =>
    list === undefined ? undefined : order.map((at) => (list as T[])[at]!);
  return {
    ranks: sorted<number>(row.ranks)!,
    ratings: sorted<number>(row.ratings),
    flags: sorted<string[]>(row.flags),
  };
}

export function shownPrompt(row: Row): ShownPrompt {
  const { text, dialogue } = promptOf(row);
  const prompt = dialogue ? dialogue.messages.map(({ role, content }) => ({ role, content })) : text!;
  if (prompt.length === 0 || (typeof prompt === 'string' && prompt.trim() === ''))
    throw rowError(row, 'is empty, expected at least one word', 'prompt');
  // Without a template only a line break separates an instruction from its response.
  const isInstruction = typeof prompt === 'string' && !('prompt' in row.value);
  return isInstruction ? `${prompt}\n` : prompt;
}

export function checked(row: Row, ranking: Omit<ForeignRanking, 'kind'>): ForeignRanking {
  const { responses } = ranking;
  if (responses.length < 2 || responses.length > kMostResponses)
    throw rowError(row, `has ${responses.length} responses, expected from 2 to ${kMostResponses}`);
  if (new Set(responses).size < responses.length) throw rowError(row, 'has equal responses, expected different ones');
  return { kind: 'ranking', ...ranking };
}

export function ranksOf(row: Row, field: string, value: unknown, length: number): number[] {
  const isRanks = Array.isArray(value) && value.length === length && value.every((rank) => Number.isFinite(rank));
  if (!isRanks) throw rowError(row, `is ${JSON.stringify(value)}, expected ${length} numbers: one per response`, field);
  return value as number[];
}

export function stringIn(row: Row, field: string, value: unknown): string {
  if (typeof value === 'string') return value;
  throw rowError(row, `is ${JSON.stringify(value)?.slice(0, 60) ?? 'missing'}, expected a string`, field);
}
