/**
 * The loop of objectives on sampled responses that have no value network: a group of responses to each prompt is its own baseline.
 */
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Random } from '../core/random.js';
import { packResponses, type Tree } from '../runtime/batch.js';
import type { ScalarModel } from '../runtime/model.js';
import type { EnvironmentOptions } from './environment.js';
import { type EpisodeOptions, type RewardFunction, type SampledOptions, sampleEpisodes } from './episodes.js';
import { DivergenceError, digest, type PhaseSteps, runSteps, takeStep } from './loop.js';
import type { EpisodeMetrics, OnlineMetrics, StepMetrics } from './metrics.js';
import { learningRates, type ResolvedOptimizer, trainerOptions } from './optimizer.js';
import { minibatchOf, promptsOf } from './order.js';
import { takeRows } from './ppo/advantages.js';
import { answersOf } from './ppo/index.js';
import { checkPrompts } from './ppo/options.js';
import { rolloutFromJson, rolloutToJson } from './ppo/rollout.js';

/** Options that these objectives share. */
export interface OnlineOptions extends SampledOptions {
  /** A reward model or a user-defined function; with an environment none, since that gives the rewards. */
  readonly reward?: ScalarModel | RewardFunction | undefined;
  /**
   * What answers the policy between its turns, such as tools. `maxNewTokens` is then that of an episode after its prompt, of all turns and
   * of what the environment says, which is not learnt.
   */
  readonly environment?: EnvironmentOptions | undefined;
  /** Prompts per iteration. Default 64. */
  readonly batchSize?: number | undefined;
  /** Optimizer steps per pass over an iteration's responses, at most one per prompt. Default 1. */
  readonly minibatches?: number | undefined;
}

export interface OnlineResult {
  readonly steps: number;
  /** Whether `stopAtKl` ended the run. */
  readonly stopped: boolean;
}

/** A minibatch as a loss sees it. Rows are response tokens. */
export interface OnlineBatch {
  /** (R) under the policy now, the sampling policy and the reference, nats. */
  readonly logprobs: Float32Array;
  readonly oldLogprobs: Float32Array;
  readonly refLogprobs: Float32Array;
  /** (R) 1 for the policy's own tokens, 0 for those of an environment. */
  readonly learnt: Float32Array;
  /** (responses + 1) where each response's rows start. */
  readonly cuRows: Int32Array;
  /** (responses) */
  readonly advantages: readonly number[];
}

export interface OnlineLoss {
  readonly loss: number;
  /** (R) d loss / d logprob. */
  readonly gradient: Float64Array;
  /** Rows, or responses, whose ratio was clipped, of `count`. */
  readonly clipped: number;
  readonly count: number;
}

export interface OnlineObjective {
  readonly name: string;
  /** @param scores of each prompt's responses; kl: Σ k1 of each response, nats */
  advantages(scores: readonly (readonly number[])[], kl: readonly (readonly number[])[]): number[][];
  loss(batch: OnlineBatch): OnlineLoss;
}

/** What {@link trainOnline} needs of the options, defaults filled in. */
export interface ResolvedOnlineOptions
  extends Omit<
    EpisodeOptions,
    'policy' | 'reference' | 'reward' | 'stopTokens' | 'describe' | 'onEpisodes' | 'signal' | 'onProgress'
  > {
  readonly batchSize: number;
  readonly minibatches: number;
  readonly innerEpochs: number;
  readonly shuffle: boolean;
  readonly gradientCheckpointing: boolean;
  readonly klCoef: number;
  readonly stopAtKl: number | undefined;
}

export interface OnlinePlan {
  readonly objective: OnlineObjective;
  readonly resolved: ResolvedOnlineOptions;
  readonly stepsPerIteration: number;
  readonly totalSteps: number;
  readonly optimizer: ResolvedOptimizer;
  /** See RunState.options. */
  readonly options: Readonly<Record<string, unknown>>;
}

