import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { HeedError } from '../../lib/core/errors.js';
import { packResponses, packScores, packValues } from '../../lib/runtime/batch.js';
import { Engine } from '../../lib/runtime/engine.js';
import { ScalarModel } from '../../lib/runtime/model.js';
import { stepTogether } from '../../lib/runtime/trainer.js';
import { configs, ids, language, llama, plain, rejection } from './support.js';

let engine: Engine;
let dir: string;
beforeAll(async () => {
  engine = await Engine.create();
  dir = await mkdtemp(join(tmpdir(), 'heed-trainer-'));
});
afterAll(async () => {
  await engine.dispose();
  await rm(dir, { recursive: true });
});

const trees = [
  { prompt: ids(4), responses: [ids(3, 2), ids(5, 3)] },
  { prompt: ids(6, 4), responses: [ids(4, 5)] },
];
const batch = packResponses(trees);
const R = batch.rows.length;
const scale = 1 / R;

test('a trainer keeps its model', async () => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const trainer = await (await language(engine)).trainer();
  for (let i = 0; i < 3; i++) {
    collect();
    await setImmediate(); // finalizers run between turns of the event loop
  }
  expect((await trainer.sft(batch, { scale })).rowLoss.length).toBe(R);
});

test('saved state includes all earlier calls, awaited or not', async () => {
  const model = await language(engine);
  const trainer = await model.trainer();
  const other = await model.trainer();
  const file = join(dir, 'pending.safetensors');
  for (let i = 0; i < 50; i++) void trainer.sft(batch, { scale });
  void trainer.step({ learningRate: 0 });
  await trainer.saveState(file);
  await other.loadState(file);
  expect(other.steps).toBe(1);
  const saved = trainer.saveState(file);
  void trainer.step({ learningRate: 0 });
  await saved;
  await other.loadState(file);
  expect(other.steps).toBe(1);
});

test('stepTogether takes all steps or none, and updates the average', async () => {
  const policy = await language(engine);
  const value = await ScalarModel.from(policy, { seed: 2 });
  const average = await policy.clone();
  const [trainer, valueTrainer] = [await policy.trainer(), await value.trainer()];
  const name = policy.parameters()[0]!.name;
  const all = async () => [
    plain(await policy.parameter(name)),
    plain(await value.parameter(name)),
    plain(await average.parameter(name)),
  ];
  const before = await all();
  const states = packValues(trees);
  const loss = { oldValues: new Float32Array(R), returns: new Float32Array(R).fill(1), scale };
  const step = () =>
    stepTogether([
      { trainer, learningRate: 1e-2, average: { model: average, weight: 0.25 } },
      { trainer: valueTrainer, learningRate: 1e-2, maxGradNorm: 1 },
    ]);
  await trainer.sft(batch, { scale });
  await valueTrainer.value(states, { ...loss, returns: new Float32Array(R).fill(1e30), scale: 1e30 });
  const error = await rejection(step());
  expect(error.code).toBe('ERR_NOT_FINITE');
  expect(error.message).toContain('scalar model');
  expect(error.stack).toContain('trainer.test');
  expect(await all()).toEqual(before);
  expect([trainer.steps, valueTrainer.steps]).toEqual([0, 0]);

  await valueTrainer.zero();
  await valueTrainer.value(states, loss);
  const results = await step();
  expect(results.map(({ gradNorm }) => gradNorm > 0)).toEqual([true, true]);
  expect([trainer.steps, valueTrainer.steps]).toEqual([1, 1]);
  const [moved, valueMoved, mean] = await all();
  expect(moved).not.toEqual(before[0]);
  expect(valueMoved).not.toEqual(before[1]);
  mean!.forEach((x, i) => {
    expect(x).toBeCloseTo(0.75 * before[0]![i]! + 0.25 * moved![i]!, 6);
  });
  const foreign = { trainer, learningRate: 1e-2, average: { model: value, weight: 0.5 } };
  expect((await rejection(stepTogether([foreign]))).message).toContain('the other model has other parameters');
});

test('an average in bf16 follows steps far below its precision, before and after it was saved', async () => {
  const coarse = await Engine.create({ dtype: 'bf16' });
  const policy = await language(coarse);
  let average = await policy.clone();
  let trainer = await policy.trainer();
  const name = policy.parameters().find(({ shape }) => shape.length === 2)!.name;
  const wanted = plain(await policy.parameter(name));
  const weight = 1 / 512;
  for (let step = 0; step < 40; step++) {
    if (step === 20) {
      await trainer.saveState(join(dir, 'average'));
      await trainer.dispose();
      trainer = await policy.trainer();
      await trainer.loadState(join(dir, 'average'));
      average = await average.clone();
    }
    await trainer.sft(batch, { scale });
    await trainer.step({ learningRate: 1e-2, average: { model: average, weight } });
    const now = await policy.parameter(name);
    now.forEach((x, i) => {
      wanted[i]! += weight * (x - wanted[i]!);
    });
  }
  (await average.parameter(name)).forEach((x, i) => {
    expect(Math.abs(x - wanted[i]!)).toBeLessThanOrEqual(2 ** -8 * Math.abs(wanted[i]!) + 1e-5);
  });
  await coarse.dispose();
});

