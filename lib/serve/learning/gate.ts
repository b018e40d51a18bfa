/** The test that a new version has to pass: that people's judgements, of prompts that nothing learnt from, have become likelier. */
import { packResponses, type Tree } from '../../runtime/batch.js';
import type { LanguageModel } from '../../runtime/model.js';
import { type Estimate, studentizedMean } from '../../statistics/index.js';
import { countPrompts, type Learnable } from './learnable.js';

/**
 * The share of false passes that a test may have which is the `attempt`-th since a version passed: 5 % / (k (k + 1)), which add up to 5 %
 * over any number of attempts on the same held-out feedback.
 */
export const alphaOf = (attempt: number): number => 0.05 / (attempt * (attempt + 1));

/**
 * By how much `after` agrees more than `before` with held-out feedback: nats by which what people preferred became likelier against what
 * they did not, with the interval over prompts, which leaves out `alpha`. undefined with fewer than two prompts: then there is no
 * interval.
 */
export async function improvement(
  before: LanguageModel,
  after: LanguageModel,
  { thumbs, rankings }: Learnable,
  signal: AbortSignal,
  alpha: number,
): Promise<Estimate | undefined> {
  const trees: Tree[] = [
    ...thumbs.map(({ item }) => ({ prompt: item.prompt, responses: [item.response] })),
    ...rankings.map(({ item }) => ({ prompt: item.prompt, responses: item.responses })),
  ];
  if (countPrompts({ thumbs, rankings }) < 2) return undefined;
  const [old, now] = [await logprobsOf(before, trees, signal), await logprobsOf(after, trees, signal)];
  const gained = trees.map(({ responses }, i) => responses.map((_, k) => gainOf(now[i]![k]! - old[i]![k]!)));
  const values = [
    ...contrasts(
      thumbs.map((_, i) => gained[i]![0]!),
      thumbs.map(({ item }) => item.desirable),
    ),
    ...rankings.map(({ item: { ranks } }, i) => meanMargin(gained[thumbs.length + i]!, ranks)),
  ];
  const prompts = [...thumbs, ...rankings].map(({ prompt }) => prompt);
  return await meanGain(values, prompts, alpha, signal);
}

/**
 * What an answer's likelihood gained: nats if it rose, the lost share if it fell, which is at most all of it. Falls in nats would outweigh
 * everything: where a version has come to prefer one good answer, the others, good and bad, are rarer by any number of nats.
 */
export const gainOf = (nats: number): number => (nats < 0 ? Math.expm1(nats) : nats);

/**
 * Values whose mean is the mean gain of what was called good less that of what was called bad, with the variance of that difference. Each
 * alone would not do: whatever changes a model makes what was sampled from it less likely, good and bad, and a version would be better
 * wherever there are more bad answers than good ones.
 *
 * @returns zeros if all are good, or all bad: nothing can be said then
 */
export function contrasts(gained: readonly number[], isGood: readonly boolean[]): number[] {
  const count = gained.length;
  const share = isGood.filter(Boolean).length / count;
  const spread = share * (1 - share);
  const mean = gained.reduce((sum, one) => sum + one, 0) / count;
  return gained.map((one, i) => (spread === 0 ? 0 : ((one - mean) * ((isGood[i] ? 1 : 0) - share)) / spread));
}

/** The mean of `values`, each of a judgement of one of `prompts`, with the interval that leaves out `alpha`. */
export async function meanGain(
  values: readonly number[],
  prompts: readonly number[],
  alpha: number,
  signal?: AbortSignal,
): Promise<Estimate> {
  const resamples = Math.min(200_000, Math.ceil(100 / alpha)); // enough beyond the interval
  return await studentizedMean(values, prompts, { alpha, resamples, signal });
}

/** Σ log π of each response's tokens. */
async function logprobsOf(model: LanguageModel, trees: readonly Tree[], signal: AbortSignal): Promise<number[][]> {
  const found: number[][] = [];
  for (const tree of trees) {
    const batch = packResponses([tree]);
    const { logprobs } = await model.logprobs(batch, { signal });
    found.push(
      tree.responses.map((_, k) => logprobs.subarray(batch.cuRows[k], batch.cuRows[k + 1]).reduce((a, b) => a + b, 0)),
    );
  }
  return found;
}

/** By how much better answers have higher values than worse ones, over pairs of different ranks, 0 the best; NaN without any. */
export function meanMargin(values: readonly number[], ranks: ArrayLike<number>): number {
  let sum = 0;
  let pairs = 0;
  values.forEach((better, i) => {
    values.forEach((worse, k) => {
      if (ranks[i]! >= ranks[k]!) return;
      sum += better - worse;
      pairs++;
    });
  });
  return sum / pairs;
}
