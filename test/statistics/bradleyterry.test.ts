import { describe, expect, test } from '@jest/globals';
import { Random } from '../../lib/core/random.js';
import { bradleyTerry, type Comparison, clusteredMean, standardDeviation } from '../../lib/statistics/index.js';

const several = (n: number, a: string, b: string, outcome: number): Comparison[] =>
  Array.from({ length: n }, (_, i) => ({ prompt: `${a}${b}${outcome}/${i}`, a, b, outcome }));
const strengthsOf = (comparisons: readonly Comparison[], options = {}) =>
  Object.fromEntries(
    bradleyTerry(comparisons, { prior: 0, resamples: 2, ...options }).models.map(({ model, strength }) => [
      model,
      strength,
    ]),
  );

describe('Bradley-Terry', () => {
  test('two models without ties: the log-odds of the wins', () => {
    const { a, b } = strengthsOf([...several(30, 'a', 'b', 1), ...several(10, 'a', 'b', 0)]);
    expect(a! - b!).toBeCloseTo(Math.log(3), 8);
    expect(a! + b!).toBeCloseTo(0, 12);
  });
  test('two models with ties are saturated: every share is fitted exactly', () => {
    const comparisons = [...several(20, 'a', 'b', 1), ...several(12, 'b', 'a', 0.5), ...several(5, 'b', 'a', 1)];
    const { models, tie } = bradleyTerry(comparisons, { prior: 0, resamples: 2 });
    expect(models[0]!.model).toBe('a');
    expect(models[0]!.strength - models[1]!.strength).toBeCloseTo(Math.log(20 / 5), 8);
    expect(tie).toBeCloseTo(Math.log(12 / Math.sqrt(20 * 5)), 8);
    expect(models[0]!.count).toBe(37);
  });
  test('the table of baseball teams of Agresti, as R fits it without ties', () => {
    // Agresti 2013, table 11.10: wins of seven teams of the American League in 1987, home and away together; estimates against Baltimore.
    const teams = ['Milwaukee', 'Detroit', 'Toronto', 'New York', 'Boston', 'Cleveland', 'Baltimore'];
    const wins = [
      [0, 7, 9, 7, 7, 9, 11],
      [6, 0, 7, 5, 11, 9, 9],
      [4, 6, 0, 7, 7, 8, 12],
      [6, 8, 6, 0, 6, 7, 10],
      [6, 2, 6, 7, 0, 7, 12],
      [4, 4, 5, 6, 6, 0, 6],
      [2, 4, 1, 3, 1, 7, 0],
    ];
    const comparisons = wins.flatMap((row, i) => row.flatMap((n, j) => several(n, teams[i]!, teams[j]!, 1)));
    const found = strengthsOf(comparisons);
    const expected = [1.581, 1.436, 1.295, 1.248, 1.108, 0.684, 0];
    teams.forEach((team, i) => {
      expect(Math.abs(found[team]! - found.Baltimore! - expected[i]!)).toBeLessThan(0.001);
    });
  });
  test('recovers the strengths that made the outcomes; intervals cover them', () => {
    const random = new Random('davidson');
    const truth: Record<string, number> = { a: 0.9, b: 0.2, c: -0.3, d: -0.8 };
    const names = Object.keys(truth);
    const comparisons = Array.from({ length: 1500 }, (_, p) => {
      const [a, b] = random.sample(names, 2) as [string, string];
      const k = random.weighted([
        Math.exp(truth[a]!),
        Math.exp(0.4 + (truth[a]! + truth[b]!) / 2),
        Math.exp(truth[b]!),
      ]);
      return { prompt: p, a, b, outcome: [1, 0.5, 0][k]! };
    });
    const { models, tie } = bradleyTerry(comparisons);
    expect(tie).toBeCloseTo(0.4, 0);
    for (const { model, strength, low, high } of models) {
      expect(Math.abs(strength - truth[model]!)).toBeLessThan(0.2);
      expect(low < truth[model]! && truth[model]! < high).toBe(true);
      expect(high - low).toBeLessThan(0.4);
    }
  });
  test('a model that always wins is finite, and one labeler more widens the interval', () => {
    const { models } = bradleyTerry(several(20, 'a', 'b', 1), { resamples: 20 });
    expect(models[0]!.strength).toBeGreaterThan(1);
    expect(Number.isFinite(models[0]!.high)).toBe(true);
    expect(() => bradleyTerry([])).toThrow('there are no comparisons');
    expect(() => bradleyTerry(several(1, 'a', 'a', 1))).toThrow('of a with itself');
  });
});