describe.each(configs)('%s', (_name, config) => {
  test('sft lowers the loss of what it is trained on, and reports the one that logprobs gives', async () => {
    const model = await language(engine, config);
    const trainer = await model.trainer();
    const { logprobs } = await model.logprobs(batch);
    const first = await trainer.sft(batch, { scale });
    expect(first.loss).toBeCloseTo(-plain(logprobs).reduce((a, b) => a + b), 3);
    first.rowLoss.forEach((loss, r) => {
      expect(loss).toBeCloseTo(-logprobs[r]!, 5);
    });
    await trainer.step({ learningRate: 1e-2, maxGradNorm: 1 });
    for (let i = 0; i < 30; i++) {
      await trainer.sft(batch, { scale });
      await trainer.step({ learningRate: 1e-2, maxGradNorm: 1 });
    }
    expect(trainer.steps).toBe(31);
    expect((await trainer.sft(batch, { scale })).loss).toBeLessThan(0.2 * first.loss);
  });

  test('gradients add up: two halves give the gradient of the batch', async () => {
    const model = await language(engine, config);
    const trainer = await model.trainer();
    const name = model.parameters()[3]!.name;
    await trainer.sft(batch, { scale });
    const whole = plain(await trainer.gradient(name));
    await trainer.zero();
    expect(plain(await trainer.gradient(name)).every((g) => g === 0)).toBe(true);
    for (const tree of trees) await trainer.sft(packResponses([tree]), { scale });
    const norm = Math.hypot(...whole);
    expect(norm).toBeGreaterThan(0);
    expect(Math.hypot(...plain(await trainer.gradient(name)).map((g, i) => g - whole[i]!))).toBeLessThan(1e-6 * norm);
  });

  test('the first ratio of PPO is exactly 1, and its gradient follows the advantage', async () => {
    const model = await language(engine, config);
    const trainer = await model.trainer();
    const oldLogprobs = (await model.logprobs(batch)).logprobs;
    const advantages = Float32Array.from({ length: R }, (_, r) => (r % 2 ? 1 : -1));
    const result = await trainer.ppo(batch, { oldLogprobs, advantages, scale });
    expect(plain(result.ratio)).toEqual(Array(R).fill(1));
    expect(plain(result.logprobs)).toEqual(plain(oldLogprobs));
    expect(result.clipped).toBe(0);
    expect(result.loss).toBeCloseTo(-plain(advantages).reduce((a, b) => a + b), 4);
    await trainer.step({ learningRate: 1e-2 });
    const moved = (await model.logprobs(batch)).logprobs;
    const gain = plain(moved).reduce((s, x, r) => s + advantages[r]! * (x - oldLogprobs[r]!), 0);
    expect(gain).toBeGreaterThan(0);
  });

  test('the value loss moves values towards the returns, the reward loss ranks', async () => {
    const scalar = await ScalarModel.from(await language(engine, config), { seed: 2 });
    const trainer = await scalar.trainer({ weightDecay: 0.01 });
    const states = packValues(trees);
    const returns = Float32Array.from({ length: R }, (_, r) => Math.sin(r));
    const oldValues = await scalar.scores(states);
    const first = await trainer.value(states, { oldValues, returns, clipRange: Number.POSITIVE_INFINITY, scale });
    expect(plain(first.values)).toEqual(plain(oldValues));
    const expected = plain(oldValues).reduce((s, v, r) => s + 0.5 * (v - returns[r]!) ** 2, 0);
    expect(first.loss).toBeCloseTo(expected, 3);
    await trainer.zero();

    const ranked = packScores([{ prompt: ids(4), responses: [ids(3, 2), ids(5, 3), ids(4, 6)] }]);
    const ranks = Int32Array.of(2, 0, 1);
    const before = await trainer.reward(ranked, { ranks, cuGroups: ranked.cuGroups, scale: 1 });
    expect(plain(before.scores)).toEqual(plain(await scalar.scores(ranked)));
    const softplus = (x: number) => Math.log1p(Math.exp(x));
    const [a, b, c] = plain(before.scores) as [number, number, number];
    expect(before.groupStats[0]).toBeCloseTo((softplus(a - b) + softplus(a - c) + softplus(c - b)) / 3, 5);
    expect(before.groupStats[1]).toBe(3);
    for (let i = 0; i < 20; i++) {
      await trainer.step({ learningRate: 1e-2, maxGradNorm: 1 });
      await trainer.reward(ranked, { ranks, cuGroups: ranked.cuGroups, scale: 1 });
    }
    const [x, y, z] = plain(await scalar.scores(ranked)) as [number, number, number];
    expect(y).toBeGreaterThan(z);
    expect(z).toBeGreaterThan(x);
  });

  test('training continues from saved state bit-identically', async () => {
    const start = await language(engine, config);
    const straight = await start.clone();
    const trainer = await straight.trainer({ weightDecay: 0.1, dropout: 0.1 });
    const step = async (t: typeof trainer, i: number) => {
      await t.sft(batch, { scale, dropoutSeed: i });
      await t.step({ learningRate: 1e-2 });
    };
    for (let i = 0; i < 3; i++) await step(trainer, i);
    const file = join(dir, `${config.family}.optimizer.safetensors`);
    await trainer.saveState(file);
    const resumed = await straight.clone();
    const other = await resumed.trainer({ weightDecay: 0.1, dropout: 0.1 });
    await other.loadState(file);
    expect(other.steps).toBe(3);
    for (let i = 3; i < 6; i++) {
      await step(trainer, i);
      await step(other, i);
    }
    for (const { name } of straight.parameters()) {
      expect(plain(await resumed.parameter(name))).toEqual(plain(await straight.parameter(name)));
    }
  });
});

