import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { Random } from '../../lib/core/random.js';
import { klFrom, sampleTrees } from '../../lib/evaluate/divergence.js';
import {
  bestOfNCurves,
  proxiesWithEnsembles,
  sizesUpTo,
  standardised,
  trainingCurve,
  turnOf,
} from '../../lib/evaluate/overoptimisation.js';
import { overSection } from '../../lib/evaluate/valuespage.js';
import { Engine, LanguageModel, Tokenizer, trainSft } from '../../lib/index.js';
import { gaoValue } from '../../lib/report/overoptimisation.js';

/** Scores of samples whose gold is normal and whose proxies are gold plus noise of their own. */
function world(prompts: number, samples: number, noise: readonly number[], seed = 'world') {
  const random = new Random(seed);
  const gold = Array.from({ length: prompts }, () => Array.from({ length: samples }, () => random.normal()));
  const proxies = noise.map((size, i) => ({
    name: `p${i}`,
    scores: gold.map((of) => of.map((x) => x + size * random.normal())),
  }));
  return { gold, proxies };
}

describe('best-of-n', () => {
  test('a perfect proxy gains the expected maximum of n normal numbers, with an interval over prompts', () => {
    const { gold } = world(250, 16, []);
    const [curve] = bestOfNCurves([{ name: 'itself', scores: gold }], gold);
    expect(curve!.points.map(({ n }) => n)).toEqual([1, 2, 4, 8, 16]);
    // Expected maxima of 2, 4, 8, 16 standard normal numbers (Harter 1961).
    for (const [k, expected] of [0.5642, 1.0294, 1.4236, 1.766].entries()) {
      const { gold: found, proxy, kl, n } = curve!.points[k + 1]!;
      expect(found.low).toBeLessThan(expected + 0.02);
      expect(found.high).toBeGreaterThan(expected - 0.02);
      expect(found.high - found.low).toBeLessThan(0.3);
      expect(proxy.value).toBeCloseTo(found.value, 12);
      expect(kl).toBeCloseTo(Math.log(n!) - (n! - 1) / n!, 12);
    }
    expect(curve!.points[0]!.gold.value).toBeCloseTo(0, 12);
    expect(curve!.best.n).toBe(16);
  });
  test('a proxy with noise gains its correlation of that; the mean of two gains more than either', () => {
    const { gold, proxies } = world(250, 16, [1, 1]);
    const found = Object.fromEntries(
      bestOfNCurves(proxies, gold).map((curve) => [curve.of, curve.points.at(-1)!.gold.value]),
    );
    expect(Object.keys(found)).toEqual(['p0', 'p1', 'mean', 'worst', 'uncertainty']);
    expect(found.p0).toBeCloseTo(1.766 / Math.sqrt(2), 1);
    expect(found.mean).toBeCloseTo(1.766 / Math.sqrt(1.5), 1);
    expect(found.mean).toBeGreaterThan(found.p1!);
  });
  test('an exploited proxy: gold turns, and the ensemble resists', () => {
    // Rare samples please proxy 0 and are bad; the other proxy is not fooled.
    const random = new Random('exploit');
    const gold: number[][] = [];
    const scores: number[][][] = [[], []];
    for (let p = 0; p < 200; p++) {
      const fooled = Array.from({ length: 64 }, () => random.chance(0.03));
      const truth = fooled.map((bad) => (bad ? -3 : random.normal()));
      gold.push(truth);
      scores[0]!.push(truth.map((x, s) => (fooled[s] ? 6 : x)));
      scores[1]!.push(truth.map((x) => x + 0.3 * random.normal()));
    }
    const curves = bestOfNCurves(
      scores.map((of, i) => ({ name: `p${i}`, scores: of })),
      gold,
    );
    const by = Object.fromEntries(curves.map((curve) => [curve.of, curve]));
    expect(by.p0!.best.n).toBeLessThan(64);
    expect(by.p0!.points.at(-1)!.gold.value).toBeLessThan(0);
    expect(by.p0!.turn!.value).toBeLessThan(1.9); // √KL of n = 64 is 1.78
    expect(by.p0!.turn!.low).toBeLessThanOrEqual(by.p0!.turn!.value);
    expect(by.worst!.points.at(-1)!.gold.value).toBeGreaterThan(1);
    const page = overSection({ policy: 'sft', gold: 'g', prompts: 200, samples: 64, curves }).text;
    expect(page).toContain('gold turns at √KL');
    expect(page).toContain('uncertainty');
  });
  test('sizes and standard scores', () => {
    expect(sizesUpTo(1)).toEqual([1]);
    expect(sizesUpTo(100)).toEqual([1, 2, 4, 8, 16, 32, 64, 100]);
    expect(
      standardised([
        [1, 3],
        [5, 7],
      ]).flat(),
    ).toEqual([-3, -1, 1, 3].map((x) => x / Math.sqrt(5)));
    expect(standardised([[9]], [[1, 3]])).toEqual([[7]]);
    const two = proxiesWithEnsembles([
      { name: 'a', scores: [[1, 3]] },
      { name: 'b', scores: [[30, 10]] },
    ]);
    expect(Object.fromEntries(two.map(({ name, scores }) => [name, scores[0]]))).toEqual({
      a: [-1, 1],
      b: [1, -1],
      mean: [0, 0],
      worst: [-1, -1],
      uncertainty: [-1, -1],
    });
  });
});

