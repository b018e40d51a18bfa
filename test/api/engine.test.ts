import { afterEach, describe, expect, test } from '@jest/globals';
import { HeedError } from '../../lib/core/errors.js';
import { packResponses } from '../../lib/runtime/batch.js';
import { Engine } from '../../lib/runtime/engine.js';
import { LanguageModel, ScalarModel } from '../../lib/runtime/model.js';
import { ids, language, llama, plain, rejection } from './support.js';

const engines: Engine[] = [];
const make = async (options = {}) => {
  const engine = await Engine.create(options);
  engines.push(engine);
  return engine;
};
afterEach(async () => {
  for (const engine of engines.splice(0)) await engine.dispose();
});

describe('create', () => {
  test('reports its device', async () => {
    const { info } = await make({ threads: 2, maxTokens: 100 });
    expect(info.device).toMatch(/^cpu (avx512_bf16|avx512|avx2|portable)$/);
    expect(info).toMatchObject({ dtype: 'f32', threads: 2, maxTokens: 100 });
    expect((await make({ device: 'cpu', dtype: 'bf16' })).info.dtype).toBe('bf16');
    expect((await make({ device: 'auto' })).info.device).toMatch(/^(cpu|cuda) /);
    expect(Object.isFrozen(info)).toBe(true);
  });

  test.each([
    [{ threads: -1 }, HeedError, 'threads is -1'],
    [{ threads: 1.5 }, HeedError, 'threads is 1.5, expected an integer'],
    [{ threads: 100_000 }, HeedError, 'threads'],
    [{ threads: Number.NaN }, HeedError, 'threads'],
    [{ threads: 'two' }, TypeError, 'threads is a string, expected a number'],
    [{ maxTokens: 0 }, HeedError, 'maxTokens is 0'],
    [{ maxTokens: 1e12 }, HeedError, 'maxTokens'],
    [{ level: 'neon' }, HeedError, 'level is "neon", expected avx512_bf16, avx512, avx2 or portable'],
    [{ device: 'tpu' }, HeedError, 'device is "tpu", expected cpu, cuda or auto'],
    [{ device: 1 }, TypeError, 'device is a number, expected a string'],
    [{ dtype: 'f16' }, HeedError, 'dtype is "f16", expected f32 or bf16'],
    [{ level: 5 }, TypeError, 'level is a number, expected a string'],
    [{ maxTokens: null }, TypeError, 'maxTokens is null, expected a number'],
  ])('refuses %j', async (options, type, message) => {
    const error = await rejection(Engine.create(options as object));
    expect(error).toBeInstanceOf(type);
    expect(error.message).toContain(message);
  });

  test('a GPU is used, or the error says why not', async () => {
    const found = await make({ device: 'cuda' }).catch((error: unknown) => error as HeedError);
    if (found instanceof Engine) {
      expect(found.info.device).toMatch(/^cuda /);
      return;
    }
    expect(found.code).toBe('ERR_DEVICE');
    expect(found.message).toMatch(/^device is cuda, but ./);
    expect((await make({ device: 'auto' })).info.device).toMatch(/^cpu /);
  });

  test('HEED_THREADS is the default number of threads', async () => {
    process.env.HEED_THREADS = '1';
    try {
      expect((await make()).info.threads).toBe(1);
      expect((await make({ threads: 2 })).info.threads).toBe(2);
      process.env.HEED_THREADS = 'many';
      expect((await rejection(Engine.create())).message).toBe('HEED_THREADS is many, expected a whole number');
    } finally {
      delete process.env.HEED_THREADS;
    }
  });

  test('an aborted signal rejects with its reason', async () => {
    const reason = new Error('no');
    expect(await rejection(Engine.create({ signal: AbortSignal.abort(reason) }))).toBe(reason);
  });
});

