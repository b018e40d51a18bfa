import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { describe, expect, test } from '@jest/globals';
import { Random } from '../../lib/core/random.js';
import {
  compareOrders,
  krippendorffAlpha,
  type LabeledRanking,
  labelerAgreement,
  pairwiseAgreement,
  rankUnits,
  selfAgreement,
} from '../../lib/statistics/index.js';

type Metric = 'nominal' | 'ordinal' | 'interval';
const metrics: readonly Metric[] = ['nominal', 'ordinal', 'interval'];

/** Rows of labelers as published, `.` is missing, into units. */
function unitsOf(...labelers: readonly string[]): (number | undefined)[][] {
  const rows = labelers.map((row) => row.split(' ').map((value) => (value === '.' ? undefined : Number(value))));
  return rows[0]!.map((_, unit) => rows.map((row) => row[unit]));
}

describe("Krippendorff's alpha", () => {
  // Krippendorff 2011, section C: four observers, twelve units, missing values.
  const published = unitsOf(
    '1 2 3 3 2 1 4 1 2 . . .',
    '1 2 3 3 2 2 4 1 2 5 . 3',
    '. 3 3 3 2 3 4 2 2 5 1 .',
    '1 2 3 3 2 4 4 1 2 5 1 .',
  );
  test.each([
    ['nominal', 0.743],
    ['ordinal', 0.815],
    ['interval', 0.849],
  ] as const)('%s, four observers with missing values: %d', (metric, alpha) => {
    const found = krippendorffAlpha(published, { metric })!;
    expect(found.value).toBeCloseTo(alpha, 3);
    expect(found.count).toBe(40); // the value of unit 12 is alone
    expect(found.low).toBeLessThan(found.value);
    expect(found.high).toBeGreaterThan(found.value);
  });
  test('two observers, binary data without missing values: 0.095 (section A)', () => {
    const units = unitsOf('0 1 0 0 0 0 0 0 1 0', '1 1 1 0 0 1 0 0 0 0');
    expect(krippendorffAlpha(units, { metric: 'nominal' })!.value).toBeCloseTo(0.095, 3);
  });
  test('three coders, fifteen units: 0.691 and 0.811 (Hayes and Krippendorff 2007)', () => {
    const units = unitsOf(
      '. . . . . 3 4 1 2 1 1 3 3 . 3',
      '1 . 2 1 3 3 4 3 . . . . . . .',
      '. . 2 1 3 4 4 . 2 1 1 3 3 . 4',
    );
    expect(krippendorffAlpha(units, { metric: 'nominal' })!.value).toBeCloseTo(0.691, 3);
    expect(krippendorffAlpha(units, { metric: 'interval' })!.value).toBeCloseTo(0.811, 3);
  });

  /** By the definition: mean disagreement within units over mean disagreement of all values, pair by pair. */
  function byDefinition(units: readonly (readonly (number | undefined)[])[], metric: Metric): number {
    const used = units.map((unit) => unit.filter((x) => x !== undefined)).filter((unit) => unit.length > 1);
    const all = used.flat();
    const difference = (a: number, b: number) => {
      if (metric === 'nominal') return a === b ? 0 : 1;
      if (metric === 'interval') return (a - b) ** 2;
      if (a === b) return 0;
      const [low, high] = [Math.min(a, b), Math.max(a, b)];
      const inside = all.filter((x) => x > low && x < high).length;
      const ends = all.filter((x) => x === low || x === high).length;
      return (inside + ends / 2) ** 2;
    };
    let observed = 0;
    for (const unit of used)
      unit.forEach((a, i) => {
        unit.forEach((b, j) => {
          if (i !== j) observed += difference(a, b) / (unit.length - 1);
        });
      });
    let expected = 0;
    all.forEach((a, i) => {
      all.forEach((b, j) => {
        if (i !== j) expected += difference(a, b);
      });
    });
    const n = all.length;
    return 1 - observed / n / (expected / (n * (n - 1)));
  }
  test.each(metrics)('%s equals the definition, pair by pair', (metric) => {
    const random = new Random(`alpha ${metric}`);
    for (let trial = 0; trial < 20; trial++) {
      const units = Array.from({ length: 12 }, () => {
        const truth = random.int(5);
        return Array.from({ length: 4 }, () =>
          random.chance(0.3) ? undefined : random.chance(0.6) ? truth : random.int(7),
        );
      });
      const found = krippendorffAlpha(units, { metric, resamples: 2 })!;
      expect(found.value).toBeCloseTo(byDefinition(units, metric), 12);
    }
  });
  test('chance is about 0, perfection is 1, and only equal values say nothing', () => {
    const random = new Random('chance');
    const noise = Array.from({ length: 3000 }, () => [random.int(3), random.int(3)]);
    expect(Math.abs(krippendorffAlpha(noise, { metric: 'nominal', resamples: 10 })!.value)).toBeLessThan(0.04);
    expect(
      krippendorffAlpha(
        [
          [1, 1],
          [2, 2],
          [null, 3],
        ],
        { metric: 'interval' },
      )!.value,
    ).toBe(1); // prettier
    expect(
      krippendorffAlpha(
        [
          [1, 1],
          [1, 1],
        ],
        { metric: 'nominal' },
      ),
    ).toBeUndefined();
    expect(krippendorffAlpha([[1], [2, null]], { metric: 'nominal' })).toBeUndefined();
    expect(() => krippendorffAlpha([[1, Number.NaN]], { metric: 'nominal' })).toThrow('a value is NaN');
  });
  test('units of one cluster are resampled together: copies add no certainty', () => {
    const once = published.map((unit, u) => ({ unit, u }));
    const copied = [...once, ...once, ...once, ...once];
    const width = (clusters?: (string | number)[]) => {
      const { low, high } = krippendorffAlpha(
        copied.map(({ unit }) => unit),
        { metric: 'interval', clusters },
      )!;
      return high - low;
    };
    expect(width(copied.map(({ u }) => u)) / width()).toBeGreaterThan(1.6); // √4 if all were alike
  });
});

