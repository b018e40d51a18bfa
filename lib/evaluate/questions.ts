/** Answers in words against reference answers: exact match and F1, as the official scripts of SQuAD 2.0 and DROP compute them. */
import { isObject } from '../core/json.js';
import { rowError, stringField } from '../data/fields.js';
import type { Row } from '../data/index.js';
import { bootstrapMean, notCertain } from '../statistics/index.js';
import { categoryOf } from './answers.js';
import { type Figure, perCategory } from './figure.js';

/** A question whose answer is a text. */
export interface Question {
  readonly prompt: string;
  /** Each a list of spans that together are the answer; none: the question has no answer. */
  readonly answers: readonly (readonly string[])[];
  /** How answers are compared: DROP's normalisation knows numbers and several spans. */
  readonly style: 'squad' | 'drop';
  readonly category: string | undefined;
}

/**
 * Reads `{context, question, answers: {text: […]}}` (SQuAD; an empty list where there is no answer), `{passage, question, answers_spans:
 * {spans: […]}}` (DROP), and `{prompt, answers: […]}` or `{prompt, answer}`. `ref` with `|` between answers is read as `answers`.
 *
 * @throws DataError naming the field that is wrong
 */
export function questionOf(row: Row): Question {
  const { value } = row;
  const prompt =
    'prompt' in value
      ? stringField(row, 'prompt')
      : `${stringField(row, 'passage' in value ? 'passage' : 'context')}\n\nQ: ${stringField(row, 'question')}\nA:`;
  const category = categoryOf(row);
  const spans = value.answers_spans;
  if (spans !== undefined) {
    const list: unknown = isObject(spans) ? spans.spans : spans;
    if (!Array.isArray(list) || list.length === 0 || !list.every((one) => typeof one === 'string'))
      throw rowError(row, `is ${JSON.stringify(spans)}, expected {"spans": ["…"]}`, 'answers_spans');
    return { prompt, answers: [list], style: 'drop', category };
  }
  const style = value.style === 'drop' ? 'drop' : 'squad';
  const field = ['answers', 'answer', 'ref'].find((name) => name in value);
  if (field === undefined) throw rowError(row, 'has no reference: expected answers, answer or answers_spans');
  const given = value[field];
  const list: unknown = isObject(given)
    ? given.text
    : field === 'ref' && typeof given === 'string'
      ? given.split('|')
      : Array.isArray(given)
        ? given
        : [given];
  if (!Array.isArray(list) || !list.every((one) => typeof one === 'string' || typeof one === 'number'))
    throw rowError(row, `is ${JSON.stringify(given)}, expected texts`, field);
  return { prompt, answers: list.map((one) => [String(one)]), style, category };
}

/** Texts that say that there is no answer; compared after normalisation. */
const kNone = /^(unanswerable|no answer|none|not in (the )?(background|passage|context)|i have no comment)?$/;
const saysNone = (text: string) => kNone.test(normaliseSquad(text));

/** Whether the right answer is that there is none: no reference, or every one of them says so. */
const isUnanswerable = ({ answers }: Pick<Question, 'answers'>) => answers.every((spans) => spans.every(saysNone));

export interface AnswerScores {
  readonly exact: number;
  readonly f1: number;
}

/**
 * Exact match and F1 of an output: the best over the reference answers, as the official scripts. Beyond them, all ways to say that there is no
 * answer are one answer where that is the reference.
 */
export function scoreAnswer(output: string, { answers, style }: Pick<Question, 'answers' | 'style'>): AnswerScores {
  if (isUnanswerable({ answers }) && saysNone(output)) return { exact: 1, f1: 1 };
  const one = style === 'drop' ? dropScores : squadScores;
  const gold = answers.filter((spans) => spans.some((span) => normaliseSquad(span) !== ''));
  const scores = (gold.length === 0 ? [['']] : gold).map((spans) => one(output, spans));
  return { exact: Math.max(...scores.map(({ exact }) => exact)), f1: Math.max(...scores.map(({ f1 }) => f1)) };
}

