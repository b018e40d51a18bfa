/** One metric over a run. */
import type { Metrics } from './types.js';

// Measured once per iteration, and repeated in each of its steps.
const PER_ITERATION = new Set([
  'reward',
  'score',
  'scoreStd',
  'kl',
  'klK3',
  'length',
  'finished',
  'explainedVariance',
  'tiedGroups',
]);

/** Steps and values of a metric where it was measured; of one that is measured per iteration, at each iteration's first step. */
export function eachIteration(points: readonly Metrics[], metric: string): (readonly [step: number, value: number])[] {
  return points
    .filter((point) => Number.isFinite(point[metric]))
    .filter(
      (point, i, all) => !PER_ITERATION.has(metric) || !point.iteration || point.iteration !== all[i - 1]?.iteration,
    )
    .map((point) => [point.step, point[metric]!] as const);
}

/** The mean of a run's first and last values, a tenth of them each but at most five; undefined below four values. */
export function ends(
  values: readonly (readonly [number, number])[],
): readonly [first: number, last: number] | undefined {
  if (values.length < 4) return undefined;
  const count = Math.min(5, Math.ceil(values.length / 10));
  return [mean(values.slice(0, count)), mean(values.slice(-count))];
}

const mean = (values: readonly (readonly [number, number])[]) =>
  values.reduce((sum, [, value]) => sum + value, 0) / values.length;

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}