const ranking = (item: string, labeler: string, ...ranks: (number | null)[]): LabeledRanking => ({
  item,
  labeler,
  ranks,
});

describe('agreement over pairs', () => {
  test('orders, ties and missing ranks, counted by hand', () => {
    // Pairs 01, 02, 12: < < = against < = <.
    expect(compareOrders([0, 1, 1], [0, 1, 0])).toEqual({ pairs: 3, alike: 1, strict: 1, strictAlike: 1 });
    expect(compareOrders([0, 0], [1, 1])).toEqual({ pairs: 1, alike: 1, strict: 0, strictAlike: 0 });
    expect(compareOrders([0, null, 2], [5, 1, 3])).toEqual({ pairs: 1, alike: 0, strict: 1, strictAlike: 0 });
    expect(() => compareOrders([0, 1], [0])).toThrow('have 2 and 1 ranks');
    expect(() => compareOrders([0, Number.NaN], [0, 1])).toThrow('a rank is NaN');
  });
  test('three labelers of one item give three comparisons of each pair; repeats and single labels none', () => {
    const rows = [
      ranking('a', 'ann', 0, 1),
      ranking('a', 'bob', 0, 1),
      ranking('a', 'cat', 1, 0),
      ranking('a', 'ann', 1, 0), // her second thoughts do not count
      ranking('b', 'ann', 0, 0),
      ranking('b', 'bob', 0, 1),
      ranking('c', 'ann', 0, 1),
    ];
    const found = pairwiseAgreement(rows)!;
    expect(found.withTies).toMatchObject({ value: 1 / 4, count: 4 });
    expect(found.withoutTies).toMatchObject({ value: 1 / 3, count: 3 });
    expect(found.items).toBe(2);
    expect(selfAgreement(rows)!.withTies).toMatchObject({ value: 0, count: 1 });
    const each = labelerAgreement(rows);
    expect([...each.keys()]).toEqual(['ann', 'bob', 'cat']);
    expect(each.get('ann')!.withTies).toMatchObject({ value: 1 / 3, count: 3 });
    expect(each.get('cat')!.withTies).toMatchObject({ value: 0, count: 2 });
    expect(pairwiseAgreement(rows.slice(-1))).toBeUndefined();
    expect(selfAgreement([])).toBeUndefined();
  });
  test('the interval is over items: it covers the truth about 95 times in 100', () => {
    let covered = 0;
    for (let trial = 0; trial < 100; trial++) {
      const random = new Random(`agreement ${trial}`);
      const rows = Array.from({ length: 60 }, (_, i) => {
        // All four responses of an item agree or disagree together: pairs of an item are not independent.
        const alike = random.chance(0.7);
        return [ranking(`${i}`, 'ann', 0, 1, 2, 3), ranking(`${i}`, 'bob', ...(alike ? [0, 1, 2, 3] : [3, 2, 1, 0]))];
      }).flat();
      const { low, high, count } = pairwiseAgreement(rows, { resamples: 200 })!.withTies;
      expect(count).toBe(360);
      covered += Number(low <= 0.7 && 0.7 <= high);
    }
    expect(covered).toBeGreaterThanOrEqual(87);
    expect(covered).toBeLessThanOrEqual(99);
  });
  test('ranks as units of alpha: one unit per response, clustered by item', () => {
    const { units, clusters } = rankUnits([
      ranking('a', 'ann', 0, 1),
      ranking('b', 'ann', 1, 0),
      ranking('a', 'bob', 0, null),
    ]);
    expect(units).toEqual([[0, 0], [1, null], [1], [0]]);
    expect(clusters).toEqual(['a', 'a', 'b', 'b']);
  });
});

