import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { demonstration } from '../../lib/data/index.js';
import { finish } from '../../lib/phases/loop.js';
import type { RewardMetrics, StepMetrics } from '../../lib/phases/metrics.js';
import { comparePairs, hasPair } from '../../lib/phases/pairs.js';
import { moments } from '../../lib/phases/ppo/advantages.js';
import { heldOut, type RewardOptions, scoreTrees, trainReward } from '../../lib/phases/reward.js';
import { packScores } from '../../lib/runtime/batch.js';
import { Engine } from '../../lib/runtime/engine.js';
import { ScalarModel } from '../../lib/runtime/model.js';
import { rankings, tinyModel } from './support/toy.js';

let engine: Engine;
let fresh: () => Promise<ScalarModel>;
beforeAll(async () => {
  engine = await Engine.create({ threads: 2, maxTokens: 512 });
  const base = await tinyModel(engine);
  fresh = () => ScalarModel.from(base, { seed: 1 });
});
afterAll(() => engine.dispose());

const training = rankings(400, 'train');
const validation = rankings(100, 'held out');
const toy = { batchSize: 16, learningRate: 5e-3, seed: 1 } as const;
const demonstrations = rankings(30, 'demonstrations').map(({ prompt, responses }) =>
  demonstration(prompt, responses[0]!),
);

async function train(options: Partial<RewardOptions> = {}) {
  const model = options.model ?? (await fresh());
  const metrics: (RewardMetrics & StepMetrics)[] = [];
  const result = await finish(
    trainReward({ ...toy, model, rankings: training, ...options }),
    (m) => void metrics.push(m),
  );
  return { model, metrics, result };
}

const scoresOf = async (model: ScalarModel, sequences: readonly { tokens: Int32Array }[]) =>
  (
    await scoreTrees(
      model,
      sequences.map(({ tokens }) => ({ prompt: [], responses: [tokens] })),
    )
  ).map((s) => s[0]!);

test('rankings that do not fit are named before the first step', async () => {
  const model = await fresh();
  const [good] = rankings(1, 'one');
  const of = (length: number, count: number) => ({
    prompt: good!.prompt,
    responses: Array.from({ length: count }, () => new Int32Array(length).fill(1)),
    ranks: Int32Array.from({ length: count }, (_, i) => i),
  });
  const refused = (options: Partial<RewardOptions>) => {
    const tokensBefore = engine.usage().tokensComputed;
    return expect(
      train({ model, rankings: [good!], ...options }).finally(() => {
        expect(engine.usage().tokensComputed).toBe(tokensBefore);
      }),
    ).rejects;
  };
  await refused({ rankings: [good!, of(62, 2)] }).toThrow(
    "ranking 1 has a response that ends at token 65, expected at most the model's 64 positions",
  );
  await refused({ rankings: [good!, good!, of(60, 9)] }).toThrow(
    "ranking 2 has 543 tokens in prompt and responses, expected at most the engine's maxTokens, 512",
  );
  await refused({ validation: [of(62, 2)] }).toThrow('validation ranking 0 has a response that ends at token 65');
  const long = { tokens: new Int32Array(65), spans: Int32Array.of(1, 65) };
  await refused({ demonstrations: [long] }).toThrow('demonstration 0 has 65 tokens');
  await refused({ samples: [long] }).toThrow('sample 0 has 65 tokens');
  await model.dispose();
});

test('ranks held-out pairs by the rule of the training data', async () => {
  const untrained = await fresh();
  expect((await heldOut(untrained, validation)).accuracy).toBeLessThan(0.7);
  const { model, metrics, result } = await train({ epochs: 4, validation, demonstrations });
  const { accuracy, low, high, pairs } = result.validation!;
  expect(accuracy).toBeGreaterThan(0.95);
  expect(low).toBeLessThanOrEqual(accuracy);
  expect(high).toBeGreaterThanOrEqual(accuracy);
  expect(pairs).toBe(validation.reduce((sum, { ranks }) => sum + comparePairs(ranks, ranks).pairs, 0));
  expect(metrics.at(-1)).toMatchObject({ validationAccuracy: accuracy, validationLow: low, validationHigh: high });
  expect(metrics.filter((m) => m.validationAccuracy !== undefined)).toHaveLength(1);
  await model.dispose();
});

test('with shuffled labels there is nothing to learn', async () => {
  const shuffled = await train({ epochs: 2, validation, shuffleLabels: true });
  const told = await train({ epochs: 2, validation });
  const late = ({ metrics }: typeof told) => moments(metrics.slice(-20).map(({ loss }) => loss)).mean;
  expect(late(shuffled)).toBeGreaterThan(0.95 * Math.log(2)); // no better than chance
  expect(late(told)).toBeLessThan(0.3);
  expect(shuffled.result.validation!.accuracy).toBeLessThan(told.result.validation!.low);
});