describe('training', () => {
  test('checkpoints are points relative to the initial policy, fitted by d (α − β ln d)', () => {
    const { gold, proxies } = world(50, 4, [0.5]);
    const policies = [0.25, 1, 4, 9].map((kl, i) => ({
      model: `step ${i}`,
      kl: { value: kl, low: kl, high: kl, count: 1 },
      proxies: [{ name: 'p0', scores: proxies[0]!.scores.map((of) => of.map((x) => x + Math.sqrt(kl))) }],
      gold: gold.map((of) => of.map((x) => x + gaoValue({ form: 'rl', alpha: 1, beta: 0.7 }, Math.sqrt(kl)))),
    }));
    const curve = trainingCurve('p0', { gold, proxies }, policies);
    const spread =
      Math.sqrt(
        standardised([[0, 1]], gold)
          .flat()
          .reduce((a, b) => b - a),
      ) ** 2; // 1 / standard deviation
    expect(curve.fit).toMatchObject({ form: 'rl', points: 4 });
    expect(curve.fit!.alpha).toBeCloseTo(spread, 6);
    expect(curve.fit!.beta).toBeCloseTo(0.7 * spread, 6);
    expect(curve.turn!.value).toBeCloseTo(Math.exp(1 / 0.7 - 1), 6);
    expect(curve.points.map(({ model }) => model)).toEqual(['step 0', 'step 1', 'step 2', 'step 3']);
    // Every prompt gains the same: the difference from its own start is certain.
    for (const { gold: found } of curve.points) expect(found.high - found.low).toBeLessThan(1e-9);
    expect(curve.best.model).toBe('step 2'); // 2 (1 − 0.7 ln 2) is 1.03, and 1 at d = 1
    const [first, last] = [curve.points[0]!.proxy.value, curve.points[3]!.proxy.value];
    expect(last / first).toBeCloseTo(6, 6); // √9 / √0.25
  });
  test('where fits turn', () => {
    expect(turnOf({ form: 'best-of-n', alpha: 2, beta: 0.5 })).toBe(2);
    expect(turnOf({ form: 'best-of-n', alpha: -1, beta: 0.5 })).toBeUndefined();
    expect(turnOf({ form: 'best-of-n', alpha: 1, beta: -0.1 })).toBeUndefined();
    expect(turnOf({ form: 'rl', alpha: 1, beta: 0.5 })).toBeCloseTo(Math.E, 12);
    for (const form of ['rl', 'best-of-n'] as const) {
      const fit = { form, alpha: 1.3, beta: 0.4 };
      const d = turnOf(fit)!;
      expect(gaoValue(fit, d)).toBeGreaterThan(Math.max(gaoValue(fit, d * 0.99), gaoValue(fit, d * 1.01)));
    }
  });
});

describe('KL between policies', () => {
  let engine: Engine;
  let base: LanguageModel;
  let tokenizer: Tokenizer;
  beforeAll(async () => {
    engine = await Engine.create({ threads: 1 });
    base = await LanguageModel.load(engine, 'models/base');
    tokenizer = await Tokenizer.load('models/base');
  });
  afterAll(() => engine.dispose());

  test('0 from itself; of one token it equals the sum over the vocabulary', async () => {
    const prompts = ['User: What does a dog say?\nAssistant:', 'The cow', 'x '.repeat(400)];
    const options = { tokenizer, maxNewTokens: 1, samples: 600, seed: 1 };
    const sampled = await sampleTrees(base, prompts, options);
    expect(sampled.trees.map(({ responses }) => responses.length)).toEqual([600, 600]); // the third leaves no room
    expect((await klFrom(sampled, base)).value).toBeCloseTo(0, 4);
    const other = await base.clone();
    const [prompt, ids] = [await tokenizer.encode('The cow'), await tokenizer.encode(' zebra')];
    const tokens = Int32Array.from([...prompt, ...ids]);
    const data = [{ tokens, spans: Int32Array.of(prompt.length, tokens.length) }];
    for await (const _ of trainSft({ model: other, sequences: data, steps: 12, batchSize: 1, learningRate: 3e-3 }));
    const found = await klFrom(sampled, other);
    let exact = 0;
    for (const { prompt: of } of sampled.trees) {
      const batch = {
        tokens: Int32Array.from([...Array.from(of), 0]),
        cuSeqlens: Int32Array.of(0, of.length + 1),
        parent: Int32Array.of(-1),
        rows: Int32Array.of(of.length - 1),
        targets: Int32Array.of(0),
        cuRows: Int32Array.of(0, 1),
      };
      const [p, q] = await Promise.all([base, other].map(async (model) => softmax(await model.logits(batch))));
      exact += p!.reduce((sum, x, v) => sum + x * Math.log(x / q![v]!), 0) / sampled.trees.length;
    }
    expect(exact).toBeGreaterThan(0.01);
    expect(Math.abs(found.value - exact)).toBeLessThan(0.25 * exact + 0.01);
    expect(found.count).toBe(1200);
  });
});

function softmax(logits: Float32Array): number[] {
  const top = Math.max(...logits);
  const weights = Array.from(logits, (x) => Math.exp(x - top));
  const total = weights.reduce((sum, w) => sum + w, 0);
  return weights.map((w) => w / total);
}
