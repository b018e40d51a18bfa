import { describe, expect, test } from '@jest/globals';
import { schedule } from '../../lib/phases/schedule.js';

const base = { learningRate: 2, totalSteps: 100 } as const;

describe('schedule', () => {
  test('constant', () => {
    const rate = schedule({ ...base, schedule: 'constant' });
    expect([0, 50, 99, 1000].map(rate)).toEqual([2, 2, 2, 2]);
  });

  test('cosine falls to a tenth: half way in the middle', () => {
    const rate = schedule({ ...base, schedule: 'cosine' });
    expect(rate(0)).toBe(2);
    expect(rate(50)).toBeCloseTo(2 * (0.1 + 0.9 * 0.5), 12);
    expect(rate(25)).toBeCloseTo(2 * (0.1 + 0.45 * (1 + Math.SQRT1_2)), 12);
    expect(rate(100)).toBeCloseTo(0.2, 12);
    expect(rate(500)).toBeCloseTo(0.2, 12);
  });

  test('linear falls to 0, or to the given fraction', () => {
    expect([0, 25, 50, 100].map(schedule({ ...base, schedule: 'linear' }))).toEqual([2, 1.5, 1, 0]);
    expect(schedule({ ...base, schedule: 'linear', finalFraction: 0.5 })(100)).toBe(1);
  });

  test('warms up linearly from a tenth, then starts', () => {
    const rate = schedule({ ...base, schedule: 'linear', warmupSteps: 10 });
    expect(rate(0)).toBeCloseTo(0.2, 12);
    expect(rate(5)).toBeCloseTo(1.1, 12);
    expect(rate(10)).toBe(2);
    expect(rate(55)).toBeCloseTo(1, 12);
    for (let step = 1; step < 10; step++) expect(rate(step)).toBeGreaterThan(rate(step - 1));
  });

  test('never rises after the warm-up', () => {
    for (const kind of ['constant', 'linear', 'cosine'] as const) {
      const rate = schedule({ ...base, schedule: kind, warmupSteps: 7 });
      for (let step = 8; step <= 110; step++) expect(rate(step)).toBeLessThanOrEqual(rate(step - 1));
    }
  });

  test('a warm-up longer than the run only warms up', () => {
    const rate = schedule({ learningRate: 1, totalSteps: 3, warmupSteps: 10, schedule: 'cosine' });
    expect(rate(2)).toBeCloseTo(0.1 + 0.9 * 0.2, 12);
  });

  test.each([
    [{ schedule: 'exponential' as 'cosine' }, 'schedule is "exponential"'],
    [{ learningRate: -1 }, 'learningRate is -1'],
    [{ learningRate: Number.NaN }, 'learningRate is NaN'],
    [{ totalSteps: 1.5 }, 'totalSteps is 1.5'],
    [{ warmupSteps: -1 }, 'warmupSteps is -1'],
    [{ finalFraction: 2 }, 'finalFraction is 2'],
    [{ warmupFrom: -0.1 }, 'warmupFrom is -0.1'],
  ])('refuses %j', (options, message) => {
    expect(() => schedule({ ...base, schedule: 'cosine', ...options })).toThrow(message);
  });
});
