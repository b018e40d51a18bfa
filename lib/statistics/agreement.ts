/** How far labelers agree: over the orders of pairs, as the InstructGPT paper reports it, and by Krippendorff's alpha. */
import { type BootstrapOptions, bootstrapRatio, resampled } from './bootstrap.js';
import { type Estimate, notCertain } from './estimates.js';

/** One labeler's ranking of the responses of one item. */
export interface LabeledRanking {
  readonly item: string | number;
  readonly labeler: string | number;
  /** (K) The rank of each response, lower is better, equal ranks are ties; null or undefined for a response that was not ranked. */
  readonly ranks: readonly (number | null | undefined)[];
}

/** Two rankings of the same K responses, over the pairs of responses that both rank. */
export interface Comparisons {
  readonly pairs: number;
  /** Pairs that both order alike, where a tie is an order of its own. */
  readonly alike: number;
  /** Pairs that neither calls a tie. */
  readonly strict: number;
  readonly strictAlike: number;
}

/** Agreement over pairs of responses, with intervals by bootstrap over items. */
export interface Agreement {
  /** Share of comparisons that both order alike; a tie agrees with a tie only. `count` is the number of comparisons. */
  readonly withTies: Estimate;
  /** The same over comparisons that neither calls a tie; undefined if there are none. */
  readonly withoutTies: Estimate | undefined;
  /** Items that at least two rankings compare. */
  readonly items: number;
}

/**
 * Counts the pairs of responses that two rankings order alike. Ratings are compared by their negatives: a higher rating is a lower rank.
 *
 * @throws RangeError if the rankings have different lengths, or a rank is not a finite number
 */
export function compareOrders(a: LabeledRanking['ranks'], b: LabeledRanking['ranks']): Comparisons {
  if (a.length !== b.length)
    throw new RangeError(`rankings of one item have ${a.length} and ${b.length} ranks, expected the same number`);
  let [pairs, alike, strict, strictAlike] = [0, 0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    for (let j = i + 1; j < a.length; j++) {
      const ours = order(a, i, j);
      const theirs = order(b, i, j);
      if (ours === undefined || theirs === undefined) continue;
      pairs++;
      if (ours === theirs) alike++;
      if (ours === 0 || theirs === 0) continue;
      strict++;
      if (ours === theirs) strictAlike++;
    }
  }
  return { pairs, alike, strict, strictAlike };
}

function order(ranks: LabeledRanking['ranks'], i: number, j: number): number | undefined {
  const [a, b] = [ranks[i], ranks[j]];
  for (const rank of [a, b])
    if (rank !== null && rank !== undefined && !Number.isFinite(rank))
      throw new RangeError(`a rank is ${rank}, expected a finite number, or null for a response that was not ranked`);
  return a === null || a === undefined || b === null || b === undefined ? undefined : Math.sign(a - b);
}

/**
 * Agreement between different labelers, over all pairs of labelers of an item and all pairs of its responses. Of a labeler who ranks an
 * item several times the first ranking counts.
 *
 * @returns undefined if no item has two labelers
 */
export function pairwiseAgreement(
  rankings: readonly LabeledRanking[],
  options: BootstrapOptions = {},
): Agreement | undefined {
  return over(
    byItem(rankings).map((some) => pairsOf(firstOfEach(some))),
    options,
  );
}

/**
 * Agreement of each labeler with all others.
 *
 * @returns of the labelers who share an item with another, in the order of their first ranking
 */
export function labelerAgreement(
  rankings: readonly LabeledRanking[],
  options: BootstrapOptions = {},
): Map<LabeledRanking['labeler'], Agreement> {
  const items = byItem(rankings).map(firstOfEach);
  const found = new Map<LabeledRanking['labeler'], Agreement>();
  for (const labeler of new Set(rankings.map((ranking) => ranking.labeler))) {
    const own = items.map((some) => pairsOf(some).filter((pair) => pair.some((one) => one.labeler === labeler)));
    const agreement = over(own, options);
    if (agreement) found.set(labeler, agreement);
  }
  return found;
}

/**
 * Agreement of labelers with themselves: over all pairs of rankings of one item by one labeler.
 *
 * @returns undefined if nobody ranked an item twice
 */
export function selfAgreement(
  rankings: readonly LabeledRanking[],
  options: BootstrapOptions = {},
): Agreement | undefined {
  return over(
    byItem(rankings).map((some) => pairsOf(some).filter(([a, b]) => a.labeler === b.labeler)),
    options,
  );
}

type Pair = readonly [LabeledRanking, LabeledRanking];

function byItem(rankings: readonly LabeledRanking[]): LabeledRanking[][] {
  const items = new Map<LabeledRanking['item'], LabeledRanking[]>();
  for (const ranking of rankings) {
    const some = items.get(ranking.item);
    if (some) some.push(ranking);
    else items.set(ranking.item, [ranking]);
  }
  return [...items.values()];
}

const firstOfEach = (rankings: readonly LabeledRanking[]): LabeledRanking[] =>
  rankings.filter((one, i) => rankings.findIndex(({ labeler }) => labeler === one.labeler) === i);

const pairsOf = (rankings: readonly LabeledRanking[]): Pair[] =>
  rankings.flatMap((a, i) => rankings.slice(i + 1).map((b): Pair => [a, b]));