/** The steps of an online objective. @throws RangeError for options that do not fit together */
export function planSteps(
  o: Pick<OnlineOptions, 'stopTokens' | 'prompts'>,
  given: Pick<ResolvedOnlineOptions, 'minibatches' | 'batchSize' | 'innerEpochs' | 'samplesPerPrompt'> & {
    readonly iterations: number | undefined;
    readonly epochs: number | undefined;
    readonly steps: number | undefined;
  },
): { minibatches: number; stepsPerIteration: number; totalSteps: number } {
  if (o.stopTokens.length === 0) throw new RangeError('stopTokens is empty, expected the id of end-of-text');
  if (given.samplesPerPrompt < 2)
    throw new RangeError(
      `samplesPerPrompt is ${given.samplesPerPrompt}, expected at least 2: a group is its own baseline`,
    );
  const minibatches = Math.min(given.minibatches, given.batchSize);
  const stepsPerIteration = minibatches * given.innerEpochs;
  const passes = given.epochs === undefined ? 500 : Math.ceil((given.epochs * o.prompts.length) / given.batchSize);
  return {
    minibatches,
    stepsPerIteration,
    totalSteps: given.steps ?? (given.iterations ?? passes) * stepsPerIteration,
  };
}

/** The responses of one iteration. */
interface Sampled {
  readonly iteration: number;
  readonly prompts: readonly number[];
  readonly trees: readonly Tree[];
  readonly cuRows: Int32Array;
  readonly oldLogprobs: Float32Array;
  readonly refLogprobs: Float32Array;
  readonly learnt: Float32Array;
  readonly advantages: readonly (readonly number[])[];
  readonly metrics: EpisodeMetrics & Pick<OnlineMetrics, 'tiedGroups'>;
  readonly warnings: readonly string[];
}

