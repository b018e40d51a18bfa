// Calls of several adapters of one base, and of the base, share a batch: each gets what it gets alone, bit by bit.
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { packDocuments } from '../../lib/runtime/batch.js';
import { Engine } from '../../lib/runtime/engine.js';
import type { Completion, GenerateOptions, GenerateRequest } from '../../lib/runtime/generate.js';
import { LanguageModel } from '../../lib/runtime/model.js';
import { FIXTURES } from '../parity/fixture.js';
import { ids, plain, rejection } from './support.js';

const adapter = (name: string) => join(FIXTURES, 'adapters', name);
const options = { maxNewTokens: 16, stopTokens: [] };
const flat = (completions: readonly Completion[]) =>
  completions.map((c) => [c.request, c.sample, c.finished, plain(c.tokens), plain(c.logprobs)]);

describe.each([
  ['f32', false],
  ['bf16', false],
  ['f32', true],
] as const)('%s, in 8 bits: %s', (dtype, int8) => {
  let engine: Engine;
  let base: LanguageModel;
  let models: LanguageModel[]; // the base, and three adapters with other ranks, scales and layers
  beforeAll(async () => {
    engine = await Engine.create({ dtype, maxTokens: 1024 });
    base = await LanguageModel.load(engine, join(FIXTURES, 'llama'), { int8 });
    models = [base];
    for (const name of ['llama-all', 'llama-patterns', 'llama-regex'])
      models.push(await base.adapter({ from: adapter(name) }));
  });
  afterAll(() => engine.dispose());
  afterEach(async () => {
    await base.logprobs(packDocuments([[1, 2]])); // after what was queued
    expect(engine.usage().cacheBytes).toBe(0);
  });

  interface Asked {
    readonly model: LanguageModel;
    readonly requests: readonly GenerateRequest[];
    readonly options: GenerateOptions;
  }
  const calls = (): Asked[] =>
    Array.from({ length: 8 }, (_, i) => ({
      model: models[i % 4]!,
      requests: [
        { prompt: ids(3 + i, i), seed: i, samples: 1 + (i % 3) },
        { prompt: ids(4, 50 + i), seed: i },
      ],
      options: {
        maxNewTokens: 5 + 2 * i,
        stopTokens: i % 2 ? [4, 9] : [],
        temperature: [1, 0, 0.5][i % 3]!,
        slots: 1 + (i % 4),
      },
    }));
  const ask = ({ model, requests, options }: Asked) => model.generate(requests, options);
  async function alone(asked: readonly Asked[]) {
    const all = [];
    for (const each of asked) all.push(flat(await ask(each)));
    return all;
  }

  test('the same prompt has other responses under each', async () => {
    const request = { prompt: ids(5, 1), seed: 1 };
    const found = new Set<string>();
    for (const model of models) found.add(String(flat(await model.generate([request], options))));
    expect(found.size).toBe(4);
  });

  test('calls made together, and joined one after another, get what each gets alone', async () => {
    const asked = calls();
    const expected = await alone(asked);
    expect((await Promise.all(asked.map(ask))).map(flat)).toEqual(expected);
    const running = [];
    for (const each of [...asked, ...asked]) {
      running.push(ask(each));
      for (let turns = 0; turns < 5; turns++) await setImmediate();
    }
    expect((await Promise.all(running)).map(flat)).toEqual([...expected, ...expected]);
  });

  test('they are one batch: a cache of two slots is enough for four models', async () => {
    const request = { prompt: ids(5, 1), seed: 1 };
    const two = { ...options, slots: 2 };
    const cache = base.keepCache({ slots: 2 });
    await base.generate([{ ...request, samples: 2 }], two);
    const { cacheBytes } = engine.usage();
    await Promise.all(models.map((model) => model.generate([request], { ...two, slots: 1 })));
    expect(engine.usage().cacheBytes).toBe(cacheBytes);
    await cache.dispose();
  });

  test('a prefix is kept for its adapter alone', async () => {
    const [, a, b] = models as [LanguageModel, LanguageModel, LanguageModel];
    const prompt = ids(20, 3);
    const request = { prompt, seed: 3, maxNewTokens: 2 };
    const computed = async (model: LanguageModel) => {
      const before = engine.usage().tokensComputed;
      const completions = flat(await model.generate([request], options));
      return [engine.usage().tokensComputed - before, completions] as const;
    };
    const expected = [];
    for (const model of [base, a, b]) expected.push((await computed(model))[1]);
    const caches = [a.keepCache({ slots: 3 }), base.keepCache({ slots: 2 })];
    // room for three
    await Promise.all(
      [base, a, b].map((model) => model.generate([{ prompt: ids(20, 9), seed: 1, maxNewTokens: 2 }], options)),
    );
    for (const [i, model] of [base, a, b].entries()) {
      expect(await computed(model)).toEqual([20 + 1, expected[i]]);
      expect(await computed(model)).toEqual([1 + 1, expected[i]]);
    }
    for (const cache of caches) await cache.dispose();
  });

  test("a step of one adapter's trainer leaves the samples of the others as they are", async () => {
    const trained = await base.adapter({ rank: 2, seed: 5 });
    const trainer = await trained.trainer();
    const asked = calls();
    const expected = await alone(asked);
    const prompt = ids(9, 2);
    const stream = trained.stream([{ prompt, seed: 3 }], { maxNewTokens: 20, stopTokens: [] });
    const tokens = [(await stream.next()).value!];
    const running = Promise.all(asked.map(ask));
    for (let turns = 0; turns < 10; turns++) await setImmediate();
    const before = engine.usage().tokensComputed;
    const document = packDocuments([ids(20, 4)]);
    await trainer.sft(document, { scale: 0.1 });
    await trainer.step({ learningRate: 0.05 });
    for await (const token of stream) tokens.push(token);
    expect((await running).map(flat)).toEqual(expected);
    expect(engine.usage().tokensComputed).toBeGreaterThan(before);
    // The last tokens are of the new parameters.
    const whole = packDocuments([[...prompt, ...tokens.map(({ token }) => token)]]);
    const now = plain((await trained.logprobs(whole)).logprobs).slice(prompt.length - 1);
    const differs = tokens.map(({ logprob }, i) => logprob !== now[i]);
    expect(differs[0]).toBe(true);
    expect(differs.slice(10)).toEqual(new Array(10).fill(false));
    await trained.dispose();
  });

  test('a change that is met when another model begins: what begins is not lost', async () => {
    const changed = await base.adapter({ rank: 2, seed: 5 });
    const trainer = await changed.trainer();
    const request = { prompt: ids(12, 2), seed: 3 };
    const expected = flat(await models[1]!.generate([request], options));
    const cache = changed.keepCache();
    // The base's slot, which is free first and does not change, is taken next.
    await Promise.all([
      base.generate([{ ...request, maxNewTokens: 1 }], options),
      changed.generate([request, { ...request, seed: 4 }], options),
    ]);
    await trainer.sft(packDocuments([ids(20, 4)]), { scale: 0.1 });
    await trainer.step({ learningRate: 0.05 });
    expect(flat(await models[1]!.generate([request], options))).toEqual(expected);
    const now = flat(await changed.generate([request], options));
    await cache.dispose();
    expect(flat(await changed.generate([request], options))).toEqual(now);
    await changed.dispose();
  });

  test('disposing of an adapter ends its calls alone; later ones are refused', async () => {
    const gone = await base.adapter({ from: adapter('llama-all') });
    const asked = calls();
    const expected = await alone(asked);
    gone.keepCache(); // ends with it
    const long = [0, 1, 2].map((i) =>
      rejection(gone.generate([{ prompt: ids(4, i), seed: i, samples: 3 }], { ...options, maxNewTokens: 60 })),
    );
    const running = Promise.all(asked.map(ask));
    for (let turns = 0; turns < 10; turns++) await setImmediate();
    await gone.dispose();
    for (const error of await Promise.all(long))
      expect(error).toMatchObject({ code: 'ERR_DISPOSED', message: 'the model is disposed' });
    const refused = await rejection(gone.generate([{ prompt: ids(4), seed: 1 }], options));
    expect(refused).toMatchObject({ code: 'ERR_DISPOSED', message: 'the model is disposed' });
    expect((await running).map(flat)).toEqual(expected);
  });
});

