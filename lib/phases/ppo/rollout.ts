/**
 * PPO's rollouts: episodes with everything an update needs, measured before the policy is updated.
 */

import type { Prompt } from '../../data/index.js';
import { packValues, type Tree } from '../../runtime/batch.js';
import type { ScalarModel } from '../../runtime/model.js';
import { type EpisodeOptions, type IterationPlace, requireFinite, sampleEpisodes } from '../episodes.js';
import type { RolloutMetrics } from '../metrics.js';
import { explainedVariance, gae, klRewards, moments, whiten } from './advantages.js';

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

export interface RolloutOptions extends EpisodeOptions {
  readonly value: ScalarModel;
  readonly gamma: number;
  readonly lambda: number;
  readonly valueClipRange: number;
}

/**
 * Samples and measures one iteration.
 *
 * @param picked indices of its prompts
 * @throws as {@link sampleEpisodes}
 */
export async function rollOut(
  o: RolloutOptions,
  prompts: readonly Prompt[],
  picked: readonly number[],
  place: IterationPlace,
): Promise<Rollout> {
  const { iteration, step, klCoef } = place;
  const { value, signal } = o;
  const sampled = await sampleEpisodes(o, prompts, picked, place);
  const { trees, episodes, oldLogprobs, refLogprobs, scores } = sampled;
  const { cuRows } = sampled.batch;
  const oldValues = await value.scores(packValues(trees), signal ? { signal } : {});
  requireFinite('value', oldValues, { cuRows, episodes, step });
  const rewards = klRewards({ logprobs: oldLogprobs, refLogprobs, scores, cuRows, klCoef });
  const { advantages, returns } = gae({ rewards, values: oldValues, cuRows, gamma: o.gamma, lambda: o.lambda });
  const spread = moments(returns);
  const returnsStd = Math.sqrt(spread.variance);
  return {
    iteration,
    prompts: sampled.prompts,
    trees,
    cuRows,
    oldLogprobs,
    oldValues,
    advantages: whiten(advantages),
    returns: Float32Array.from(returns),
    metrics: {
      ...sampled.metrics,
      explainedVariance: explainedVariance(oldValues, returns),
      returnsMean: spread.mean,
      returnsStd,
    },
    warnings: [
      ...sampled.warnings,
      ...(o.valueClipRange > 0 && returnsStd > 5 * o.valueClipRange
        ? [
            `the returns' standard deviation is more than 5 times valueClipRange, ${o.valueClipRange}: ` +
              'the value network can hardly follow; scale the reward (rewardScale) or raise valueClipRange',
          ]
        : []),
    ],
  };
}

/** A rollout as JSON, for a checkpoint in the middle of an iteration; arrays as base64, bit-identical. */
export function rolloutToJson(rollout: object): string {
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
export function rolloutFromJson<R = Rollout>(text: string): R {
  return JSON.parse(text, (_key, value: Record<string, unknown> | null) => {
    const f32 = value?.$f32;
    const i32 = value?.$i32;
    if (typeof f32 !== 'string' && typeof i32 !== 'string') return value;
    const bytes = new Uint8Array(Buffer.from((f32 ?? i32) as string, 'base64')).buffer; // a copy: aligned
    return typeof f32 === 'string' ? new Float32Array(bytes) : new Int32Array(bytes);
  }) as R;
}
