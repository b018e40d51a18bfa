import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { HeedError } from '../../lib/core/errors.js';
import { type PackedBatch, packDocuments, packResponses, packScores, packValues } from '../../lib/runtime/batch.js';
import { Engine } from '../../lib/runtime/engine.js';
import { LanguageModel, ScalarModel } from '../../lib/runtime/model.js';
import { configs, gpt2, ids, language, llama, mistral, plain, rejection } from './support.js';

let engine: Engine;
beforeAll(async () => {
  engine = await Engine.create({ maxTokens: 128 });
});
afterAll(() => engine.dispose());

const batch = packResponses([{ prompt: ids(4), responses: [ids(3, 2), ids(5, 3)] }]);

describe.each(configs)('%s', (_name, config) => {
  test('names and shapes are those of transformers', async () => {
    const model = await language(engine, config);
    const names = model.parameters().map(({ name, shape }) => `${name} ${shape.join('x')}`);
    expect(names).toMatchSnapshot();
    const values = await model.parameter(model.parameters()[0]!.name);
    expect(values.length).toBe(model.parameters()[0]!.shape.reduce((a, b) => a * b));
  });

  test('a seed determines all weights', async () => {
    const [a, b, c] = [
      await language(engine, config, 5),
      await language(engine, config, 5),
      await language(engine, config, 6),
    ];
    const { name } = a.parameters()[0]!;
    const [pa, pb, pc] = [
      plain(await a.parameter(name)),
      plain(await b.parameter(name)),
      plain(await c.parameter(name)),
    ];
    expect(pb).toEqual(pa);
    expect(pc).not.toEqual(pa);
    const mean = pa.reduce((s, x) => s + x * x, 0) / pa.length;
    expect(Math.sqrt(mean)).toBeGreaterThan(0.018);
    expect(Math.sqrt(mean)).toBeLessThan(0.022);
  });

  test('logprobs are the log-softmax of logits; a shared prompt is bit-identical to complete sequences', async () => {
    const model = await language(engine, config);
    const V = config.vocabSize;
    const logits = await model.logits(batch);
    const { logprobs, entropy } = await model.logprobs(batch);
    expect(logits.length).toBe(batch.rows.length * V);
    for (let r = 0; r < batch.rows.length; r++) {
      const row = Array.from(logits.subarray(r * V, (r + 1) * V));
      const log = Math.log(row.reduce((s, x) => s + Math.exp(x), 0));
      expect(logprobs[r]).toBeCloseTo(row[batch.targets[r]!]! - log, 5);
      expect(entropy[r]).toBeCloseTo(-row.reduce((s, x) => s + Math.exp(x - log) * (x - log), 0), 4);
    }
    const whole = packResponses([
      { prompt: ids(4), responses: [ids(3, 2)] },
      { prompt: ids(4), responses: [ids(5, 3)] },
    ]);
    expect(plain(await model.logits(whole))).toEqual(plain(logits));
    const hot = await model.logprobs(batch, { temperature: 2 });
    const row = Array.from(logits.subarray(0, V), (x) => x / 2);
    expect(hot.logprobs[0]).toBeCloseTo(
      row[batch.targets[0]!]! - Math.log(row.reduce((s, x) => s + Math.exp(x), 0)),
      5,
    );
  });

  test('a batch larger than maxTokens runs in several passes, bit-identically', async () => {
    const model = await language(engine, config);
    const documents = Array.from({ length: 12 }, (_, i) => ids(20 + i, i + 1));
    const together = plain((await model.logprobs(packDocuments(documents))).logprobs);
    const alone: number[] = [];
    for (const document of documents) alone.push(...(await model.logprobs(packDocuments([document]))).logprobs);
    expect(together).toEqual(alone);
  });

  test('a clone is equal and independent; lerp moves between', async () => {
    const model = await language(engine, config);
    const copy = await model.clone();
    const { name } = model.parameters()[1]!;
    expect(plain((await copy.logprobs(batch)).logprobs)).toEqual(plain((await model.logprobs(batch)).logprobs));
    const other = await language(engine, config, 9);
    const first = model.parameters()[0]!.name;
    const [x, y] = [plain(await model.parameter(first)), plain(await other.parameter(first))];
    await copy.lerp(other, 0.25);
    plain(await copy.parameter(first)).forEach((z, i) => {
      expect(z).toBeCloseTo(x[i]! + 0.25 * (y[i]! - x[i]!), 6);
    });
    expect(plain(await model.parameter(first))).toEqual(x);
    await copy.copyFrom(other);
    expect(plain(await copy.parameter(name))).toEqual(plain(await other.parameter(name)));
  });

  test('a scalar model has the trunk and a fresh head', async () => {
    const model = await language(engine, config);
    const scalar = await ScalarModel.from(model, { seed: 3 });
    const head = plain(await scalar.parameter('score.weight'));
    expect(head).toHaveLength(config.channels);
    const rms = Math.sqrt(head.reduce((s, x) => s + x * x, 0) / head.length);
    expect(rms * Math.sqrt(config.channels + 1)).toBeGreaterThan(0.5);
    expect(rms * Math.sqrt(config.channels + 1)).toBeLessThan(1.6);
    for (const { name } of scalar.parameters()) {
      if (name !== 'score.weight')
        expect(plain(await scalar.parameter(name))).toEqual(plain(await model.parameter(name)));
    }
    const trees = [{ prompt: ids(4), responses: [ids(3, 2), ids(5, 3)] }];
    const scores = await scalar.scores(packScores(trees));
    const values = await scalar.scores(packValues(trees));
    expect([scores.length, values.length]).toEqual([2, 8]);
    await scalar.shiftScores(0.75);
    const shifted = await scalar.scores(packScores(trees));
    shifted.forEach((s, i) => {
      expect(s).toBeCloseTo(scores[i]! + 0.75, 5);
    });
    expect(await scalar.scoreOffset()).toBe(config.norm === 'rms' ? 0.75 : 0);
    const copy = await scalar.clone();
    expect(plain(await copy.scores(packScores(trees)))).toEqual(plain(shifted));
    expect(await rejection(scalar.shiftScores(Number.NaN))).toBeInstanceOf(RangeError);
    await scalar.scaleScores(-3);
    (await scalar.scores(packScores(trees))).forEach((s, i) => {
      expect(s).toBeCloseTo(-3 * shifted[i]!, 4);
    });
    expect(await rejection(scalar.scaleScores(Number.POSITIVE_INFINITY))).toBeInstanceOf(RangeError);
  });
});