test('a base that is disposed of goes on for its adapters', async () => {
  const engine = await Engine.create();
  try {
    const base = await LanguageModel.load(engine, join(FIXTURES, 'gpt2'));
    const a = await base.adapter({ from: adapter('gpt2-all') });
    const request = { prompt: ids(5, 1), seed: 1 };
    const expected = flat(await a.generate([request], options));
    // The base has more to do than can be done before it is disposed of.
    const much = { ...request, samples: 100_000 };
    const [running, ended] = [a.generate([request], options), rejection(base.generate([much], options))];
    for (let turns = 0; turns < 3; turns++) await setImmediate();
    await base.dispose();
    expect((await ended).code).toBe('ERR_DISPOSED');
    expect(flat(await running)).toEqual(expected);
    expect(flat(await a.generate([request], options))).toEqual(expected); // a new cache
    expect((await rejection(base.generate([request], options))).code).toBe('ERR_DISPOSED');
    await a.dispose();
    const model = await LanguageModel.load(engine, join(FIXTURES, 'gpt2'));
    await model.logprobs(packDocuments([[1, 2]]));
    expect(engine.usage().cacheBytes).toBe(0);
    await model.dispose();
  } finally {
    await engine.dispose();
  }
});

test('the memory of a base is freed with the last of its adapters, whatever was sampled', async () => {
  const engine = await Engine.create();
  try {
    const base = await LanguageModel.load(engine, join(FIXTURES, 'gpt2'));
    const a = await base.adapter({ from: adapter('gpt2-all') });
    const cache = base.keepCache();
    await Promise.all([base, a].map((model) => model.generate([{ prompt: ids(5, 1), seed: 1 }], options)));
    await a.dispose();
    await base.dispose();
    await cache.dispose();
    const other = await LanguageModel.init(engine, base.config, { seed: 1 });
    const bytes = engine.usage().parameterBytes;
    await other.dispose();
    const again = await LanguageModel.init(engine, base.config, { seed: 1 });
    expect(engine.usage()).toMatchObject({ parameterBytes: bytes, cacheBytes: 0 });
    await again.dispose();
  } finally {
    await engine.dispose();
  }
});

test('what is kept for others stays when an adapter is disposed of', async () => {
  const engine = await Engine.create();
  try {
    const base = await LanguageModel.load(engine, join(FIXTURES, 'gpt2'));
    const a = await base.adapter({ from: adapter('gpt2-all') });
    const [own] = [base.keepCache({ slots: 2 }), a.keepCache({ slots: 2 })];
    for (const model of [base, a]) await model.generate([{ prompt: ids(5, 1), seed: 1 }], options);
    await a.dispose();
    await base.logprobs(packDocuments([[1, 2]])); // after what was queued
    expect(engine.usage().cacheBytes).toBeGreaterThan(0);
    await own!.dispose();
    await base.logprobs(packDocuments([[1, 2]]));
    expect(engine.usage().cacheBytes).toBe(0);
  } finally {
    await engine.dispose();
  }
});
