import { describe, expect, test } from '@jest/globals';
import { Random } from '../../lib/core/random.js';
import { bestOfN, bestOfNKl, fitGao, gaoValue } from '../../lib/report/overoptimisation.js';
import { bootstrapMean, quantile, standardDeviation, wilson, winRate } from '../../lib/statistics/index.js';

describe('wilson', () => {
  test('15 of 20, worked by hand', () => {
    // centre (0.75 + 3.8415/40) / (1 + 3.8415/20) = 0.84604 / 1.19207; half 1.95996/1.19207 · √(0.1875/20 + 3.8415/1600)
    const { value, low, high, count } = wilson(15, 20);
    expect([value, count]).toEqual([0.75, 20]);
    expect(low).toBeCloseTo(0.5313, 4);
    expect(high).toBeCloseTo(0.8881, 4);
  });
  test('does not collapse where all succeed', () => {
    expect(wilson(10, 10).high).toBe(1);
    expect(wilson(10, 10).low).toBeCloseTo(10 / (10 + 3.841459), 6); // n / (n + z²)
    expect(wilson(0, 10).low).toBe(0);
  });
  test('refuses invalid counts', () => {
    expect(() => wilson(1, 0)).toThrow('count is 0');
    expect(() => wilson(3, 2)).toThrow('successes is 3, expected a number in [0, 2]');
  });
});

describe('bootstrapMean', () => {
  test('agrees with the standard error of a large sample', () => {
    const random = new Random('values');
    const values = Array.from({ length: 400 }, () => random.normal());
    const { value, low, high } = bootstrapMean(values);
    const error = standardDeviation(values) / 20;
    expect(value).toBeCloseTo(values.reduce((a, b) => a + b) / 400, 12);
    expect((high - value) / error).toBeCloseTo(1.96, 0);
    expect((value - low) / error).toBeCloseTo(1.96, 0);
  });
  test('covers the truth about 95 times in 100', () => {
    let covered = 0;
    for (let trial = 0; trial < 100; trial++) {
      const random = new Random(`trial ${trial}`);
      const { low, high } = bootstrapMean(
        Array.from({ length: 60 }, () => Number(random.chance(0.6))),
        { resamples: 200 },
      );
      covered += Number(low <= 0.6 && 0.6 <= high);
    }
    expect(covered).toBeGreaterThanOrEqual(88);
    expect(covered).toBeLessThanOrEqual(99);
  });
  test('depends on its seed', () => {
    const values = [0, 1, 1, 0, 1, 0.5, 0.25];
    expect(bootstrapMean(values, { seed: 3 })).toEqual(bootstrapMean(values, { seed: 3 }));
    expect(bootstrapMean([5, 5, 5])).toEqual({ value: 5, low: 5, high: 5, count: 3 });
  });
  test('refuses an empty list and NaN', () => {
    expect(() => bootstrapMean([])).toThrow('values is empty');
    expect(() => bootstrapMean([1, Number.NaN])).toThrow('value 1 is NaN');
  });
});

test('quantile interpolates', () => {
  expect(quantile([1, 2, 3, 5], 0.5)).toBe(2.5);
  expect(quantile([1, 2, 3, 5], 1)).toBe(5);
  expect(quantile([7], 0.3)).toBe(7);
});

describe('winRate', () => {
  const outcomes = ['win', 'tie', 'tie', 'loss', 'win'] as const;
  test('a tie is half a win', () => {
    expect(winRate('ppo', 'sft', outcomes)).toMatchObject({
      model: 'ppo',
      against: 'sft',
      rate: 0.6,
      wins: 2,
      ties: 2,
      losses: 1,
    });
  });
  test('swapping the models gives one minus the rate', () => {
    const turned = outcomes.map((outcome) => (outcome === 'win' ? 'loss' : outcome === 'loss' ? 'win' : 'tie'));
    const forth = winRate('a', 'b', outcomes, { interval: 'wilson' });
    const back = winRate('b', 'a', turned, { interval: 'wilson' });
    expect(back.rate).toBeCloseTo(1 - forth.rate, 12);
    expect(back.low).toBeCloseTo(1 - forth.high, 12);
  });
  test('the interval is narrower with ties than without', () => {
    const width = (of: readonly ('win' | 'tie' | 'loss')[]) => {
      const { low, high } = winRate('a', 'b', of);
      return high - low;
    };
    const even = Array.from({ length: 100 }, (_, i) => (i % 2 ? 'win' : 'loss') as 'win' | 'loss');
    const tied = Array.from({ length: 100 }, (_, i) => (['win', 'tie', 'tie', 'loss'] as const)[i % 4]!);
    expect(width(tied)).toBeLessThan(0.8 * width(even));
  });
  test('an empty list is refused', () => {
    expect(() => winRate('a', 'b', [])).toThrow('values is empty');
  });
});

