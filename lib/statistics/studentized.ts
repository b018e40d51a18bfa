/** A mean of clustered values with its studentised bootstrap interval (bootstrap-t; Efron 1979, Hall 1988). */
import { kPortion, Pace } from '../core/pace.js';
import { Random } from '../core/random.js';
import { type BootstrapOptions, placesOf } from './bootstrap.js';
import type { Estimate } from './estimates.js';

// Bound once: a lookup of the global costs more than the arithmetic where modules run in a context of their own.
const { abs, floor, sqrt } = Math;
const kEndless = Number.POSITIVE_INFINITY;

export interface StudentizedOptions extends BootstrapOptions {
  readonly signal?: AbortSignal | undefined;
}

/**
 * A mean with its studentised bootstrap interval over clusters. Of few or skewed clusters percentile intervals ({@link clusteredMean})
 * are too narrow, the more so the less they leave out: each resample is measured by its own standard error here. The event loop turns
 * meanwhile.
 *
 * @param values (values)
 * @param keys (values) the cluster of each
 * @returns an end is infinite where the resamples do not reach so far: with few clusters, or a small `alpha`
 * @throws RangeError if there are fewer than two clusters, or a value is not finite
 */
export async function studentizedMean(
  values: readonly number[],
  keys: readonly (string | number)[],
  { seed = 0, resamples = 2000, alpha = 0.05, signal }: StudentizedOptions = {},
): Promise<Estimate> {
  const wrong = values.findIndex((value) => !Number.isFinite(value));
  if (wrong >= 0) throw new RangeError(`studentizedMean: value ${wrong} is ${values[wrong]}, expected a number`);
  const { at, size } = placesOf(keys);
  if (size < 2) throw new RangeError(`studentizedMean: ${size} clusters, expected at least 2`);
  const sums = new Float64Array(size);
  const counts = new Float64Array(size);
  values.forEach((value, i) => {
    sums[at[i]!]! += value;
    counts[at[i]!]! += 1;
  });
  const drawn = Int32Array.from({ length: size }, (_, i) => i);
  const measure = () => {
    let sum = 0;
    let count = 0;
    for (const c of drawn) {
      sum += sums[c]!;
      count += counts[c]!;
    }
    const mean = sum / count;
    let squares = 0;
    for (const c of drawn) {
      const deviation = sums[c]! - mean * counts[c]!;
      squares += deviation * deviation;
    }
    return { mean, error: sqrt((squares * size) / (size - 1)) / count };
  };
  const { mean, error } = measure();
  const random = new Random(`bootstrap/${seed}`);
  const pace = new Pace(signal);
  let undone = 0; // draws since the event loop could turn
  const ratios = new Float64Array(resamples);
  // A sum's rounding is no deviation: a cluster that is drawn alone has none.
  const least = 1e-9 * error;
  for (let b = 0; b < resamples; b++) {
    for (let i = 0; i < size; i++) drawn[i] = floor(random.next() * size);
    const found = measure();
    const away = found.mean - mean;
    ratios[b] = found.error > least ? away / found.error : abs(away) > least ? away * kEndless : 0;
    undone += size;
    if (undone >= kPortion) {
      await pace.add(undone);
      undone = 0;
    }
  }
  ratios.sort();
  // The next ratio outwards, not one between: beyond it may be infinity.
  const beyond = Math.floor((alpha / 2) * (resamples - 1));
  const end = (ratio: number) => (error === 0 ? mean : mean - ratio * error);
  return { value: mean, low: end(ratios[resamples - 1 - beyond]!), high: end(ratios[beyond]!), count: values.length };
}
