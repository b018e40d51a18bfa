// Responses of a real model, sampled ahead; a reward model that learns meanwhile.
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { Database } from '../../lib/feedback/database.js';
import type { NewItem, SampledModel } from '../../lib/label/index.js';
import { disagreement, heldOutAccuracy } from '../../lib/label/learning.js';
import { packResponses } from '../../lib/runtime/batch.js';
import { Engine } from '../../lib/runtime/engine.js';
import { LanguageModel, ScalarModel } from '../../lib/runtime/model.js';
import { Tokenizer } from '../../lib/tokenizer/tokenizer.js';
import { folder, openDesk } from './desk.js';

const base = join(process.cwd(), 'models/base');
let engine: Engine;
let models: SampledModel[];
beforeAll(async () => {
  engine = await Engine.create({ maxTokens: 2048, threads: 1 });
  const model = await LanguageModel.load(engine, base);
  const tokenizer = await Tokenizer.load(base);
  models = ['first', 'second'].map((name) => ({ name, model, tokenizer }));
});
afterAll(() => engine.dispose());

/** Asks until it is so. */
async function until<T>(ask: () => T | Promise<T>, isSo: (found: T) => boolean): Promise<T> {
  for (;;) {
    const found = await ask();
    if (isSo(found)) return found;
    await new Promise((done) => setTimeout(done, 20));
  }
}

const itemRows = (database: Database) =>
  database
    .prepare(
      'SELECT prompts.prompt, state, responses, note FROM items JOIN prompts ON prompts.id = items.prompt ORDER BY items.id',
    )
    .all() as { prompt: string; state: string; responses: string | null; note: string | null }[];

test('distinct responses of all models, with their token ids and exact logprobs', async () => {
  const long = 'long '.repeat(400);
  const prompts: NewItem[] = [
    { prompt: 'The dog' },
    { prompt: 'The cat', responses: [' sat.'] },
    { prompt: long },
    { prompt: 'Four are given', responses: ['1', '2', '3', '4'] },
  ];
  const desk = await openDesk({ prompts, models, k: 4, maxNewTokens: 6, seed: 3 });
  const database = await desk.database();
  const rows = await until(
    () => itemRows(database),
    (found) => found.every(({ state }) => state !== 'waiting'),
  );
  expect(rows.map(({ state }) => state)).toEqual(['ready', 'ready', 'unusable', 'ready']);
  expect(rows[2]!.note).toMatch(/the prompt has \d+ tokens, expected fewer than the \d+ positions/);
  const responses = (row: number) =>
    (JSON.parse(rows[row]!.responses!) as number[]).map(
      (id) => database.prepare('SELECT * FROM responses WHERE id = ?').get(id) as Record<string, unknown>,
    );
  expect(new Set(responses(0).map(({ text }) => String(text).trim())).size).toBe(4);
  expect(new Set(responses(0).map(({ model }) => model))).toEqual(new Set(['first', 'second']));
  expect(responses(1).map(({ model }) => model)).toEqual([
    'given',
    expect.anything(),
    expect.anything(),
    expect.anything(),
  ]);
  const floats = (bytes: unknown) => Array.from(new Float32Array(Uint8Array.from(bytes as Buffer).buffer));
  const ints = (bytes: unknown) => new Int32Array(Uint8Array.from(bytes as Buffer).buffer);
  const { model, tokenizer } = models[0]!;
  for (const response of responses(0)) {
    const tokens = ints(response.tokens);
    const prompt = ints(response.prompt_tokens);
    expect(tokenizer.decode(prompt)).toBe('The dog');
    expect(tokenizer.decodeAfter(prompt, tokens, true)).toBe(response.text);
    expect(response.finish).toBe(tokens.at(-1) === tokenizer.endOfText ? 'stop' : 'length');
    const { logprobs } = await model.logprobs(packResponses([{ prompt, responses: [tokens] }]));
    expect(floats(response.logprobs)).toEqual(Array.from(logprobs)); // bit for bit
    // What is kept is enough to sample it again.
    const { seed, sample, temperature } = JSON.parse(response.sampling as string);
    const request = { prompt: Int32Array.from(prompt), samples: sample + 1, seed };
    const again = await model.generate([request], { maxNewTokens: 6, temperature, stopTokens: [tokenizer.endOfText] });
    expect(Array.from(again.at(-1)!.tokens)).toEqual(Array.from(tokens));
  }
  // With another seed they are others, with the same they are the same.
  const texts = responses(0).map(({ text }) => text);
  const again = await openDesk({ prompts: prompts.slice(0, 1), models, k: 4, maxNewTokens: 6, seed: 3 });
  const second = await again.database();
  await until(
    () => itemRows(second),
    ([row]) => row!.state === 'ready',
  );
  expect(second.prepare('SELECT text FROM responses ORDER BY id').pluck().all()).toEqual(texts);
});

