/** Estimates with 95 % intervals. The same values and seed give the same interval on every machine. */
import { Random } from '../random.js';
import type { Estimate, WinRate } from './types.js';

const Z = 1.959963984540054; // the normal distribution's 97.5 % point

/**
 * A share with Wilson's score interval, which stays inside [0, 1] and does not collapse where all or none succeed.
 *
 * @param successes a tie may count as half a success; the interval is then a little too wide, never too narrow
 * @throws RangeError if there is nothing to count or `successes` is not in [0, count]
 */
export function wilson(successes: number, count: number): Estimate {
  if (!(count > 0)) throw new RangeError(`wilson: count is ${count}, expected at least 1`);
  if (!(successes >= 0 && successes <= count)) {
    throw new RangeError(`wilson: successes is ${successes}, expected a number in [0, ${count}]`);
  }
  const value = successes / count;
  const centre = (value + (Z * Z) / (2 * count)) / (1 + (Z * Z) / count);
  const half = (Z / (1 + (Z * Z) / count)) * Math.sqrt((value * (1 - value)) / count + (Z * Z) / (4 * count * count));
  // Rounding must not leave the estimate outside its interval at the ends.
  return {
    value,
    low: Math.min(value, Math.max(0, centre - half)),
    high: Math.max(value, Math.min(1, centre + half)),
    count,
  };
}

export interface BootstrapOptions {
  /** Default 0. */
  readonly seed?: number;
  /** Default 2000. */
  readonly resamples?: number;
}

/**
 * A mean with its percentile bootstrap interval (Efron 1979). What is resampled must be independent: where a prompt has several
 * answers, give the prompt's mean.
 *
 * @throws RangeError if there are no values or one is not finite
 */
export function bootstrapMean(values: ArrayLike<number>, options: BootstrapOptions = {}): Estimate {
  const { seed = 0, resamples = 2000 } = options;
  const count = values.length;
  if (count === 0) throw new RangeError('bootstrapMean: no values');
  let total = 0;
  for (let i = 0; i < count; i++) {
    if (!Number.isFinite(values[i]))
      throw new RangeError(`bootstrapMean: value ${i} is ${values[i]}, expected a number`);
    total += values[i]!;
  }
  const random = new Random(`bootstrap/${seed}`);
  const means = new Float64Array(resamples);
  for (let b = 0; b < resamples; b++) {
    let sum = 0;
    for (let i = 0; i < count; i++) sum += values[random.int(count)]!;
    means[b] = sum / count;
  }
  means.sort();
  return { value: total / count, low: quantile(means, 0.025), high: quantile(means, 0.975), count };
}

/** The q-quantile of sorted values, interpolated linearly. */
export function quantile(sorted: ArrayLike<number>, q: number): number {
  const at = q * (sorted.length - 1);
  const below = Math.floor(at);
  const next = Math.min(below + 1, sorted.length - 1);
  return sorted[below]! + (at - below) * (sorted[next]! - sorted[below]!);
}

export interface WinRateOptions extends BootstrapOptions {
  /** Scores that differ by no more than this are a tie. Default 0. */
  readonly tieLimit?: number;
  /** `wilson` for few prompts, where a bootstrap interval is too narrow or empty. Default `bootstrap`. */
  readonly interval?: 'bootstrap' | 'wilson';
}

/**
 * How often `model` is preferred to `against`, prompt by prompt, a tie counting half for each.
 *
 * @param scores (prompts) the judge's scores of `model`
 * @param otherScores (prompts) the judge's scores of `against`, for the same prompts in the same order
 */
export function winRate(
  model: string,
  scores: ArrayLike<number>,
  against: string,
  otherScores: ArrayLike<number>,
  options: WinRateOptions = {},
): WinRate {
  const { tieLimit = 0, interval = 'bootstrap' } = options;
  const count = scores.length;
  if (count !== otherScores.length) {
    throw new RangeError(`winRate: ${count} scores of ${model}, ${otherScores.length} of ${against}, expected as many`);
  }
  const outcomes = new Float64Array(count);
  const tally = { wins: 0, ties: 0, losses: 0 };
  for (let i = 0; i < count; i++) {
    const difference = scores[i]! - otherScores[i]!;
    if (!Number.isFinite(difference)) {
      throw new RangeError(`winRate: prompt ${i} has scores ${scores[i]} and ${otherScores[i]}, expected numbers`);
    }
    outcomes[i] = Math.abs(difference) <= tieLimit ? 0.5 : difference > 0 ? 1 : 0;
    tally[outcomes[i] === 0.5 ? 'ties' : outcomes[i] === 1 ? 'wins' : 'losses']++;
  }
  const { value, low, high } =
    interval === 'wilson' ? wilson(tally.wins + tally.ties / 2, count) : bootstrapMean(outcomes, options);
  return { model, against, rate: value, low, high, ...tally };
}

/** Population standard deviation. */
export function standardDeviation(values: ArrayLike<number>): number {
  const count = values.length;
  let mean = 0;
  for (let i = 0; i < count; i++) mean += values[i]! / count;
  let squares = 0;
  for (let i = 0; i < count; i++) squares += (values[i]! - mean) ** 2;
  return Math.sqrt(squares / count);
}
