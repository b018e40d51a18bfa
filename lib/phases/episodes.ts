/**
 * Episodes: responses sampled from a policy, with their log-probabilities under it and under the reference, and their scores. All online
 * objectives start from them.
 */
import { HeedError } from '../core/errors.js';
import type { Prompt } from '../data/index.js';
import { type PackedBatch, packResponses, type Tree } from '../runtime/batch.js';
import type { Completion } from '../runtime/generate.js';
import type { LanguageModel, ScalarModel } from '../runtime/model.js';
import { type EnvironmentOptions, type Played, playEpisodes } from './environment.js';
import { DivergenceError, type PhaseOptions, type PhaseProgress } from './loop.js';
import type { EpisodeMetrics } from './metrics.js';
import type { OptimizerOptions } from './optimizer.js';
import { keyedSeed } from './order.js';
import { type CutOffRule, cutOffScores, moments } from './ppo/advantages.js';
import { type KlEstimates, klEstimates } from './ppo/kl.js';
import { scoreTrees } from './reward.js';

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
 * the rule for cut-off responses applies to them as to a reward model's. A score of null skips the episode's prompt in this iteration,
 * which is counted.
 */
export type RewardFunction = (
  episodes: readonly Episode[],
  context: { readonly iteration: number; readonly signal: AbortSignal | undefined },
) => RewardScores | Promise<RewardScores>;

/** Scores with what else is to be in the metrics. */
export interface DetailedScores {
  readonly scores: ArrayLike<number | null>;
  readonly metrics: Readonly<Record<string, number>>;
  /** What went wrong, in a sentence each. */
  readonly warnings?: readonly string[];
}

export type RewardScores = ArrayLike<number | null> | DetailedScores;

export type EpisodesListener = (
  episodes: readonly Episode[],
  scores: ArrayLike<number>,
  iteration: number,
) => void | Promise<void>;

/** Options that all objectives on sampled responses share. */
export interface SampledOptions extends PhaseOptions, OptimizerOptions {
  /** Trained in place: the SFT model. */
  readonly policy: LanguageModel;
  /** The reference of the KL. Default: a copy of the initial `policy`. */
  readonly reference?: LanguageModel | undefined;
  /** Multiplies every score: {@link RewardResult.scale}. Default 1. */
  readonly rewardScale?: number | undefined;
  readonly prompts: readonly Prompt[];
  /** Text of a prompt for error messages. */
  readonly describe?: ((promptIndex: number) => string) | undefined;
  /** Passes over an iteration's responses. Default 1. */
  readonly innerEpochs?: number | undefined;
  /** Rounds of sampling and updates. Default 500. */
  readonly iterations?: number | undefined;
  /** Passes over the prompts; ignored when `iterations` is given. */
  readonly epochs?: number | undefined;
  /** Optimizer steps; overrides `iterations` and `epochs`. The last iteration may be cut short. */
  readonly steps?: number | undefined;
  /** false keeps the prompts' order. Default true. */
  readonly shuffle?: boolean | undefined;
  /** Maximum tokens per response. Default 128. */
  readonly maxNewTokens?: number | undefined;
  /** The ids that end a response. */
  readonly stopTokens: readonly number[];
  /** Sampling temperature, also used by the losses and the reference. Default 1. */
  readonly temperature?: number | undefined;
  /** Responses decoded in parallel. Default 64. */
  readonly slots?: number | undefined;
  /** How a cut-off response is scored. Default 'min': min(score, -cutOffPenalty). */
  readonly cutOff?: CutOffRule | undefined;
  /** Default 1. */
  readonly cutOffPenalty?: number | undefined;
  /** A KL per response beyond this is an error, nats. Default 100. */
  readonly maxKl?: number | undefined;
  /** Stops when an iteration's KL per response exceeds this, nats. Default: never. */
  readonly stopAtKl?: number | undefined;
  /** Called with every iteration's episodes and raw scores before its first update; iterations are counted from 0. */
  readonly onEpisodes?: EpisodesListener | undefined;
}

export interface EpisodeOptions {
  readonly policy: LanguageModel;
  readonly reference: LanguageModel;
  /** Not with an environment, which gives its own. */
  readonly reward?: ScalarModel | RewardFunction | undefined;
  /** What answers the model between its turns. */
  readonly environment?: EnvironmentOptions | undefined;
  readonly rewardScale: number;
  readonly cutOff: CutOffRule;
  readonly cutOffPenalty: number;
  readonly samplesPerPrompt: number;
  readonly maxNewTokens: number;
  readonly temperature: number;
  readonly stopTokens: readonly number[];
  readonly slots: number;
  readonly maxKl: number;
  readonly seed: number;
  readonly describe: ((promptIndex: number) => string) | undefined;
  readonly onEpisodes: EpisodesListener | undefined;
  readonly signal: AbortSignal | undefined;
  readonly onProgress: ((progress: PhaseProgress) => void) | undefined;
}