export async function* trainOnline(
  plan: OnlinePlan,
  o: OnlineOptions,
): AsyncGenerator<OnlineMetrics & StepMetrics, OnlineResult, void> {
  const { policy, reward, prompts, run, signal } = o;
  const { objective, resolved, stepsPerIteration, totalSteps, optimizer } = plan;
  const { engine } = policy;
  const { maxTokens } = engine.info; // determines the passes, and thus rounding
  const { minibatches, temperature, seed, samplesPerPrompt: k } = resolved;
  if ((o.reward === undefined) === (o.environment === undefined))
    throw new RangeError('expected a reward or an environment, and not both');
  if (o.reference === policy) throw new RangeError('reference is the policy itself, expected a copy: policy.clone()');
  checkPrompts(o, resolved);
  const order = promptsOf({
    count: prompts.length,
    batchSize: resolved.batchSize,
    seed,
    shuffle: resolved.shuffle,
    stream: 'prompts',
  });
  const rate = learningRates(optimizer, totalSteps);
  const reference = o.reference ?? (await policy.clone());
  const trainer = await policy.trainer(trainerOptions(optimizer, resolved));
  let sampled: Sampled | undefined;
  let stopped = false;

  const sample = async (iteration: number, step: number): Promise<Sampled> => {
    const { onEpisodes, onProgress, stopTokens, describe, environment } = o;
    const given = { policy, reference, reward, environment, stopTokens, describe, onEpisodes, onProgress, signal };
    const options = { ...resolved, ...given };
    const place = { iteration, step, klCoef: resolved.klCoef };
    const found = await sampleEpisodes(options, prompts, order.at(iteration), place);
    const grouped = (x: ArrayLike<number>) =>
      found.trees.map((_, p) => Array.from({ length: k }, (_, i) => x[p * k + i]!));
    const scores = grouped(found.scores);
    const tied = scores.filter((group) => group.every((score) => score === group[0])).length;
    return {
      iteration,
      prompts: found.prompts,
      trees: found.trees,
      cuRows: found.batch.cuRows,
      oldLogprobs: found.oldLogprobs,
      refLogprobs: found.refLogprobs,
      learnt: found.learnt,
      advantages: objective.advantages(scores, grouped(found.kl.k1)),
      metrics: { ...found.metrics, tiedGroups: tied / scores.length },
      warnings: found.warnings,
    };
  };

  const phase: PhaseSteps<OnlineMetrics> = {
    name: objective.name,
    total: totalSteps,
    options: { ...plan.options, optimizer, totalSteps, stopTokens: o.stopTokens, maxTokens },
    data: await digest(signal, prompts),
    models: await answersOf(reference, reward, prompts[0]!, signal),
    engine,

    async update(step) {
      const iteration = Math.floor(step / stepsPerIteration);
      const update = step % stepsPerIteration;
      if (sampled?.iteration !== iteration) {
        sampled = await sample(iteration, step);
        stopped = resolved.stopAtKl !== undefined && sampled.metrics.kl > resolved.stopAtKl;
        if (stopped) return undefined;
      }
      const { metrics, warnings } = sampled;
      // Whole prompts, reshuffled for each pass.
      const pass = Math.floor(update / minibatches);
      const shuffled = new Random(`${seed}/minibatches/${iteration}/${pass}`).shuffle([...sampled.trees.keys()]);
      const picked = minibatchOf(shuffled, minibatches, update % minibatches);
      const responses = picked.flatMap((p) => Array.from({ length: k }, (_, i) => p * k + i));
      const oldLogprobs = takeRows(sampled.oldLogprobs, sampled.cuRows, responses);
      const refLogprobs = takeRows(sampled.refLogprobs, sampled.cuRows, responses);
      const learnt = takeRows(sampled.learnt, sampled.cuRows, responses);
      const advantages = picked.flatMap((p) => sampled!.advantages[p]!);
      const batch = packResponses(picked.map((p) => sampled!.trees[p]!));
      const found = await trainer.policyGradient(
        batch,
        (logprobs) => {
          const loss = objective.loss({ logprobs, oldLogprobs, refLogprobs, learnt, advantages, cuRows: batch.cuRows });
          if (!Number.isFinite(loss.loss)) throw new DivergenceError(step + 1, `the loss is ${loss.loss}`);
          return loss;
        },
        { temperature, signal },
      );
      const learningRate = rate(step);
      const { gradNorm } = await takeStep(trainer, step, { learningRate, maxGradNorm: optimizer.maxGradNorm });
      return {
        ...metrics,
        loss: found.loss,
        entropy: found.entropy / batch.rows.length,
        ...ratiosOf(found.logprobs, oldLogprobs, learnt),
        clipFraction: found.clipped / found.count,
        gradNorm,
        learningRate,
        tokens: learnt.reduce((sum, own) => sum + own, 0),
        ...(update === 0 && warnings.length > 0 ? { warnings } : {}),
      };
    },

    async save(dir) {
      await policy.save(join(dir, 'policy'));
      await trainer.saveState(join(dir, 'policy.optimizer.safetensors'));
      const unfinished = trainer.steps % stepsPerIteration !== 0;
      if (sampled && unfinished) await writeFile(join(dir, 'rollout.json'), rolloutToJson(sampled), { flush: true });
    },

    async restore({ dir, step }) {
      await policy.restore(join(dir, 'policy'));
      await trainer.loadState(join(dir, 'policy.optimizer.safetensors'));
      const file = join(dir, 'rollout.json'); // none where an iteration had other steps when it was saved
      const unfinished = step % stepsPerIteration !== 0;
      if (unfinished && existsSync(file)) sampled = rolloutFromJson<Sampled>(await readFile(file, 'utf8'));
    },

    progress: () => ({}),
  };

  try {
    let steps = 0;
    for await (const metrics of runSteps(phase, o)) {
      steps = metrics.step;
      yield metrics;
    }
    const result = { steps: steps || trainer.steps, stopped };
    if (run) {
      const tokenizer = run.tokenizerFrom === undefined ? {} : { tokenizerFrom: run.tokenizerFrom };
      await policy.save(join(run.dir, 'model'), tokenizer);
      await run.writeJson('result.json', result);
    }
    return result;
  } finally {
    await trainer.dispose();
    if (reference !== o.reference) await reference.dispose();
  }
}

/** Ratios of the policy to the sampling policy, of its own tokens. */
function ratiosOf(logprobs: Float32Array, oldLogprobs: Float32Array, learnt: Float32Array) {
  let approxKl = 0;
  let sum = 0;
  let ratioMax = 0;
  let count = 0;
  logprobs.forEach((logprob, r) => {
    if (learnt[r] === 0) return;
    const d = logprob - oldLogprobs[r]!;
    approxKl += Math.expm1(d) - d;
    sum += Math.exp(d);
    ratioMax = Math.max(ratioMax, Math.exp(d));
    count++;
  });
  return { approxKl: approxKl / count, ratioMean: sum / count, ratioMax };
}
