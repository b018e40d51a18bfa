import { setImmediate } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { packResponses } from '../../lib/runtime/batch.js';
import { Engine } from '../../lib/runtime/engine.js';
import type { Completion, GenerateRequest, StreamedToken } from '../../lib/runtime/generate.js';
import { LanguageModel, ScalarModel } from '../../lib/runtime/model.js';
import { configs, ids, language, llama, plain, rejection } from './support.js';

let engine: Engine;
beforeAll(async () => {
  engine = await Engine.create();
});
afterAll(() => engine.dispose());

const requests: GenerateRequest[] = Array.from({ length: 12 }, (_, i) => ({
  prompt: ids(1 + ((5 * i) % 9), i),
  samples: 1 + (i % 4),
  seed: 1000 + i,
}));
const options = { maxNewTokens: 24, stopTokens: [3, 17] };
const flat = (completions: readonly Completion[]) =>
  completions.map((c) => [c.request, c.sample, c.finished, plain(c.tokens), plain(c.logprobs)]);

describe.each(configs)('%s', (_name, config) => {
  let model: LanguageModel;
  beforeAll(async () => {
    model = await language(engine, config);
  });

  test('responses are in order, end with a stop token or are cut off, and logprobs are those of the forward pass', async () => {
    const completions = await model.generate(requests, options);
    expect(completions.map((c) => `${c.request}.${c.sample}`)).toEqual(
      requests.flatMap((r, i) => Array.from({ length: r.samples! }, (_, s) => `${i}.${s}`)),
    );
    expect(new Set(completions.map((c) => c.finished))).toEqual(new Set([true, false]));
    for (const { tokens, finished } of completions) {
      const stops = plain(tokens).filter((t) => options.stopTokens.includes(t));
      expect(stops.length).toBe(finished ? 1 : 0);
      if (finished) expect(options.stopTokens).toContain(tokens.at(-1));
      else expect(tokens.length).toBe(24);
    }
    const trees = requests.map((r, i) => ({
      prompt: r.prompt,
      responses: completions.filter((c) => c.request === i).map((c) => c.tokens),
    }));
    const { logprobs } = await model.logprobs(packResponses(trees));
    expect(completions.flatMap((c) => plain(c.logprobs))).toEqual(plain(logprobs));
  });

  test.each([1, 2, 5, 64])('with %d slots the responses are the same', async (slots) => {
    const expected = flat(await model.generate(requests, options));
    expect(flat(await model.generate(requests, { ...options, slots }))).toEqual(expected);
  });

  test('a response does not depend on the rest of the batch, or on its place in it', async () => {
    const together = await model.generate(requests, options);
    const alone = await model.generate([requests[7]!], options);
    const reversed = await model.generate([...requests].reverse(), options);
    const texts = (list: readonly Completion[], request: number) =>
      list.filter((c) => c.request === request).map((c) => plain(c.tokens));
    expect(texts(alone, 0)).toEqual(texts(together, 7));
    expect(texts(reversed, 4)).toEqual(texts(together, 7));
  });

  test('samples of one request differ; the same seed gives the same', async () => {
    const [a, b, c] = await model.generate([{ prompt: ids(4), samples: 3, seed: 5 }], options);
    expect(plain(a!.tokens)).not.toEqual(plain(b!.tokens));
    expect(plain(b!.tokens)).not.toEqual(plain(c!.tokens));
    const [again] = await model.generate([{ prompt: ids(4), seed: 5 }], options);
    expect(plain(again!.tokens)).toEqual(plain(a!.tokens));
    const [other] = await model.generate([{ prompt: ids(4), seed: 5 + 2 ** 40 }], options);
    expect(plain(other!.tokens)).not.toEqual(plain(a!.tokens));
  });

  test('temperature 0 and topK 1 take the likeliest token', async () => {
    const greedy = await model.generate(requests, { ...options, temperature: 0 });
    expect(flat(await model.generate(requests, { ...options, topK: 1 })).map((c) => c[3])).toEqual(
      flat(greedy).map((c) => c[3]),
    );
    const { prompt } = requests[2]!;
    const first = greedy.find((c) => c.request === 2)!;
    const logits = plain(await model.logits(packResponses([{ prompt, responses: [first.tokens.slice(0, 1)] }])));
    expect(first.tokens[0]).toBe(logits.indexOf(Math.max(...logits)));
  });

  test('a stream has the same tokens, in order', async () => {
    const streamed: StreamedToken[] = [];
    for await (const token of model.stream(requests, { ...options, slots: 3 })) streamed.push(token);
    for (const c of await model.generate(requests, options)) {
      const mine = streamed.filter((t) => t.request === c.request && t.sample === c.sample);
      expect(mine.map((t) => t.token)).toEqual(plain(c.tokens));
      expect(mine.map((t) => t.logprob)).toEqual(plain(c.logprobs));
      expect(mine.map((t) => t.finished)).toEqual([...Array(mine.length - 1).fill(''), c.finished ? 'stop' : 'length']);
    }
  });
});