const kPunctuation = /[!"#$%&'()*+,\-./:;<=>?@[\\\]^_`{|}~]/g;
const kArticles = /(?<![\p{L}\p{N}_])(a|an|the)(?![\p{L}\p{N}_])/gu;
const words = (text: string) => text.split(/\s+/u).filter((word) => word !== '');

/** Lower case, without punctuation and articles, white space as single spaces (SQuAD 2.0's evaluate-v2.0.py). */
export function normaliseSquad(text: string): string {
  return words(text.toLowerCase().replace(kPunctuation, '').replace(kArticles, ' ')).join(' ');
}

function squadScores(output: string, spans: readonly string[]): AnswerScores {
  const [said, gold] = [normaliseSquad(output), normaliseSquad(spans[0]!)];
  const exact = Number(said === gold);
  const [ours, theirs] = [words(said), words(gold)];
  if (ours.length === 0 || theirs.length === 0) return { exact, f1: Number(ours.length === theirs.length) };
  const left = new Map<string, number>();
  for (const word of theirs) left.set(word, (left.get(word) ?? 0) + 1);
  let common = 0;
  for (const word of ours) {
    const count = left.get(word) ?? 0;
    if (count > 0) common++;
    left.set(word, count - 1);
  }
  if (common === 0) return { exact, f1: 0 };
  const [precision, recall] = [common / ours.length, common / theirs.length];
  return { exact, f1: (2 * precision * recall) / (precision + recall) };
}

// What Python's float() reads, without the rarities.
const kNumber = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;
const isNumber = (text: string) => kNumber.test(text.trim());
const asFloat = (text: string) => {
  const value = Number(text);
  return Number.isInteger(value) && Math.abs(value) < 1e16 ? `${value}.0` : String(value);
};

/** Words without punctuation and articles, numbers as floating-point numbers (DROP's drop_eval.py). */
export function normaliseDrop(text: string): string {
  return text
    .toLowerCase()
    .split(/ |-/)
    .map((token) => (isNumber(token) ? token : token.replace(kPunctuation, '')))
    .map((token) => (isNumber(token) ? asFloat(token) : token))
    .map((token) => words(token.replace(kArticles, ' ')).join(' '))
    .filter((token) => token !== '')
    .join(' ');
}

function dropScores(output: string, spans: readonly string[]): AnswerScores {
  const said = normaliseDrop(output);
  const gold = spans.map(normaliseDrop);
  const exact = Number(gold.length === 1 && gold[0] === said);
  // The one span of the output is aligned with the span of the reference that it fits best; the others score 0.
  const f1 = Math.max(...gold.map((span) => bagF1(new Set(words(said)), new Set(words(span))))) / gold.length;
  return { exact, f1: hundredths(f1) };
}

/** Rounded to two digits as the script does, where Python takes halves to the even digit. */
function hundredths(x: number): number {
  const below = Math.floor(100 * x);
  const isHalf = 100 * x - below === 0.5;
  return (isHalf ? below + (below % 2) : Math.round(100 * x)) / 100;
}

function bagF1(said: ReadonlySet<string>, gold: ReadonlySet<string>): number {
  const numbers = [...gold].filter(isNumber);
  if (numbers.length > 0 && !numbers.some((one) => said.has(one))) return 0;
  const common = [...gold].filter((word) => said.has(word)).length;
  const precision = said.size === 0 ? 1 : common / said.size;
  const recall = gold.size === 0 ? 1 : common / gold.size;
  return precision + recall === 0 ? 0 : (2 * precision * recall) / (precision + recall);
}

/** Exact match and F1 of a model's outputs, and by category; intervals by bootstrap over questions. */
export function questionFigures(
  model: string,
  data: string,
  questions: readonly Question[],
  outputs: readonly (string | undefined)[],
): Figure[] {
  const scored = questions.flatMap((question, q) => {
    const output = outputs[q];
    return output === undefined ? [] : [{ ...question, ...scoreAnswer(output, question) }];
  });
  if (scored.length === 0) return [];
  const unanswerable = scored.filter(isUnanswerable).length;
  return (['exact', 'f1'] as const).flatMap((score) =>
    perCategory(
      scored,
      ({ category }) => category,
      (some, category): Figure => ({
        ...notCertain(bootstrapMean(some.map((one) => one[score])), some.length),
        name: score === 'f1' ? 'F1' : 'exact match',
        model,
        data,
        unit: 'share',
        of: 'questions',
        category,
        note: category === undefined && unanswerable > 0 ? `${unanswerable} of them without an answer` : undefined,
      }),
    ),
  );
}
