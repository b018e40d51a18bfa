// Training beside serving: a version is served only if it beats the one before on feedback that it has not seen.
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import { ChatTemplate, Frame } from '../../lib/data/index.js';
import { openFeedback } from '../../lib/feedback/database.js';
import { alphaOf, improvement } from '../../lib/serve/learning/gate.js';
import { countPrompts, readLearnable } from '../../lib/serve/learning/learnable.js';
import { Tokenizer } from '../../lib/tokenizer/tokenizer.js';
import { collect, post, trained, training, versionsOf } from './people.js';
import { base, folder, start, theModel } from './service.js';

const { signal } = new AbortController();
async function theFrame(): Promise<Frame> {
  const tokenizer = await Tokenizer.load(base);
  return new Frame(tokenizer, await ChatTemplate.load('plain', tokenizer));
}
const reading = async () => ({ frame: await theFrame(), maxTokens: 1000, isOwn: async () => true });

test('what people like becomes a version, which is served, and is there after a restart', async () => {
  const feedback = join(folder(), 'feedback.db');
  const options = { feedback, apiKeys: ['key'], slots: 32, queue: 128, training: { ...training, every: 120 } };
  const { url, close } = await start(options);
  // Liked are answers whose first letter is in one half of the alphabet.
  await collect(url, 120, (text) => /^ ?[a-m]/i.test(text));
  const { current, versions } = await trained(url);
  expect(current).toBe(1);
  const { objective, from, heldOut, low, gained } = versions[1].training;
  expect({ objective, from }).toEqual({ objective: 'kto', from: 0 });
  expect(heldOut).toBeGreaterThanOrEqual(8);
  expect(low).toBeGreaterThan(0);
  expect(gained).toBeGreaterThan(low);
  const liked = async (model: string) => {
    const body = { model, prompt: 'User: Question 7?\nAssistant:', max_tokens: 1, seed: 1, n: 32 };
    const { choices } = (await post(`${url}/v1/completions`, body)).json();
    return choices.filter(({ text }: { text: string }) => /^ ?[a-m]/i.test(text)).length;
  };
  const after = await liked('base@1');
  expect((await post(`${url}/admin/versions`, { version: 0 })).json()).toEqual({ current: 0 });
  expect(after).toBeGreaterThan(await liked('base'));
  await post(`${url}/admin/versions`, { version: 1 });
  await close();
  const again = await start(options);
  expect((await versionsOf(again.url)).current).toBe(1);
});

test('a version that is not better is not served, and the same feedback is not learnt again', async () => {
  const { url, feedback } = await start({
    apiKeys: ['key'],
    slots: 32,
    training: { ...training, every: 48, learningRate: 0 },
  });
  await collect(url, 48, (_text, i) => i % 2 === 0);
  expect(await trained(url)).toMatchObject({ current: 0, versions: [{ version: 0 }] });
  expect(JSON.parse(readFileSync(`${feedback}.versions/versions.json`, 'utf8'))).toMatchObject({
    serving: 0,
    learnt: 48,
  });
});

test('the improvement is that of the held-out judgements, and its interval decides', async () => {
  const feedback = join(folder(), 'feedback.db');
  const { url, close } = await start({ feedback, apiKeys: ['key'], slots: 32, queue: 128 });
  await collect(url, 48, (_text, i) => i % 2 === 0);
  await close();
  const database = await openFeedback(feedback, { readOnly: true });
  const { train, held } = await readLearnable(database, await reading());
  database.close();
  expect(train.thumbs.length + held.thumbs.length).toBe(48);
  expect(held.thumbs.length).toBeGreaterThan(4);
  const prompts = new Set(train.thumbs.map(({ prompt }) => prompt));
  expect(held.thumbs.some(({ prompt }) => prompts.has(prompt))).toBe(false);
  const model = await theModel();
  const same = await improvement(model, model, held, signal, 0.05);
  expect([same!.value, same!.low, same!.high]).toEqual([0, 0, 0]);
  // A model that has learnt the held-out judgements themselves is better on them, and its opposite worse.
  const better = await model.adapter({ rank: 4, seed: 1 });
  const trainer = await better.trainer();
  const { packDocuments } = await import('../../lib/runtime/batch.js');
  const good = held.thumbs.filter(({ item }) => item.desirable).map(({ item }) => [...item.prompt, ...item.response]);
  for (let step = 0; step < 12; step++) {
    await trainer.sft(packDocuments(good), { scale: 1 / good.flat().length });
    await trainer.step({ learningRate: 0.01 });
  }
  const up = await improvement(model, better, held, signal, 0.05);
  const down = await improvement(better, model, held, signal, 0.05);
  expect(up!.low).toBeGreaterThan(0);
  expect(down!.high).toBeLessThan(0);
  expect((await improvement(model, better, held, signal, 0.001))!.low).toBeLessThan(up!.low);
  await better.dispose();
});

