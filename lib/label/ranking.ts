/** What is common to rankings of all formats: their fields, checked. */

import { promptOf } from '../data/dialogue.js';
import { rowError } from '../data/fields.js';
import type { Row } from '../data/index.js';
import type { FeedbackRow } from '../feedback/rows.js';
import { kMostResponses } from './check.js';
import { flags as allFlags, type Flag, kBestRating, type Rating, type ShownPrompt } from './types.js';

/** A ranking that somebody made elsewhere. */
export interface ForeignRanking {
  readonly prompt: ShownPrompt;
  readonly responses: readonly string[];
  /** (K) 0 is best, equal ranks are ties. */
  readonly ranks: readonly number[];
  readonly labeler?: string | undefined;
  /** Milliseconds since 1970. */
  readonly created?: number | undefined;
  readonly purpose?: string | undefined;
  /** 1 to 3. */
  readonly confidence?: number | undefined;
  readonly seconds?: number | undefined;
  readonly category?: string | undefined;
  /** (K) which model wrote each response. */
  readonly models?: readonly string[] | undefined;
  /** (K) */
  readonly ratings?: readonly Rating[] | undefined;
}

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

export function checked(row: Row, ranking: ForeignRanking): ForeignRanking {
  const { responses } = ranking;
  if (responses.length < 2 || responses.length > kMostResponses)
    throw rowError(row, `has ${responses.length} responses, expected from 2 to ${kMostResponses}`);
  if (new Set(responses).size < responses.length) throw rowError(row, 'has equal responses, expected different ones');
  return ranking;
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
