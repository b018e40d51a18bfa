/**
 * Selects a fine-tuning checkpoint as in the paper: by the reward model's scores of its responses to held-out prompts (Ouyang et al.
 * 2022, app. C.1). Validation loss overfits after an epoch, while these scores and human ratings still rise.
 */
import type { Prompt } from '../data/index.js';
import type { ScalarModel } from '../runtime/model.js';
import { keyedSeed } from './order.js';
import { cutOffScores, moments } from './ppo/advantages.js';
import { scoreTrees } from './reward.js';
import type { SupervisedOptions } from './supervised.js';

export interface SelectionOptions {
  readonly reward: ScalarModel;
  /** Held-out prompts; the same ones are used each time, with the same random numbers. */
  readonly prompts: readonly Prompt[];
  /** Maximum tokens per response; a long prompt leaves room for fewer. */
  readonly maxNewTokens: number;
  /** The ids that end a response. A response that is cut off scores at most -1, as in PPO. */
  readonly stopTokens: readonly number[];
  readonly seed?: number | undefined;
}

/**
 * The mean score of a model's responses, sampled at temperature 1: an `evaluate` function for {@link trainSft}.
 *
 * @throws RangeError if there are no prompts, or one leaves no room for a response
 */
export function meanReward(o: SelectionOptions): NonNullable<SupervisedOptions['evaluate']> {
  const { reward, prompts, maxNewTokens, stopTokens, seed = 0 } = o;
  if (prompts.length === 0) throw new RangeError('prompts is empty, expected at least one');
  return async (model, { signal }) => {
    const longest = Math.min(model.config.maxPositions, reward.config.maxPositions, model.engine.info.maxTokens);
    const requests = prompts.map((prompt, i) => {
      const room = longest - prompt.length;
      if (room < 1) {
        throw new RangeError(
          `prompt ${i} has ${prompt.length} tokens, expected less than ${longest}, to leave room for a response`,
        );
      }
      return { prompt, seed: keyedSeed(seed, 'selection', i), maxNewTokens: Math.min(maxNewTokens, room) };
    });
    const completions = await model.generate(requests, { maxNewTokens, temperature: 1, stopTokens, signal });
    const trees = completions.map(({ request, tokens }) => ({ prompt: prompts[request]!, responses: [tokens] }));
    const scores = (await scoreTrees(reward, trees, { signal })).map(([score]) => score!);
    const finished = completions.map((completion) => completion.finished);
    return moments(cutOffScores(scores, finished, 'min', 1)).mean;
  };
}