describe('the offset', () => {
  test('demonstrations score 0 on average; nothing else changes', async () => {
    const plain = await train({ steps: 5, demonstrations, normalize: 'none' });
    const shifted = await train({ steps: 5, demonstrations });
    const before = await scoresOf(plain.model, demonstrations);
    const after = await scoresOf(shifted.model, demonstrations);
    expect(Math.abs(moments(after).mean)).toBeLessThan(1e-5);
    expect(Math.abs(moments(before).mean)).toBeGreaterThan(1e-3);
    expect(shifted.result).toMatchObject({ offsetFrom: 'demonstrations', scale: 1 });
    expect(shifted.result.offset).toBeCloseTo(-moments(before).mean, 5);
    expect(shifted.result.demonstrationStd).toBeCloseTo(Math.sqrt(moments(after).variance), 5);
    for (const [i, score] of after.entries()) expect(score).toBeCloseTo(before[i]! + shifted.result.offset, 5);
    expect(plain.result).toMatchObject({ offset: 0, offsetFrom: 'none' });
  });

  test('meanStd gives the scale at which samples have a standard deviation of 1', async () => {
    const samples = rankings(50, 'samples').map(({ prompt, responses }) => demonstration(prompt, responses[1]!));
    const { model, result } = await train({ steps: 5, demonstrations, samples, normalize: 'meanStd' });
    const scaled = (await scoresOf(model, samples)).map((score) => score * result.scale);
    expect(Math.sqrt(moments(scaled).variance)).toBeCloseTo(1, 4);
    expect(result.sampleStd).toBeCloseTo(1 / result.scale, 5);
    expect(Math.abs(moments(await scoresOf(model, demonstrations)).mean)).toBeLessThan(1e-5);
  });

  test('without demonstrations the best-ranked responses are used', async () => {
    const { model, result } = await train({ steps: 2 });
    expect(result.offsetFrom).toBe('best-ranked');
    const ranked = training.filter(({ ranks }) => hasPair(ranks));
    const best = ranked.flatMap(({ prompt, responses, ranks }) =>
      responses.filter((_, k) => ranks[k] === 0).map((response) => demonstration(prompt, response)),
    );
    expect(Math.abs(moments(await scoresOf(model, best)).mean)).toBeLessThan(1e-5);
  });
});

test('the loss is the mean over the pairs of a prompt, then over prompts; a prompt is computed once', async () => {
  const model = await fresh();
  const { scores } = { scores: await scoreTrees(model, training.slice(0, 16)) };
  const pairs = training.slice(0, 16).map(({ ranks }, i) => comparePairs(scores[i]!, ranks));
  const compared = pairs.filter((p) => p.pairs > 0);
  const { metrics } = await train({ model, rankings: training.slice(0, 16), steps: 1 });
  const kept = training.slice(0, 16).filter((_, i) => pairs[i]!.pairs > 0);
  expect(metrics[0]).toMatchObject({
    prompts: compared.length,
    pairs: compared.reduce((sum, p) => sum + p.pairs, 0),
    tokensComputed: packScores(kept).tokens.length, // one prompt and K responses each
  });
  expect(metrics[0]!.loss).toBeCloseTo(compared.reduce((sum, p) => sum + p.loss, 0) / compared.length, 5);
  const whole = kept.reduce(
    (n, { prompt, responses }) => n + responses.reduce((m, r) => m + prompt.length + r.length, 0),
    0,
  );
  expect(metrics[0]!.tokensComputed).toBeLessThan(whole);
});

test('a ranking that is all ties is skipped, counted and reported', async () => {
  const tied = training.slice(0, 3).map((ranking) => ({ ...ranking, ranks: new Int32Array(ranking.ranks.length) }));
  const some = training.filter(({ ranks }) => new Set(ranks).size > 1).slice(0, 20);
  const { metrics, result } = await train({ rankings: [...tied, ...some], epochs: 1 });
  expect(result.skipped).toBe(3);
  expect(metrics.map(({ prompts }) => prompts)).toEqual([16, 4]);
  expect(metrics[0]).toMatchObject({ skipped: 3, warnings: [expect.stringContaining('skipped 3 rankings')] });
  await expect(train({ rankings: tied })).rejects.toThrow('all 3 rankings are ties');
});

test('a ranking of one and ranks that do not fit are refused', async () => {
  const [ranking] = training;
  const one = { ...ranking!, responses: ranking!.responses.slice(0, 1), ranks: Int32Array.of(0) };
  await expect(train({ rankings: [ranking!, one] })).rejects.toThrow('ranking 1 has 1 responses, expected at least 2');
  const short = { ...ranking!, ranks: Int32Array.of(0, 1, 2, 3, 4, 5, 6) };
  await expect(train({ rankings: [short] })).rejects.toThrow('ranking 0 has 7 ranks, expected ');
});
