/** Whether an answer is complete and fits its task: nothing else is written. */
import { z } from 'zod';
import { RequestError } from '../http/server.js';
import { type Answer, type Draft, type Flag, flags, kBestRating, type Mode } from './types.js';

/** Responses of a prompt, at most: as many as there are number keys. */
export const kMostResponses = 9;
const kLongestText = 100_000;
const kLongestReason = 1000;
const kReason = `expected a text of at most ${kLongestReason} characters`;

const names = flags.map(([name]) => name) as [Flag, ...Flag[]];
const flagList = z
  .array(z.enum(names, 'expected the name of a flag'), `expected a list of flags`)
  .max(names.length, `expected at most ${names.length} flags`)
  .transform((list) => [...new Set(list)]);
function integer(min: number, max: number) {
  const expected = `expected an integer from ${min} to ${max}`;
  return z.int(expected).min(min, expected).max(max, expected);
}
const rating = integer(1, kBestRating);
const rank = integer(0, kMostResponses - 1);
const several = <T extends z.ZodType>(item: T) => {
  const expected = `expected a list of at most ${kMostResponses}, one per response`;
  return z.array(item, expected).max(kMostResponses, expected);
};
const expectedText = `expected a text of at most ${kLongestText} characters`;
const text = z.string(expectedText).max(kLongestText, expectedText);
const place = integer(0, kMostResponses - 1);
const confidence = integer(1, 3);
const expectedSeconds = 'expected a number from 0 to 86400';
const seconds = z.number(expectedSeconds).min(0, expectedSeconds).max(86_400, expectedSeconds);
const isGood = z.boolean('expected true or false');
const kRated = 'expected an object with rating and flags';

const answerSchema = z.strictObject({
  ratings: several(z.strictObject({ rating, flags: flagList }, kRated)).optional(),
  ranks: several(rank).optional(),
  thumbs: several(isGood).optional(),
  text: text.optional(),
  edited: place.optional(),
  confidence: confidence.optional(),
  seconds: seconds.optional(),
});

const draftSchema = z.strictObject({
  ratings: several(z.strictObject({ rating: rating.nullable(), flags: flagList }, kRated).nullable()).optional(),
  ranks: several(rank.nullable()).optional(),
  thumbs: several(isGood.nullable()).optional(),
  text: text.optional(),
  edited: place.optional(),
  confidence: confidence.optional(),
  seconds: seconds.optional(),
  step: integer(0, kMostResponses).optional(),
});

/** @throws RequestError naming the field */
export const checkDraft = (body: unknown): Draft => parse(draftSchema, body);

/**
 * @param count responses of the task
 * @throws RequestError naming the field
 */
export function checkAnswer(body: unknown, count: number, mode: Mode, rates: boolean): Answer {
  const answer = parse(answerSchema, body);
  const lists = {
    ratings: mode === 'rank' && rates,
    ranks: mode === 'rank' || mode === 'pair',
    thumbs: mode === 'thumb',
  };
  for (const [name, isWanted] of Object.entries(lists) as [keyof typeof lists, boolean][]) {
    const given = answer[name];
    if (!isWanted && given) throw wrong(name, `is given, expected none in mode ${mode}`);
    if (isWanted && given?.length !== count)
      throw wrong(name, given ? `has length ${given.length}, expected ${count}: one per response` : 'is missing');
  }
  if (mode === 'demonstrate') {
    if (answer.text === undefined || answer.text.trim() === '') throw wrong('text', 'is empty, expected an answer');
    if (answer.edited !== undefined && answer.edited >= count)
      throw wrong('edited', `is ${answer.edited}, expected below ${count}, the number of responses`);
  } else if (answer.text !== undefined || answer.edited !== undefined)
    throw wrong(answer.text === undefined ? 'edited' : 'text', `is given, expected none in mode ${mode}`);
  return answer;
}

/** @throws RequestError naming the field */
export function checkReason(body: unknown): string {
  const { reason } = parse(z.strictObject({ reason: z.string(kReason).max(kLongestReason, kReason) }), body);
  const trimmed = reason.trim();
  if (trimmed === '') throw wrong('reason', 'is empty, expected why the item is skipped');
  return trimmed;
}

function parse<T>(schema: z.ZodType<T>, body: unknown): T {
  const parsed = schema.safeParse(body);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  const { path } = issue;
  const place = path.join('.');
  if (issue.code === 'unrecognized_keys') {
    const [key] = issue.keys;
    throw wrong(place === '' ? key! : `${place}.${key}`, 'is given, expected no such field');
  }
  const value = path.reduce<unknown>((whole, key) => (whole as Record<PropertyKey, unknown> | undefined)?.[key], body);
  if (path.length === 0 && (typeof body !== 'object' || body === null || Array.isArray(body)))
    throw wrong('the body', `is ${shown(body)}, expected an object`);
  throw wrong(place, value === undefined ? `is missing, ${issue.message}` : `is ${shown(value)}, ${issue.message}`);
}

const shown = (value: unknown): string => {
  const text = JSON.stringify(value) ?? 'missing';
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
};

const wrong = (field: string, message: string) =>
  new RequestError(400, `${field} ${message}`, 'invalid_request_error', field);
