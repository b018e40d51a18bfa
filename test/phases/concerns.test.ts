import { describe, expect, test } from '@jest/globals';
import {
  dataConcerns,
  offlineConcerns,
  ppoConcerns,
  rewardConcerns,
  supervisedConcerns,
} from '../../lib/phases/concerns.js';
import type { PpoMetrics } from '../../lib/phases/metrics.js';

describe('warnings of a poor result', () => {
  test('with very little data', () => {
    expect(dataConcerns('demonstrations', 10, 20, 5)).toEqual([]);
    expect(dataConcerns('demonstrations', 10, 0, 5)).toEqual([]); // nothing is measured without held-out data
    expect(dataConcerns('demonstrations', 1, 0, 99)).toEqual([
      expect.stringMatching(/^only 1 of the demonstrations are left to train on after 99 were dropped/),
    ]);
    expect(dataConcerns('rankings', 9, 0, 0)[0]).toMatch(/^only 9 of the rankings are left to train on, expected/);
    expect(dataConcerns('rankings', 400, 19, 0)).toEqual([
      expect.stringContaining('only 19 of the rankings are held out'),
    ]);
    expect(dataConcerns('rankings', 1, 1, 0)).toHaveLength(2);
  });

  test('with a loss above that of guessing, over the last ten steps', () => {
    const steps = (...losses: number[]) => losses.map((loss) => ({ loss }));
    const guessing = Math.log(1000);
    expect(supervisedConcerns(steps(guessing - 0.01), 1000)).toEqual([]);
    expect(supervisedConcerns(steps(guessing + 0.01), 1000)).toEqual([
      expect.stringContaining('above 6.91, that of a uniform guess among 1000 tokens'),
    ]);
    expect(supervisedConcerns(steps(...Array(20).fill(50), ...Array(10).fill(2)), 1000)).toEqual([]);
    expect(supervisedConcerns(steps(...Array(9).fill(2), 80), 1000)).toHaveLength(1); // their mean
  });

  test('of a reward model that orders pairs no better than chance', () => {
    const held = (low: number, pairs = 40) => ({
      validation: { accuracy: 0.6, low, high: 0.7, pairs, prompts: 10, loss: 0.6 },
    });
    expect(rewardConcerns(held(0.51))).toEqual([]);
    expect(rewardConcerns(held(0.5))).toEqual([
      expect.stringContaining('orders 60 % of the held-out pairs correctly, 95 % interval [50 %, 70 %]'),
    ]);
    expect(rewardConcerns(held(0, 0))).toEqual([]);
    expect(rewardConcerns({})).toEqual([]);
  });

  describe('of PPO', () => {
    const good = { explainedVariance: 0.4, kl: 3, length: 20, finished: 0.9 } as PpoMetrics;
    test.each([
      ['nothing', {}, undefined],
      ['a value network a little worse than a constant', { explainedVariance: -0.4 }, undefined],
      ['a value network far worse', { explainedVariance: -0.6 }, /explained variance is -0\.600, far below/],
      ['a KL of almost one nat per token', { kl: 19 }, undefined],
      ['more', { kl: 21 }, /KL from the reference is 21\.0 nats per response of 20\.0 tokens/],
      ['much in all, of a long response', { kl: 51, length: 400 }, /KL from the reference is 51\.0/],
      ['a lower one of a long response', { kl: 49, length: 400 }, undefined],
      ['an estimate a little below 0', { kl: -0.9 }, undefined],
      ['an estimate far below 0', { kl: -1.1 }, /a KL is at least 0/],
      ['half of the responses that end', { finished: 0.5 }, undefined],
      ['fewer', { finished: 0.49 }, /only 49 % of the responses ended by themselves/],
    ])('%s', (_, changed, said) => {
      expect(ppoConcerns({ ...good, ...changed })).toEqual(said ? [expect.stringMatching(said)] : []);
    });
  });
});

test('objectives on given responses: the interval decides, without one the last training steps', () => {
  const steps = Array.from({ length: 10 }, () => ({ accuracy: 0.6 }));
  const held = (low: number, high: number) => ({
    validation: { accuracy: 0.55, low, high, pairs: 90, prompts: 30, loss: 0.7 },
  });
  expect(offlineConcerns(held(0.51, 0.6), steps)).toEqual([]);
  expect(offlineConcerns(held(0.5, 0.6), steps)).toEqual([
    'the model orders 55 % of the held-out comparisons as the labels do, 95 % interval [50 %, 60 %], no better than chance: raise the learning rate, train longer, or check the labels',
  ]);
  expect(offlineConcerns({}, steps)).toEqual([]);
  expect(offlineConcerns({}, [{ accuracy: 0.5 }])).toEqual([
    expect.stringMatching(/^the model orders only 50 % of the last comparisons/),
  ]);
});
