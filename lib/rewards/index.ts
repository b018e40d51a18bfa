/** Rewards besides a reward model: functions of text, verifiers, services, judges, ensembles, and their sums. */
import { HeedError } from '../core/errors.js';
import type { PromptRow } from '../data/index.js';
import type { Episode, RewardFunction } from '../phases/episodes.js';
import { scoreTrees } from '../phases/reward.js';
import { ScalarModel } from '../runtime/model.js';
import type { Tokenizer } from '../tokenizer/tokenizer.js';
import { type GuardOptions, guarded } from './guard.js';
import type { Answer, RewardContext, TextReward } from './types.js';
import { requireRows } from './verifiers.js';

export { type CodeOptions, passesTests } from './code.js';
export type { GuardOptions } from './guard.js';
export { httpReward } from './http.js';
export { type JudgeOptions, judge } from './judge.js';
export type { Answer, RewardContext, Scores, TextReward } from './types.js';
export { exactMatch, matches, matchesSchema, numericMatch } from './verifiers.js';

/** Several reward models as one. */
export interface Ensemble {
  readonly models: readonly ScalarModel[];
  /**
   * 'mean'; 'worst': the lowest score; 'uncertainty': the mean minus `penalty` times the variance between models (Coste et al. 2023).
   * The last two resist over-optimisation.
   */
  readonly by: 'mean' | 'worst' | 'uncertainty';
  /** Default 1. */
  readonly penalty?: number | undefined;
}

/** One term of a reward. */
export interface RewardSource extends GuardOptions {
  /** In metrics: `reward/NAME` is its mean. */
  readonly name: string;
  readonly reward: ScalarModel | Ensemble | TextReward;
  /** Default 1. */
  readonly weight?: number | undefined;
}

export interface RewardsOptions {
  readonly tokenizer: Tokenizer;
  /** The prompts of the phase, with their rows: from `readPrompts`. */
  readonly prompts: readonly PromptRow[];
}

/**
 * The weighted sum of several rewards, as a reward function of PPO, GRPO and RLOO. Its metrics are the mean of each term, and for those
 * that failed how often: `failed/NAME`.
 *
 * @throws RangeError for no sources, two of one name, or a weight that is not finite; HeedError naming the prompt whose row lacks the
 *   field that a verifier needs
 */
export function rewards(sources: readonly RewardSource[], { tokenizer, prompts }: RewardsOptions): RewardFunction {
  if (sources.length === 0) throw new RangeError('there are no rewards, expected at least one');
  const names = sources.map(({ name }) => name);
  const repeated = names.find((name, i) => names.indexOf(name) !== i);
  if (repeated !== undefined) throw new RangeError(`two rewards have the name ${JSON.stringify(repeated)}`);
  const terms = sources.map(({ name, reward, weight = 1, ...limits }) => {
    if (!Number.isFinite(weight)) throw new RangeError(`the weight of ${name} is ${weight}, expected a finite number`);
    if (typeof reward === 'function') {
      try {
        requireRows(
          reward,
          prompts.map(({ row }) => row.value),
        );
      } catch (cause) {
        throw new HeedError('ERR_INVALID_ARGUMENT', `the reward ${name}: ${(cause as Error).message}`, { cause });
      }
      return { name, weight, ...guarded(reward, limits) };
    }
    return { name, weight, reward: reward instanceof ScalarModel ? { models: [reward], by: 'mean' as const } : reward };
  });

  return async (episodes, context) => {
    const answers = episodes.map(({ promptIndex, prompt, response, finished }): Answer => {
      const { text, row } = prompts[promptIndex]!;
      return { promptIndex, prompt: text, response: tokenizer.decodeAfter(prompt, response), finished, row: row.value };
    });
    const metrics: Record<string, number> = {};
    const warnings: string[] = [];
    const sums: (number | null)[] = episodes.map(() => 0);
    for (const { name, weight, reward, ...rest } of terms) {
      const before = 'counts' in rest ? rest.counts.failed : 0;
      const scores = await scoresOf(reward, answers, episodes, context);
      const known = scores.filter((score) => score !== null);
      scores.forEach((score, i) => {
        const sum = sums[i];
        sums[i] = sum === null || sum === undefined || score === null ? null : sum + weight * score;
      });
      metrics[`reward/${name}`] = known.reduce((sum, score) => sum + score, 0) / Math.max(1, known.length);
      if (!('counts' in rest)) continue;
      const failed = rest.counts.failed - before;
      if (failed > 0) {
        metrics[`failed/${name}`] = failed;
        warnings.push(`prompts were skipped because the reward ${name} failed: ${rest.counts.lastError}`);
      }
      if (known.length === 0)
        throw new HeedError(
          'ERR_INVALID_ARGUMENT',
          `the reward ${name} failed for every prompt: ${rest.counts.lastError ?? 'it returned null for each'}`,
        );
    }
    return { scores: sums, metrics, warnings };
  };
}

async function scoresOf(
  reward: Ensemble | TextReward,
  answers: readonly Answer[],
  episodes: readonly Episode[],
  context: RewardContext,
): Promise<(number | null)[]> {
  if (typeof reward === 'function') return Array.from(await reward(answers, context));
  const trees: { prompt: Int32Array; responses: Int32Array[] }[] = [];
  episodes.forEach(({ promptIndex, prompt, response }, i) => {
    if (i > 0 && episodes[i - 1]!.promptIndex === promptIndex) trees.at(-1)!.responses.push(response);
    else trees.push({ prompt, responses: [response] });
  });
  const all: number[][] = [];
  for (const model of reward.models)
    all.push((await scoreTrees(model, trees, { signal: context.signal })).flatMap((scores) => [...scores]));
  return episodes.map((_, i) =>
    together(
      reward,
      all.map((scores) => scores[i]!),
    ),
  );
}

/** The score of an ensemble. */
export function together({ by, penalty = 1 }: Pick<Ensemble, 'by' | 'penalty'>, scores: readonly number[]): number {
  if (by === 'worst') return Math.min(...scores);
  const mean = scores.reduce((sum, score) => sum + score, 0) / scores.length;
  if (by === 'mean') return mean;
  return mean - (penalty * scores.reduce((sum, score) => sum + (score - mean) ** 2, 0)) / scores.length;
}
