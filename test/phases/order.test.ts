import { describe, expect, test } from '@jest/globals';
import { batchesOf, batchesOfTokens, deal, keyedSeed } from '../../lib/phases/order.js';
import { schedule } from '../../lib/phases/schedule.js';

const sorted = (items: readonly number[]) => [...items].sort((a, b) => a - b);
const upTo = (n: number) => Array.from({ length: n }, (_, i) => i);

describe('batches by count', () => {
  const options = { count: 10, batchSize: 4, seed: 3, shuffle: true, stream: 'sft' };
  const batches = batchesOf(options);

  test('every item once per epoch; the last batch has the rest', () => {
    for (const epoch of [0, 1, 7]) {
      const steps = [0, 1, 2].map((step) => batches.at(epoch * 3 + step));
      expect(steps.map((step) => step.length)).toEqual([4, 4, 2]);
      expect(sorted(steps.flat())).toEqual(upTo(10));
    }
    expect(batches.steps(2)).toBe(6);
    expect(batches.steps(0.5)).toBe(2);
  });

  test('a function of (seed, step): the same in any order of calls, and for a new object', () => {
    const forwards = upTo(30).map((step) => batches.at(step));
    const fresh = batchesOf(options);
    for (const step of [29, 3, 4, 0, 17]) expect(fresh.at(step)).toEqual(forwards[step]);
  });

  test('epochs, seeds and streams differ; without shuffling it is the order of the file', () => {
    const epoch = (o: object) => upTo(3).flatMap((step) => batchesOf({ ...options, ...o }).at(step));
    expect(epoch({})).not.toEqual(upTo(3).flatMap((step) => batches.at(3 + step)));
    expect(epoch({})).not.toEqual(epoch({ seed: 4 }));
    expect(epoch({})).not.toEqual(epoch({ stream: 'prompts' }));
    expect(epoch({ shuffle: false })).toEqual(upTo(10));
  });

  test('no data and impossible sizes are refused', () => {
    expect(() => batchesOf({ ...options, count: 0 })).toThrow('the sft data is empty');
    expect(() => batchesOf({ ...options, batchSize: 0 })).toThrow('batchSize is 0');
    expect(() => batchesOf({ ...options, batchSize: 1.5 })).toThrow('batchSize is 1.5');
  });
});

describe('batches by tokens', () => {
  const lengths = [5, 3, 9, 2, 7, 20, 1, 4];
  const options = {
    count: 8,
    tokens: 12,
    lengthOf: (i: number) => lengths[i]!,
    seed: 1,
    shuffle: true,
    stream: 'pretraining',
  };

  test('no batch exceeds the budget unless a single item does, and each epoch has every item once', () => {
    const batches = batchesOfTokens(options);
    let step = 0;
    for (let epoch = 0; epoch < 5; epoch++) {
      const seen: number[] = [];
      while (seen.length < 8) {
        const batch = batches.at(step++);
        const tokens = batch.reduce((sum, i) => sum + lengths[i]!, 0);
        expect(batch.length === 1 || tokens <= 12).toBe(true);
        seen.push(...batch);
      }
      expect(sorted(seen)).toEqual(upTo(8));
      expect(batchesOfTokens(options).steps(epoch + 1)).toBe(step);
    }
  });

  test('the same in any order of calls', () => {
    const forwards = batchesOfTokens(options);
    const expected = upTo(40).map((step) => forwards.at(step));
    const fresh = batchesOfTokens(options);
    for (const step of [39, 0, 20, 1, 38, 5]) expect(fresh.at(step)).toEqual(expected[step]);
  });
});

test('deal: sizes differ by at most one, order kept, nothing lost', () => {
  const parts = deal(upTo(11), 4);
  expect(parts.map((p) => p.length)).toEqual([2, 3, 3, 3]);
  expect(parts.flat()).toEqual(upTo(11));
});

test('keyed seeds: a function of every key, below 2^53', () => {
  const seeds = new Set<number>();
  for (let seed = 0; seed < 10; seed++) {
    for (let i = 0; i < 100; i++) seeds.add(keyedSeed(seed, 'rollout', i));
  }
  expect(seeds.size).toBe(1000);
  for (const seed of seeds) expect(Number.isSafeInteger(seed)).toBe(true);
  expect(keyedSeed(1, 23)).not.toBe(keyedSeed(12, 3));
  expect(keyedSeed(5, 'a', 1)).toBe(keyedSeed(5, 'a', 1));
});

describe('learning rates', () => {
  test('warm-up from a tenth of the peak, then constant', () => {
    const rate = schedule({ schedule: 'constant', learningRate: 1, totalSteps: 100, warmupSteps: 10 });
    expect([0, 5, 10, 99].map(rate)).toEqual([0.1, 0.55, 1, 1]);
  });
  test('cosine falls to a tenth, linear to 0', () => {
    const cosine = schedule({ schedule: 'cosine', learningRate: 2, totalSteps: 100 });
    expect([0, 50, 100, 200].map((step) => +cosine(step).toFixed(12))).toEqual([2, 1.1, 0.2, 0.2]);
    const linear = schedule({ schedule: 'linear', learningRate: 2, totalSteps: 100, warmupSteps: 20 });
    expect([20, 60, 100].map(linear)).toEqual([2, 1, 0]);
  });
  test('impossible options are refused by name', () => {
    const ok = { schedule: 'cosine', learningRate: 1, totalSteps: 10 } as const;
    expect(() => schedule({ ...ok, learningRate: Number.NaN })).toThrow('learningRate is NaN');
    expect(() => schedule({ ...ok, warmupSteps: -1 })).toThrow('warmupSteps is -1');
    expect(() => schedule({ ...ok, schedule: 'step' as 'linear' })).toThrow('schedule is "step"');
  });
});
