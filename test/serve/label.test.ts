// Prompts that people asked a service are ranked on the labelling page, in the same file: the service learns from the rankings.
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { expect, test } from '@jest/globals';
import { openFeedback } from '../../lib/feedback/database.js';
import { cookieOf, onEnd, Person } from '../label/desk.js';
import { isLiked, post, trained, training } from './people.js';
import { folder, start } from './service.js';

/** `heed label` as a user runs it. @returns its first link, and what it said */
async function label(...args: string[]) {
  const child = spawn(process.execPath, ['dist/lib/cli/main.js', 'label', ...args, '--port', '0'], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const ended = new Promise<void>((done) => child.on('close', () => done()));
  const stop = async () => {
    child.kill('SIGTERM');
    await ended;
  };
  onEnd(stop);
  const said: string[] = [];
  createInterface(child.stderr).on('line', (line) => said.push(line));
  const link = await new Promise<string>((found, failed) => {
    createInterface(child.stdout).on('line', (line) => found(line.split(': ')[1]!));
    void ended.then(() => failed(new Error(said.join('\n'))));
  });
  return { person: new Person(new URL(link).origin, await cookieOf(link)), said, stop };
}

const options = { apiKeys: ['key'], slots: 32, queue: 128 };

test('answers of a service are ranked in its own file, with their ids, and make a version', async () => {
  const feedback = join(folder(), 'feedback.db');
  const log: Record<string, unknown>[] = [];
  const { url } = await start(
    { ...options, feedback, training: { ...training, every: 30, batchSize: 8 } },
    '127.0.0.1',
    log,
  );
  for (let i = 0; i < 60; i++)
    await post(`${url}/v1/completions`, {
      prompt: `User: Question ${i}?\nAssistant:`,
      max_tokens: 1,
      seed: i,
      temperature: 1.5,
      n: 4,
    });
  const { person, said, stop } = await label(feedback, '--prompts', feedback, '--no-rates', '--k', '3');
  expect(said.some((line) => line.includes('labels go to'))).toBe(true);
  for (let i = 0; i < 40; i++) {
    const task = await person.task();
    expect(task.responses.length).toBeLessThanOrEqual(3);
    const ranks = task.responses.map((text) => (isLiked(text) ? 0 : 1));
    expect((await person.submit(task, { ranks })).status).toBe(200);
  }
  await stop();
  const database = await openFeedback(feedback, { readOnly: true });
  const count = (sql: string) => database.prepare(sql).pluck().get();
  expect(count('SELECT count(*) FROM rankings')).toBe(40);
  expect(count('SELECT count(*) FROM responses')).toBe(240); // the service's own, none copied
  database.close();
  // The service looks into the file now and then, and after feedback.
  const { id } = (await post(`${url}/v1/completions`, { prompt: 'The dog', max_tokens: 2 })).json();
  await post(`${url}/feedback`, { id, thumb: true });
  await trained(url);
  const [tried] = log.filter(({ objective }) => objective !== undefined);
  expect(tried).toMatchObject({ objective: 'dpo', attempt: 1 });
  expect(tried!.rankings).toBeGreaterThan(10);
});

test('in a file of its own rankings keep the ids, which training reads; calls of tools and aborted answers are left out', async () => {
  const feedback = join(folder(), 'feedback.db');
  const out = join(folder(), 'labels.db');
  const { url, close } = await start({ ...options, feedback });
  const messages = [{ role: 'user', content: 'What does the dog say?' }];
  const chat = (body: object) =>
    post(`${url}/v1/chat/completions`, { messages, max_tokens: 4, temperature: 1.5, ...body });
  expect((await chat({ seed: 1, n: 3 })).status).toBe(200);
  expect((await chat({ seed: 2, messages: [{ role: 'user', name: 'Ada', content: 'Hello' }] })).status).toBe(200);
  await close();
  const written = await openFeedback(feedback);
  written.prepare("UPDATE responses SET finish = 'abort' WHERE id = 1").run();
  const kept = written.prepare('SELECT text, tokens, logprobs FROM responses WHERE id IN (2, 3) ORDER BY text').all();
  written.close();
  const { person, said, stop } = await label(out, '--prompts', feedback, '--no-rates');
  expect(said.join('\n')).toContain('1 prompts are left out');
  const task = await person.task();
  expect(task.prompt).toEqual(messages);
  await person.submit(task, { ranks: task.responses.map((_, i) => i) });
  await stop();
  const labels = await openFeedback(out, { readOnly: true });
  expect(labels.prepare('SELECT text, tokens, logprobs FROM responses ORDER BY text').all()).toEqual(kept);
  labels.close();
  const { streamRows } = await import('../../lib/data/rows.js');
  for await (const { value } of streamRows(out, { kind: 'rankings' })) {
    expect((value.tokens as number[][]).map(({ length }) => length > 0)).toEqual([true, true]);
    expect(value.prompt).toEqual(messages);
  }
});