// People's labels, of a folder with data that is not part of the project; another program measured the figures.
const data = join(process.env.HEED_DATA ?? '', 'preferences');
const preferred: Readonly<Record<string, readonly number[]>> = { 1: [0, 1], 2: [1, 0], 0: [0, 0] };

describe('published labels', () => {
  const agreementOf = (name: string, field: string, only: (row: Record<string, unknown>) => boolean, by?: string) => {
    const rows: Record<string, unknown>[] = gunzipSync(readFileSync(join(data, `${name}.jsonl.gz`)))
      .toString()
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    const rankings = rows.filter(only).flatMap((row) =>
      (row[field] as number[]).map((label, l) => {
        const ranks = name.startsWith('tulu') ? [-Math.sign(label), Math.sign(label)] : preferred[label]!;
        return ranking(row.id as string, by === undefined ? `${l}` : (row[by] as string[])[l]!, ...ranks);
      }),
    );
    return pairwiseAgreement(rankings, { resamples: 100 })!;
  };
  const isThere = existsSync(data);
  const all = () => true;
  const goal = (wanted: string) => (row: Record<string, unknown>) => row.goal === wanted;

  test.each([
    ['pandalm_human_pairs_3labelers', 'labels', 'all', all, 0.925, 0.955],
    ['scratchplot_ending_pairs_3labelers', 'labels', 'all', all, 0.58, 0.58],
    ['dexperts_human_pairs_3labelers', 'labels_goal', 'less_toxic', goal('less_toxic'), 0.581, 0.727],
    ['dexperts_human_pairs_3labelers', 'labels_goal', 'more_positive', goal('more_positive'), 0.52, 0.768],
    ['dexperts_human_pairs_3labelers', 'labels_goal', 'more_negative', goal('more_negative'), 0.604, 0.842],
    ['tulu_human_pairs_labeled', 'labels', 'all', all, 0.568, 0.714],
  ] as const)('%s, %s of %s', (name, field, _, only, withTies, withoutTies) => {
    if (!isThere) {
      process.stderr.write(`${name} is skipped: set HEED_DATA to a folder with preferences/\n`);
      return;
    }
    const found = agreementOf(name, field, only);
    expect(Math.abs(found.withTies.value - withTies)).toBeLessThan(0.0006);
    expect(Math.abs(found.withoutTies!.value - withoutTies)).toBeLessThan(0.0006);
  });
  test('Tulu by labeler: five items were labeled twice by one person, which is no agreement between two', () => {
    if (!isThere) return;
    const found = agreementOf('tulu_human_pairs_labeled', 'labels', all, 'labelers');
    expect(found.withTies).toMatchObject({ value: 72 / 127, count: 127 });
    expect(found.withoutTies).toMatchObject({ value: 48 / 66, count: 66 });
  });
});