test('equal responses are kept once', async () => {
  const prompts = Array.from({ length: 6 }, (_, i) => ({ prompt: `User: say ${i}.\nAssistant:` }));
  const desk = await openDesk({ prompts, models, k: 3, maxNewTokens: 1, temperature: 0.7 });
  const database = await desk.database();
  const rows = await until(
    () => itemRows(database),
    (found) => found.every(({ state }) => state !== 'waiting'),
  );
  const ready = rows.flatMap(({ responses }) => (responses === null ? [] : [JSON.parse(responses) as number[]]));
  expect(ready.length).toBeGreaterThan(2);
  for (const ids of ready) {
    const texts = ids.map((id) => database.prepare('SELECT trim(text) FROM responses WHERE id = ?').pluck().get(id));
    expect([...new Set(texts)]).toEqual(texts);
  }
});

test('a model that is sure of its answer leaves nothing to rank; only so many prompts are sampled ahead', async () => {
  const sure = await openDesk({ prompts: [{ prompt: 'The dog' }], models, k: 2, maxNewTokens: 4, temperature: 0 });
  const database = await sure.database();
  const [row] = await until(
    () => itemRows(database),
    ([first]) => first!.state !== 'waiting',
  );
  expect(row).toMatchObject({ state: 'unusable', note: 'only 1 distinct responses were found' });
  expect(await (await sure.person('Ada')).next()).toEqual({ waiting: 'done', unusable: 1 });

  const prompts = Array.from({ length: 12 }, (_, i) => ({ prompt: `The ${i}` }));
  const desk = await openDesk({ prompts, models, k: 2, maxNewTokens: 4, ahead: 3, rates: false });
  const states = async () => (await desk.page.overview()).items;
  await until(states, ({ ready }) => ready === 3);
  await new Promise((done) => setTimeout(done, 100));
  expect((await states()).ready).toBe(3);
  const ada = await desk.person('Ada');
  const task = await ada.task(); // one that somebody has seen is no longer ahead
  await until(states, ({ ready }) => ready === 4);
  await ada.submit(task, { ranks: [0, 1] });
  await ada.task();
  expect((await until(states, ({ ready }) => ready === 5)).waiting).toBe(7);
});