test('stopWhen ends a response at the token that made it true', async () => {
  const model = await language(engine);
  const free = await model.generate(requests, { ...options, stopTokens: [] });
  const stopWhen = (tokens: Int32Array) => tokens.length >= 2 && (tokens.at(-1)! + tokens.at(-2)!) % 7 === 0;
  for (const slots of [1, 4, 64]) {
    const stopped = await model.generate(requests, { ...options, stopTokens: [], stopWhen, slots });
    stopped.forEach(({ tokens, finished }, i) => {
      const whole = free[i]!.tokens;
      const end = plain(whole).findIndex((_, t) => stopWhen(whole.subarray(0, t + 1)));
      expect(finished).toBe(end >= 0);
      expect(plain(tokens)).toEqual(plain(end >= 0 ? whole.subarray(0, end + 1) : whole));
    });
  }
});

test('maxNewTokens of a request overrides that of the options', async () => {
  const model = await language(engine);
  const [a, b] = await model.generate(
    [
      { prompt: ids(3), seed: 1, maxNewTokens: 2 },
      { prompt: ids(3), seed: 1 },
    ],
    { maxNewTokens: 6, stopTokens: [] },
  );
  expect([a!.tokens.length, b!.tokens.length]).toEqual([2, 6]);
});

test('progress counts finished samples up to all of them', async () => {
  const model = await language(engine);
  const seen: number[] = [];
  const total = requests.reduce((n, r) => n + r.samples!, 0);
  await model.generate(requests, { ...options, slots: 4, onProgress: ({ done, total: t }) => seen.push(done / t) });
  expect(seen).toEqual(Array.from({ length: total }, (_, i) => (i + 1) / total));
});

test('decoding waits for the reader, and break frees the cache', async () => {
  const model = await language(engine);
  const stream = model.stream([{ prompt: ids(2), samples: 40, seed: 1 }], { ...options, slots: 2 });
  await stream.next();
  const { tokensComputed, cacheBytes } = engine.usage();
  expect(cacheBytes).toBeGreaterThan(0);
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect(engine.usage().tokensComputed).toBe(tokensComputed);
  // other work on the engine runs meanwhile
  expect((await model.logprobs(packResponses([{ prompt: [1], responses: [[2]] }]))).logprobs.length).toBe(1);
  for await (const _ of stream) break;
  await model.logprobs(packResponses([{ prompt: [1], responses: [[2]] }]));
  expect(engine.usage().cacheBytes).toBe(0);
});

test('more samples than memory could hold are streamed as far as they are read', async () => {
  const model = await language(engine);
  const stream = model.stream([{ prompt: ids(2), samples: 2 ** 31 - 1, seed: 1 }], { ...options, slots: 2 });
  const samples = new Set<number>();
  for await (const { sample } of stream) if (samples.add(sample).size > 5) break;
  expect([...samples]).toEqual([0, 1, 2, 3, 4, 5]);
});

test('changing a prompt after the call does not change responses', async () => {
  const model = await language(engine);
  const mine = requests.map((request) => ({ ...request, prompt: request.prompt.slice() }));
  const running = model.generate(mine, { ...options, slots: 2 });
  for (const { prompt } of mine) prompt.fill(0);
  expect(flat(await running)).toEqual(flat(await model.generate(requests, options)));
});

test('a stream keeps its model', async () => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const stream = (await language(engine)).stream(requests, { ...options, slots: 2 });
  const streamed: StreamedToken[] = [];
  for await (const token of stream) {
    if (streamed.push(token) % 50 !== 1) continue;
    collect();
    await setImmediate(); // finalizers run between turns of the event loop
  }
  expect(streamed.filter(({ finished }) => finished !== '').length).toBe(requests.reduce((n, r) => n + r.samples!, 0));
});

test('no requests give no completions', async () => {
  expect(await (await language(engine)).generate([], options)).toEqual([]);
});

test('a prompt is computed once for samples that start together', async () => {
  const model = await language(engine);
  const before = engine.usage().tokensComputed;
  await model.generate([{ prompt: ids(20), samples: 8, seed: 1 }], { maxNewTokens: 1, stopTokens: [] });
  expect(engine.usage().tokensComputed - before).toBe(20);
});

