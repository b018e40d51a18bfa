/** Scores and log-probabilities of prompts with any number of responses: a tree is never larger than a pass of the engine. */
import { scoreTrees } from '../phases/reward.js';
import { packResponses, type Tree } from '../runtime/batch.js';
import type { LanguageModel, ScalarModel } from '../runtime/model.js';

/** The trees in parts of at most `maxTokens` tokens, in order, and which tree each part is of. A prompt is in each of its parts. */
export function partsOf(trees: readonly Tree[], maxTokens: number): { parts: Tree[]; of: number[] } {
  const parts: { prompt: Tree['prompt']; responses: ArrayLike<number>[] }[] = [];
  const of: number[] = [];
  trees.forEach(({ prompt, responses }, t) => {
    let room = 0;
    responses.forEach((response, k) => {
      if (k === 0 || response.length > room) {
        parts.push({ prompt, responses: [] });
        of.push(t);
        room = maxTokens - prompt.length;
      }
      parts.at(-1)!.responses.push(response);
      room -= response.length;
    });
  });
  return { parts, of };
}

/** (trees) (responses) A reward model's scores. */
export async function scoresOf(
  model: ScalarModel,
  trees: readonly Tree[],
  signal?: AbortSignal | undefined,
): Promise<number[][]> {
  const { parts, of } = partsOf(trees, model.engine.info.maxTokens);
  const scores = trees.map((): number[] => []);
  (await scoreTrees(model, parts, { signal })).forEach((some, p) => {
    scores[of[p]!]!.push(...some);
  });
  return scores;
}

/** (trees) (responses) Σ log-probability of each response's tokens, nats. */
export async function logprobsOf(
  model: LanguageModel,
  trees: readonly Tree[],
  signal?: AbortSignal | undefined,
): Promise<number[][]> {
  const { parts, of } = partsOf(trees, model.engine.info.maxTokens);
  const sums = trees.map((): number[] => []);
  const kAtOnce = 64; // parts between two chances to abort
  for (let begin = 0; begin < parts.length; begin += kAtOnce) {
    const some = parts.slice(begin, begin + kAtOnce);
    const batch = packResponses(some);
    const { logprobs } = await model.logprobs(batch, { signal });
    let response = 0;
    some.forEach(({ responses }, p) => {
      for (const _ of responses) {
        const slice = logprobs.subarray(batch.cuRows[response], batch.cuRows[response + 1]);
        sums[of[begin + p]!]!.push(slice.reduce((sum, x) => sum + x, 0));
        response++;
      }
    });
  }
  return sums;
}
