/** How far policies differ: the KL divergence of each from another, estimated on its own samples. */

import { keyedSeed } from '../core/random.js';
import { Frame } from '../data/index.js';
import type { Tree } from '../runtime/batch.js';
import type { LanguageModel } from '../runtime/model.js';
import { clusteredMean, type Estimate } from '../statistics/index.js';
import type { Tokenizer } from '../tokenizer/tokenizer.js';
import { logprobsOf } from './trees.js';

/** Samples of one policy at temperature 1, with its own log-probabilities. */
export interface Sampled {
  readonly trees: readonly Tree[];
  /** (trees) (samples) Σ log-probability of the sample, nats. */
  readonly logprobs: readonly (readonly number[])[];
}

export interface SampleTreesOptions {
  readonly tokenizer: Tokenizer;
  readonly maxNewTokens: number;
  /** Samples per prompt. */
  readonly samples: number;
  readonly seed: number;
  readonly signal?: AbortSignal | undefined;
}

/** Samples responses as token ids; prompts that leave no room for an answer are left out. */
export async function sampleTrees(
  model: LanguageModel,
  prompts: readonly string[],
  o: SampleTreesOptions,
): Promise<Sampled> {
  const frame = new Frame(o.tokenizer);
  const encoded = await Promise.all(prompts.map((text) => frame.promptIds(text, { signal: o.signal })));
  const { maxPositions } = model.config;
  const requests = encoded.flatMap((prompt, p) =>
    prompt.length > 0 && prompt.length < maxPositions
      ? [
          {
            prompt,
            samples: o.samples,
            seed: keyedSeed(o.seed, 'divergence', p),
            maxNewTokens: Math.min(o.maxNewTokens, maxPositions - prompt.length),
          },
        ]
      : [],
  );
  const completions = await model.generate(requests, {
    maxNewTokens: o.maxNewTokens,
    temperature: 1,
    stopTokens: [o.tokenizer.endOfText],
    slots: 128,
    signal: o.signal,
  });
  const trees = requests.map(({ prompt }) => ({ prompt, responses: [] as Int32Array[] }));
  const logprobs = requests.map((): number[] => []);
  for (const one of completions) {
    trees[one.request]!.responses.push(one.tokens);
    logprobs[one.request]!.push(one.logprobs.reduce((sum, x) => sum + x, 0));
  }
  return { trees, logprobs };
}

/**
 * The mean over samples of log π(y) − log π'(y), nats per response: KL(π ‖ π'), unbiased and at least 0 but for the noise of sampling.
 * The interval is over prompts.
 */
export async function klFrom(sampled: Sampled, other: LanguageModel, signal?: AbortSignal): Promise<Estimate> {
  const differences: number[] = [];
  const prompts: number[] = [];
  (await logprobsOf(other, sampled.trees, signal)).forEach((theirs, t) => {
    theirs.forEach((logprob, k) => {
      differences.push(sampled.logprobs[t]![k]! - logprob);
      prompts.push(t);
    });
  });
  return clusteredMean(differences, [prompts]);
}
