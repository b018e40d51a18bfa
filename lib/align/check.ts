/** Checks of a reward model: agreement with the labelers and the judge, and whether it uses the question and knows the answer. */
import type { RankedResponses } from '../data/index.js';
import { comparePairs, pairAccuracy } from '../phases/pairs.js';
import { scoreTrees } from '../phases/reward.js';
import type { Estimate, RewardModelCheck } from '../report/types.js';
import type { Tree } from '../runtime/batch.js';
import type { ScalarModel } from '../runtime/model.js';
import { wilson } from '../statistics/index.js';
import type { Tokenizer } from '../tokenizer/tokenizer.js';
import { heldOutPrompts, judge, prefer, Random, rank, type WorldPrompt, wrongAnswer } from '../world/index.js';

/** A held-out ranking with its prompt, and its answers as text. */
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
  // How far two labelers of the same answers agree: about the most that a model of one of them can reach.
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
    ...(await truthTests(reward, tokenizer, seed)),
  };
}

const toEstimate = ({ accuracy, low, high, pairs }: ReturnType<typeof pairAccuracy>): Estimate => ({
  value: accuracy,
  low,
  high,
  count: pairs,
});

/** The judge's ranks of a ranking's answers: rank = number of answers it prefers to this one. */
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
  const prompts = rankings.map(({ prompt }) => prompt);
  // A few rankings may all have the same right answer: then answers of other prompts are swapped in.
  const isVaried = prompts.some(({ truth }) => truth.answer !== prompts[0]!.truth.answer);
  const pool = isVaried ? prompts : heldOutPrompts({ seed: `swap/${seed}`, perFamily: 1 });
  const trees = prompts.map((prompt) => {
    let other = prompt;
    while (other.truth.answer === prompt.truth.answer) other = random.pick(pool);
    return answersOf(tokenizer, prompt, [prompt.truth.answer, other.truth.answer]);
  });
  return firstPreferred(await scoreTrees(reward, await Promise.all(trees)));
}

/** How often the right answer to a held-out prompt scores above a wrong one of the same form, and «does not say» above a made-up answer. */
async function truthTests(
  reward: ScalarModel,
  tokenizer: Tokenizer,
  seed: number,
): Promise<Pick<RewardModelCheck, 'knowledge' | 'notTold'>> {
  const random = new Random(`truth/${seed}`);
  const prompts = heldOutPrompts({ seed: `truth/${seed}`, perFamily: 60 });
  const preferred = async (kind: WorldPrompt['truth']['kind']) => {
    const trees = prompts
      .filter(({ truth, split }) => truth.kind === kind && split !== 'family')
      .map((prompt) => answersOf(tokenizer, prompt, [prompt.truth.answer, wrongAnswer(prompt, random)]));
    return firstPreferred(await scoreTrees(reward, await Promise.all(trees)));
  };
  return { knowledge: await preferred('answer'), notTold: await preferred('unknown') };
}

async function answersOf(tokenizer: Tokenizer, { prompt }: WorldPrompt, answers: readonly string[]): Promise<Tree> {
  const [ids, ...responses] = await tokenizer.encodeBatch([prompt, ...answers.map((text) => ` ${text}`)]);
  return { prompt: ids!, responses: responses.map((each) => Int32Array.of(...each, tokenizer.endOfText)) };
}

const firstPreferred = (scores: readonly Float32Array[]): Estimate =>
  wilson(scores.filter(([first, second]) => first! > second!).length, scores.length);
