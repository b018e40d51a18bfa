/** What objectives on rankings share: options and plan, the sum over prompts, what is measured of pairs, losses of a difference. */
import { type Items, type RankedResponses, select } from '../data/index.js';
import type { BatchLoss, Likelihood, OfflineOptions, OfflinePlan } from './offline.js';
import type { OptimizerOptions, ResolvedOptimizer } from './optimizer.js';
import { batchesOf } from './order.js';
import { comparePairs, hasPair, type Pairs } from './pairs.js';

/** Options of objectives on rankings. */
export interface RankingOptions extends OfflineOptions, OptimizerOptions {
  readonly rankings: Items<RankedResponses>;
  /** Held-out rankings. */
  readonly validation?: Items<RankedResponses> | undefined;
  /** Optimizer steps between validations. Default 0: only at the end. */
  readonly validateEvery?: number | undefined;
  /** Passes over the rankings. Default 1. */
  readonly epochs?: number | undefined;
  /** Optimizer steps; overrides `epochs`. */
  readonly steps?: number | undefined;
  /** Prompts per step, each with all its responses. Default 64. */
  readonly batchSize?: number | undefined;
  /** false keeps the rankings' order. Default true: reshuffled in every epoch. */
  readonly shuffle?: boolean | undefined;
}

interface ResolvedRankingOptions {
  readonly batchSize: number;
  readonly shuffle: boolean;
  readonly seed: number;
  readonly epochs: number;
  readonly steps: number | undefined;
  readonly validateEvery: number;
  readonly gradientCheckpointing: boolean;
}

/** The plan of an objective on rankings, without those that are all ties. */
export function rankingPlan(
  objective: { readonly name: string; readonly usesReference: boolean; readonly settings: Record<string, unknown> },
  o: Pick<RankingOptions, 'rankings' | 'validation'>,
  resolved: ResolvedRankingOptions,
  optimizer: ResolvedOptimizer,
  loss: (items: readonly RankedResponses[], likelihoods: readonly (readonly Likelihood[])[]) => BatchLoss,
): OfflinePlan<RankedResponses> {
  const { batchSize, shuffle, seed, epochs, steps, validateEvery, gradientCheckpointing } = resolved;
  const { name, usesReference, settings } = objective;
  const { rankings, skipped } = untied(o.rankings);
  const batches = batchesOf({ count: rankings.length, batchSize, seed, shuffle, stream: name });
  return {
    objective: { name, usesReference, loss, labelsOf: ({ ranks }) => ranks },
    items: rankings,
    skipped,
    validation: untied(o.validation ?? []).rankings,
    batches,
    totalSteps: steps ?? batches.steps(epochs),
    optimizer,
    gradientCheckpointing,
    seed,
    validateEvery,
    options: { batchSize, shuffle, ...settings },
  };
}

interface Comparison {
  /** The implicit reward of a response, to report. */
  rewardOf(response: Likelihood): number;
  /** The loss of a ranking, and its derivative by each response's log-probability. */
  lossOf(responses: readonly Likelihood[], ranks: ArrayLike<number>): { loss: number; gradient: readonly number[] };
}

/** The mean loss of rankings. */
export function comparisons(
  items: readonly Pick<RankedResponses, 'ranks'>[],
  likelihoods: readonly (readonly Likelihood[])[],
  { rewardOf, lossOf }: Comparison,
): BatchLoss {
  const metrics = { accuracy: 0, margin: 0, chosenReward: 0, rejectedReward: 0, chosenLogprob: 0, rejectedLogprob: 0 };
  const gradient: number[][] = [];
  const ordered: Pairs[] = [];
  const { length } = items;
  let sum = 0;
  let pairs = 0;
  items.forEach(({ ranks }, i) => {
    const responses = likelihoods[i]!;
    const rewards = responses.map(rewardOf);
    const found = lossOf(responses, ranks);
    sum += found.loss;
    gradient.push(found.gradient.map((derivative) => derivative / length));
    const compared = comparePairs(rewards, ranks);
    ordered.push(compared);
    metrics.accuracy += compared.correct;
    for (const [better, worse] of pairsOf(ranks)) {
      pairs++;
      metrics.margin += rewards[better]! - rewards[worse]!;
      metrics.chosenReward += rewards[better]!;
      metrics.rejectedReward += rewards[worse]!;
      metrics.chosenLogprob += responses[better]!.logprob;
      metrics.rejectedLogprob += responses[worse]!.logprob;
    }
  });
  for (const name of Object.keys(metrics) as (keyof typeof metrics)[]) metrics[name] /= pairs;
  return { loss: sum / length, gradient, metrics, ordered };
}

/** The pairs of a ranking that are not tied, better first. */
function* pairsOf(ranks: ArrayLike<number>): Generator<readonly [number, number]> {
  for (let better = 0; better < ranks.length; better++)
    for (let worse = 0; worse < ranks.length; worse++) if (ranks[better]! < ranks[worse]!) yield [better, worse];
}

/** The mean over a ranking's pairs of a loss of the difference of two scores, and its derivative by each score. */
export function pairLosses(
  scores: readonly number[],
  ranks: ArrayLike<number>,
  lossOf: (difference: number) => readonly [loss: number, slope: number],
): { loss: number; gradient: number[] } {
  const gradient = scores.map(() => 0);
  let loss = 0;
  let pairs = 0;
  for (const [better, worse] of pairsOf(ranks)) {
    const [value, slope] = lossOf(scores[better]! - scores[worse]!);
    loss += value;
    gradient[better]! += slope;
    gradient[worse]! -= slope;
    pairs++;
  }
  return { loss: loss / pairs, gradient: gradient.map((each) => each / pairs) };
}

/** -(1 - ε) log σ(x) - ε log σ(-x), and its derivative. @param smoothing ε, the probability that the label is wrong */
export function logisticLoss(x: number, smoothing = 0): readonly [number, number] {
  const loss = -(1 - smoothing) * logSigmoid(x) - smoothing * logSigmoid(-x);
  return [loss, -(1 - smoothing) * sigmoid(-x) + smoothing * sigmoid(x)];
}

/** log σ(x), also where σ(x) is 0 in floating point. */
export const logSigmoid = (x: number): number => Math.min(x, 0) - Math.log1p(Math.exp(-Math.abs(x)));
export const sigmoid = (x: number): number => Math.exp(logSigmoid(x));

/** The rankings with a pair to compare, and how many have none. @throws RangeError naming an invalid ranking, or if all are ties */
export function untied(rankings: Items<RankedResponses>): { rankings: Items<RankedResponses>; skipped: number } {
  const kept: number[] = [];
  let i = 0;
  for (const { responses, ranks } of rankings) {
    if (responses.length < 2)
      throw new RangeError(`ranking ${i} has ${responses.length} responses, expected at least 2`);
    if (ranks.length !== responses.length)
      throw new RangeError(`ranking ${i} has ${ranks.length} ranks, expected ${responses.length}: one per response`);
    if (hasPair(ranks)) kept.push(i);
    i++;
  }
  if (i > 0 && kept.length === 0)
    throw new RangeError(`all ${i} rankings are ties, expected at least one pair to compare`);
  return { rankings: kept.length === i ? rankings : select(rankings, kept), skipped: i - kept.length };
}
