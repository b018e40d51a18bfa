import { describe, expect, test } from '@jest/globals';
import {
  cutOffScores,
  explainedVariance,
  gae,
  klRewards,
  moments,
  takeRows,
  whiten,
} from '../../lib/phases/ppo/advantages.js';

// One response of three tokens, by hand, with numbers that float64 holds exactly.
//
//   t                     0       1       2
//   logprob - reflogprob  0.5    -0.25    1
//   KL reward, beta 0.5  -0.25    0.125  -0.5
//   score 2 on the last                  +2
//   reward               -0.25    0.125   1.5
//   value                 0.5     1       0.25
//
//   gamma 1, lambda 1/2:
//   delta_2 = 1.5 + 0 - 0.25          =  1.25      A_2 = 1.25
//   delta_1 = 0.125 + 0.25 - 1        = -0.625     A_1 = -0.625 + 0.5 * 1.25   =  0
//   delta_0 = -0.25 + 1 - 0.5         =  0.25      A_0 =  0.25 + 0.5 * 0       =  0.25
//   return = A + V                    =  0.75, 1, 1.5
const three = {
  logprobs: Float32Array.of(-1, -0.75, -0.5),
  refLogprobs: Float32Array.of(-1.5, -0.5, -1.5),
  values: Float32Array.of(0.5, 1, 0.25),
  cuRows: Int32Array.of(0, 3),
};

describe('a response of three tokens, worked by hand', () => {
  const rewards = klRewards({ ...three, scores: [2], klCoef: 0.5 });

  test('every token has a KL penalty, the last one the score', () => {
    expect([...rewards]).toEqual([-0.25, 0.125, 1.5]);
  });

  test('advantages and returns; the value after the last token is 0', () => {
    const { advantages, returns } = gae({ ...three, rewards, gamma: 1, lambda: 0.5 });
    expect([...advantages]).toEqual([0.25, 0, 1.25]);
    expect([...returns]).toEqual([0.75, 1, 1.5]);
  });

  test('with lambda 1 and gamma 1 the return is the sum of the rewards that follow', () => {
    const { returns } = gae({ ...three, rewards, gamma: 1, lambda: 1 });
    expect([...returns]).toEqual([1.375, 1.625, 1.5]);
  });

  test('with gamma 1/2 a later reward counts half', () => {
    // delta: -0.25 + 0.5 - 0.5, 0.125 + 0.125 - 1, 1.25; lambda 0: the advantage is delta
    const { advantages } = gae({ ...three, rewards, gamma: 0.5, lambda: 0 });
    expect([...advantages]).toEqual([-0.25, -0.75, 1.25]);
  });
});

test('responses are independent: two in one array equal two separate ones', () => {
  const rewards = Float64Array.of(1, 2, 3, 4);
  const values = Float32Array.of(0.5, 0.25, 1, -1);
  const options = { gamma: 1, lambda: 0.95 };
  const both = gae({ rewards, values, cuRows: Int32Array.of(0, 3, 4), ...options });
  const first = gae({
    rewards: rewards.slice(0, 3),
    values: values.slice(0, 3),
    cuRows: Int32Array.of(0, 3),
    ...options,
  });
  const second = gae({ rewards: rewards.slice(3), values: values.slice(3), cuRows: Int32Array.of(0, 1), ...options });
  expect([...both.advantages]).toEqual([...first.advantages, ...second.advantages]);
  expect([...both.returns]).toEqual([...first.returns, ...second.returns]);
});

test('each score is added at the last row of its response; an empty response is refused', () => {
  const zeros = new Float32Array(4);
  const o = { logprobs: zeros, refLogprobs: zeros, klCoef: 1 };
  expect([...klRewards({ ...o, scores: [5, 7], cuRows: Int32Array.of(0, 1, 4) })].map(Math.abs)).toEqual([5, 0, 0, 7]);
  expect(() => klRewards({ ...o, scores: [5, 7], cuRows: Int32Array.of(0, 4, 4) })).toThrow('response 1 is empty');
});

describe('the score of a response that was cut off', () => {
  const scores = [2, -3, 2, -3];
  const finished = [true, true, false, false];
  test.each([
    ['min', [2, -3, -1, -3]],
    ['subtract', [2, -3, 1, -4]],
    ['none', [2, -3, 2, -3]],
  ] as const)('%s', (rule, expected) => {
    expect([...cutOffScores(scores, finished, rule, 1)]).toEqual(expected);
  });
});

test('whitening: mean 0, population variance 1, order kept', () => {
  const whitened = whiten([1, 2, 3, 6]); // mean 3, population variance 14 / 4
  const sd = Math.sqrt(3.5);
  for (const [i, expected] of [-2, -1, 0, 3].entries()) expect(whitened[i]).toBeCloseTo(expected / sd, 6);
  expect(moments(whitened).mean).toBeCloseTo(0, 7);
  expect(moments(whitened).variance).toBeCloseTo(1, 6);
});

test('whitening of equal advantages gives zeros, not NaN', () => {
  expect([...whiten([0.3, 0.3, 0.3])].every((x) => x === 0)).toBe(true);
});

test('moments do not lose small differences on a large mean', () => {
  const { mean, variance } = moments([1e8 + 1, 1e8 + 2, 1e8 + 3]);
  expect(mean).toBe(1e8 + 2);
  expect(variance).toBeCloseTo(2 / 3, 12);
  expect(moments([])).toEqual({ mean: 0, variance: 0 });
});

test('explained variance: 1 for a perfect critic, 0 for a constant one, negative for a bad one', () => {
  const returns = [1, 2, 3, 4];
  expect(explainedVariance(returns, returns)).toBe(1);
  expect(explainedVariance([7, 7, 7, 7], returns)).toBe(0);
  expect(explainedVariance([-1, -2, -3, -4], returns)).toBe(-3);
  expect(explainedVariance([1, 2], [5, 5])).toBe(0);
});

test('takeRows gathers the rows of responses in the given order', () => {
  const x = Float32Array.of(0, 1, 2, 3, 4, 5);
  expect([...takeRows(x, Int32Array.of(0, 2, 3, 6), [2, 0])]).toEqual([3, 4, 5, 0, 1]);
});
