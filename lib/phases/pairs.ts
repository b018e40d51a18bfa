/** Agreement of scores with rankings: pure functions on pairs. */
import { Random } from '../core/random.js';
import { notCertain } from '../statistics/index.js';
import type { PairAccuracy } from './metrics.js';

/** Counts over the pairs of one ranking, without ties. */
export interface Pairs {
  readonly pairs: number;
  /** Number ordered correctly; equal scores count one half. */
  readonly correct: number;
  /** Mean of -log σ(score_better - score_worse), nats; 0 if there are no pairs. */
  readonly loss: number;
}

/** Compares every pair of a ranking. @param ranks 0 is best, equal ranks are ties */
export function comparePairs(scores: ArrayLike<number>, ranks: ArrayLike<number>): Pairs {
  let pairs = 0;
  let correct = 0;
  let loss = 0;
  for (let w = 0; w < ranks.length; w++) {
    for (let l = 0; l < ranks.length; l++) {
      if (ranks[w]! >= ranks[l]!) continue;
      const margin = scores[w]! - scores[l]!;
      pairs++;
      correct += margin > 0 ? 1 : margin === 0 ? 0.5 : 0;
      // -log σ(m) = log(1 + e^-m), without overflow
      loss += Math.max(-margin, 0) + Math.log1p(Math.exp(-Math.abs(margin)));
    }
  }
  return { pairs, correct, loss: pairs > 0 ? loss / pairs : 0 };
}

/** Whether a ranking has a pair that is not tied. */
export const hasPair = (ranks: ArrayLike<number>): boolean => Array.from(ranks).some((rank) => rank !== ranks[0]);

const kResamples = 1000;

/**
 * Fraction of all pairs that are ordered correctly, with a 95 % percentile interval of a bootstrap over prompts: pairs of a prompt
 * share responses, so whole prompts are resampled. Where all prompts have the same fraction, Wilson's interval for as many prompts.
 * Deterministic.
 */
export function pairAccuracy(prompts: readonly Pairs[]): PairAccuracy {
  const random = new Random('bootstrap');
  const share = (draw: (i: number) => Pairs) => {
    let pairs = 0;
    let correct = 0;
    for (let i = 0; i < prompts.length; i++) {
      const prompt = draw(i);
      pairs += prompt.pairs;
      correct += prompt.correct;
    }
    return { pairs, accuracy: pairs > 0 ? correct / pairs : 0 };
  };
  const { pairs, accuracy } = share((i) => prompts[i]!);
  if (pairs === 0) return { accuracy: 0, low: 0, high: 1, pairs: 0, prompts: 0 };
  const drawn = Float64Array.from({ length: kResamples }, () => share(() => random.pick(prompts)).accuracy).sort();
  const at = (quantile: number) => drawn[Math.round(quantile * (kResamples - 1))]!;
  const compared = prompts.filter((prompt) => prompt.pairs > 0).length;
  const { low, high } = notCertain({ value: accuracy, low: at(0.025), high: at(0.975), count: pairs }, compared);
  return { accuracy, low, high, pairs, prompts: compared };
}

/** Ranks as 0, 1, 2, …: the best is 0, and equal ranks stay equal. */
export function levelsOf(ranks: readonly number[]): number[] {
  const levels = [...new Set(ranks)].sort((a, b) => a - b);
  return ranks.map((rank) => levels.indexOf(rank));
}