/** @param items (items) the pairs of rankings that are compared */
function over(items: readonly (readonly Pair[])[], options: BootstrapOptions): Agreement | undefined {
  const counts = items
    .map((pairs) => {
      const total = { pairs: 0, alike: 0, strict: 0, strictAlike: 0 };
      for (const [a, b] of pairs) {
        const found = compareOrders(a.ranks, b.ranks);
        for (const key of Object.keys(total) as (keyof Comparisons)[]) total[key] += found[key];
      }
      return total;
    })
    .filter(({ pairs }) => pairs > 0);
  const ratio = (part: keyof Comparisons, whole: keyof Comparisons) => {
    const some = counts.filter((item) => item[whole] > 0);
    const found = bootstrapRatio(
      some.map((item) => item[part]),
      some.map((item) => item[whole]),
      options,
    );
    return found && notCertain(found, some.length);
  };
  const withTies = ratio('alike', 'pairs');
  return withTies && { withTies, withoutTies: ratio('strictAlike', 'strict'), items: counts.length };
}

export interface AlphaOptions extends BootstrapOptions {
  /** How far two values differ: not at all or wholly, by the values between them, or by the square of their difference. */
  readonly metric: 'nominal' | 'ordinal' | 'interval';
  /** (units) Units of equal key are resampled together: responses of one item. Default: each unit alone. */
  readonly clusters?: readonly (string | number)[] | undefined;
}

/**
 * Krippendorff's alpha, 1 − observed / expected disagreement: 1 for perfect agreement, 0 for chance (Krippendorff 2011, «Computing
 * Krippendorff's alpha-reliability»). The interval is by bootstrap over units, or their clusters.
 *
 * @param units (units) the values that labelers gave a unit, in any order; null and undefined are missing, and units with fewer than two
 *   values say nothing
 * @returns undefined if all values are equal or no unit has two; `count` is the number of values that could be paired
 * @throws RangeError for a value that is not finite
 */
export function krippendorffAlpha(
  units: readonly (readonly (number | null | undefined)[])[],
  { metric, clusters, ...options }: AlphaOptions,
): Estimate | undefined {
  const known = units.map((unit) => unit.filter((value) => value !== null && value !== undefined));
  for (const value of known.flat())
    if (!Number.isFinite(value)) throw new RangeError(`krippendorffAlpha: a value is ${value}, expected a number`);
  const paired = known.flatMap((values, u) =>
    values.length > 1 ? [{ values, key: clusters ? clusters[u]! : u }] : [],
  );
  const levels = [...new Set(paired.flatMap(({ values }) => values))].sort((a, b) => a - b);
  const keys = [...new Set(paired.map(({ key }) => key))];
  const place = new Map(keys.map((key, i) => [key, i]));
  const tables = paired.map(({ values, key }) => ({
    cluster: place.get(key)!,
    counts: Float64Array.from(levels, (level) => values.filter((value) => value === level).length),
    size: values.length,
  }));
  const L = levels.length;

  const alpha = (times?: Float64Array): number => {
    const coincidences = new Float64Array(L * L);
    for (const { cluster, counts, size } of tables) {
      const weight = (times ? times[cluster]! : 1) / (size - 1);
      if (weight === 0) continue;
      for (let c = 0; c < L; c++)
        for (let k = 0; k < L; k++)
          coincidences[c * L + k]! += weight * counts[c]! * (c === k ? counts[k]! - 1 : counts[k]!);
    }
    const totals = Float64Array.from({ length: L }, (_, c) =>
      coincidences.subarray(c * L, (c + 1) * L).reduce((sum, x) => sum + x, 0),
    );
    const n = totals.reduce((sum, x) => sum + x, 0);
    let observed = 0;
    let expected = 0;
    for (let c = 0; c < L; c++) {
      let between = 0; // values from c to k, of which those at either end count half
      for (let k = c + 1; k < L; k++) {
        between += (totals[k - 1]! + totals[k]!) / 2;
        const difference = metric === 'nominal' ? 1 : metric === 'ordinal' ? between : levels[k]! - levels[c]!;
        observed += coincidences[c * L + k]! * difference ** 2;
        expected += totals[c]! * totals[k]! * difference ** 2;
      }
    }
    return 1 - ((n - 1) * observed) / expected; // NaN if all values are equal
  };

  const value = alpha();
  if (Number.isNaN(value)) return undefined;
  const interval = resampled([keys.length], ([times]) => alpha(times), options);
  const count = paired.reduce((sum, { values }) => sum + values.length, 0);
  return { value, low: interval?.low ?? value, high: interval?.high ?? value, count };
}

/** The responses of ranked items as units of {@link krippendorffAlpha}: the ranks that each response got, resampled by item. */
export function rankUnits(rankings: readonly LabeledRanking[]): {
  units: (number | null | undefined)[][];
  clusters: (string | number)[];
} {
  const units: (number | null | undefined)[][] = [];
  const clusters: (string | number)[] = [];
  for (const some of byItem(rankings)) {
    const first = firstOfEach(some);
    const size = Math.max(...first.map(({ ranks }) => ranks.length));
    for (let k = 0; k < size; k++) {
      units.push(first.map(({ ranks }) => ranks[k]));
      clusters.push(some[0]!.item);
    }
  }
  return { units, clusters };
}