test('setAside separates the norms of two losses, and step adds the gradients', async () => {
  const [a, b] = [await language(engine), await language(engine)];
  const [split, whole] = [await a.trainer(), await b.trainer()];
  const parts = trees.map((tree) => packResponses([tree]));
  await split.sft(parts[0]!, { scale });
  const firstNorm = await split.setAside();
  await split.sft(parts[1]!, { scale });
  const { gradNorm, lastNorm } = await split.step({ learningRate: 1e-3 });
  for (const part of parts) await whole.sft(part, { scale });
  const together = await whole.step({ learningRate: 1e-3 });
  expect(gradNorm).toBeCloseTo(together.gradNorm, 6);
  expect(firstNorm).toBeGreaterThan(0);
  expect(lastNorm).toBeGreaterThan(0);
  expect(firstNorm + lastNorm).toBeGreaterThanOrEqual(gradNorm);
  expect((await rejection(split.setAside().then(() => split.setAside()))).message).toContain('already set aside');
});

test('dropout depends on its seed, which is required', async () => {
  const model = await language(engine);
  const trainer = await model.trainer({ dropout: 0.3 });
  const loss = async (dropoutSeed: number) => (await trainer.sft(batch, { scale, dropoutSeed })).loss;
  const [a, b, c] = [await loss(1), await loss(1), await loss(2)];
  expect(b).toBe(a);
  expect(c).not.toBe(a);
  const error = await rejection(trainer.sft(batch, { scale }));
  expect(error).toBeInstanceOf(TypeError);
  expect(error.message).toContain('dropoutSeed');
});

