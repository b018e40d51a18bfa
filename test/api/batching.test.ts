// Calls that run at the same time share a batch: each gets what it gets alone, bit by bit.
import { setImmediate } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { modelConfig } from '../../lib/huggingface/config.js';
import { packDocuments } from '../../lib/runtime/batch.js';
import { Engine } from '../../lib/runtime/engine.js';
import type { Completion, GenerateOptions, GenerateRequest } from '../../lib/runtime/generate.js';
import { LanguageModel } from '../../lib/runtime/model.js';
import { ids, plain, rejection } from './support.js';

const config = modelConfig('llama', {
  numLayers: 2,
  channels: 16,
  mlpChannels: 40,
  vocabSize: 37,
  maxPositions: 1200,
  numHeads: 4,
  numKvHeads: 2,
  headDim: 6,
});

let engine: Engine;
let model: LanguageModel;
beforeAll(async () => {
  engine = await Engine.create({ maxTokens: 2048 });
  model = await LanguageModel.init(engine, config, { seed: 1 });
});
afterAll(() => engine.dispose());
afterEach(async () => {
  await model.logprobs(packDocuments([[1, 2]])); // after what was queued
  expect(engine.usage().cacheBytes).toBe(0);
});

interface Asked {
  readonly requests: readonly GenerateRequest[];
  readonly options: GenerateOptions;
}
const calls: Asked[] = [
  { requests: [{ prompt: ids(5, 1), seed: 1 }], options: { maxNewTokens: 40, stopTokens: [] } },
  {
    requests: [{ prompt: ids(9, 2), seed: 2, samples: 3 }],
    options: { maxNewTokens: 30, stopTokens: [4, 9], slots: 2 },
  },
  { requests: [{ prompt: ids(3, 3), seed: 3 }], options: { maxNewTokens: 60, stopTokens: [3], temperature: 0 } },
  {
    requests: [{ prompt: ids(30, 4), seed: 4 }],
    options: { maxNewTokens: 20, stopTokens: [], temperature: 0.5, topK: 3 },
  },
  {
    requests: [{ prompt: ids(12, 5), seed: 5, samples: 2 }],
    options: { maxNewTokens: 25, stopTokens: [], temperature: 2, topP: 0.4 },
  },
  {
    requests: [{ prompt: ids(7, 6), seed: 6 }],
    options: { maxNewTokens: 50, stopTokens: [], stopWhen: (tokens) => tokens.length > 4 && tokens.at(-1)! % 5 === 0 },
  },
];
const flat = (completions: readonly Completion[]) =>
  completions.map((c) => [c.request, c.sample, c.finished, plain(c.tokens), plain(c.logprobs)]);
const ask = ({ requests, options }: Asked, more: Partial<GenerateOptions> = {}) =>
  model.generate(requests, { ...options, ...more });

async function alone(asked: readonly Asked[]) {
  const all = [];
  for (const each of asked) all.push(flat(await ask(each)));
  return all;
}

/** The tokens of a stream, in the shape of `flat`. */
async function streamed({ requests, options }: Asked, pause?: () => Promise<unknown>) {
  const found = new Map<string, [number, number, boolean, number[], number[]]>();
  for await (const { request, sample, token, logprob, finished } of model.stream(requests, options)) {
    const key = `${request}.${sample}`;
    const [, , , tokens, logprobs] = found.get(key) ?? [0, 0, false, [], []];
    tokens.push(token);
    logprobs.push(logprob);
    found.set(key, [request, sample, finished === 'stop', tokens, logprobs]);
    await pause?.();
  }
  return [...found.values()].sort((a, b) => a[0] - b[0] || a[1] - b[1]);
}

test('calls with other options, made together, get what each gets alone', async () => {
  const expected = await alone(calls);
  expect((await Promise.all(calls.map((each) => ask(each)))).map(flat)).toEqual(expected);
});

test('calls that join a running batch, one after another, get what each gets alone', async () => {
  const expected = await alone(calls);
  const running = [];
  for (const each of [...calls, ...calls]) {
    running.push(ask(each));
    // between two jobs of those before it
    for (let turns = 0; turns < 6; turns++) await setImmediate();
  }
  expect((await Promise.all(running)).map(flat)).toEqual([...expected, ...expected]);
});

