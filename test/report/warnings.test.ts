import { describe, expect, test } from '@jest/globals';
import type { Metrics } from '../../lib/report/types.js';
import { warningsOf } from '../../lib/report/warnings.js';
import { exampleCurves } from './example.js';

/** A run of `count` steps, each an iteration of its own, whose metrics go evenly from the first to the last value. */
function run(metrics: Record<string, readonly [number, number]>, count = 40): Metrics[] {
  return Array.from({ length: count }, (_, i) => ({
    step: i + 1,
    iteration: i + 1,
    ...Object.fromEntries(
      Object.entries(metrics).map(([name, [first, last]]) => [name, first + ((last - first) * i) / (count - 1)]),
    ),
  }));
}

const healthy = {
  length: [20, 24],
  explainedVariance: [0, 0.4],
  entropy: [2, 1.5],
  clipFraction: [0.1, 0.05],
  scoreStd: [1, 0.8],
  score: [0, 2],
  kl: [0, 8],
  gradNorm: [1, 1.2],
  percentOfPeak: [50, 45],
  validationLoss: [3, 2],
  validationLow: [0.5, 0.6],
  validationAccuracy: [0.52, 0.65],
  validationHigh: [0.6, 0.7],
  tiedGroups: [0.3, 0.5],
  chosenLogprob: [-40, -42],
} as const;

test('a healthy run has none', () => {
  expect(warningsOf(run(healthy), { stopAtKl: 20 })).toEqual([]);
  for (const { points } of exampleCurves()) expect(warningsOf(points)).toEqual([]);
});

test('none while too little was measured', () => {
  expect(warningsOf([])).toEqual([]);
  expect(warningsOf(run({ length: [10, 100], entropy: [2, 0] }, 3))).toEqual([]);
});

describe('one of them', () => {
  test.each([
    ['length', [20, 40], /^answers got 89 % longer, from 20\.8 to 39\.2 tokens: /],
    ['length', [40, 20], /^answers got 4\d % shorter, from /],
    ['explainedVariance', [0, 0.01], /^the value network explains nothing: explained variance 0\.01/],
    ['explainedVariance', [0, -2], /^the value network is worse than a constant: explained variance -1\.9/],
    ['entropy', [2, 0.4], /^the entropy fell from 1\.94 to 0\.462 nats per token/],
    ['clipFraction', [0.1, 0.5], /^4\d\.\d % of the ratios are clipped/],
    ['tiedGroups', [0.5, 1], /^9\d\.\d % of the prompts get the same score/],
    ['scoreStd', [1, 0], undefined],
    ['kl', [0, 17], /^the KL is 17 of the 20 nats at which the run stops/],
    ['chosenLogprob', [-40, -60], /^preferred responses became less likely, from -4\d\.?\d* to -5\d\.?\d* nats/],
    ['percentOfPeak', [50, 10], /^the speed fell from 4\d\.\d to 1\d\.\d % of peak/],
    ['validationLow', [0.6, 0.5], /^the held-out pairs are ordered no better than by chance: 65\.0 %/],
    ['validationLow', [0.5, 0.49], /^the held-out pairs are ordered no better than by chance: 65\.0 %/],
  ] as const)('%s from %j', (metric, values, sentence) => {
    const found = warningsOf(run({ ...healthy, [metric]: values }), { stopAtKl: 20 });
    if (sentence === undefined) expect(found).toEqual([]);
    else expect(found).toEqual([expect.stringMatching(sentence)]);
  });

  test('a KL without a limit', () => {
    expect(warningsOf(run({ kl: [0, 60], length: [100, 100] }))).toEqual([
      expect.stringMatching(/is 60 nats per resp/),
    ]);
    expect(warningsOf(run({ kl: [0, 40], length: [30, 30] }))).toEqual([expect.stringMatching(/is 40 nats per resp/)]);
    expect(warningsOf(run({ kl: [0, 40], length: [100, 100] }))).toEqual([]);
  });

  test('scores that are all the same', () => {
    const points = run({ scoreStd: [1, 1] }).map((point, i) => (i < 20 ? point : { ...point, scoreStd: 0 }));
    expect(warningsOf(points)).toEqual([expect.stringMatching(/^all responses get nearly the same score/)]);
  });

  test('a score that fell again', () => {
    const up = run({ score: [0, 2] }, 20);
    const down = run({ score: [2, 0.5] }, 20).map((point) => ({
      ...point,
      step: point.step + 20,
      iteration: point.iteration! + 20,
    }));
    expect(warningsOf([...up, ...down])).toEqual([
      expect.stringMatching(/^the score fell from 1\.9\d at step 2\d to 0\.6/),
    ]);
    const little = down.map((point) => ({ ...point, score: 1.6 }));
    expect(warningsOf([...up, ...little])).toEqual([]);
    expect(warningsOf(down)).toEqual([expect.stringMatching(/^the score fell from 1\.9/)]);
    // Noise around the same score.
    const noisy = run({ score: [1, 1] }).map((point, i) => ({ ...point, score: 1 + ((i * 7) % 5) / 10 }));
    expect(warningsOf(noisy)).toEqual([]);
  });

  test('a held-out loss that rises', () => {
    const losses = [3, 2.5, 2.4, 2.45, 2.6];
    const points = losses.map((validationLoss, i) => ({ step: 10 * (i + 1), validationLoss }));
    expect(warningsOf(points)).toEqual([expect.stringMatching(/rises since step 30, from 2\.40 to 2\.60/)]);
    expect(warningsOf(points.slice(0, 4))).toEqual([]);
  });

  test('a gradient that spikes', () => {
    const points = run({ gradNorm: [1, 1] }).map((point, i) => (i === 30 ? { ...point, gradNorm: 25 } : point));
    expect(warningsOf(points)).toEqual([expect.stringMatching(/norm was 25 at step 31, 25 times the usual 1/)]);
    expect(warningsOf(points.map((point, i) => (i === 30 ? { ...point, gradNorm: 9 } : point)))).toEqual([]);
  });
});

test('a value repeated in the steps of an iteration counts once', () => {
  // One long iteration at the end is one value of thirty.
  const points = run({ length: [20, 20] }, 30).flatMap((point) =>
    point.step < 30 ? [point] : Array.from({ length: 40 }, () => ({ ...point, length: 40 })),
  );
  expect(warningsOf(points)).toEqual([]);
});
