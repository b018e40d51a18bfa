// A file with answers of several models: training learns from those of the model that it trains, and says how many it leaves out.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { ChatTemplate, Frame } from '../../lib/data/index.js';
import { openFeedback } from '../../lib/feedback/database.js';
import { packResponses } from '../../lib/runtime/batch.js';
import type { LanguageModel } from '../../lib/runtime/model.js';
import { readLearnable } from '../../lib/serve/learning/learnable.js';
import { OwnAnswers } from '../../lib/serve/learning/own.js';
import { Tokenizer } from '../../lib/tokenizer/tokenizer.js';
import { post, trained, training, versionsOf } from './people.js';
import { base, folder, start, taughtAdapter, theModel } from './service.js';

const options = { apiKeys: ['key'], slots: 32, queue: 128 };

/** Answers to prompts of that subject. @returns their ids */
async function answers(url: string, subject: string, count: number, more: object = {}): Promise<string[]> {
  const ids: string[] = [];
  for (let i = 0; i < count; i++) {
    const prompt = `User: ${subject} ${i}?\nAssistant:`;
    const body = { prompt, max_tokens: 6, seed: i, temperature: [0, 1, 1.5][i % 3], ...more };
    ids.push((await post(`${url}/v1/completions`, body)).json().id);
  }
  return ids;
}

async function thumbs(url: string, ids: readonly string[]) {
  for (const [i, id] of ids.entries())
    expect((await post(`${url}/feedback`, { id, thumb: i % 2 === 0 })).status).toBe(200);
}

test('thumbs, rankings and edits of answers of other models are left out, whatever they were called', async () => {
  const feedback = join(folder(), 'feedback.db');
  const polite = await taughtAdapter(1, 4);
  const first = await start({ ...options, feedback, adapters: { polite } });
  const own = await answers(first.url, 'Dog', 40);
  await thumbs(first.url, own);
  const others = await answers(first.url, 'Cat', 9, { model: 'polite' });
  await thumbs(first.url, others);
  // The last of two has the best rank: an own answer and two of another model, and the reverse.
  const ranking = (ids: readonly string[]) =>
    post(`${first.url}/feedback`, { ranking: ids.map((id, i) => ({ id, rank: ids.length - 1 - i })) });
  const [a, b] = await Promise.all([1, 2].map((seed) => answers(first.url, 'Cow', 4, { temperature: 1, seed })));
  const [c] = await Promise.all(
    [3].map((seed) => answers(first.url, 'Cow', 4, { temperature: 1, seed, model: 'polite' })),
  );
  for (let i = 0; i < 4; i++) expect((await ranking([b![i]!, c![i]!, a![i]!])).status).toBe(200);
  for (let i = 0; i < 4; i++) expect((await ranking([a![i]!, c![i]!])).status).toBe(200); // nothing to compare is left
  for (const id of [own[0]!, others[0]!]) await post(`${first.url}/feedback`, { id, edit: 'Thank you.' });
  await first.close();
  // The same model by another name, and another one by its name.
  const second = await start({ ...options, feedback, name: 'before' });
  await thumbs(second.url, await answers(second.url, 'Fox', 6));
  await second.close();
  const third = await start({ ...options, feedback, model: polite });
  await thumbs(third.url, await answers(third.url, 'Owl', 5));
  await third.close();

  const model = await theModel();
  const read = async (served: LanguageModel, name = 'base', versions: string[] = []) => {
    const tokenizer = await Tokenizer.load(base);
    const frame = new Frame(tokenizer, await ChatTemplate.load('plain', tokenizer));
    const database = await openFeedback(feedback, { readOnly: true });
    const { signal } = new AbortController();
    const isOwn = new OwnAnswers().of({ name, given: model, versions: new Set(versions), served }, signal);
    const { train, held, leftOut } = await readLearnable(database, { frame, maxTokens: 1000, isOwn });
    database.close();
    const all = [...train.rankings, ...held.rankings];
    return { thumbs: train.thumbs.length + held.thumbs.length, rankings: all.length, all, leftOut };
  };
  const { all, ...found } = await read(model);
  expect(found).toEqual({ thumbs: 46, rankings: 5, leftOut: { polite: 9 + 8 + 1, base: 5 } });
  expect(all.map(({ item }) => item.ranks.join()).sort()).toEqual(['0,1', '1,0', '1,0', '1,0', '1,0']);
  // Names of versions are believed; what is called otherwise may be of the served version, and its own name is the given model's.
  expect(await read(model, 'base', ['polite'])).toMatchObject({ thumbs: 55, leftOut: { base: 5 } });
  expect(await read(polite)).toMatchObject({ thumbs: 55, leftOut: { base: 5 } });
  expect(await read(polite, 'another')).toMatchObject({ thumbs: 60, leftOut: {} });
  // Without log-probabilities there is only the name.
  const database = await openFeedback(feedback);
  database.exec('UPDATE responses SET logprobs = NULL');
  database.close();
  expect(await read(polite)).toMatchObject({ thumbs: 45, leftOut: { polite: 18, before: 6 } });
  await polite.dispose();
});

test('kept log-probabilities are those of the model within 0.02 nats a token', async () => {
  const model = await theModel();
  const prompt = Int32Array.of(5, 6);
  const tokens = Int32Array.of(7, 8, 9);
  const { logprobs } = await model.logprobs(packResponses([{ prompt, responses: [tokens] }]));
  const bytes = ({ buffer }: { buffer: ArrayBufferLike }) => new Uint8Array(buffer.slice(0));
  const trainedModel = { name: 'base', given: model, versions: new Set<string>(), served: model };
  const isOwn = new OwnAnswers().of(trainedModel, new AbortController().signal);
  const own = [0.015, -0.015, 0.03, -0.03].map((apart, response) =>
    isOwn({
      response,
      model: 'base',
      prompt_tokens: bytes(prompt),
      tokens: bytes(tokens),
      logprobs: bytes(logprobs.map((logprob) => logprob + apart)),
      sampling: '{"temperature": 1}',
    }),
  );
  expect(await Promise.all(own)).toEqual([true, true, false, false]);
});

test('a training says how many judged answers of which models it left out', async () => {
  const feedback = join(folder(), 'feedback.db');
  const polite = await taughtAdapter(1, 4);
  const first = await start({ ...options, feedback, adapters: { polite } });
  await thumbs(first.url, await answers(first.url, 'Cat', 30, { model: 'polite' }));
  await first.close();
  const log: Record<string, unknown>[] = [];
  const lines = () => log.filter(({ event }) => event === 'training');
  const learning = { ...training, every: 30, learningRate: 0 };
  const second = await start({ ...options, feedback, training: learning }, '127.0.0.1', log);
  await trained(second.url);
  expect(lines()).toMatchObject([{ heldOutPrompts: 0, leftOut: { polite: 30 } }]);
  await thumbs(second.url, await answers(second.url, 'Dog', 48));
  await trained(second.url);
  await second.close();
  expect(lines().at(-1)).toMatchObject({ leftOut: { polite: 30 } });
  const { thumbs: learnt, heldOut } = lines().at(-1) as { thumbs: number; heldOut: number };
  expect(learnt + heldOut).toBeLessThanOrEqual(48);
  expect(heldOut).toBeGreaterThanOrEqual(8);
  expect(JSON.parse(readFileSync(`${feedback}.versions/versions.json`, 'utf8')).serving).toBe(0);
  expect(await versionsOf((await start({ ...options, feedback })).url)).toMatchObject({ current: 0 });
  await polite.dispose();
});