test('usage counts a shared prompt once, and bytes by purpose', async () => {
  const engine = await make();
  expect(engine.usage()).toMatchObject({ tokensComputed: 0, parameterBytes: 0, optimizerBytes: 0 });
  const model = await language(engine);
  const before = engine.usage();
  expect(before.parameterBytes).toBeGreaterThan(0);
  const trees = [{ prompt: ids(10), responses: [ids(3, 2), ids(4, 3), ids(5, 4)] }];
  await model.logprobs(packResponses(trees));
  expect(engine.usage().tokensComputed).toBe(10 + 3 + 4 + 5);
  const trainer = await model.trainer();
  expect(engine.usage().optimizerBytes).toBeGreaterThanOrEqual(2 * before.optimizerBytes);
  await trainer.dispose();
});

test('instruction-set levels agree up to rounding, thread counts are bit-identical', async () => {
  const batch = packResponses([{ prompt: ids(9), responses: [ids(8, 2), ids(8, 3)] }]);
  const outputs: Record<string, number[]> = {};
  for (const options of [{ threads: 1 }, { threads: 2 }, { level: 'portable' }]) {
    const model = await language(await make(options));
    outputs[JSON.stringify(options)] = plain((await model.logprobs(batch)).logprobs);
  }
  const [one, two, portable] = Object.values(outputs) as [number[], number[], number[]];
  expect(two).toEqual(one);
  portable.forEach((x, i) => {
    expect(x).toBeCloseTo(one[i]!, 4);
  });
});

describe('dispose', () => {
  test('everything created from the engine reports it afterwards', async () => {
    const engine = await make();
    const model = await language(engine);
    const scalar = await ScalarModel.from(model, { seed: 1 });
    const trainer = await model.trainer();
    const batch = packResponses([{ prompt: [1], responses: [[2]] }]);
    await engine.dispose();
    await engine.dispose();
    const calls: [string, () => unknown][] = [
      ['usage', () => engine.usage()],
      ['init', () => LanguageModel.init(engine, llama, { seed: 1 })],
      ['parameters', () => model.parameters()],
      ['parameter', () => model.parameter('model.norm.weight')],
      ['logits', () => model.logits(batch)],
      ['logprobs', () => model.logprobs(batch)],
      ['clone', () => model.clone()],
      ['save', () => model.save('/nowhere')],
      ['lerp', () => model.lerp(model, 0.5)],
      ['trainer', () => model.trainer()],
      ['generate', () => model.generate([{ prompt: ids(2), seed: 1 }], { maxNewTokens: 2, stopTokens: [] })],
      ['stream', () => model.stream([{ prompt: ids(2), seed: 1 }], { maxNewTokens: 2, stopTokens: [] }).next()],
      ['scores', () => scalar.scores(batch)],
      ['shiftScores', () => scalar.shiftScores(1)],
      ['scaleScores', () => scalar.scaleScores(2)],
      ['scoreOffset', () => scalar.scoreOffset()],
      ['from', () => ScalarModel.from(model, { seed: 1 })],
      ['sft', () => trainer.sft(batch, { scale: 1 })],
      ['step', () => trainer.step({ learningRate: 0 })],
      ['saveState', () => trainer.saveState('/nowhere/x')],
    ];
    for (const [name, call] of calls) {
      const error = await rejection(Promise.resolve().then(call));
      expect([name, error.name, error.code]).toEqual([name, 'HeedError', 'ERR_DISPOSED']);
    }
    await model.dispose();
    await trainer.dispose();
  });

  test('of one engine leaves the others alone', async () => {
    const a = await make();
    const b = await make();
    const model = await language(b);
    await a.dispose();
    expect((await model.logprobs(packResponses([{ prompt: [1], responses: [[2]] }]))).logprobs.length).toBe(1);
  });
});

test('foreign objects are refused', async () => {
  const engine = await make();
  const fake = Object.create(Engine.prototype) as Engine;
  expect((await rejection(LanguageModel.init(fake, llama, { seed: 1 }))).message).toBe(
    'engine is not an Engine of heed: make one with Engine.create()',
  );
  for (const foreign of [null, undefined, 3, {}, 'engine']) {
    expect(await rejection(LanguageModel.init(foreign as never, llama, { seed: 1 }))).toBeInstanceOf(TypeError);
  }
  const model = await language(engine);
  expect(await rejection(model.copyFrom({} as LanguageModel))).toBeInstanceOf(TypeError);
  const other = await language(await make());
  expect((await rejection(model.copyFrom(other))).message).toContain('another engine');
});
