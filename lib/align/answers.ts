/** Answers of models to the world's prompts, and measurements of them. */

import { keyedSeed } from '../phases/order.js';
import { scoreTrees } from '../phases/reward.js';
import { packResponses, type Tree } from '../runtime/batch.js';
import type { LanguageModel, ScalarModel } from '../runtime/model.js';
import type { Tokenizer } from '../tokenizer/tokenizer.js';
import { FEW_SHOT_STOP, fewShot, type Judgement, judge, type WorldPrompt } from '../world/index.js';

/** One answer to a prompt. */
export interface Answer {
  readonly text: string;
  /** As sampled, including the stop token if there was one. */
  readonly tokens: Int32Array;
  /** Σ log-probability of the tokens under the model that sampled them, nats. */
  readonly logprob: number;
  readonly finished: boolean;
  readonly judgement: Judgement;
}

export interface AskOptions {
  /** Sampling temperature; 0: greedy. */
  readonly temperature: number;
  /** Answers per prompt. Default 1. */
  readonly samples?: number;
  readonly maxNewTokens: number;
  readonly seed: number;
  /** Puts each prompt after examples, in the form of a page of the base's prose. */
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
      // Answers are one line; a base model continues with another line where a tuned one stops.
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

/** One tree per prompt, with its answers. */
async function treesOf(
  tokenizer: Tokenizer,
  prompts: readonly WorldPrompt[],
  answers: readonly (readonly Answer[])[],
): Promise<Tree[]> {
  const encoded = await tokenizer.encodeBatch(prompts.map(({ prompt }) => prompt));
  return encoded.map((prompt, i) => ({ prompt, responses: answers[i]!.map(({ tokens }) => tokens) }));
}

/** Mean over answers of log π(answer) - log π_ref(answer), nats: the KL divergence from the reference, estimated on the policy's own answers. */
export async function klFrom(
  reference: LanguageModel,
  tokenizer: Tokenizer,
  prompts: readonly WorldPrompt[],
  answers: readonly (readonly Answer[])[],
): Promise<number> {
  const trees = await treesOf(tokenizer, prompts, answers);
  const batch = packResponses(trees);
  const { logprobs } = await reference.logprobs(batch);
  // Summed per answer in the order that the policy's log-probabilities were: exactly 0 for a policy equal to the reference.
  const differences = answers.flat().map(({ logprob }, s) => {
    const ref = logprobs.subarray(batch.cuRows[s], batch.cuRows[s + 1]);
    return logprob - ref.reduce((sum, x) => sum + x, 0);
  });
  return differences.reduce((sum, x) => sum + x, 0) / differences.length;
}
