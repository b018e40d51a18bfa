/** Rewards that check a response against the prompt's row or a rule: 1 or 0. Nothing is learnt, so nothing can be gamed but the rule. */
import { runInNewContext } from 'node:vm';
import { Ajv } from 'ajv';
import { HeedError } from '../core/errors.js';
import type { Answer, TextReward } from './types.js';

const isRight = (right: boolean): number => (right ? 1 : 0);

/** What a reward needs of each prompt's row. */
const needs = new WeakMap<TextReward, (answer: Pick<Answer, 'row' | 'promptIndex'>) => unknown>();

/** Marks a reward as one that needs something of a row: `check` throws if it is not there. */
export function needing(
  reward: TextReward,
  check: (answer: Pick<Answer, 'row' | 'promptIndex'>) => unknown,
): TextReward {
  needs.set(reward, check);
  return reward;
}

/** @throws HeedError naming the first prompt whose row lacks what the reward needs */
export function requireRows(reward: TextReward, rows: readonly Answer['row'][]): void {
  const check = needs.get(reward);
  for (const [promptIndex, row] of rows.entries()) check?.({ row, promptIndex });
}

/** Scores each answer by itself. */
const each =
  (score: (answer: Answer) => number): TextReward =>
  (answers) =>
    answers.map(score);

/** The field of a prompt's row that a verifier needs. @throws HeedError naming the prompt and the field */
export function expectedOf({ row, promptIndex }: Pick<Answer, 'row' | 'promptIndex'>, field: string): string {
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
  return needing(
    each((answer) => isRight(plain(answer.response) === plain(expectedOf(answer, field)))),
    (answer) => expectedOf(answer, field),
  );
}

/**
 * Whether a response gives the number in a field of the row: in `\boxed{}`, after `####`, or else as its last number. Fractions (`3/4`,
 * `\frac{3}{4}`) are numbers; whole numbers have to be equal, others within the relative tolerance.
 */
export function numericMatch(field = 'answer', { tolerance = 1e-6 }: { readonly tolerance?: number } = {}): TextReward {
  const wantedOf = (answer: Pick<Answer, 'row' | 'promptIndex'>): number => {
    const wanted = lastNumber(expectedOf(answer, field));
    if (wanted !== undefined) return wanted;
    throw new HeedError(
      'ERR_INVALID_ARGUMENT',
      `the ${field} of prompt ${answer.promptIndex} is ${JSON.stringify(answer.row[field])}, expected a number`,
    );
  };
  const score = each((answer) => {
    const wanted = wantedOf(answer);
    const found = lastNumber(answer.response);
    if (found === undefined) return 0;
    const slack =
      Number.isInteger(wanted) && Number.isInteger(found) && tolerance < 1e-3 ? 0 : tolerance * Math.abs(wanted);
    return isRight(Math.abs(found - wanted) <= slack);
  });
  return needing(score, wantedOf);
}

const kNumber = /(?<![\d.)])-?(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)(?:e[+-]?\d+)?(?:\/\d+)?/gi;

/** The number that a text gives as its answer; commas may group its digits. */
export function lastNumber(text: string): number | undefined {
  const plain = text.replaceAll('\u2212', '-').replace(/\\[dt]?frac\{(-?\d+)\}\{(\d+)\}/g, '$1/$2');
  const marked = [...plain.matchAll(/\\boxed\{([^{}]*)\}/g)].at(-1) ?? [...plain.matchAll(/####([^\n]*)/g)].at(-1);
  // A minus sign after a digit subtracts, on the same line.
  const found = (marked?.[1] ?? plain)
    .replace(/(?<=\d)[^\S\n]*-[^\S\n]*(?=\d)/g, ' ')
    .match(kNumber)
    ?.at(-1);
  if (found === undefined) return undefined;
  const [above, below] = found.replaceAll(',', '').split('/').map(Number);
  const value = below === undefined ? above! : above! / below;
  return Number.isFinite(value) ? value : undefined;
}

/** Milliseconds of one match: a pattern may backtrack without end. */
const kMatchTime = 100;

function isMatch(source: string, flags: string, text: string): boolean {
  try {
    // The time limit of a script also stops a pattern.
    return runInNewContext('new RegExp(source, flags).test(text)', { source, flags, text }, { timeout: kMatchTime });
  } catch {
    return false;
  }
}

/** Whether a response matches a regular expression. One that takes longer than a tenth of a second counts as not matching. */
export function matches({ source, flags }: RegExp): TextReward {
  return each(({ response }) => isRight(isMatch(source, flags, response)));
}

/** Whether a response is JSON of a schema (JSON Schema), in a code fence or not. @throws HeedError for a schema that is not valid */
export function matchesSchema(schema: Readonly<Record<string, unknown>>): TextReward {
  const regExp = (source: string, flags: string) => ({ test: (text: string) => isMatch(source, flags, text) });
  let isValid: (value: unknown) => unknown;
  try {
    const ajv = new Ajv({
      strict: false,
      validateFormats: false,
      code: { regExp: Object.assign(regExp, { code: '' }) },
    });
    isValid = ajv.compile(schema);
  } catch (cause) {
    throw new HeedError('ERR_INVALID_ARGUMENT', `not a JSON Schema: ${(cause as Error).message}`, { cause });
  }
  return each(({ response }) => {
    try {
      return isRight(isValid(JSON.parse(fenced(response))) === true);
    } catch {
      return 0;
    }
  });
}

/** The contents of the last code fence, or the whole text. */
export function fenced(text: string): string {
  return [...text.matchAll(/```[^\n]*\n([\s\S]*?)```/g)].at(-1)?.[1] ?? text;
}