test('streams beside calls, read slowly or at once, have the same tokens', async () => {
  const expected = await alone(calls);
  const slowly = () => setImmediate();
  const [fast, slow, called] = await Promise.all([
    Promise.all(calls.map((each) => streamed(each))),
    Promise.all(calls.map((each) => streamed(each, slowly))),
    Promise.all(calls.map((each) => ask(each))),
  ]);
  expect(fast).toEqual(expected);
  expect(slow).toEqual(expected);
  expect(called.map(flat)).toEqual(expected);
});

test('sixteen calls share passes: each prompt and token is computed once', async () => {
  const many = Array.from({ length: 16 }, (_, i) => ({ prompt: ids(10, i), seed: i }));
  const options = { maxNewTokens: 9, stopTokens: [] };
  const jobs = async (work: () => Promise<unknown>) => {
    const before = engine.usage().tokensComputed;
    await work();
    return engine.usage().tokensComputed - before;
  };
  const together = await jobs(() => model.generate(many, options));
  expect(together).toBe(16 * (10 + 8)); // the last token of a response is not computed
  expect(await jobs(() => Promise.all(many.map((each) => model.generate([each], options))))).toBe(together);
});

test('a call with many samples shares its slots with one that comes later', async () => {
  const order: string[] = [];
  // Its slots become free one at a time.
  const requests = Array.from({ length: 400 }, (_, i) => ({
    prompt: ids(4),
    seed: i,
    maxNewTokens: 5 + ((7 * i) % 61),
  }));
  const large = model
    .generate(requests, { maxNewTokens: 8, stopTokens: [], slots: 64 })
    .then(() => order.push('large'));
  for (let turns = 0; turns < 6; turns++) await setImmediate();
  await ask(calls[1]!).then(() => order.push('small'));
  await large;
  expect(order).toEqual(['small', 'large']);
});

test('aborting a call, leaving a stream and a failing stopWhen leave the others as they are', async () => {
  const expected = await alone(calls);
  const controller = new AbortController();
  const reason = new Error('enough');
  const mine = new Error('mine');
  const long = { prompt: ids(6, 9), seed: 9, samples: 200 };
  const ended = Promise.all([
    rejection(model.generate([long], { maxNewTokens: 900, stopTokens: [], signal: controller.signal })),
    rejection(
      model.generate([long], {
        maxNewTokens: 900,
        stopTokens: [],
        stopWhen: (tokens) => {
          if (tokens.length > 20) throw mine;
          return false;
        },
      }),
    ),
    (async () => {
      let count = 0;
      for await (const _ of model.stream([long], { maxNewTokens: 900, stopTokens: [] })) if (++count === 30) break;
      return count;
    })(),
  ]);
  const running = Promise.all(calls.map((each) => ask(each)));
  for (let turns = 0; turns < 10; turns++) await setImmediate();
  controller.abort(reason);
  expect((await running).map(flat)).toEqual(expected);
  expect(await ended).toEqual([reason, mine, 30]);
});

test('a reader that stops reading does not hold up the others, and lends its slots', async () => {
  const expected = await alone(calls);
  const stream = model.stream([{ prompt: ids(6, 9), seed: 9, samples: 64 }], {
    maxNewTokens: 100,
    stopTokens: [],
    slots: 64,
  });
  const first = await stream.next();
  // the 64 slots are all taken
  expect((await Promise.all(calls.map((each) => ask(each)))).map(flat)).toEqual(expected);
  const rest = [first.value!];
  for await (const token of stream) rest.push(token);
  const whole = await model.generate([{ prompt: ids(6, 9), seed: 9, samples: 64 }], {
    maxNewTokens: 100,
    stopTokens: [],
  });
  for (const { sample, tokens, logprobs } of whole) {
    const own = rest.filter((token) => token.sample === sample);
    expect(own.map(({ token }) => token)).toEqual(plain(tokens));
    expect(own.map(({ logprob }) => logprob)).toEqual(plain(logprobs));
  }
});

test('a long prompt is computed in parts, between which others decode', async () => {
  const long: Asked = {
    requests: [{ prompt: ids(1100, 8), seed: 8, samples: 2 }],
    options: { maxNewTokens: 20, stopTokens: [] },
  };
  const short: Asked = { requests: [{ prompt: ids(5, 1), seed: 1 }], options: { maxNewTokens: 200, stopTokens: [] } };
  const expected = await alone([long, short]);
  const arrivals: string[] = [];
  const { signal } = new AbortController();
  const shortDone = (async () => {
    const all = [];
    for await (const { token } of model.stream(short.requests, { ...short.options, signal })) {
      arrivals.push('short');
      all.push(token);
    }
    return all;
  })();
  while (arrivals.length === 0) await setImmediate();
  const longTokens = (async () => {
    const all: number[][] = [[], []];
    for await (const { sample, token } of model.stream(long.requests, long.options)) {
      arrivals.push('long');
      all[sample]!.push(token);
    }
    return all;
  })();
  arrivals.length = 0;
  expect(await shortDone).toEqual(expected[1]![0]![3]);
  expect(await longTokens).toEqual(expected[0]!.map((each) => each[3]));
  // two parts of 512 tokens before the last one, and eight tokens of the other after each
  expect(arrivals.indexOf('long')).toBeGreaterThanOrEqual(16);
});