describe('best of n', () => {
  test('KL', () => {
    expect([2, 4, 16, 64, 1024].map((n) => Number(bestOfNKl(n).toFixed(3)))).toEqual([
      0.193, 0.636, 1.835, 3.175, 5.932,
    ]);
  });
  test('by hand: of 1, 2, 3 the best of two is 3 in two pairs of three, else 2', () => {
    const points = bestOfN([{ proxy: [2, 3, 1], gold: [20, 10, 30] }], [1, 2, 3]);
    expect(points.map(({ n }) => n)).toEqual([1, 2, 3]);
    expect(points[0]).toMatchObject({ proxy: 0, gold: 0, kl: 0 });
    expect(points[1]!.proxy).toBeCloseTo((2 * 3 + 2) / 3 - 2, 12);
    expect(points[1]!.gold).toBeCloseTo((2 * 10 + 20) / 3 - 20, 12);
    expect(points[2]!.gold).toBeCloseTo(10 - 20, 12);
  });
  test.each([1, 2, 3, 7])('of %d equals the mean over all subsets, with random tie-breaking', (n) => {
    const random = new Random('subsets');
    const proxy = Array.from({ length: 8 }, () => random.int(4)); // ties
    const gold = Array.from({ length: 8 }, () => random.next());
    let sum = 0;
    let subsets = 0;
    for (let set = 0; set < 256; set++) {
      const members = proxy.flatMap((_, i) => ((set >> i) & 1 ? [i] : []));
      if (members.length !== n) continue;
      const top = Math.max(...members.map((i) => proxy[i]!));
      const best = members.filter((i) => proxy[i] === top);
      sum += best.reduce((s, i) => s + gold[i]!, 0) / best.length;
      subsets++;
    }
    const mean = gold.reduce((a, b) => a + b) / 8;
    expect(bestOfN([{ proxy, gold }], [n])[0]!.gold).toBeCloseTo(sum / subsets - mean, 12);
  });
  test('n = 1024 is finite; n above the number of samples is refused', () => {
    const proxy = Array.from({ length: 2048 }, (_, i) => i);
    const [point] = bestOfN([{ proxy, gold: proxy }], [1024]);
    expect(point!.gold).toBeCloseTo((1024 * 2049) / 1025 - 1 - 2047 / 2, 6); // E max of n of 1..N is n (N + 1) / (n + 1)
    expect(() => bestOfN([{ proxy: [1], gold: [1] }], [2])).toThrow(
      'n is 2, expected an integer from 1 to the 1 samples',
    );
    const fewer = [
      { proxy: [1, 2], gold: [1, 2] },
      { proxy: [1, 2], gold: [1] },
    ];
    expect(() => bestOfN(fewer, [1])).toThrow('prompt 1 has 2 proxies and 1 golds, expected the same number');
  });
});

describe('fits of Gao et al.', () => {
  test.each(['best-of-n', 'rl'] as const)('%s recovers the coefficients of the points', (form) => {
    const points = [0.1, 0.5, 1, 2, 4, 9].map((kl) => ({
      kl,
      gold: gaoValue({ form, alpha: 1.5, beta: 0.4 }, Math.sqrt(kl)),
    }));
    const fit = fitGao('ppo', form, [{ kl: 0, gold: 0 }, ...points])!;
    expect(fit.alpha).toBeCloseTo(1.5, 10);
    expect(fit.beta).toBeCloseTo(0.4, 10);
    expect(fit).toMatchObject({ of: 'ppo', form, points: 6 });
    expect(fit.r2).toBeCloseTo(1, 12);
  });
  test('two points are too few', () => {
    expect(
      fitGao('ppo', 'rl', [
        { kl: 1, gold: 1 },
        { kl: 2, gold: 1 },
        { kl: -1, gold: 0 },
      ]),
    ).toBeUndefined();
    expect(
      fitGao('ppo', 'rl', [
        { kl: 1, gold: 1 },
        { kl: 1, gold: 2 },
        { kl: 1, gold: 0 },
      ]),
    ).toBeUndefined();
  });
});
