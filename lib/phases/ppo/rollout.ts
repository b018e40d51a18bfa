/**
 * PPO's rollouts: responses sampled from the policy, with everything an update needs, measured before the policy is updated.
 */

import { HeedError } from '../../core/errors.js';
import type { Prompt } from '../../data/index.js';
import { packResponses, packValues, type Tree } from '../../runtime/batch.js';
import type { LanguageModel, ScalarModel } from '../../runtime/model.js';
import { DivergenceError, type PhaseProgress } from '../loop.js';
import type { RolloutMetrics } from '../metrics.js';
import { keyedSeed } from '../order.js';
import { scoreTrees } from '../reward.js';
import { type CutOffRule, cutOffScores, explainedVariance, gae, klRewards, moments, whiten } from './advantages.js';
import { klEstimates } from './kl.js';

/** One response to a prompt, as passed to a reward function. */
export interface Episode {
  /** Index into PPO's prompts. */
  readonly promptIndex: number;
  readonly prompt: Int32Array;
  /** The sampled ids, including the stop token. */
  readonly response: Int32Array;
  /** false if it was cut off at `maxNewTokens`. */
  readonly finished: boolean;
}

/**
 * A user-defined reward: returns one score per episode, in order, synchronously or as a promise. Scores should be of the order of 1;
 * the rule for cut-off responses applies to them as to a reward model's.
 */
export type RewardFunction = (
  episodes: readonly Episode[],
  context: { readonly iteration: number; readonly signal: AbortSignal | undefined },
) => ArrayLike<number> | Promise<ArrayLike<number>>;

export type EpisodesListener = (
  episodes: readonly Episode[],
  scores: ArrayLike<number>,
  iteration: number,
) => void | Promise<void>;

/** The episodes of one iteration. Rows are response tokens, prompt by prompt and sample by sample. */
export interface Rollout {
  /** Counted from 0. */
  readonly iteration: number;
  /** Indices of the prompts. */
  readonly prompts: readonly number[];
  /** A tree per prompt, with its responses. */
  readonly trees: readonly Tree[];
  /** (responses + 1) */
  readonly cuRows: Int32Array;
  /** (R) log-probabilities from the sampler, nats. */
  readonly oldLogprobs: Float32Array;
  /** (R) values before the update. */
  readonly oldValues: Float32Array;
  /** (R) whitened over the iteration. */
  readonly advantages: Float32Array;
  /** (R) */
  readonly returns: Float32Array;
  readonly metrics: RolloutMetrics;
  readonly warnings: readonly string[];
}

export interface RolloutOptions {
  readonly policy: LanguageModel;
  readonly reference: LanguageModel;
  readonly value: ScalarModel;
  readonly reward: ScalarModel | RewardFunction;
  readonly rewardScale: number;
  readonly cutOff: CutOffRule;
  readonly cutOffPenalty: number;
  readonly samplesPerPrompt: number;
  readonly maxNewTokens: number;
  readonly temperature: number;
  readonly stopTokens: readonly number[];
  readonly slots: number;
  readonly gamma: number;
  readonly lambda: number;
  readonly maxKl: number;
  readonly valueClipRange: number;
  readonly seed: number;
  readonly describe: ((promptIndex: number) => string) | undefined;
  readonly onEpisodes: EpisodesListener | undefined;
  readonly signal: AbortSignal | undefined;
  readonly onProgress: ((progress: PhaseProgress) => void) | undefined;
}

/**
 * Samples and measures one iteration.
 *
 * @param picked indices of its prompts
 * @param at the iteration and its first optimizer step, counted from 0, and the coefficient of its KL penalty
 * @throws HeedError that names the prompt when a score is not finite; DivergenceError when the KL exceeds `maxKl` or a value from
 *   the models is not finite
 */