test('a call that leaves while its prompt is computed in parts leaves its slots to the next', async () => {
  const long = (seed: number): Asked => ({
    requests: [{ prompt: ids(1100, seed), seed, samples: 2 }],
    options: { maxNewTokens: 20, stopTokens: [], slots: 2 },
  });
  const short: Asked = { requests: [{ prompt: ids(5, 1), seed: 1 }], options: { maxNewTokens: 200, stopTokens: [] } };
  const expected = await alone([short, long(11)]);
  const arrivals: number[] = [];
  const shortDone = (async () => {
    for await (const { token } of model.stream(short.requests, short.options)) arrivals.push(token);
  })();
  while (arrivals.length === 0) await setImmediate();
  const controller = new AbortController();
  const leaving = rejection(ask(long(8), { signal: controller.signal }));
  const before = arrivals.length;
  while (arrivals.length < before + 9) await setImmediate(); // after the first part
  const tokens = engine.usage().tokensComputed;
  controller.abort();
  expect((await leaving).name).toBe('AbortError');
  const next = await ask(long(11));
  // What had begun of the other prompt does not go on.
  expect(engine.usage().tokensComputed - tokens).toBeLessThan(1100 + 2 * 20 + 200 + 512);
  expect(flat(next)).toEqual(expected[1]);
  await shortDone;
  expect(arrivals).toEqual(expected[0]![0]![3]);
});

test('parameters that change between tokens are used from the next one on, with a cache of their own', async () => {
  const trained = await LanguageModel.init(engine, config, { seed: 5 });
  const trainer = await trained.trainer();
  const prompt = ids(9, 2);
  const stream = trained.stream([{ prompt, seed: 3 }], { maxNewTokens: 30, stopTokens: [] });
  const tokens = [];
  for (let i = 0; i < 9; i++) tokens.push((await stream.next()).value!); // one, then eight of a job
  await trainer.sft(packDocuments([ids(20, 4)]), { scale: 0.1 });
  await trainer.step({ learningRate: 0.05 });
  const logprobs = [];
  for await (const { token, logprob } of stream) {
    tokens.push({ token, logprob });
    logprobs.push(logprob);
  }
  const whole = packDocuments([[...prompt, ...tokens.map(({ token }) => token)]]);
  const now = (await trained.logprobs(whole)).logprobs;
  expect(logprobs.length).toBe(21);
  expect(logprobs).toEqual(plain(now.subarray(prompt.length - 1 + 9)));
  await trained.dispose();
});

test('parameters that change while a prompt is computed in parts begin it anew', async () => {
  const trained = await LanguageModel.init(engine, config, { seed: 5 });
  const trainer = await trained.trainer();
  const long = { prompt: ids(1100, 8), seed: 8 };
  const options = { maxNewTokens: 20, stopTokens: [] };
  const arrivals: number[] = [];
  const shortDone = (async () => {
    const short = { prompt: ids(5, 1), seed: 1 };
    for await (const { token } of trained.stream([short], { maxNewTokens: 200, stopTokens: [] })) arrivals.push(token);
  })();
  while (arrivals.length === 0) await setImmediate();
  const completions = trained.generate([long], options);
  const before = arrivals.length;
  while (arrivals.length < before + 9) await setImmediate(); // after the first part
  await trainer.sft(packDocuments([ids(20, 4)]), { scale: 0.1 });
  await trainer.step({ learningRate: 0.05 });
  const found = flat(await completions);
  await shortDone;
  expect(found).toEqual(flat(await trained.generate([long], options)));
  await trained.dispose();
});