test('a version is served, rolled back and served again; answers under way keep theirs', async () => {
  const feedback = join(folder(), 'feedback.db');
  const versions = folder();
  const adapter = await (await theModel()).adapter({ rank: 2, seed: 1 });
  const trainer = await adapter.trainer();
  const { packDocuments } = await import('../../lib/runtime/batch.js');
  for (let step = 0; step < 4; step++) {
    await trainer.sft(packDocuments([[5, 6, 7, 8, 9, 10]]), { scale: 1 });
    await trainer.step({ learningRate: 0.05 });
  }
  await adapter.save(join(versions, '1'));
  const known = [
    { version: 0, created: 1 },
    { version: 1, created: 2, folder: join(versions, '1') },
  ];
  writeFileSync(join(versions, 'versions.json'), JSON.stringify({ serving: 1, learnt: 0, versions: known }));
  const options = { feedback, apiKeys: ['key'], training: { ...training, folder: versions } };
  const { url, close } = await start(options);
  expect(await versionsOf(url)).toEqual({ current: 1, versions: known, training: 'waiting' });
  const answer = async () =>
    (await post(`${url}/v1/completions`, { prompt: 'The dog', max_tokens: 20, seed: 3 })).json();
  const ofOne = await answer();
  expect(ofOne.model).toBe('base@1');

  const [running, rolledBack] = await Promise.all([
    post(`${url}/v1/completions`, { prompt: 'The dog', max_tokens: 100, seed: 3, n: 4 }),
    sleep(20).then(() => post(`${url}/admin/versions`, { version: 0 })),
  ]);
  expect(rolledBack.json()).toEqual({ current: 0 });
  expect(running.json().model).toBe('base@1');
  expect(running.json().choices[0].text.startsWith(ofOne.choices[0].text)).toBe(true);
  const ofZero = await answer();
  expect(ofZero.model).toBe('base');
  expect(ofZero.choices[0].text).not.toBe(ofOne.choices[0].text);
  expect((await post(`${url}/admin/versions`, { version: 7 })).status).toBe(404);
  await close();
  expect(JSON.parse(readFileSync(join(versions, 'versions.json'), 'utf8')).serving).toBe(0);

  const again = await start(options);
  expect((await versionsOf(again.url)).current).toBe(0);
  await post(`${again.url}/admin/versions`, { version: 1 });
  const { text } = (await post(`${again.url}/v1/completions`, { prompt: 'The dog', max_tokens: 20, seed: 3 })).json()
    .choices[0];
  expect(text).toBe(ofOne.choices[0].text);
  await adapter.dispose();
});

test('votes of one prompt are no test, nor is a vote that is repeated or taken back', async () => {
  const feedback = join(folder(), 'feedback.db');
  const { url, close } = await start({ feedback });
  const body = { prompt: 'User: Hello\nAssistant:', max_tokens: 3, n: 2, temperature: 1.5, seed: 1 };
  for (let i = 0; i < 12; i++) {
    const { id } = (await post(`${url}/v1/completions`, { ...body, prompt: `User: Hello ${i}\nAssistant:` })).json();
    for (let k = 0; k < 3; k++) await post(`${url}/feedback`, { id, thumb: k === 2 });
    await post(`${url}/feedback`, { id, index: 1, thumb: false });
    for (const rank of [2, 1_000_000, 0])
      await post(`${url}/feedback`, {
        ranking: [
          { id, rank: 1 },
          { id, index: 1, rank },
        ],
      });
    await post(`${url}/feedback`, { id, edit: 'Something else.' });
  }
  const { id } = (await post(`${url}/v1/completions`, body)).json();
  const huge = {
    ranking: [
      { id, rank: 0 },
      { id, index: 1, rank: 2_147_483_648 },
    ],
  };
  expect((await post(`${url}/feedback`, huge)).status).toBe(400);
  expect((await post(`${url}/feedback`, { id, edit: ' \n' })).json().error.param).toBe('edit');
  await close();
  const database = await openFeedback(feedback, { readOnly: true });
  const { train, held } = await readLearnable(database, await reading());
  database.close();
  expect(train.thumbs.length + held.thumbs.length).toBe(24);
  expect(train.rankings.length + held.rankings.length).toBe(24); // a ranking and an edit of each
  const all = { thumbs: [...train.thumbs, ...held.thumbs], rankings: [...train.rankings, ...held.rankings] };
  expect(all.thumbs.filter(({ item }) => item.desirable).length).toBe(12);
  expect(all.rankings.map(({ item }) => [...item.ranks].join()).sort()).toEqual([
    ...Array.from({ length: 12 }, () => '0,1'),
    ...Array.from({ length: 12 }, () => '1,0'),
  ]);
  const { tokenizer } = await theFrame();
  const edit = all.rankings.find(({ item }) => item.ranks[0] === 0)!.item;
  expect(tokenizer.decode(edit.responses[0]!, false)).toBe(
    `Something else.${tokenizer.idToToken(tokenizer.endOfText)}`,
  );
  expect(countPrompts(all)).toBe(12);
  const of = (prompt: number) => ({
    thumbs: all.thumbs.filter((each) => each.prompt === prompt),
    rankings: all.rankings.filter((each) => each.prompt === prompt),
  });
  const foreign = await openFeedback(feedback); // as if a model with other tokens had written them
  foreign.exec('UPDATE responses SET tokens = prompt_tokens');
  const none = await readLearnable(foreign, await reading());
  foreign.close();
  expect([none.train, none.held].map(countPrompts)).toEqual([0, 0]);
  const model = await theModel();
  expect(await improvement(model, model, of(all.thumbs[0]!.prompt), signal, 0.05)).toBeUndefined();
});

