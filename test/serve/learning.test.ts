// What is learnt beside serving, end to end over HTTP: DPO from rankings and PPO against a reward model, each once better and once not.
import { readFileSync } from 'node:fs';
import { expect, test } from '@jest/globals';
import { finish } from '../../lib/phases/loop.js';
import { trainReward } from '../../lib/phases/reward.js';
import type { Engine } from '../../lib/runtime/engine.js';
import { ScalarModel } from '../../lib/runtime/model.js';
import { Tokenizer } from '../../lib/tokenizer/tokenizer.js';
import { collect, collectRankings, countLiked, isLiked, post, trained, training, versionsOf } from './people.js';
import { base, start, theEngine, theModel } from './service.js';

const options = { apiKeys: ['key'], slots: 32, queue: 128 };
const ofRankings = { ...training, batchSize: 8, every: 100 };
const record = (feedback: string) => JSON.parse(readFileSync(`${feedback}.versions/versions.json`, 'utf8'));

test('DPO: rankings with one opinion make a version; after a rollback further ones make the next, from what is served', async () => {
  const { url, feedback } = await start({ ...options, training: ofRankings });
  const before = await countLiked(url);
  await collectRankings(url, 100, (text) => (isLiked(text) ? 0 : 1));
  const found = await trained(url);
  expect(found.current).toBe(1);
  const { objective, from, thumbs, rankings, heldOut, low, gained } = found.versions[1].training;
  expect({ objective, from, thumbs }).toEqual({ objective: 'dpo', from: 0, thumbs: 0 });
  expect(rankings).toBeGreaterThan(30);
  expect(heldOut).toBeGreaterThanOrEqual(8);
  expect(low).toBeGreaterThan(0);
  expect(gained).toBeGreaterThan(low);
  const after = await countLiked(url);
  expect(after).toBeGreaterThan(before);

  await post(`${url}/admin/versions`, { version: 0 });
  expect(await countLiked(url)).toBe(before);
  await collectRankings(url, 100, (text) => (isLiked(text) ? 0 : 1), 'Matter');
  const again = await trained(url);
  expect([again.current, again.versions.map(({ version }: { version: number }) => version)]).toEqual([2, [0, 1, 2]]);
  expect(again.versions[2]).toMatchObject({ folder: '2', training: { objective: 'dpo', from: 0, attempt: 1 } });
  expect(record(feedback)).toMatchObject({ serving: 2, learnt: 200, attempts: 0 });
  expect(await countLiked(url)).toBeGreaterThan(before);
  await post(`${url}/admin/versions`, { version: 1 });
  expect(await countLiked(url)).toBe(after);
});

test('DPO: rankings by chance make no version', async () => {
  const log: Record<string, unknown>[] = [];
  const { url } = await start({ ...options, training: ofRankings }, '127.0.0.1', log);
  const before = await countLiked(url);
  await collectRankings(url, 100, (_text, prompt, answer) => (prompt * 7 + answer * 3) % 4);
  expect(await trained(url)).toMatchObject({ current: 0, versions: [{ version: 0 }] });
  const tried = log.filter(({ event }) => event === 'training');
  expect(tried).toMatchObject([{ objective: 'dpo', attempt: 1 }]);
  expect(tried[0]!.low).toBeLessThanOrEqual(0);
  expect((await versionsOf(url)).training).toBe('waiting');
  expect(await countLiked(url)).toBe(before);
});