describe('invalid configurations', () => {
  test.each([
    [{ ...gpt2, numLayers: 0 }, 'numLayers is 0, expected 1 to'],
    [{ ...gpt2, headDim: 7 }, 'headDim is 7, expected 8 in a model of the family gpt2'],
    [{ ...gpt2, numKvHeads: 1 }, 'numKvHeads is 1, expected 2 in a model of the family gpt2'],
    [{ ...llama, numKvHeads: 3 }, 'numKvHeads is 3'],
    [{ ...llama, headDim: 5 }, 'headDim is 5'],
    [{ ...llama, vocabSize: 1.5 }, 'config.vocabSize is 1.5, expected an integer'],
    [{ ...llama, normEps: 0 }, 'normEps is 0'],
    [{ ...llama, rope: { theta: Number.NaN, scaling: null } }, 'rope.theta is NaN, expected more than 1'],
    [{ ...llama, channels: 2 ** 40 }, 'channels is'],
    [{ ...llama, maxPositions: -1 }, 'maxPositions is -1'],
    [
      { ...llama, family: 'bert' as never },
      'family is bert, expected gpt2, gpt_neo, gpt_neox, opt, llama, mistral, qwen2, qwen3',
    ],
    [{ ...llama, rope: null }, 'rope is null, expected {'],
    [{ ...llama, qkvBias: true }, 'attentionOutBias is false, expected true in a model of the family llama'],
    [
      { ...llama, slidingWindow: { size: 8, fullLayers: [] } },
      'slidingWindow is {"size":8,"fullLayers":[]}, expected null in a model of the family llama',
    ],
    [{ ...mistral, slidingWindow: { size: 0.5, fullLayers: [] } }, 'config.slidingWindow is 0.5, expected an integer'],
    [{ ...mistral, slidingWindow: { size: -1, fullLayers: [] } }, 'slidingWindow is -1, expected 0 to'],
    [{ ...mistral, slidingWindow: { size: 8, fullLayers: [2] } }, 'an entry of fullLayers is 2, expected 0 to 1'],
    [
      { ...mistral, slidingWindow: { size: 8, fullLayers: [0, 1] } },
      'slidingWindow is {"size":8,"fullLayers":[0,1]}, expected null in a model of the family mistral',
    ],
    [{ ...gpt2, activation: 'silu' as const }, 'activation must be gelu, gelu_tanh or relu in a plain MLP'],
    [
      { ...llama, rope: { theta: 1e4, scaling: { type: 'linear' as const, factor: 0.5 } } },
      'rope.scaling.factor is 0.5',
    ],
  ])('%#: %j', async (config, message) => {
    const error = await rejection(LanguageModel.init(engine, config, { seed: 1 }));
    expect(error).toBeInstanceOf(HeedError);
    expect(error.message).toContain(message);
  });

  test.each([
    [{ ...llama, channels: '16' }, 'config.channels is a string, expected a number'],
    [{ ...llama, tiedHead: 1 }, 'config.tiedHead is a number, expected a boolean'],
    [{ ...llama, family: null }, 'config.family is null, expected a string'],
    [undefined, 'undefined'],
    [{}, 'config.family is undefined, expected a string'],
  ])('of wrong types: %j', async (config, message) => {
    const error = await rejection(LanguageModel.init(engine, config as never, { seed: 1 }));
    expect(error).toBeInstanceOf(TypeError);
    expect(error.message).toContain(message);
  });

  test('seeds', async () => {
    for (const seed of [-1, 1.5, Number.NaN, 2 ** 60, 'one']) {
      expect(await rejection(LanguageModel.init(engine, llama, { seed: seed as number }))).toBeInstanceOf(RangeError);
    }
  });

  test('a model larger than memory', async () => {
    const huge = {
      ...llama,
      numLayers: 1024,
      channels: 1 << 16,
      mlpChannels: 1 << 20,
      vocabSize: 1 << 22,
      headDim: 1024,
    };
    const error = await rejection(LanguageModel.init(engine, huge, { seed: 1 }));
    expect(error.code).toBe('ERR_OUT_OF_MEMORY');
  });
});