test('repeated attempts share the 5 % of false passes, and each is recorded', async () => {
  const sum = Array.from({ length: 10_000 }, (_, i) => alphaOf(i + 1)).reduce((a, b) => a + b, 0);
  expect(sum).toBeLessThanOrEqual(0.05);
  expect(sum).toBeGreaterThan(0.0499);
  const log: Record<string, unknown>[] = [];
  const { url, feedback } = await start(
    {
      apiKeys: ['key'],
      slots: 32,
      training: { ...training, every: 48, learningRate: 0 },
    },
    '127.0.0.1',
    log,
  );
  const record = () => JSON.parse(readFileSync(`${feedback}.versions/versions.json`, 'utf8'));
  for (const attempts of [1, 2]) {
    await collect(url, 48, (_text, i) => i % 2 === 0);
    await trained(url);
    expect(record()).toMatchObject({ serving: 0, attempts });
  }
  expect(log.filter(({ event }) => event === 'training')).toMatchObject([
    { attempt: 1, alpha: alphaOf(1) },
    { attempt: 2, alpha: alphaOf(2) },
  ]);
});

test('without training the version that was served last is served, wherever its folder is now, and on its own base only', async () => {
  const feedback = join(folder(), 'feedback.db');
  const options = { feedback, apiKeys: ['key'], slots: 32, queue: 128 };
  const first = await start({ ...options, training: { ...training, every: 120 } });
  await collect(first.url, 120, (text) => /^ ?[a-m]/i.test(text));
  const { current, versions } = await trained(first.url);
  expect([current, versions[1].folder]).toEqual([1, '1']);
  await first.close();
  const moved = join(folder(), 'moved.db');
  renameSync(feedback, moved);
  renameSync(`${feedback}.versions`, `${moved}.versions`);
  const again = await start({ ...options, feedback: moved });
  expect(await versionsOf(again.url)).toMatchObject({ current: 1, training: 'off' });
  await collect(again.url, 8, () => true);
  expect(await versionsOf(again.url)).toMatchObject({ current: 1, training: 'off' });
  await again.close();

  const file = join(`${moved}.versions`, 'versions.json');
  const record = JSON.parse(readFileSync(file, 'utf8'));
  expect(record.attempts).toBe(0);
  writeFileSync(file, JSON.stringify({ ...record, base: record.base.map((x: number) => x - 0.1) }));
  await expect(start({ ...options, feedback: moved })).rejects.toThrow('learnt on another model');
});

test('many votes on few prompts do not make a version', async () => {
  const { url, feedback } = await start({
    apiKeys: ['key'],
    slots: 32,
    queue: 128,
    training: { ...training, every: 120 },
  });
  // As in the first test, which passes: but the 120 answers are to 12 prompts, of which fewer than 8 are held out.
  await collect(url, 120, (text) => /^ ?[a-m]/i.test(text), 12);
  expect(await trained(url)).toMatchObject({ current: 0, versions: [{ version: 0 }] });
  const record = JSON.parse(readFileSync(`${feedback}.versions/versions.json`, 'utf8'));
  expect([record.learnt, record.attempts]).toEqual([120, undefined]);
});
