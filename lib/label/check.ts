/** Whether an answer is complete and fits its task: nothing else is written. */
import { z } from 'zod';
import { RequestError } from '../http/server.js';
import { type Answer, type Draft, type Flag, flags, kBestRating, type Mode } from './types.js';

/** Responses of a prompt, at most: as many as there are number keys. */
export const kMostResponses = 9;
const kLongestText = 100_000;
const kLongestReason = 1000;

const names = flags.map(([name]) => name) as [Flag, ...Flag[]];
const flagList = z
  .array(z.enum(names))
  .max(names.length)
  .transform((list) => [...new Set(list)]);
const rating = z.int().min(1).max(kBestRating);
const rank = z
  .int()
  .min(0)
  .max(kMostResponses - 1);
const several = <T extends z.ZodType>(item: T) => z.array(item).max(kMostResponses);
const text = z.string().max(kLongestText);
const place = z
  .int()
  .min(0)
  .max(kMostResponses - 1);
const confidence = z.int().min(1).max(3);
const seconds = z.number().min(0).max(86_400);

const answerSchema = z.strictObject({
  ratings: several(z.strictObject({ rating, flags: flagList })).optional(),
  ranks: several(rank).optional(),
  thumbs: several(z.boolean()).optional(),
  text: text.optional(),
  edited: place.optional(),
  confidence: confidence.optional(),
  seconds: seconds.optional(),
});

const draftSchema = z.strictObject({
  ratings: several(z.strictObject({ rating: rating.nullable(), flags: flagList }).nullable()).optional(),
  ranks: several(rank.nullable()).optional(),
  thumbs: several(z.boolean().nullable()).optional(),
  text: text.optional(),
  edited: place.optional(),
  confidence: confidence.optional(),
  seconds: seconds.optional(),
  step: z.int().min(0).max(kMostResponses).optional(),
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
  const { reason } = parse(z.strictObject({ reason: z.string().max(kLongestReason) }), body);
  const trimmed = reason.trim();
  if (trimmed === '') throw wrong('reason', 'is empty, expected why the item is skipped');
  return trimmed;
}

function parse<T>(schema: z.ZodType<T>, body: unknown): T {
  const parsed = schema.safeParse(body);
  if (parsed.success) return parsed.data;
  const { path, message } = parsed.error.issues[0]!;
  throw wrong(path.length === 0 ? 'the body' : path.join('.'), `is not valid: ${message}`);
}

const wrong = (field: string, message: string) =>
  new RequestError(400, `${field} ${message}`, 'invalid_request_error', field);
