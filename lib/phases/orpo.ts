/**
 * Odds ratio preference optimisation (Hong et al. 2024): fine-tuning on the best responses and an odds ratio against the others, in one
 * phase and without a reference.
 */
import { fillIn, orpoOptions } from '../config/index.js';
import type { RankedResponses } from '../data/index.js';
import { comparisons, logisticLoss, pairLosses, type RankingOptions, rankingPlan } from './comparisons.js';
import type { OfflineMetrics, StepMetrics } from './metrics.js';
import { type BatchLoss, type Likelihood, type OfflinePlan, type OfflineResult, trainOffline } from './offline.js';
import { resolveOptimizer } from './optimizer.js';

export interface OrpoOptions extends RankingOptions {
  /** λ: the weight of the odds ratio beside the loss of fine-tuning. Default 0.1. */
  readonly oddsRatioCoef?: number | undefined;
  /** Default 8e-6. */
  readonly learningRate?: number | undefined;
}

/** Checks the options and counts the steps. @throws RangeError naming an invalid value */
export function planOrpo(o: Omit<OrpoOptions, 'model'>): OfflinePlan<RankedResponses> {
  const resolved = fillIn(orpoOptions, o);
  const { oddsRatioCoef } = resolved;
  const objective = { name: 'orpo', usesReference: false, settings: { oddsRatioCoef } };
  const optimizer = resolveOptimizer(orpoOptions, o);
  return rankingPlan(objective, o, resolved, optimizer, (items, likelihoods) =>
    orpoLoss(items, likelihoods, oddsRatioCoef),
  );
}

/**
 * Trains `model` in place, as {@link trainDpo} does.
 *
 * @throws DivergenceError when the loss or a gradient is not finite; RangeError for an invalid option
 */
export function trainOrpo(o: OrpoOptions): AsyncGenerator<OfflineMetrics & StepMetrics, OfflineResult, void> {
  return trainOffline(planOrpo(o), o);
}

/**
 * The mean loss of rankings, and its derivative by each response's log-probability: the negative log-likelihood per token of the best
 * responses, minus λ log σ of the log odds ratio of each pair, where odds(y) = p / (1 - p) with p the geometric mean of the tokens'
 * probabilities (Hong et al. 2024, eq. 4 to 7).
 */
export function orpoLoss(
  items: readonly Pick<RankedResponses, 'ranks'>[],
  likelihoods: readonly (readonly Likelihood[])[],
  oddsRatioCoef: number,
): BatchLoss {
  return comparisons(items, likelihoods, {
    rewardOf: ({ logprob, tokens }) => logprob / tokens,
    lossOf(responses, ranks) {
      const means = responses.map(({ logprob, tokens }) => Math.min(logprob / tokens, -kSmallest));
      const odds = means.map((mean) => mean - Math.log(-Math.expm1(mean)));
      const pairs = pairLosses(odds, ranks, (x) => logisticLoss(x));
      const best = Math.min(...Array.from(ranks));
      const count = Array.from(ranks).filter((rank) => rank === best).length;
      let likelihood = 0;
      const gradient = responses.map(({ tokens }, k) => {
        const isBest = ranks[k] === best;
        if (isBest) likelihood -= means[k]! / count;
        // d odds / d mean = 1 / (1 - e^mean)
        const byOdds = (oddsRatioCoef * pairs.gradient[k]!) / -Math.expm1(means[k]!);
        return (byOdds - (isBest ? 1 / count : 0)) / tokens;
      });
      return { loss: likelihood + oddsRatioCoef * pairs.loss, gradient };
    },
  });
}

/** A log-probability of 0 would have infinite odds. */
const kSmallest = 1e-12;
