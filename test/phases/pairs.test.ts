import { describe, expect, test } from '@jest/globals';
import { Random } from '../../lib/core/random.js';
import { comparePairs, hasPair, pairAccuracy } from '../../lib/phases/pairs.js';

const logistic = (margin: number) => Math.log(1 + Math.exp(-margin));

describe('the pairs of a ranking', () => {
  test('all pairs are compared, each with the better response first', () => {
    const { pairs, correct, loss } = comparePairs([2, 0.5, 1], [0, 1, 2]);
    expect(pairs).toBe(3);
    expect(correct).toBe(2); // 2 > 0.5, 2 > 1, but 0.5 < 1
    expect(loss).toBeCloseTo((logistic(1.5) + logistic(1) + logistic(-0.5)) / 3, 12);
  });

  test('ties are not compared, equal scores count one half', () => {
    expect(comparePairs([1, 1, 0], [0, 0, 1])).toMatchObject({ pairs: 2, correct: 2 });
    expect(comparePairs([1, 1], [0, 1])).toMatchObject({ pairs: 1, correct: 0.5, loss: Math.log(2) });
    expect(comparePairs([3, 4], [1, 1])).toEqual({ pairs: 0, correct: 0, loss: 0 });
    expect([hasPair([2, 2, 2]), hasPair([2, 2, 1])]).toEqual([false, true]);
  });

  test('large margins do not overflow', () => {
    expect(comparePairs([1000, -1000], [1, 0]).loss).toBe(2000);
    expect(comparePairs([1000, -1000], [0, 1]).loss).toBe(0);
  });
});

describe('the accuracy and its interval', () => {
  test('one pair per prompt: near the binomial interval', () => {
    const prompts = Array.from({ length: 400 }, (_, i) => ({ pairs: 1, correct: i < 280 ? 1 : 0, loss: 0 }));
    const { accuracy, low, high, pairs } = pairAccuracy(prompts);
    const half = 1.96 * Math.sqrt((0.7 * 0.3) / 400);
    expect([accuracy, pairs]).toEqual([0.7, 400]);
    expect(Math.abs(low - (0.7 - half))).toBeLessThan(0.01);
    expect(Math.abs(high - (0.7 + half))).toBeLessThan(0.01);
    expect(pairAccuracy(prompts)).toEqual({ accuracy, low, high, pairs, prompts: 400 });
  });

  test('correlated pairs of a prompt give the interval of prompts, not of pairs', () => {
    const random = new Random(1);
    const prompts = Array.from({ length: 100 }, () => ({ pairs: 36, correct: random.chance(0.7) ? 36 : 0, loss: 0 }));
    const { low, high } = pairAccuracy(prompts);
    expect(high - low).toBeGreaterThan(0.14); // 2 · 1.96 · sqrt(.21 / 100) = .18; by pairs it would be .03
  });

  test('all right, all wrong, or all half right: as wide as Wilson says for as many prompts, however many pairs they have', () => {
    const of = (share: number, prompts: number, pairs = 6) =>
      pairAccuracy([
        ...Array.from({ length: prompts }, () => ({ pairs, correct: share * pairs, loss: 0 })),
        { pairs: 0, correct: 0, loss: 0 }, // a ranking of ties compares nothing
      ]);
    // Wilson's score interval of 5 of 5: 1 / (1 + 1.96² / 5) = 0.5655.
    expect(of(1, 5)).toMatchObject({ accuracy: 1, low: expect.closeTo(0.5655, 4), high: 1, pairs: 30, prompts: 5 });
    expect(of(0, 5)).toMatchObject({ accuracy: 0, low: 0, high: expect.closeTo(0.4345, 4) });
    expect(of(1, 5, 1).low).toBe(of(1, 5).low);
    expect(of(1, 50).low).toBeGreaterThan(0.9);
    const half = of(0.5, 4);
    expect(half.low).toBeLessThan(0.2);
    expect(half.high).toBeGreaterThan(0.8);
  });

  test('without pairs there is no result', () => {
    expect(pairAccuracy([{ pairs: 0, correct: 0, loss: 0 }])).toEqual({
      accuracy: 0,
      low: 0,
      high: 1,
      pairs: 0,
      prompts: 0,
    });
  });
});
