/** Answers of models to the world's prompts, and what can be measured of them. */

import { keyedSeed } from '../phases/order.js';
import { scoreTrees } from '../phases/reward.js';
import { packResponses, type Tree } from '../runtime/batch.js';
import type { LanguageModel, ScalarModel } from '../runtime/model.js';
import type { Tokenizer } from '../tokenizer/tokenizer.js';
import { FEW_SHOT_STOP, fewShot, type Judgement, judge, type WorldPrompt } from '../world/index.js';

/** One answer to a prompt. */
export interface Answer {
  readonly text: string;
  /** As drawn: the stop token, where there was one, last. */
  readonly tokens: Int32Array;
  /** Σ log-probability of the tokens under the model that drew them, nats. */
  readonly logprob: number;
  readonly finished: boolean;
  readonly judgement: Judgement;
}

export interface AskOptions {
  /** 0: greedy. */
  readonly temperature: number;
  /** Answers to each prompt. Default 1. */
  readonly samples?: number;
  readonly maxNewTokens: number;
  readonly seed: number;
  /** Asked as on a page of the base's prose, after examples. */
  readonly fewShot?: boolean;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: (done: number, total: number) => void;
}

/** (prompts, samples) judged answers. */
export async function ask(
  model: LanguageModel,
  tokenizer: Tokenizer,
  prompts: readonly WorldPrompt[],
  o: AskOptions,
): Promise<Answer[][]> {
  const newline = await tokenizer.encode(FEW_SHOT_STOP);
  const texts = prompts.map((prompt) => (o.fewShot === true ? fewShot(prompt) : prompt.prompt));
  const completions = await model.generate(
    (await tokenizer.encodeBatch(texts)).map((prompt, i) => ({
      prompt,
      samples: o.samples ?? 1,
      seed: keyedSeed(o.seed, 'ask', o.temperature, i),
    })),
    {
      maxNewTokens: o.maxNewTokens,
      temperature: o.temperature,
      // Answers are one line; a base model goes on with another where a tuned one ends.
      stopTokens: [tokenizer.endOfText, ...(newline.length === 1 ? newline : [])],
      slots: 128,
      signal: o.signal,
    },
  );
  const answers: Answer[][] = prompts.map(() => []);
  for (const { request, tokens, logprobs, finished } of completions) {
    const text = tokenizer.decode(tokens).split(FEW_SHOT_STOP)[0]!;
    const logprob = logprobs.reduce((sum, x) => sum + x, 0);
    answers[request]!.push({ text, tokens, logprob, finished, judgement: judge(prompts[request]!, text) });
  }
  return answers;
}

/** The reward model's score of each answer, (prompts, samples). */
export async function scoreAnswers(
  reward: ScalarModel,
  tokenizer: Tokenizer,
  prompts: readonly WorldPrompt[],
  answers: readonly (readonly Answer[])[],
): Promise<number[][]> {
  const trees = await treesOf(tokenizer, prompts, answers);
  return (await scoreTrees(reward, trees)).map((scores) => [...scores]);
}

/** A tree for each prompt, with its answers. */
async function treesOf(
  tokenizer: Tokenizer,
  prompts: readonly WorldPrompt[],
  answers: readonly (readonly Answer[])[],
): Promise<Tree[]> {
  const encoded = await tokenizer.encodeBatch(prompts.map(({ prompt }) => prompt));
  return encoded.map((prompt, i) => ({ prompt, responses: answers[i]!.map(({ tokens }) => tokens) }));
}

/** Mean over answers of log π(answer) - log π_ref(answer), nats: the KL spent, estimated on the policy's own answers. */
export async function klFrom(
  reference: LanguageModel,
  tokenizer: Tokenizer,
  prompts: readonly WorldPrompt[],
  answers: readonly (readonly Answer[])[],
): Promise<number> {
  const trees = await treesOf(tokenizer, prompts, answers);
  const batch = packResponses(trees);
  const { logprobs } = await reference.logprobs(batch);
  // Answer by answer, in the order their own were added: of a policy that is the reference exactly 0.
  const differences = answers.flat().map(({ logprob }, s) => {
    const ref = logprobs.subarray(batch.cuRows[s], batch.cuRows[s + 1]);
    return logprob - ref.reduce((sum, x) => sum + x, 0);
  });
  return differences.reduce((sum, x) => sum + x, 0) / differences.length;
}
