// Against other programs: scipy's optimiser and NLTK wrote test/fixtures/references.json.
import { readFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import { Random } from '../../lib/core/random.js';
import { selfBleu } from '../../lib/evaluate/diversity.js';
import { bootstrapMean, bradleyTerry, clusteredMean, wilson } from '../../lib/statistics/index.js';

const reference = JSON.parse(readFileSync(new URL('../fixtures/references.json', import.meta.url), 'utf8')) as {
  bradleyTerry: {
    comparisons: [a: string, b: string, outcome: number][];
    prior: number;
    strengths: Record<string, number>;
    tie: number | null;
  }[];
  separated: { comparisons: [string, string, number][]; intervals: Record<string, [number, number]> };
  bleu: { texts: string[][]; bleu: number[] }[];
  wilson: [successes: number, count: number, low: number, high: number][];
};
const compared = (rows: readonly (readonly [string, string, number])[]) =>
  rows.map(([a, b, outcome], prompt) => ({ prompt, a, b, outcome }));

describe('Davidson’s model', () => {
  test.each(reference.bradleyTerry.map((one, i) => [i, one.prior, one] as const))(
    'case %d, prior %d: strengths and ties are at the maximum that scipy finds',
    (_, prior, { comparisons, strengths, tie }) => {
      const found = bradleyTerry(compared(comparisons), { prior, resamples: 2 });
      expect(found.models).toHaveLength(Object.keys(strengths).length);
      for (const { model, strength } of found.models) expect(strength).toBeCloseTo(strengths[model]!, 5);
      if (tie === null) expect(found.tie).toBeUndefined();
      else expect(found.tie).toBeCloseTo(tie, 5);
    },
  );
  test('intervals by profile likelihood, against one-dimensional root finding over refitted maxima', () => {
    const { models, intervals } = bradleyTerry(compared(reference.separated.comparisons));
    expect(intervals).toBe('profile');
    for (const { model, low, high } of models) {
      const [from, to] = reference.separated.intervals[model]!;
      expect(Math.abs(low - from)).toBeLessThan(0.002);
      expect(Math.abs(high - to)).toBeLessThan(0.002);
    }
  });
});

test('self-BLEU is NLTK’s sentence_bleu with method1, text by text', () => {
  for (const { texts, bleu } of reference.bleu)
    selfBleu(texts).forEach((value, t) => {
      expect([texts[t], value]).toEqual([texts[t], expect.closeTo(bleu[t]!, 10)]);
    });
});

describe('95 % intervals', () => {
  test("Wilson's, as scipy has it", () => {
    for (const [successes, count, low, high] of reference.wilson) {
      const found = wilson(successes, count);
      expect([successes, count, found.low]).toEqual([successes, count, expect.closeTo(low, 12)]);
      expect([successes, count, found.high]).toEqual([successes, count, expect.closeTo(high, 12)]);
    }
  });
  /** How often intervals of seeded worlds contain the truth; of 400, 95 % is 380 ± 9. */
  const covered = (trials: number, interval: (random: Random, trial: number) => readonly [number, number, number]) => {
    let hits = 0;
    for (let trial = 0; trial < trials; trial++) {
      const [low, truth, high] = interval(new Random(`coverage ${trial}`), trial);
      hits += Number(low <= truth && truth <= high);
    }
    return hits / trials;
  };
  test('bootstrapMean covers the mean of 80 skewed values nearly as often as it says', () => {
    const share = covered(400, (random, seed) => {
      const values = Array.from({ length: 80 }, () => -Math.log(1 - random.next())); // exponential, of mean 1
      const { low, high } = bootstrapMean(values, { resamples: 300, seed });
      return [low, 1, high];
    });
    expect(share).toBeGreaterThan(0.91);
    expect(share).toBeLessThan(0.97);
  });
  test('clusteredMean covers over prompts, whose answers are alike; as single values they would cover far less', () => {
    const of = (clustered: boolean) =>
      covered(300, (random, seed) => {
        const values: number[] = [];
        const keys: number[] = [];
        for (let p = 0; p < 50; p++) {
          const own = random.normal();
          for (let k = 0; k < 4; k++) {
            values.push(0.3 + own + 0.5 * random.normal());
            keys.push(p);
          }
        }
        const { low, high } = clusteredMean(values, [clustered ? keys : values.map((_, i) => i)], {
          resamples: 300,
          seed,
        });
        return [low, 0.3, high];
      });
    const share = of(true);
    expect(share).toBeGreaterThan(0.9);
    expect(share).toBeLessThan(0.98);
    expect(of(false)).toBeLessThan(0.8);
  });
  test('prompts and a dozen labelers resampled together cover nine times in ten; prompts alone far less', () => {
    const of = (ways: 1 | 2, trials: number) =>
      covered(trials, (random, seed) => {
        const [prompts, labelers] = [40, 12].map((n) => Array.from({ length: n }, () => random.normal()));
        const values: number[] = [];
        const keys: [number[], number[]] = [[], []];
        prompts!.forEach((prompt, p) => {
          labelers!.forEach((labeler, l) => {
            values.push(prompt + 2 * labeler + random.normal());
            keys[0].push(p);
            keys[1].push(l);
          });
        });
        const { low, high } = clusteredMean(values, keys.slice(0, ways), { resamples: 150, seed });
        return [low, 0, high];
      });
    const both = of(2, 150); // of as few labelers a bootstrap knows the spread a little too small
    expect(both).toBeGreaterThan(0.85);
    expect(both).toBeLessThan(0.98);
    expect(of(1, 60)).toBeLessThan(0.6);
  });
});
