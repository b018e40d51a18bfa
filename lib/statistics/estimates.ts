/** Estimates with 95 % intervals. The same values and seed give the same interval on every machine. */
import { Random } from '../core/random.js';
import type { BootstrapOptions } from './bootstrap.js';

/** An estimate with its 95 % interval. */
export interface Estimate {
  readonly value: number;
  readonly low: number;
  readonly high: number;
  /** Number of values averaged: prompts, pairs, answers. */
  readonly count: number;
}

/** How often one model's answer is preferred to another's to the same prompt; a tie counts half for each. */
export interface WinRate {
  readonly model: string;
  readonly against: string;
  /** (wins + ties / 2) / (wins + ties + losses) */
  readonly rate: number;
  /** 95 % interval. */
  readonly low: number;
  readonly high: number;
  readonly wins: number;
  readonly ties: number;
  readonly losses: number;
}

const Z = 1.959963984540054; // the normal distribution's 97.5 % point

/**
 * A fraction with Wilson's score interval, which stays within [0, 1] and does not collapse if all or none succeed.
 *
 * @param successes a tie may count as half a success; the interval is then a little too wide, never too narrow
 * @throws RangeError if `count` is 0 or `successes` is not in [0, count]
 */
export function wilson(successes: number, count: number): Estimate {
  if (!(count > 0)) throw new RangeError(`wilson: count is ${count}, expected at least 1`);
  if (!(successes >= 0 && successes <= count)) {
    throw new RangeError(`wilson: successes is ${successes}, expected a number in [0, ${count}]`);
  }
  const value = successes / count;
  const centre = (value + (Z * Z) / (2 * count)) / (1 + (Z * Z) / count);
  const half = (Z / (1 + (Z * Z) / count)) * Math.sqrt((value * (1 - value)) / count + (Z * Z) / (4 * count * count));
  // At 0 and 1 rounding could put the estimate outside its interval.
  return {
    value,
    low: Math.min(value, Math.max(0, centre - half)),
    high: Math.max(value, Math.min(1, centre + half)),
    count,
  };
}

/**
 * A share whose bootstrap interval has no width, because all clusters have the same share, with Wilson's interval instead: three of three says
 * little. Others unchanged.
 *
 * @param clusters independent ones: prompts, of which each counts once however often it was judged
 */
export function notCertain(share: Estimate, clusters: number): Estimate {
  if (share.low < share.high) return share;
  const { low, high } = wilson(Math.min(1, share.value) * clusters, clusters);
  return { ...share, low, high };
}

/**
 * A mean with its percentile bootstrap interval (Efron 1979). The values must be independent: if a prompt has several answers, pass
 * the prompt's mean.
 *
 * @throws RangeError if there are no values or one is not finite
 */
export function bootstrapMean(values: ArrayLike<number>, options: BootstrapOptions = {}): Estimate {
  const { seed = 0, resamples = 2000 } = options;
  const count = values.length;
  if (count === 0) throw new RangeError('bootstrapMean: values is empty, expected at least one');
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

/** The outcome of one answer against another to the same prompt. */
export type Outcome = 'win' | 'tie' | 'loss';

export interface WinRateOptions extends BootstrapOptions {
  /** `wilson` for few prompts, for which a bootstrap interval is too narrow or empty. Default `bootstrap`. */
  readonly interval?: 'bootstrap' | 'wilson';
}

/**
 * How often `model` is preferred to `against`; a tie counts half for each.
 *
 * @param outcomes (prompts) outcomes for `model`, with one answer per model and prompt
 * @throws RangeError if there are none
 */
export function winRate(
  model: string,
  against: string,
  outcomes: readonly Outcome[],
  options: WinRateOptions = {},
): WinRate {
  const tally = { win: 0, tie: 0, loss: 0 };
  for (const outcome of outcomes) tally[outcome]++;
  const { value, low, high } =
    options.interval === 'wilson'
      ? wilson(tally.win + tally.tie / 2, outcomes.length)
      : bootstrapMean(
          outcomes.map((outcome) => WORTH[outcome]),
          options,
        );
  return { model, against, rate: value, low, high, wins: tally.win, ties: tally.tie, losses: tally.loss };
}

const WORTH: Record<Outcome, number> = { win: 1, tie: 0.5, loss: 0 };

/** Population standard deviation. */
export function standardDeviation(values: ArrayLike<number>): number {
  const count = values.length;
  let mean = 0;
  for (let i = 0; i < count; i++) mean += values[i]! / count;
  let squares = 0;
  for (let i = 0; i < count; i++) squares += (values[i]! - mean) ** 2;
  return Math.sqrt(squares / count);
}