/** Episodes of one iteration, prompt by prompt and sample by sample. Rows are response tokens. */
export interface Episodes {
  /** Indices of the prompts. */
  readonly prompts: readonly number[];
  /** A tree per prompt, with its responses. */
  readonly trees: readonly Tree[];
  readonly batch: PackedBatch;
  readonly episodes: readonly Episode[];
  /** (R) log-probabilities from the sampler, nats. */
  readonly oldLogprobs: Float32Array;
  /** (R) under the reference, nats. */
  readonly refLogprobs: Float32Array;
  /** (R) 1 for the policy's own tokens, 0 for those of an environment. */
  readonly learnt: Float32Array;
  readonly kl: KlEstimates;
  /** (responses) scaled, and changed by the rule for cut-off responses. */
  readonly scores: Float64Array;
  readonly metrics: EpisodeMetrics;
  readonly warnings: readonly string[];
}

/** An iteration, and its first optimizer step, both counted from 0; the coefficient of the KL penalty. */
export interface IterationPlace {
  readonly iteration: number;
  readonly step: number;
  readonly klCoef: number;
}

/**
 * Samples and measures the episodes of one iteration.
 *
 * @param asked indices of its prompts
 * @throws HeedError that names the prompt when a score is not finite; DivergenceError when the KL exceeds `maxKl` or a value from the
 *   models is not finite
 */
export async function sampleEpisodes(
  o: EpisodeOptions,
  prompts: readonly Prompt[],
  asked: readonly number[],
  { iteration, step, klCoef }: IterationPlace,
): Promise<Episodes> {
  const { reference, temperature, samplesPerPrompt: k, signal } = o;
  const all = o.environment
    ? await playedGroups(o, o.environment, prompts, asked, iteration)
    : await sampledGroups(o, prompts, asked, iteration);
  const {
    scores: given,
    metrics: rewards,
    warnings = [],
  }: Awaited<ReturnType<typeof scoresOf>> = o.environment
    ? { scores: all.flatMap(({ responses }) => responses.map(({ reward }) => reward!)) }
    : await scoresOf(o, all, iteration);
  const kept = all.filter((_, i) => given.slice(i * k, (i + 1) * k).every((score) => score !== null));
  const skipped = all.length - kept.length;
  if (kept.length === 0)
    throw new HeedError(
      'ERR_INVALID_ARGUMENT',
      `the reward was null for every prompt of iteration ${iteration + 1}: there is nothing to learn from`,
    );
  const raw = Float64Array.from(
    given.filter((_, s) => kept.includes(all[Math.floor(s / k)]!)),
    (score) => score!,
  );
  const episodes = kept.flatMap((each) => each.episodes);
  await o.onEpisodes?.(episodes, raw, iteration);

  const trees = kept.map(({ tree }) => tree);
  const batch = packResponses(trees);
  const { cuRows } = batch;
  const oldLogprobs = new Float32Array(batch.rows.length);
  const learnt = new Float32Array(batch.rows.length).fill(1);
  kept
    .flatMap(({ responses }) => responses)
    .forEach((response, s) => {
      oldLogprobs.set(response.logprobs, cuRows[s]);
      if (response.learnt) learnt.set(response.learnt, cuRows[s]);
    });
  const { logprobs: refLogprobs } = await reference.logprobs(batch, { temperature, ...(signal ? { signal } : {}) });
  // What the environment wrote is no choice of the policy.
  for (const [r, own] of learnt.entries()) if (own === 0) refLogprobs[r] = 0;
  requireFinite('log-probability under the policy', oldLogprobs, { cuRows, episodes, step });
  requireFinite('log-probability under the reference', refLogprobs, { cuRows, episodes, step });
  const kl = klEstimates(oldLogprobs, refLogprobs, cuRows);
  const klMean = moments(kl.k1).mean;
  if (!(Math.abs(klMean) <= o.maxKl)) {
    throw new DivergenceError(
      step + 1,
      `the KL from the reference is ${klMean} nats per response, expected at most ${o.maxKl}: ` +
        'lower the learning rate or raise the KL coefficient',
    );
  }
  const finished = episodes.map((episode) => episode.finished);
  const scaled = raw.map((x) => x * o.rewardScale);
  const scores = cutOffScores(scaled, finished, o.cutOff, o.cutOffPenalty);
  const { mean: score, variance } = moments(scores);
  return {
    prompts: kept.map(({ promptIndex }) => promptIndex),
    trees,
    batch,
    episodes,
    oldLogprobs,
    refLogprobs,
    learnt,
    kl,
    scores,
    warnings: skipped > 0 && warnings.length === 0 ? [kSkipped] : warnings,
    metrics: {
      iteration: iteration + 1,
      episodes: episodes.length,
      ...(skipped > 0 ? { skipped } : {}),
      ...(rewards ? { rewards } : {}),
      reward: score - klCoef * klMean,
      score,
      scoreStd: Math.sqrt(variance),
      rawScore: moments(raw).mean,
      kl: klMean,
      klK2: moments(kl.k2).mean,
      klK3: moments(kl.k3).mean,
      klCoef,
      length: learnt.reduce((sum, own) => sum + own, 0) / episodes.length,
      ...(o.environment
        ? { turns: moments(kept.flatMap(({ responses }) => responses.map(({ turns = 1 }) => turns))).mean }
        : {}),
      finished: finished.filter(Boolean).length / episodes.length,
    },
  };
}