test('the reward model learns what the labels say, is tested on items it never sees, and asks where it is unsure', async () => {
  const words = ['red', 'blue', 'green', 'one', 'two', 'dog', 'cat', 'sun', 'sea', 'box'];
  const prompts = words.flatMap((a) =>
    words
      .slice(0, 4)
      .map((b) => ({ prompt: `User: say ${a} ${b}.\nAssistant:`, responses: [` ${a} ${b}.`, ' no, go away.'] })),
  );
  const saveTo = join(folder(), 'reward');
  const learning = { ensemble: 2, learningRate: 3e-3, batchSize: 4, epochs: 4, saveTo, tokenizerFrom: base };
  const desk = await openDesk({ prompts, models, k: 2, rates: false, learning, heldOut: 0.3, order: 'uncertain' });
  const ada = await desk.person('owner');
  const database = await desk.database();
  let during = 0;
  let chosen = 0;
  const orders: boolean[] = []; // whether the item was held out
  for (let i = 0; i < 30; i++) {
    const best = database
      .prepare(
        `SELECT max(uncertainty) FROM items WHERE held = 0 AND NOT EXISTS (SELECT 1 FROM tasks WHERE item = items.id)`,
      )
      .pluck()
      .get() as number | null;
    const task = await ada.task();
    const { held, uncertainty } = database
      .prepare('SELECT held, uncertainty FROM tasks JOIN items ON items.id = item WHERE tasks.id = ?')
      .get(task.id) as { held: number; uncertainty: number | null };
    orders.push(held === 1);
    if (held === 0 && best !== null) {
      expect(uncertainty).toBe(best);
      chosen++;
    }
    await ada.submit(task, { ranks: task.responses.map((text) => (text.includes('away') ? 1 : 0)) });
    // The next one is asked for when the training that this label may have begun has ended.
    await until(
      async () => {
        const { isTraining } = (await desk.page.overview()).learning;
        if (isTraining && (await ada.get('api/session')).status === 200) during++;
        return isTraining;
      },
      (isTraining) => !isTraining,
    );
  }
  expect(chosen).toBeGreaterThan(10);
  expect(during).toBeGreaterThan(0); // the page was answered meanwhile
  expect(orders.filter(Boolean).length).toBeGreaterThanOrEqual(5);
  const { curve, failure } = await until(
    async () => (await desk.page.overview()).learning,
    ({ isTraining, curve: found }) => !isTraining && found.length > 0,
  );
  expect(failure).toBeUndefined();
  const trained = orders.filter((isHeld) => !isHeld).length;
  expect(curve[0]!.labels).toBeGreaterThanOrEqual(8);
  expect(curve.at(-1)!.labels).toBeLessThanOrEqual(trained);
  expect(curve.at(-1)!.accuracy).toBe(1);
  expect(curve.map(({ labels }) => labels)).toEqual([...curve.map(({ labels }) => labels)].sort((a, b) => a - b));
  await desk.close();
  const saved = await ScalarModel.load(engine, saveTo);
  expect(saved.config.vocabSize).toBe(models[0]!.model.config.vocabSize);
});

test('held-out accuracy is of the members’ mean, with an interval that few prompts cannot close', () => {
  // Each member alone has one of three pairs right, their mean none.
  const ranks = [
    [0, 1, 2],
    [0, 1, 2],
  ];
  const [first, second] = [
    [0, 9, 3],
    [0, -7, 3],
  ];
  const found = heldOutAccuracy(ranks, [
    [first, first],
    [second, second],
  ]);
  expect(found).toMatchObject({ accuracy: 0, pairs: 6, low: 0 });
  expect(found.high).toBeCloseTo(0.6576, 3); // Wilson's of none of 2 prompts, not of 6 pairs
  const third = heldOutAccuracy(ranks, [[first, first]]);
  expect(third.accuracy).toBeCloseTo(1 / 3);
  expect(third.high - third.low).toBeGreaterThan(0.7);
  const mixed = heldOutAccuracy(ranks, [[first, [3, 2, 1]]]);
  expect([mixed.low, mixed.high]).toEqual([1 / 3, 1]); // the bootstrap's own
  expect(heldOutAccuracy([], [[]])).toEqual({ accuracy: 0, low: 0, high: 1, pairs: 0 });
});

test('disagreement is of orders: not of offsets, and none if all agree', () => {
  expect(
    disagreement([
      [1, 2, 3],
      [11, 12, 13],
    ]),
  ).toBeCloseTo(0, 12);
  // σ(2) and σ(-2) of one pair: 0.8808 and 0.1192, standard deviation 0.3808.
  expect(
    disagreement([
      [2, 0],
      [0, 2],
    ]),
  ).toBeCloseTo(0.3808, 4);
  expect(
    disagreement([
      [2, 0, 0],
      [0, 2, 0],
    ]),
  ).toBeGreaterThan(
    disagreement([
      [2, 0, 0],
      [2, 1, 0],
    ]),
  );
  expect(disagreement([[1], [2]])).toBe(0);
});
