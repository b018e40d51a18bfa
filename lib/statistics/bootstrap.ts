/** Percentile bootstrap intervals (Efron 1979) of any statistic whose data fall into independent clusters: prompts, items, labelers. */
import { Random } from '../core/random.js';
import { type Estimate, quantile } from './estimates.js';

export interface BootstrapOptions {
  /** Default 0. */
  readonly seed?: number | undefined;
  /** Default 2000. */
  readonly resamples?: number | undefined;
  /** The interval leaves out this share, half on each side. Default 0.05: the 95 % interval. */
  readonly alpha?: number | undefined;
}

/**
 * The interval (95 % by default) of a statistic under resampling of its clusters with replacement.
 *
 * @param sizes number of clusters, of each way: `[prompts]`, or `[prompts, labelers]`, which are resampled independently of each other
 *   (the pigeonhole bootstrap, Owen 2007); a datum then counts as often as the product of its clusters
 * @param statistic of how often each cluster was drawn, per way; undefined or NaN where a resample does not define it, which is left out
 * @returns undefined if fewer than half of the resamples define it
 */
export function resampled(
  sizes: readonly number[],
  statistic: (drawn: readonly Float64Array[]) => number | undefined,
  options: BootstrapOptions = {},
): { low: number; high: number } | undefined {
  const { seed = 0, resamples = 2000, alpha = 0.05 } = options;
  const random = new Random(`bootstrap/${seed}`);
  const drawn = sizes.map((size) => new Float64Array(size));
  const values: number[] = [];
  for (let b = 0; b < resamples; b++) {
    drawn.forEach((times, way) => {
      times.fill(0);
      for (let i = 0; i < sizes[way]!; i++) times[random.int(sizes[way]!)]! += 1;
    });
    const value = statistic(drawn);
    if (value !== undefined && !Number.isNaN(value)) values.push(value);
  }
  if (values.length < resamples / 2 || values.length === 0) return undefined;
  const sorted = Float64Array.from(values).sort();
  return { low: quantile(sorted, alpha / 2), high: quantile(sorted, 1 - alpha / 2) };
}

/**
 * Σ part / Σ whole over clusters of unequal size, with its bootstrap interval over clusters.
 *
 * @param parts (clusters) e.g. comparisons of an item in which labelers agree
 * @param wholes (clusters) e.g. all comparisons of the item
 * @returns undefined if the wholes sum to 0; `count` is their sum
 */
export function bootstrapRatio(
  parts: ArrayLike<number>,
  wholes: ArrayLike<number>,
  options: BootstrapOptions = {},
): Estimate | undefined {
  if (parts.length !== wholes.length)
    throw new RangeError(`bootstrapRatio: ${parts.length} parts of ${wholes.length} wholes, expected as many`);
  const ratio = (times?: Float64Array) => {
    let part = 0;
    let whole = 0;
    for (let i = 0; i < wholes.length; i++) {
      const n = times ? times[i]! : 1;
      part += n * parts[i]!;
      whole += n * wholes[i]!;
    }
    return { value: part / whole, whole };
  };
  const { value, whole } = ratio();
  if (!(whole > 0)) return undefined;
  const interval = resampled([wholes.length], ([times]) => ratio(times).value, options);
  return { value, low: interval?.low ?? value, high: interval?.high ?? value, count: whole };
}

/**
 * A mean with its bootstrap interval over clusters: the values of a prompt are not independent of each other, nor those of a labeler.
 *
 * @param values (values)
 * @param keys of each way the cluster of each value, `[promptOf, labelerOf]`: two ways are resampled independently, see {@link resampled}
 * @throws RangeError if there are no values, or one is not finite
 */
export function clusteredMean(
  values: readonly number[],
  keys: readonly (readonly (string | number)[])[],
  options: BootstrapOptions = {},
): Estimate {
  if (values.length === 0) throw new RangeError('clusteredMean: values is empty, expected at least one');
  const wrong = values.findIndex((value) => !Number.isFinite(value));
  if (wrong >= 0) throw new RangeError(`clusteredMean: value ${wrong} is ${values[wrong]}, expected a number`);
  const ways = keys.map(placesOf);
  // Values of the same clusters are drawn together: they are added up first.
  const cells = placesOf(values.map((_, i) => ways.map(({ at }) => at[i]).join()));
  const sums = new Float64Array(cells.size);
  const counts = new Float64Array(cells.size);
  const clusters = ways.map(() => new Int32Array(cells.size));
  values.forEach((value, i) => {
    const cell = cells.at[i]!;
    sums[cell]! += value;
    counts[cell]! += 1;
    clusters.forEach((of, way) => {
      of[cell] = ways[way]!.at[i]!;
    });
  });
  const weights = new Float64Array(cells.size);
  const mean = (drawn: readonly Float64Array[]) => {
    weights.fill(1);
    drawn.forEach((times, way) => {
      const of = clusters[way]!;
      for (let cell = 0; cell < weights.length; cell++) weights[cell]! *= times[of[cell]!]!;
    });
    let sum = 0;
    let count = 0;
    for (let cell = 0; cell < weights.length; cell++) {
      sum += weights[cell]! * sums[cell]!;
      count += weights[cell]! * counts[cell]!;
    }
    return sum / count;
  };
  const value = values.reduce((sum, one) => sum + one, 0) / values.length;
  const interval = resampled(
    ways.map(({ size }) => size),
    mean,
    options,
  );
  return { value, low: interval?.low ?? value, high: interval?.high ?? value, count: values.length };
}

/** Numbers of keys, in order of appearance. */
export function placesOf(keys: readonly (string | number)[]): { readonly at: Int32Array; readonly size: number } {
  const places = new Map<string | number, number>();
  const at = Int32Array.from(keys, (key) => {
    const place = places.get(key) ?? places.size;
    places.set(key, place);
    return place;
  });
  return { at, size: places.size };
}