describe('misuse', () => {
  test.each([
    [{ adamBetas: [1, 0.9] }, 'beta1 is 1'],
    [{ adamBetas: [0.9, -0.1] }, 'beta2 is -0.1'],
    [{ adamEps: 0 }, 'eps is 0'],
    [{ weightDecay: -1 }, 'weightDecay is -1'],
    [{ weightDecay: Number.NaN }, 'weightDecay is'],
    [{ dropout: 1 }, 'dropout is 1'],
  ])('options %j', async (options, message) => {
    const error = await rejection((await language(engine)).trainer(options as object));
    expect(error).toBeInstanceOf(HeedError);
    expect(error.message).toContain(message);
  });

  test('options of wrong types', async () => {
    const model = await language(engine);
    expect((await rejection(model.trainer({ adamEps: 'small' as never }))).message).toContain('eps is a string');
    const trainer = await model.trainer();
    expect((await rejection(trainer.sft(batch, {} as never))).message).toContain('scale is undefined');
    expect((await rejection(trainer.step({} as never))).message).toContain('learningRate is undefined');
    const missing = trainer.ppo(batch, { scale, advantages: new Float32Array(R) } as never);
    expect((await rejection(missing)).message).toBe('options.oldLogprobs is undefined, expected a Float32Array');
  });

  const floats = (n: number) => new Float32Array(n);
  test.each([
    ['too few advantages', { oldLogprobs: floats(R), advantages: floats(R - 1), scale }, 'advantages'],
    ['too many old logprobs', { oldLogprobs: floats(R + 1), advantages: floats(R), scale }, 'old'],
    ['a clip range below 0', { oldLogprobs: floats(R), advantages: floats(R), clipRange: -0.1, scale }, 'clip'],
    ['a temperature of 0', { oldLogprobs: floats(R), advantages: floats(R), temperature: 0, scale }, 'temperature'],
  ])('ppo with %s', async (_name, options, message) => {
    const trainer = await (await language(engine)).trainer();
    const error = await rejection(trainer.ppo(batch, options));
    expect(error.code).toBe('ERR_INVALID_ARGUMENT');
    expect(error.message).toContain(message);
  });

  const ranked = packScores([{ prompt: ids(4), responses: [ids(3, 2), ids(5, 3)] }]);
  test.each([
    ['too few ranks', Int32Array.of(0), ranked.cuGroups, 'ranks'],
    ['groups that end early', Int32Array.of(0, 1), Int32Array.of(0, 1), 'roups'],
    ['decreasing groups', Int32Array.of(0, 1), Int32Array.of(0, 2, 1, 2), 'roups'],
    ['no groups', Int32Array.of(0, 1), Int32Array.of(), 'roups'],
  ])('a reward loss with %s', async (_name, ranks, cuGroups, message) => {
    const trainer = await (await ScalarModel.from(await language(engine), { seed: 1 })).trainer();
    const error = await rejection(trainer.reward(ranked, { ranks, cuGroups, scale: 1 }));
    expect(error.code).toBe('ERR_INVALID_ARGUMENT');
    expect(error.message).toContain(message);
  });

  test('a ranking of one, or all ties, compares nothing', async () => {
    const scalar = await ScalarModel.from(await language(engine), { seed: 1 });
    const trainer = await scalar.trainer();
    const one = packScores([{ prompt: ids(4), responses: [ids(3, 2)] }]);
    const alone = await trainer.reward(one, { ranks: Int32Array.of(0), cuGroups: one.cuGroups, scale: 1 });
    const ties = await trainer.reward(ranked, { ranks: Int32Array.of(1, 1), cuGroups: ranked.cuGroups, scale: 1 });
    expect([alone.groupStats[1], ties.groupStats[1]]).toEqual([0, 0]);
    expect((await trainer.step({ learningRate: 0 })).gradNorm).toBe(0);
  });

  test('no step is taken if a gradient is not finite', async () => {
    const model = await language(engine);
    const trainer = await model.trainer();
    const before = plain(await model.parameter('model.norm.weight'));
    await trainer.ppo(batch, { oldLogprobs: floats(R), advantages: floats(R).fill(Number.NaN), scale });
    const error = await rejection(trainer.step({ learningRate: 1 }));
    expect(error.message).toContain('not finite');
    expect(plain(await model.parameter('model.norm.weight'))).toEqual(before);
    expect((await rejection(trainer.step({ learningRate: 1 }))).message).toContain('zero()');
    await trainer.zero();
    await trainer.sft(batch, { scale });
    expect((await trainer.step({ learningRate: 1e-3 })).gradNorm).toBeGreaterThan(0);
  });

  test('an aborted loss leaves the gradients undefined until zero()', async () => {
    const model = await language(engine);
    const trainer = await model.trainer();
    const many = packResponses(
      Array.from({ length: 3000 }, (_, i) => ({ prompt: ids(8, i), responses: [ids(40, i + 1)] })),
    );
    const controller = new AbortController();
    const running = trainer.sft(many, { scale, signal: controller.signal });
    setTimeout(() => controller.abort(), 30);
    expect((await rejection(running)).name).toBe('AbortError');
    expect((await rejection(trainer.step({ learningRate: 1 }))).message).toContain('zero()');
    await trainer.zero();
    expect((await trainer.sft(batch, { scale })).rowLoss.length).toBe(R);
  });

  test('files that are not a state of this trainer', async () => {
    const trainer = await (await language(engine)).trainer();
    const other = await (await language(engine, { ...llama, numLayers: 1 })).trainer();
    const file = join(dir, 'other.safetensors');
    await other.saveState(file);
    expect((await rejection(trainer.loadState(file))).message).toMatch(/other.safetensors: tensor m\.\S+ is missing/);
    await writeFile(file, (await readFile(file)).subarray(0, -4));
    expect((await rejection(other.loadState(file))).message).toContain('truncated');
    expect((await rejection(other.loadState(join(dir, 'none')))).code).toBe('ERR_IO');
    expect((await rejection(other.saveState(join(dir, 'no/such/place')))).code).toBe('ERR_IO');
  });
});
