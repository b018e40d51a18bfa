/** Whether a reward model can be trusted: agreement with the labelers, with the judge, and the swap test. */
import type { RankedResponses } from '../data.js';
import type { ScalarModel } from '../model.js';
import { comparePairs, pairAccuracy } from '../phases/pairs.js';
import { scoreTrees } from '../phases/reward.js';
import { wilson } from '../report/statistics.js';
import type { Estimate, RewardModelCheck } from '../report/types.js';
import type { Tokenizer } from '../tokenizer.js';
import { judge, prefer, Random, rank, type WorldPrompt } from '../world/index.js';

/** A held-out ranking with the prompt it is of, and its answers as text. */
export interface HeldOutRanking {
  readonly prompt: WorldPrompt;
  readonly responses: readonly string[];
  readonly tokens: RankedResponses;
}

export async function checkReward(
  reward: ScalarModel,
  tokenizer: Tokenizer,
  rankings: readonly HeldOutRanking[],
  seed: number,
): Promise<RewardModelCheck> {
  const scores = await scoreTrees(
    reward,
    rankings.map(({ tokens }) => tokens),
  );
  const labelers = pairAccuracy(rankings.map(({ tokens }, i) => comparePairs(scores[i]!, tokens.ranks)));
  const judged = pairAccuracy(rankings.map((ranking, i) => comparePairs(scores[i]!, judgeRanks(ranking))));
  // Two people ranking the same answers: what can be expected of a model of one of them.
  const random = new Random(`agreement/${seed}`);
  const second = pairAccuracy(
    rankings.map(({ prompt, responses, tokens }) =>
      comparePairs(
        Float32Array.from(rank(prompt, responses, random), (r) => -r),
        tokens.ranks,
      ),
    ),
  );
  return {
    labelers: toEstimate(labelers),
    judge: toEstimate(judged),
    labelerAgreement: toEstimate(second),
    swap: await swapTest(reward, tokenizer, rankings, seed),
  };
}

const toEstimate = ({ accuracy, low, high, pairs }: ReturnType<typeof pairAccuracy>): Estimate => ({
  value: accuracy,
  low,
  high,
  count: pairs,
});

/** The judge's order of a ranking's answers: rank = how many answers it prefers to this one. */
function judgeRanks({ prompt, responses }: HeldOutRanking): Int32Array {
  const judgements = responses.map((response) => judge(prompt, response));
  return Int32Array.from(judgements, (a) => judgements.filter((b) => prefer(b, a).overall === 'win').length);
}

/** How often a prompt's own right answer scores above the right answer to another prompt. */
async function swapTest(
  reward: ScalarModel,
  tokenizer: Tokenizer,
  rankings: readonly HeldOutRanking[],
  seed: number,
): Promise<Estimate> {
  const random = new Random(`swap/${seed}`);
  const right = ({ truth }: WorldPrompt) => ` ${truth.answer}`;
  const trees = rankings.map(({ prompt }) => {
    let other = prompt;
    while (other.truth.answer === prompt.truth.answer) other = random.pick(rankings).prompt;
    return {
      prompt: tokenizer.encode(prompt.prompt),
      responses: [right(prompt), right(other)].map((text) =>
        Int32Array.of(...tokenizer.encode(text), tokenizer.endOfText),
      ),
    };
  });
  const scores = await scoreTrees(reward, trees);
  return wilson(scores.filter(([own, others]) => own! > others!).length, scores.length);
}