/** A response with its log-probabilities; of an environment, an episode after its prompt. */
type Sampled = Pick<Completion, 'tokens' | 'logprobs' | 'finished'> &
  Partial<Pick<Played, 'learnt' | 'turns' | 'reward'>>;

/** A prompt with its responses. */
interface Group {
  readonly promptIndex: number;
  readonly tree: Tree;
  readonly responses: readonly Sampled[];
  readonly episodes: readonly Episode[];
}

function group(promptIndex: number, prompt: Prompt, responses: readonly Sampled[]): Group {
  const episodes = responses.map(({ tokens, finished }) => ({ promptIndex, prompt, response: tokens, finished }));
  return { promptIndex, tree: { prompt, responses: responses.map(({ tokens }) => tokens) }, responses, episodes };
}

async function sampledGroups(
  o: EpisodeOptions,
  prompts: readonly Prompt[],
  asked: readonly number[],
  iteration: number,
): Promise<Group[]> {
  const { samplesPerPrompt: k, signal } = o;
  const sampled = await o.policy.generate(
    asked.map((p, i) => ({ prompt: prompts[p]!, samples: k, seed: keyedSeed(o.seed, 'rollout', iteration, i) })),
    {
      maxNewTokens: o.maxNewTokens,
      temperature: o.temperature,
      stopTokens: o.stopTokens,
      slots: o.slots,
      ...(signal ? { signal } : {}),
      onProgress: ({ done, total }) => o.onProgress?.({ doing: 'rollout', done, total }),
    },
  );
  return asked.map((p, i) => group(p, prompts[p]!, sampled.slice(i * k, (i + 1) * k)));
}

async function playedGroups(
  o: EpisodeOptions,
  environment: EnvironmentOptions,
  prompts: readonly Prompt[],
  asked: readonly number[],
  iteration: number,
): Promise<Group[]> {
  const onTurn = (done: number, total: number) => o.onProgress?.({ doing: 'rollout', done, total });
  const played = await playEpisodes(environment, o, prompts, asked, iteration, onTurn);
  const k = o.samplesPerPrompt;
  return asked.map((p, i) => group(p, prompts[p]!, played.slice(i * k, (i + 1) * k)));
}

/** The score of each response; null where its prompt is to be skipped. */
async function scoresOf(
  { reward, describe, signal, onProgress }: EpisodeOptions,
  groups: readonly Group[],
  iteration: number,
): Promise<Partial<DetailedScores> & { readonly scores: readonly (number | null)[] }> {
  const episodes = groups.flatMap((each) => each.episodes);
  const trees = groups.map(({ tree }) => tree);
  const returned =
    typeof reward === 'function'
      ? await reward(episodes, { iteration, signal })
      : (await scoreTrees(reward!, trees, { signal, onProgress })).flatMap((scores) => [...scores]);
  const isDetailed = (found: RewardScores): found is DetailedScores => 'scores' in Object(found);
  const detailed = isDetailed(returned) ? returned : { scores: returned };
  const given = detailed.scores;
  if (given?.length !== episodes.length) {
    throw new HeedError(
      'ERR_INVALID_ARGUMENT',
      `the reward function returned ${given?.length ?? 'no'} scores for ${episodes.length} episodes, expected one each`,
    );
  }
  const scores = episodes.map(({ promptIndex, response }, i) => {
    const value: unknown = given[i];
    if (value === null || (typeof value === 'number' && Number.isFinite(value))) return value;
    const text = describe ? ` (${JSON.stringify(describe(promptIndex))})` : '';
    throw new HeedError(
      'ERR_INVALID_ARGUMENT',
      `the reward of a response of ${response.length} tokens to prompt ${promptIndex}${text} is ${String(value)}, ` +
        `expected a finite number (iteration ${iteration + 1})`,
    );
  });
  return { ...detailed, scores };
}

/** @throws DivergenceError that names the token and the prompt */
export function requireFinite(
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

const kSkipped = 'prompts were skipped because their reward was null (metric skipped)';