export async function rollOut(
  o: RolloutOptions,
  prompts: readonly Prompt[],
  picked: readonly number[],
  at: { readonly iteration: number; readonly step: number; readonly klCoef: number },
): Promise<Rollout> {
  const { iteration, step, klCoef } = at;
  const { policy, reference, value, temperature, signal } = o;
  const completions = await policy.generate(
    picked.map((p, i) => ({
      prompt: prompts[p]!,
      samples: o.samplesPerPrompt,
      seed: keyedSeed(o.seed, 'rollout', iteration, i),
    })),
    {
      maxNewTokens: o.maxNewTokens,
      temperature,
      stopTokens: o.stopTokens,
      slots: o.slots,
      ...(signal ? { signal } : {}),
      onProgress: ({ done, total }) => o.onProgress?.({ doing: 'rollout', done, total }),
    },
  );
  const episodes = completions.map(
    ({ request, tokens, finished }): Episode => ({
      promptIndex: picked[request]!,
      prompt: prompts[picked[request]!]!,
      response: tokens,
      finished,
    }),
  );
  const trees = picked.map((p, i): Tree => {
    const k = o.samplesPerPrompt;
    return { prompt: prompts[p]!, responses: completions.slice(i * k, (i + 1) * k).map(({ tokens }) => tokens) };
  });
  const batch = packResponses(trees);
  const { cuRows } = batch;
  const oldLogprobs = new Float32Array(batch.rows.length);
  completions.forEach(({ logprobs }, s) => {
    oldLogprobs.set(logprobs, cuRows[s]);
  });
  const { logprobs: refLogprobs } = await reference.logprobs(batch, { temperature, ...(signal ? { signal } : {}) });
  const oldValues = await value.scores(packValues(trees), signal ? { signal } : {});
  const raw = await score(o, episodes, trees, iteration);
  await o.onEpisodes?.(episodes, raw, iteration);

  const scaled = Float64Array.from(raw, (x) => x * o.rewardScale);
  const finished = episodes.map((episode) => episode.finished);
  const scores = cutOffScores(scaled, finished, o.cutOff, o.cutOffPenalty);
  const context = { cuRows, episodes, step };
  requireFinite('log-probability under the policy', oldLogprobs, context);
  requireFinite('log-probability under the reference', refLogprobs, context);
  requireFinite('value', oldValues, context);
  const kl = klEstimates(oldLogprobs, refLogprobs, cuRows);
  const klMean = moments(kl.k1).mean;
  if (!(Math.abs(klMean) <= o.maxKl)) {
    throw new DivergenceError(
      step + 1,
      `the KL from the reference is ${klMean} nats per response, expected at most ${o.maxKl}: ` +
        'lower the learning rate or raise the KL coefficient',
    );
  }
  const rewards = klRewards({ logprobs: oldLogprobs, refLogprobs, scores, cuRows, klCoef });
  const { advantages, returns } = gae({ rewards, values: oldValues, cuRows, gamma: o.gamma, lambda: o.lambda });
  const { mean: scoreMean, variance } = moments(scores);
  const spread = moments(returns);
  const returnsStd = Math.sqrt(spread.variance);
  return {
    iteration,
    prompts: picked,
    trees,
    cuRows,
    oldLogprobs,
    oldValues,
    advantages: whiten(advantages),
    returns: Float32Array.from(returns),
    metrics: {
      iteration: iteration + 1,
      episodes: episodes.length,
      reward: scoreMean - klCoef * klMean,
      score: scoreMean,
      scoreStd: Math.sqrt(variance),
      rawScore: moments(raw).mean,
      kl: klMean,
      klK2: moments(kl.k2).mean,
      klK3: moments(kl.k3).mean,
      klCoef,
      length: oldLogprobs.length / episodes.length,
      finished: finished.filter(Boolean).length / episodes.length,
      explainedVariance: explainedVariance(oldValues, returns),
      returnsMean: spread.mean,
      returnsStd,
    },
    warnings:
      o.valueClipRange > 0 && returnsStd > 5 * o.valueClipRange
        ? [
            `the returns' standard deviation is more than 5 times valueClipRange, ${o.valueClipRange}: ` +
              'the value network can hardly follow; scale the reward (rewardScale) or raise valueClipRange',
          ]
        : [],
  };
}

async function score(
  { reward, describe, signal, onProgress }: RolloutOptions,
  episodes: readonly Episode[],
  trees: readonly Tree[],
  iteration: number,
): Promise<Float64Array> {
  const given =
    typeof reward === 'function'
      ? await reward(episodes, { iteration, signal })
      : (await scoreTrees(reward, trees, { signal, onProgress })).flatMap((scores) => [...scores]);
  if (given?.length !== episodes.length) {
    throw new HeedError(
      'ERR_INVALID_ARGUMENT',
      `the reward function returned ${given?.length ?? 'no'} scores for ${episodes.length} episodes, expected one each`,
    );
  }
  return Float64Array.from(episodes, ({ promptIndex, response }, i) => {
    const value: unknown = given[i];
    if (typeof value === 'number' && Number.isFinite(value)) return value;
    const text = describe ? ` (${JSON.stringify(describe(promptIndex))})` : '';
    throw new HeedError(
      'ERR_INVALID_ARGUMENT',
      `the reward of a response of ${response.length} tokens to prompt ${promptIndex}${text} is ${String(value)}, ` +
        `expected a finite number (iteration ${iteration + 1})`,
    );
  });
}

function requireFinite(
  name: string,
  x: ArrayLike<number>,
  { cuRows, episodes, step }: { cuRows: Int32Array; episodes: readonly Episode[]; step: number },
): void {
  for (let s = 0; s < episodes.length; s++) {
    for (let r = cuRows[s]!; r < cuRows[s + 1]!; r++) {
      if (Number.isFinite(x[r])) continue;
      throw new DivergenceError(
        step + 1,
        `the ${name} of token ${r - cuRows[s]!} of a response to prompt ${episodes[s]!.promptIndex} is ${x[r]}`,
      );
    }
  }
}

/** A rollout as JSON, for a checkpoint in the middle of an iteration; arrays as base64, bit-identical. */
export function rolloutToJson(rollout: Rollout): string {
  return JSON.stringify(rollout, (_key, value: unknown) => {
    if (!ArrayBuffer.isView(value)) return value;
    const bytes = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
    // By name: instanceof fails for another realm's arrays.
    return {
      [Object.prototype.toString.call(value) === '[object Float32Array]' ? '$f32' : '$i32']: bytes.toString('base64'),
    };
  });
}

/** The inverse of {@link rolloutToJson}. */
export function rolloutFromJson(text: string): Rollout {
  return JSON.parse(text, (_key, value: Record<string, unknown> | null) => {
    const f32 = value?.$f32;
    const i32 = value?.$i32;
    if (typeof f32 !== 'string' && typeof i32 !== 'string') return value;
    const bytes = new Uint8Array(Buffer.from((f32 ?? i32) as string, 'base64')).buffer; // a copy: aligned
    return typeof f32 === 'string' ? new Float32Array(bytes) : new Int32Array(bytes);
  }) as Rollout;
}