describe('Bradley-Terry where resampling shows no uncertainty', () => {
  test('a model that always wins: an interval by profile likelihood, not by the prior', () => {
    const { models, intervals } = bradleyTerry(several(20, 'a', 'b', 1));
    const [a, b] = models;
    expect(intervals).toBe('profile');
    // Of two models: where 20 log P(a wins) is 1.92 below its maximum, 0, but for the weak prior.
    const low = -Math.log(1 / Math.exp(-3.8415 / 2 / 20) - 1) / 2;
    expect(Math.abs(a!.low - low)).toBeLessThan(0.05);
    expect(a!.high).toBeGreaterThan(10);
    expect(b!.low).toBeCloseTo(-a!.high, 6);
    expect(b!.high).toBeCloseTo(-a!.low, 6);
  });
  test('three prompts do not tell the middle one from the others; judging them again adds nothing', () => {
    const pairs = [
      ['a', 'b'],
      ['a', 'c'],
      ['b', 'c'],
    ] as const;
    const all = [0, 1, 2].flatMap((prompt) => pairs.map(([a, b]) => ({ prompt, a, b, outcome: 1 })));
    const { models } = bradleyTerry(all);
    expect(models.map(({ model }) => model)).toEqual(['a', 'b', 'c']);
    expect(models[1]!.high).toBeGreaterThan(models[0]!.low);
    const again = bradleyTerry(
      Array.from({ length: 20 }, (_, l) => all.map((one) => ({ ...one, labeler: `l${l}` }))).flat(),
    );
    for (const [i, { low }] of models.entries()) expect(again.models[i]!.low).toBeCloseTo(low, 6);
  });
  test('one tie says nothing of strengths; mixed outcomes are resampled', () => {
    const [tied] = bradleyTerry(several(1, 'a', 'b', 0.5)).models;
    expect(tied!.low).toBeLessThan(-5);
    expect(tied!.high).toBeGreaterThan(5);
    const mixed = [...several(6, 'a', 'b', 1), ...several(4, 'a', 'b', 0)];
    expect(bradleyTerry(mixed).intervals).toBe('bootstrap');
    // c never wins, whatever a and b do.
    expect(bradleyTerry([...mixed, ...several(3, 'a', 'c', 1)]).intervals).toBe('profile');
  });
});

describe('means over clusters', () => {
  test('copies of a value add no certainty, and labelers who differ take some', () => {
    const values = [...Array(40)].map((_, i) => (i % 2 ? 1 : 0));
    const width = ({ low, high }: { low: number; high: number }) => high - low;
    const each = clusteredMean(values, [values.map((_, i) => i)]);
    expect(each).toMatchObject({ value: 0.5, count: 40 });
    expect(width(each)).toBeCloseTo(2 * 1.96 * Math.sqrt(0.25 / 40), 1);
    const pairs = clusteredMean(values, [values.map((_, i) => (i % 2) + 2 * Math.floor(i / 8))]);
    expect(width(pairs) / width(each)).toBeGreaterThan(1.7); // clusters of four equal values: √4
    // Two labelers of opposite opinions: over prompts alone the mean is certain.
    const prompts = values.map((_, i) => Math.floor(i / 2));
    expect(width(clusteredMean(values, [prompts]))).toBe(0);
    const both = clusteredMean(values, [prompts, values.map(String)]);
    expect([both.low, both.high]).toEqual([0, 1]);
  });
  test('both ends of the interval are 1.96 standard errors from the mean of many normal values', () => {
    const random = new Random('ends');
    const values = Array.from({ length: 500 }, () => random.normal());
    const { value, low, high } = clusteredMean(values, [values.map((_, i) => i)], { resamples: 8000 });
    const error = standardDeviation(values) / Math.sqrt(500);
    expect(Math.abs((value - low) / error - 1.96)).toBeLessThan(0.1);
    expect(Math.abs((high - value) / error - 1.96)).toBeLessThan(0.1);
    const less = clusteredMean(values, [values.map((_, i) => i)], { resamples: 8000, alpha: 0.2 });
    expect(Math.abs((value - less.low) / error - 1.28)).toBeLessThan(0.1);
    expect(Math.abs((less.high - value) / error - 1.28)).toBeLessThan(0.1);
  });
  test('refuses nothing and NaN', () => {
    expect(() => clusteredMean([], [[]])).toThrow('values is empty');
    expect(() => clusteredMean([Number.NaN], [[0]])).toThrow('value 0 is NaN');
  });
});