test('where memory is short, what runs goes on, and only the call that needs too much fails', async () => {
  const large = await LanguageModel.init(engine, modelConfig('llama', { ...config, maxPositions: 2 ** 20 }), {
    seed: 1,
  });
  const small = { prompt: ids(5, 1), seed: 1 };
  const options = { maxNewTokens: 100, stopTokens: [] };
  const expected = flat(await large.generate([small], options));
  const running = large.generate([small], options);
  for (let turns = 0; turns < 6; turns++) await setImmediate();
  const error = large.generate([{ ...small, samples: 65536 }], {
    maxNewTokens: 2 ** 20 - 5,
    stopTokens: [],
    slots: 65536,
  });
  const [first, refused, later] = await Promise.all([
    running,
    rejection(error),
    large.generate([small], { ...options, temperature: 1 }),
  ]);
  expect(refused.code).toBe('ERR_OUT_OF_MEMORY');
  expect(flat(first)).toEqual(expected);
  expect(flat(later)).toEqual(expected);
  await large.dispose();
});

test('of calls that begin together, only the one that needs too much memory fails', async () => {
  const large = await LanguageModel.init(engine, modelConfig('llama', { ...config, maxPositions: 2 ** 20 }), {
    seed: 1,
  });
  const small = { prompt: ids(5, 1), seed: 1 };
  const options = { maxNewTokens: 10, stopTokens: [] };
  const expected = flat(await large.generate([small], options));
  const much = { maxNewTokens: 2 ** 20 - 5, stopTokens: [], slots: 65536 };
  const [first, refused, last] = await Promise.all([
    large.generate([small], options),
    rejection(large.generate([{ ...small, samples: 65536 }], much)),
    large.generate([small], options),
  ]);
  expect(refused.code).toBe('ERR_OUT_OF_MEMORY');
  expect([first, last].map(flat)).toEqual([expected, expected]);
  await large.dispose();
});

test('disposing of the model ends all its calls', async () => {
  const own = await LanguageModel.init(engine, config, { seed: 7 });
  const stream = own.stream([{ prompt: ids(3), seed: 1 }], { maxNewTokens: 500, stopTokens: [] });
  await stream.next();
  const running = calls.map(({ requests, options }) =>
    rejection(own.generate(requests, { ...options, maxNewTokens: 1000 })),
  );
  await own.dispose();
  for (const error of await Promise.all(running)) expect(error.code).toBe('ERR_DISPOSED');
  expect((await rejection(stream.next())).code).toBe('ERR_DISPOSED');
});

test('a kept cache: the next turn computes only what is new, with the same bits', async () => {
  const options = { maxNewTokens: 20, stopTokens: [] };
  const system = ids(40, 3);
  const turns = [system];
  const expected = [];
  for (let turn = 0; turn < 3; turn++) {
    const [completion] = await model.generate([{ prompt: turns[turn]!, seed: turn }], options);
    expected.push(flat([completion!]));
    turns.push(Int32Array.of(...turns[turn]!, ...completion!.tokens, ...ids(6, turn)));
  }
  const computed = async (prompt: Int32Array, seed: number) => {
    const before = engine.usage().tokensComputed;
    const completions = await model.generate([{ prompt, seed }], options);
    return [engine.usage().tokensComputed - before, flat(completions)];
  };
  const cache = model.keepCache({ slots: 4 });
  try {
    expect(await computed(turns[0]!, 0)).toEqual([40 + 19, expected[0]]);
    // a longer sequence than there is room for begins anew once
    expect((await computed(turns[1]!, 1))[1]).toEqual(expected[1]);
    // the last token of the answer, and the six of the user
    expect(await computed(turns[2]!, 2)).toEqual([1 + 6 + 19, expected[2]]);
    // several at once, of which one begins in the slot of the others' prefix and the rest copy it
    const ask = (seeds: readonly number[]) =>
      Promise.all(
        seeds.map((seed) => model.generate([{ prompt: Int32Array.of(...system, ...ids(3, seed)), seed }], options)),
      );
    await ask([4, 5, 6]); // more slots, and with them an empty cache
    const before = engine.usage().tokensComputed;
    const several = await ask([7, 8, 9]);
    expect(engine.usage().tokensComputed - before).toBe(3 * (3 + 19));
    await cache.dispose();
    expect(several.map(flat)).toEqual((await ask([7, 8, 9])).map(flat));
  } finally {
    await cache.dispose();
  }
});

test('samples of a prompt that begin later take the prompt from the cache', async () => {
  const before = engine.usage().tokensComputed;
  await model.generate([{ prompt: ids(50), samples: 6, seed: 1 }], { maxNewTokens: 1, stopTokens: [], slots: 1 });
  expect(engine.usage().tokensComputed - before).toBe(50 + 5);
});