/** A reward model that has learnt what people like, from other answers. */
async function rewardOfPeople(): Promise<ScalarModel> {
  const [model, tokenizer] = [await theModel(), await Tokenizer.load(base)];
  const prompts = await Promise.all(
    Array.from({ length: 64 }, (_, i) => tokenizer.encode(`User: Subject ${i}?\nAssistant:`)),
  );
  const answers = await model.generate(
    prompts.map((prompt, seed) => ({ prompt, samples: 4, seed })),
    { maxNewTokens: 1, temperature: 1.5, stopTokens: [tokenizer.endOfText] },
  );
  const rankings = prompts.flatMap((prompt, i) => {
    const responses = answers.slice(4 * i, 4 * i + 4).map(({ tokens }) => tokens);
    const ranks = Int32Array.from(responses, (tokens) => (isLiked(tokenizer.decodeAfter(prompt, tokens)) ? 0 : 1));
    return new Set(ranks).size === 2 ? [{ prompt, responses, ranks }] : [];
  });
  const reward = await ScalarModel.from(model, { seed: 3 });
  await finish(trainReward({ model: reward, rankings, learningRate: 2e-3, epochs: 3, batchSize: 8 }));
  return reward;
}

const byPlay = { ...training, objective: 'ppo' as const, epochs: 5, learningRate: 2e-3, batchSize: 96, every: 160 };

/** Asks for the same answer again and again, twice at a time, until training has ended and for a while after. */
async function askMeanwhile(url: string) {
  const body = { prompt: 'The dog', max_tokens: 60, seed: 3 };
  const ask = async () => {
    const { model, choices } = (await post(`${url}/v1/completions`, body)).json();
    const { current } = await versionsOf(url);
    return { model, text: choices[0].text, current } as { model: string; text: string; current: number };
  };
  const found = [await ask()];
  const people = [0, 1].map(async () => {
    for (let after = 0; after < 3; ) {
      found.push(await ask());
      if ((await versionsOf(url)).training !== 'training') after++;
    }
  });
  return { found, end: () => Promise.all(people) };
}

test('PPO: a version that pleases the reward model pleases people; answers meanwhile are of the version that began them', async () => {
  const rewardModel = await rewardOfPeople();
  const { url } = await start({ ...options, rewardModel, maxNewTokens: 1, training: byPlay });
  const before = await countLiked(url);
  await collect(url, 159, isLiked, 160, 1);
  await collect(url, 1, isLiked, 1, 1); // the last one begins the training
  const { found, end } = await askMeanwhile(url);
  const { current, versions } = await trained(url);
  await end();
  expect(current).toBe(1);
  expect(versions[1].training).toMatchObject({ objective: 'ppo', from: 0, attempt: 1 });
  expect(versions[1].training.low).toBeGreaterThan(0);
  expect(await countLiked(url)).toBeGreaterThan(before + 10);
  const textsOf = (name: string) => new Set(found.flatMap(({ model, text }) => (model === name ? [text] : [])));
  expect([textsOf('base').size, textsOf('base@1').size]).toEqual([1, 1]);
  expect(found.filter(({ model }) => model === 'base').length).toBeGreaterThan(5); // while it trained
  expect(found.some(({ model, current: served }) => model === 'base' && served === 1)).toBe(true); // under way when it changed
});

/** What models, optimizers and copies of weights occupy. */
async function bytesOf(engine: Engine) {
  const { parameterBytes, optimizerBytes, packedBytes } = await engine.usage();
  return { parameterBytes, optimizerBytes, packedBytes };
}

test('PPO: what pleases a reward model and not people makes no version, and the memory of the attempt is given back', async () => {
  const log: Record<string, unknown>[] = [];
  const rewardModel = await rewardOfPeople();
  const { url } = await start({ ...options, rewardModel, maxNewTokens: 1, training: byPlay }, '127.0.0.1', log);
  const before = await countLiked(url);
  const engine = await theEngine();
  await collect(url, 159, (text) => !isLiked(text), 160, 1);
  const held = await bytesOf(engine);
  await collect(url, 1, (text) => !isLiked(text), 1, 1);
  expect(await trained(url)).toMatchObject({ current: 0, versions: [{ version: 0 }] });
  expect(log.filter(({ event }) => event === 'training')).toMatchObject([{ objective: 'ppo', attempt: 1 }]);
  expect(await bytesOf(engine)).toEqual(held);
  expect(await countLiked(url)).toBe(before);
});