describe('invalid batches', () => {
  const change = (changes: Record<string, unknown>) => ({ ...batch, ...changes }) as unknown as PackedBatch;
  const withToken = (i: number, id: number) =>
    change({ tokens: Int32Array.from(batch.tokens, (t, j) => (j === i ? id : t)) });

  test.each([
    ['an id outside the vocabulary', withToken(2, 37), 'token 2 is 37, expected an id below the vocabulary'],
    ['a negative id', withToken(0, -1), 'token 0 is -1'],
    ['a target outside the vocabulary', change({ targets: batch.targets.map(() => 99) }), 'target 0 is 99'],
    ['too few targets', change({ targets: Int32Array.of(1) }), 'targets has 1 entries, expected one per row, 8'],
    ['a row beyond the tokens', change({ rows: batch.rows.map(() => 12) }), 'row 0 is 12'],
    ['segments that end early', change({ cuSeqlens: Int32Array.of(0, 4, 7, 11) }), 'cuSeqlens ends with 11'],
    ['an empty segment', change({ cuSeqlens: Int32Array.of(0, 4, 4, 12) }), 'segment 1 covers tokens 4 to 4'],
    ['decreasing segments', change({ cuSeqlens: Int32Array.of(0, 9, 4, 12) }), 'segment 1'],
    ['no cuSeqlens', change({ cuSeqlens: Int32Array.of() }), 'cuSeqlens has 0 entries, expected 4'],
    ['a parent that comes later', change({ parent: Int32Array.of(-1, 2, 0) }), 'parent of segment 1 is 2'],
    ['a parent of itself', change({ parent: Int32Array.of(0, 0, 0) }), 'parent of segment 0 is 0'],
    ['a parent below -1', change({ parent: Int32Array.of(-1, -2, 0) }), 'parent of segment 1 is -2'],
    ['too long a path', packDocuments([ids(49)]), "has 49 tokens, expected at most the model's 48"],
    [
      'a tree larger than a pass',
      packResponses([{ prompt: ids(40), responses: Array.from({ length: 12 }, (_, i) => ids(8, i)) }]),
      "the tree of segment 0 has 136 tokens, expected at most the engine's maxTokens, 128",
    ],
  ])('%s', async (_name, bad, message) => {
    const model = await language(engine);
    const trainer = await model.trainer();
    for (const call of [() => model.logprobs(bad), () => trainer.sft(bad, { scale: 1 })]) {
      const error = await rejection(call());
      expect(error).toBeInstanceOf(HeedError);
      expect(error.code).toBe('ERR_INVALID_ARGUMENT');
      expect(error.message).toContain(message);
    }
    // refused before anything was changed: no zero() is needed
    expect((await trainer.sft(batch, { scale: 1 })).rowLoss.length).toBe(8);
    await trainer.dispose();
  });

  test.each([
    ['an array', change({ tokens: [1, 2, 3] }), 'batch.tokens is an array, expected an Int32Array'],
    ['another kind', change({ rows: new Float64Array(3) }), 'batch.rows is a Float64Array, expected an Int32Array'],
    ['nothing', undefined as unknown as PackedBatch, 'batch is undefined, expected an object'],
    ['null', null as unknown as PackedBatch, 'batch is null, expected an object'],
    ['a missing field', change({ parent: undefined }), 'batch.parent is undefined, expected an Int32Array'],
  ])('of wrong types: %s', async (_name, bad, message) => {
    const model = await language(engine);
    const error = await rejection(model.logprobs(bad));
    expect(error).toBeInstanceOf(TypeError);
    expect(error.message).toBe(message);
  });

  test('an array whose memory was transferred', async () => {
    const tokens = Int32Array.from(batch.tokens);
    structuredClone(tokens.buffer, { transfer: [tokens.buffer] });
    const error = await rejection((await language(engine)).logprobs(change({ tokens })));
    expect(error.message).toBe('cuSeqlens ends with 12, expected the number of tokens, 0');
  });

  test('an empty batch has empty results', async () => {
    const model = await language(engine);
    expect((await model.logprobs(packResponses([]))).logprobs.length).toBe(0);
    expect((await (await ScalarModel.from(model, { seed: 1 })).scores(packScores([]))).length).toBe(0);
  });
});

