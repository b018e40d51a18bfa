/** Judges of two outputs to one prompt: reward models, functions, and language models behind a URL. */
import type { Frame } from '../data/index.js';
import { type GuardOptions, guarded } from '../rewards/guard.js';
import type { Answer, TextReward } from '../rewards/types.js';
import type { Tree } from '../runtime/batch.js';
import type { ScalarModel } from '../runtime/model.js';
import type { Comparison } from '../statistics/index.js';
import type { Answers, EvaluatedPrompt } from './answers.js';
import { scoresOf } from './trees.js';

/** What a judge preferred. */
export interface Judged {
  readonly judge: string;
  readonly comparisons: readonly Comparison[];
  /** Pairs that were not judged: too long for the reward model, or the judge failed. */
  readonly failed: number;
  /** The last failure. */
  readonly lastError?: string | undefined;
}

/** Scores of outputs, (models, prompts); undefined where there is none. */
export type ScoreTable = readonly (readonly (number | undefined)[])[];

/** All comparisons of two models whose outputs to a prompt both have a score; equal scores are ties. */
export function compareScores(
  judge: string,
  prompts: readonly EvaluatedPrompt[],
  answers: readonly Answers[],
  scores: ScoreTable,
): Judged {
  const comparisons: Comparison[] = [];
  let failed = 0;
  for (const { p, i, j } of pairsOf(prompts, answers)) {
    const [a, b] = [scores[i]![p], scores[j]![p]];
    if (a === undefined || b === undefined) failed++;
    else comparisons.push(comparison(p, prompts, answers[i]!, answers[j]!, (Math.sign(a - b) + 1) / 2));
  }
  return { judge, comparisons, failed };
}

function* pairsOf(prompts: readonly EvaluatedPrompt[], answers: readonly Answers[]) {
  for (let p = 0; p < prompts.length; p++)
    for (let i = 0; i < answers.length; i++)
      for (let j = i + 1; j < answers.length; j++)
        if (answers[i]!.texts[p] !== undefined && answers[j]!.texts[p] !== undefined) yield { p, i, j };
}

const comparison = (
  p: number,
  prompts: readonly EvaluatedPrompt[],
  a: Answers,
  b: Answers,
  outcome: number,
): Comparison => ({
  prompt: prompts[p]!.text,
  a: a.model,
  b: b.model,
  outcome,
  outputs: [a.texts[p]!, b.texts[p]!],
});

/**
 * A reward model's scores. Outputs that are longer with their prompt than the model's positions have none.
 *
 * @param prompts as text, as the model is to read them
 */
export async function modelScores(
  model: ScalarModel,
  frame: Frame,
  prompts: readonly string[],
  answers: readonly Answers[],
  signal?: AbortSignal,
): Promise<(number | undefined)[][]> {
  const scores = answers.map((): (number | undefined)[] => prompts.map(() => undefined));
  const trees: Tree[] = [];
  const places: (readonly [model: number, prompt: number])[][] = [];
  for (let p = 0; p < prompts.length; p++) {
    const from = answers.flatMap(({ texts }, m) => (texts[p] === undefined ? [] : [m]));
    if (from.length === 0) continue;
    const texts = from.map((m) => answers[m]!.texts[p]!);
    const { prompt, responses } = await frame.comparedIds({ prompt: prompts[p]!, texts }, { signal });
    const fitting = responses.flatMap((ids, k) =>
      prompt.length + ids.length <= model.config.maxPositions ? [{ ids, m: from[k]! }] : [],
    );
    if (fitting.length === 0) continue;
    trees.push({ prompt, responses: fitting.map(({ ids }) => ids) });
    places.push(fitting.map(({ m }) => [m, p]));
  }
  const found = trees.length === 0 ? [] : await scoresOf(model, trees, signal);
  places.forEach((of, t) => {
    of.forEach(([m, p], k) => {
      scores[m]![p] = found[t]![k]!;
    });
  });
  return scores;
}

/** A function judges: it scores all outputs to a prompt, and the higher score is preferred. */
export async function judgeByScore(
  judge: string,
  reward: TextReward,
  prompts: readonly EvaluatedPrompt[],
  answers: readonly Answers[],
  o: GuardOptions & { readonly signal?: AbortSignal | undefined } = {},
): Promise<Judged> {
  const places: (readonly [model: number, prompt: number])[] = [];
  const asked: Answer[] = [];
  for (let p = 0; p < prompts.length; p++)
    answers.forEach(({ texts }, m) => {
      const text = texts[p];
      if (text === undefined) return;
      places.push([m, p]);
      asked.push(answerOf(p, prompts[p]!, text));
    });
  const { reward: safe, counts } = guarded(reward, { called: 'the judge', ...o });
  const found = Array.from(await safe(asked, { signal: o.signal, iteration: 0 }));
  const scores = answers.map((): (number | undefined)[] => []);
  places.forEach(([m, p], i) => {
    scores[m]![p] = found[i] ?? undefined;
  });
  return { ...compareScores(judge, prompts, answers, scores), lastError: counts.lastError };
}

/** A judge that compares two outputs at a time, in both orders, by {@link judge}; outputs that are equal are ties without asking. */
export async function judgeByPair(
  judge: string,
  reward: TextReward,
  prompts: readonly EvaluatedPrompt[],
  answers: readonly Answers[],
  o: GuardOptions & { readonly signal?: AbortSignal | undefined } = {},
): Promise<Judged> {
  const comparisons: Comparison[] = [];
  const pairs: { p: number; i: number; j: number }[] = [];
  for (const pair of pairsOf(prompts, answers)) {
    const [a, b] = [answers[pair.i]!, answers[pair.j]!];
    if (a.texts[pair.p] === b.texts[pair.p]) comparisons.push(comparison(pair.p, prompts, a, b, 0.5));
    else pairs.push(pair);
  }
  const asked = pairs.flatMap(({ p, i, j }, pair) => [
    answerOf(pair, prompts[p]!, answers[i]!.texts[p]!),
    answerOf(pair, prompts[p]!, answers[j]!.texts[p]!),
  ]);
  const { reward: safe, counts } = guarded(reward, { called: 'the judge', ...o });
  const found = Array.from(await safe(asked, { signal: o.signal, iteration: 0 }));
  let failed = 0;
  pairs.forEach(({ p, i, j }, pair) => {
    const [a, b] = [found[2 * pair], found[2 * pair + 1]];
    if (typeof a !== 'number' || typeof b !== 'number') failed++;
    else comparisons.push(comparison(p, prompts, answers[i]!, answers[j]!, (Math.sign(a - b) + 1) / 2));
  });
  return { judge, comparisons, failed, lastError: counts.lastError };
}

const answerOf = (promptIndex: number, prompt: EvaluatedPrompt, response: string): Answer => ({
  promptIndex,
  prompt: prompt.text,
  response,
  finished: true,
  row: prompt.row,
});
