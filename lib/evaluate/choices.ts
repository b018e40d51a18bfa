/** Multiple choice by log-probability, without sampling: rows of TruthfulQA, ARC, and a plain shape. */
import { isObject } from '../core/json.js';
import { rowError, stringField, stringsField } from '../data/fields.js';
import type { Row } from '../data/index.js';
import { bootstrapMean, notCertain } from '../statistics/index.js';
import { categoryOf } from './answers.js';
import { type Figure, leftOut, perCategory } from './figure.js';
import { type Likelihood, likelihoods, type Measured } from './likelihood.js';

/** A question with its choices. */
export interface Choice {
  readonly prompt: string;
  /** As they follow the prompt. */
  readonly texts: readonly string[];
  /** The choices that are true; the first is the best. */
  readonly right: readonly number[];
  readonly category: string | undefined;
}

/**
 * Reads `{question, best_answer, correct_answers, incorrect_answers}` (TruthfulQA), `{question, choices: {text, label}, answerKey}` or
 * `{question: {stem, choices: [{text, label}]}, answerKey}` (ARC), `{prompt, choices, answer}` with the answer an index or a choice. A question
 * becomes `Q: …\nA:`; a prompt is used unchanged.
 *
 * @throws DataError naming the field that is wrong
 */
export function choiceOf(row: Row): Choice {
  const { value } = row;
  const category = categoryOf(row);
  if ('correct_answers' in value) {
    const best = stringField(row, 'best_answer');
    const correct = stringsField(row, 'correct_answers').filter((text) => text !== best);
    const wrong = stringsField(row, 'incorrect_answers');
    if (wrong.length === 0) throw rowError(row, 'is empty, expected at least one', 'incorrect_answers');
    const right = [best, ...correct];
    return {
      prompt: asked(stringField(row, 'question')),
      texts: [...right, ...wrong].map(after),
      right: right.map((_, i) => i),
      category,
    };
  }
  const { texts, labels } = listed(row);
  const prompt = 'prompt' in value ? stringField(row, 'prompt') : asked(stemOf(row));
  const field = 'answerKey' in value ? 'answerKey' : 'answer';
  const key = value[field];
  const named = typeof key === 'string' ? labels.indexOf(key) : -1;
  const right =
    named >= 0 ? named : typeof key === 'number' ? key : texts.findIndex((text) => text === key || text.trim() === key);
  if (!Number.isInteger(right) || right < 0 || right >= texts.length)
    throw rowError(
      row,
      `is ${JSON.stringify(key)}, expected one of the ${texts.length} choices: its label, its index from 0 or its text`,
      field,
    );
  return { prompt, texts: texts.map(after), right: [right], category };
}

const asked = (question: string) => `Q: ${question}\nA:`;
const after = (text: string) => (/^\s/.test(text) ? text : ` ${text}`);

function stemOf(row: Row): string {
  const { question } = row.value;
  return isObject(question) && typeof question.stem === 'string' ? question.stem : stringField(row, 'question');
}

function listed(row: Row): { texts: string[]; labels: string[] } {
  const { question, choices } = row.value;
  const inner = isObject(question) && 'choices' in question ? question.choices : choices;
  const list: unknown = isObject(inner) ? inner.text : inner;
  if (!Array.isArray(list) || list.length < 2)
    throw rowError(row, `is ${JSON.stringify(inner) ?? 'missing'}, expected at least 2 choices`, 'choices');
  const texts = list.map((one: unknown) => (isObject(one) ? one.text : one));
  const labels = isObject(inner) ? inner.label : list.map((one: unknown) => (isObject(one) ? one.label : undefined));
  const wrong = texts.findIndex((text) => typeof text !== 'string' || text === '');
  if (wrong >= 0) throw rowError(row, `[${wrong}] is ${JSON.stringify(texts[wrong])}, expected a text`, 'choices');
  return { texts: texts as string[], labels: Array.isArray(labels) ? labels.map(String) : [] };
}

/** What a model makes of one question. */
export interface ChoiceScores {
  /** 1 if the best true choice is more probable than every wrong one. */
  readonly mc1: number;
  /** The same by log-probability per byte, which does not prefer short choices. */
  readonly mc1PerByte: number;
  /** Probability of the true choices among all. */
  readonly mc2: number;
}

/** Scores of one question from the log-probabilities of its choices. */
export function scoreChoice(right: readonly number[], found: readonly Likelihood[]): ChoiceScores {
  const isWrong = found.map((_, i) => !right.includes(i));
  const best = right[0]!;
  const beats = (of: (one: Likelihood) => number) =>
    Number(found.every((one, i) => !isWrong[i] || of(found[best]!) > of(one)));
  const top = Math.max(...found.map(({ logprob }) => logprob));
  const weights = found.map(({ logprob }) => Math.exp(logprob - top));
  const total = weights.reduce((sum, w) => sum + w, 0);
  return {
    mc1: beats(({ logprob }) => logprob),
    mc1PerByte: beats(({ logprob, bytes }) => logprob / bytes),
    mc2: right.reduce((sum, i) => sum + weights[i]!, 0) / total,
  };
}

/** Accuracies of a model on questions with choices, and by category; intervals by bootstrap over questions. */
export async function choiceFigures(
  model: string,
  data: string,
  choices: readonly Choice[],
  o: Measured,
): Promise<Figure[]> {
  const found = await likelihoods(choices, o);
  const scored = choices.flatMap((choice, i) => {
    const one = found[i];
    return one ? [{ ...choice, scores: scoreChoice(choice.right, one) }] : [];
  });
  if (scored.length === 0) return [];
  const note = leftOut(choices.length - scored.length, "longer than the model's positions");
  const chance =
    scored.reduce((sum, { texts, right }) => sum + 1 / (texts.length - right.length + 1), 0) / scored.length;
  const several = scored.some(({ right }) => right.length > 1);
  const names = { mc1: 'MC1', mc1PerByte: 'MC1 per byte', mc2: 'MC2' } as const;
  return (Object.keys(names) as (keyof ChoiceScores)[]).flatMap((score) =>
    perCategory(
      scored,
      ({ category }) => category,
      (some, category): Figure => ({
        ...notCertain(bootstrapMean(some.map(({ scores }) => scores[score])), some.length),
        name: several || score === 'mc2' ? names[score] : names[score].replace('MC1', 'accuracy'),
        model,
        data,
        unit: 'share',
        of: 'questions',
        category,
        note:
          [score === 'mc1' && category === undefined && `chance ${chance.toFixed(3)}`, note]
            .filter(Boolean)
            .join('; ') || undefined,
      }),
    ),
  );
}
