// The test that a version has to pass, on simulated gains of held-out answers: how often it is passed by chance, and how often by merit.
import { expect, test } from '@jest/globals';
import { Random } from '../../lib/core/random.js';
import { alphaOf, contrasts, gainOf, meanGain, meanMargin } from '../../lib/serve/learning/gate.js';
import { studentizedMean } from '../../lib/statistics/index.js';

/** Normally distributed, by Box and Muller. */
const normal = (random: Random) => Math.sqrt(-2 * Math.log(1 - random.next())) * Math.cos(2 * Math.PI * random.next());

/**
 * One history: attempts until one passes, each with a version whose answers to the same held-out prompts gained at random.
 *
 * @param better nats by which good answers gained more
 * @param drift nats that all gained, good and bad
 * @returns the attempt that passed; undefined if none did
 */
async function historyOf(
  seed: number,
  o: { prompts: number; attempts: number; better?: number; drift?: number; good?: number },
) {
  const { prompts, attempts, better = 0, drift = 0, good = 0.5 } = o;
  const random = new Random(`history/${seed}`);
  const isGood = Array.from({ length: 2 * prompts }, () => random.chance(good));
  const keys = isGood.map((_, i) => i >> 1); // two judgements a prompt
  for (let attempt = 1; attempt <= attempts; attempt++) {
    const shared = Array.from({ length: prompts }, () => 0.5 * normal(random));
    const gained = isGood.map((is, i) => gainOf(drift + (is ? better : 0) + shared[i >> 1]! + 0.5 * normal(random)));
    if ((await meanGain(contrasts(gained, isGood), keys, alphaOf(attempt))).low > 0) return attempt;
  }
  return undefined;
}

async function passesOf(histories: number, o: Parameters<typeof historyOf>[1]): Promise<number> {
  let passed = 0;
  for (let seed = 0; seed < histories; seed++) if ((await historyOf(seed, o)) !== undefined) passed++;
  return passed;
}

// Documented are 5 % over any number of attempts; the interval has two sides, of which one passes.
test.each([8, 16])(
  'of versions that are no better fewer than 5 %% pass in 3 attempts on %i prompts',
  async (prompts) => {
    const passed = await passesOf(80, { prompts, attempts: 3 });
    expect(passed).toBeLessThanOrEqual(4);
  },
);

test('a drift of everything is no merit, even where most answers are bad; a better version passes at the first attempt', async () => {
  const drift = await passesOf(80, { prompts: 16, attempts: 1, drift: -2, good: 0.25 });
  const better = await passesOf(40, { prompts: 16, attempts: 1, better: 1 });
  const slightly = await passesOf(40, { prompts: 64, attempts: 1, better: 0.5 });
  expect(drift).toBeLessThanOrEqual(4);
  expect(better).toBeGreaterThan(30);
  expect(slightly).toBeGreaterThan(30);
});

test('rises count in nats and falls as shares; with one kind of judgement nothing can be said', () => {
  expect([gainOf(2), gainOf(0), gainOf(-100)]).toEqual([2, 0, -1]);
  expect(gainOf(Math.log(0.25))).toBeCloseTo(-0.75, 12);
  const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;
  // (3 + 1) / 2 of the good, 0.5 of the bad.
  expect(mean(contrasts([3, 0.5, 1], [true, false, true]))).toBeCloseTo(1.5, 12);
  expect(contrasts([5, 5], [true, false]).map(Math.abs)).toEqual([0, 0]); // what all gained has no variance
  expect(contrasts([3, 0.5], [true, true])).toEqual([0, 0]);
  expect(contrasts([], [])).toEqual([]);
});

test('the margin of a ranking is the mean over its pairs of different ranks', () => {
  expect(meanMargin([1, 5, 2], [0, 1, 1])).toBe((1 - 5 + (1 - 2)) / 2);
  expect(meanMargin([1, 5, 2.5], [2, 0, 1])).toBe((5 - 2.5 + (5 - 1) + (2.5 - 1)) / 3);
  expect(meanMargin([1, 5], [3, 3])).toBeNaN();
});

test('the studentised interval: as wide as few prompts need, of clusters, and without an end where resamples do not reach', async () => {
  const few = Array.from({ length: 8 }, (_, i) => 1 + (i - 3.5) / 4);
  const keys = few.map((_, i) => i);
  const found = await studentizedMean(few, keys);
  expect(found.value).toBeCloseTo(1, 12);
  expect(found.count).toBe(8);
  // Student's with 7 degrees of freedom is 1 ± 0.512; percentiles would give ± 0.40.
  expect(found.low).toBeGreaterThan(0.35);
  expect(found.low).toBeLessThan(0.55);
  expect(await studentizedMean(few, keys)).toEqual(found);
  const twice = await studentizedMean([...few, ...few], [...keys, ...keys]);
  expect([twice.low, twice.high]).toEqual([expect.closeTo(found.low, 9), expect.closeTo(found.high, 9)]);
  expect((await studentizedMean(few, keys, { alpha: 0.01, resamples: 20_000 })).low).toBeLessThan(found.low);
  const two = await studentizedMean([1, 2], [0, 1]);
  expect([two.low, two.high]).toEqual([Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY]);
  expect(await studentizedMean([0, 0, 0], [0, 1, 2])).toEqual({ value: 0, low: 0, high: 0, count: 3 });
  await expect(studentizedMean([1, 2], [0, 0])).rejects.toThrow('1 clusters, expected at least 2');
  await expect(studentizedMean([1, Number.NaN], [0, 1])).rejects.toThrow('value 1 is NaN');
  await expect(studentizedMean(few, keys, { resamples: 1e9, signal: AbortSignal.timeout(20) })).rejects.toThrow();
});
