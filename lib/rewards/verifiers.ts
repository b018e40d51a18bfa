/** Rewards that check a response against the prompt's row or a rule: 1 or 0. Nothing is learnt, so nothing can be gamed but the rule. */
import { runInNewContext } from 'node:vm';
import { z } from 'zod';
import { HeedError } from '../core/errors.js';
import type { Answer, TextReward } from './types.js';

const isRight = (right: boolean): number => (right ? 1 : 0);

/** Scores each answer by itself. */
const each =
  (score: (answer: Answer) => number): TextReward =>
  (answers) =>
    answers.map(score);

/** The field of a prompt's row that a verifier needs. @throws HeedError naming the prompt and the field */
export function expectedOf({ row, promptIndex }: Answer, field: string): string {
  const value = row[field];
  if (typeof value === 'string' || typeof value === 'number') return String(value);
  throw new HeedError(
    'ERR_INVALID_ARGUMENT',
    `the row of prompt ${promptIndex} has no ${field}: it is ${JSON.stringify(value) ?? 'missing'}, expected a string or a number`,
  );
}

/** Whether a response is the text in a field of the row, besides white space around it and the case of letters. */
export function exactMatch(field = 'answer'): TextReward {
  const plain = (text: string) => text.trim().replace(/\s+/g, ' ').toLowerCase();
  return each((answer) => isRight(plain(answer.response) === plain(expectedOf(answer, field))));
}

/** Whether a response ends with the number in a field of the row: in `\boxed{}`, after `####`, or else its last number. */
export function numericMatch(field = 'answer', { tolerance = 1e-6 }: { readonly tolerance?: number } = {}): TextReward {
  return each((answer) => {
    const wanted = lastNumber(expectedOf(answer, field));
    if (wanted === undefined)
      throw new HeedError(
        'ERR_INVALID_ARGUMENT',
        `the ${field} of prompt ${answer.promptIndex} is ${JSON.stringify(answer.row[field])}, expected a number`,
      );
    const found = lastNumber(answer.response);
    return isRight(found !== undefined && Math.abs(found - wanted) <= tolerance * Math.max(1, Math.abs(wanted)));
  });
}

/** The number that a text gives as its answer; commas may group its digits. */
export function lastNumber(text: string): number | undefined {
  const marked = [...text.matchAll(/\\boxed\{([^{}]*)\}/g)].at(-1) ?? [...text.matchAll(/####([^\n]*)/g)].at(-1);
  const found = (marked?.[1] ?? text).match(/-?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?/gi)?.at(-1);
  return found === undefined ? undefined : Number(found.replaceAll(',', ''));
}

/** Whether a response matches a regular expression. One that takes longer than a second counts as not matching. */
export function matches(pattern: RegExp): TextReward {
  const { source, flags } = pattern;
  return each(({ response }) => {
    try {
      // A time limit that also stops a pattern which backtracks without end.
      return isRight(
        runInNewContext('new RegExp(source, flags).test(text)', { source, flags, text: response }, { timeout: 1000 }),
      );
    } catch {
      return 0;
    }
  });
}

/** Whether a response is JSON of a schema (JSON Schema), in a code fence or not. @throws HeedError for a schema that is not valid */
export function matchesSchema(schema: Readonly<Record<string, unknown>>): TextReward {
  let parser: z.ZodType;
  try {
    parser = z.fromJSONSchema(schema as Parameters<typeof z.fromJSONSchema>[0]);
  } catch (cause) {
    throw new HeedError('ERR_INVALID_ARGUMENT', `not a JSON Schema: ${(cause as Error).message}`, { cause });
  }
  return each(({ response }) => {
    try {
      return isRight(parser.safeParse(JSON.parse(fenced(response))).success);
    } catch {
      return 0;
    }
  });
}

/** The contents of the last code fence, or the whole text. */
export function fenced(text: string): string {
  return [...text.matchAll(/```[^\n]*\n([\s\S]*?)```/g)].at(-1)?.[1] ?? text;
}