describe('misuse', () => {
  const prompt = ids(4);
  test.each([
    ['an empty prompt', [{ prompt: new Int32Array(0), seed: 1 }], {}, 'request 0: the prompt is empty'],
    ['a prompt of another type', [{ prompt: 'text', seed: 1 }], {}, 'request 0: prompt is not an Int32Array'],
    [
      'more samples than a sample index can count',
      [{ prompt, seed: 1, samples: 2 ** 31 }],
      {},
      'request 0: samples is 2147483648, expected at most 2147483647',
    ],
    ['no samples', [{ prompt, seed: 1, samples: 0 }], {}, 'request 0: samples is 0'],
    [
      'a negative seed',
      [
        { prompt, seed: 1 },
        { prompt, seed: -1 },
      ],
      {},
      'request 1: seed is -1',
    ],
    [
      'too long a response',
      [{ prompt, seed: 1, maxNewTokens: 45 }],
      {},
      "request 0: the prompt has 4 tokens and maxNewTokens is 45, expected at most the model's 48 positions together",
    ],
    ['no room for a token', [{ prompt, seed: 1 }], { maxNewTokens: 0 }, 'request 0: maxNewTokens is 0'],
    ['no maxNewTokens', [{ prompt, seed: 1 }], { maxNewTokens: undefined }, 'request 0: maxNewTokens is undefined'],
    ['no slots', [{ prompt, seed: 1 }], { slots: 0 }, 'slots is 0'],
    ['half a slot', [{ prompt, seed: 1 }], { slots: 0.5 }, 'slots is 0.5'],
    ['an id outside the vocabulary', [{ prompt: Int32Array.of(1, 37), seed: 1 }], {}, 'token 1 is 37'],
    ['a stop token outside the vocabulary', [{ prompt, seed: 1 }], { stopTokens: [37] }, 'a stop token is 37'],
    [
      'an invalid stop token',
      [{ prompt, seed: 1 }],
      { stopTokens: [3, undefined] },
      'stopTokens[1] is undefined, expected a token id',
    ],
    ['half a stop token', [{ prompt, seed: 1 }], { stopTokens: [0.5] }, 'stopTokens[0] is 0.5, expected a token id'],
    [
      'no stop tokens',
      [{ prompt, seed: 1 }],
      { stopTokens: undefined },
      'stopTokens is undefined, expected an array of token ids',
    ],
    ['a negative temperature', [{ prompt, seed: 1 }], { temperature: -1 }, 'temperature is -1'],
    [
      'a tiny temperature',
      [{ prompt, seed: 1 }],
      { temperature: 1e-9 },
      'temperature is 1e-9, expected 0 or at least 0.0001',
    ],
    ['topP of 0', [{ prompt, seed: 1 }], { topP: 0 }, 'topP is 0'],
    ['topP above 1', [{ prompt, seed: 1 }], { topP: 1.5 }, 'topP is 1.5'],
    ['a negative topK', [{ prompt, seed: 1 }], { topK: -1 }, 'topK is -1'],
    ['half a topK', [{ prompt, seed: 1 }], { topK: 0.5 }, 'topK is 0.5'],
  ])('%s', async (_name, bad, changes, message) => {
    const model = await language(engine);
    const error = await rejection(
      model.generate(bad as GenerateRequest[], { ...options, ...changes } as typeof options),
    );
    expect(error.message).toContain(message);
    expect(['RangeError', 'TypeError', 'HeedError']).toContain(error.name);
  });

  test('a model with a scalar head', async () => {
    const scalar = await ScalarModel.init(engine, llama, { seed: 1 });
    const error = await rejection(
      LanguageModel.prototype.generate.call(scalar as never, [{ prompt, seed: 1 }], options),
    );
    expect(error.message).toContain('scalar head');
  });

  test('an error of stopWhen ends the call and is rethrown', async () => {
    const model = await language(engine);
    const mine = new Error('mine');
    const failing = model.generate(requests, {
      ...options,
      stopWhen: () => {
        throw mine;
      },
    });
    expect(await rejection(failing)).toBe(mine);
    await model.logprobs(packResponses([{ prompt: [1], responses: [[2]] }]));
    expect(engine.usage().cacheBytes).toBe(0);
  });

  test('an aborted signal rejects with its reason', async () => {
    const model = await language(engine);
    const reason = new Error('enough');
    const controller = new AbortController();
    const running = model.generate([{ prompt, samples: 20_000, seed: 1 }], { ...options, signal: controller.signal });
    setTimeout(() => controller.abort(reason), 50);
    expect(await rejection(running)).toBe(reason);
    expect(await rejection(model.generate(requests, { ...options, signal: AbortSignal.abort(reason) }))).toBe(reason);
  });
});