test('inputs are copied at the call', async () => {
  const model = await language(engine);
  const expected = plain((await model.logprobs(batch)).logprobs);
  const tokens = Int32Array.from(batch.tokens);
  const promise = model.logprobs({ ...batch, tokens });
  tokens.fill(-5);
  expect(plain((await promise).logprobs)).toEqual(expected);
});

test('calls settle in order', async () => {
  const model = await language(engine);
  const order: number[] = [];
  await Promise.all([0, 1, 2, 3].map((i) => model.logprobs(batch).then(() => order.push(i))));
  expect(order).toEqual([0, 1, 2, 3]);
});

test('an error has the stack of its caller and the native error as its cause', async () => {
  const model = await language(engine);
  async function theCaller() {
    await model.parameter('no.such.thing');
  }
  const error = await rejection(theCaller());
  expect(error.stack).toMatch(/theCaller/);
  expect(error.message).toBe('the model has no parameter no.such.thing');
  expect((error.cause as Error).message).toBe(error.message);
});

test('invalid temperatures', async () => {
  const model = await language(engine);
  for (const temperature of [0, -1, Number.NaN]) {
    expect((await rejection(model.logprobs(batch, { temperature }))).message).toContain('temperature');
  }
});

test('models of different configurations cannot be combined', async () => {
  const model = await language(engine);
  const error = await rejection(model.copyFrom(await language(engine, { ...llama, numLayers: 1 })));
  expect(error.message).toBe('the other model has another kind or configuration, expected the same');
  const scalar = await ScalarModel.from(model, { seed: 1 });
  expect((await rejection(model.lerp(scalar as never, 1))).message).toContain('another kind');
});

describe('abort', () => {
  test('rejects with the reason, before or during the call; the next call is not affected', async () => {
    const model = await language(engine);
    const reason = new Error('enough');
    expect(await rejection(model.logprobs(batch, { signal: AbortSignal.abort(reason) }))).toBe(reason);
    const long = packDocuments(Array.from({ length: 3000 }, (_, i) => ids(48, i)));
    const controller = new AbortController();
    const running = model.logprobs(long, { signal: controller.signal });
    const queued = model.logprobs(long, { signal: controller.signal });
    setTimeout(() => controller.abort(reason), 5);
    expect(await rejection(running)).toBe(reason);
    expect(await rejection(queued)).toBe(reason);
    expect((await model.logprobs(batch)).logprobs.length).toBe(8);
  });

  test('a signal that outlives many calls keeps no listeners', async () => {
    const model = await language(engine);
    const { signal } = new AbortController();
    const warnings: Error[] = [];
    const listen = (warning: Error) => warnings.push(warning);
    process.on('warning', listen);
    for (let i = 0; i < 30; i++) await model.logprobs(batch, { signal });
    await new Promise((resolve) => setImmediate(resolve));
    process.off('warning', listen);
    expect(warnings).toEqual([]);
  });
});
