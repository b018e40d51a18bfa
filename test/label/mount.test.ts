// In somebody else's server: below a prefix, with its own errors, sign-in and body parsers.
import { createServer as httpServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import express from 'express';
import Fastify from 'fastify';
import { openFeedback } from '../../lib/feedback/database.js';
import { feedbackRows } from '../../lib/feedback/rows.js';
import { type LabellingOptions, labelling } from '../../lib/label/index.js';
import { Store } from '../../lib/label/store.js';
import { ask } from '../http/ask.js';
import { cookieOf, folder, fullAnswer, items, numberOf, onEnd, Person } from './desk.js';

const optionsOf = (more: Partial<LabellingOptions> = {}): LabellingOptions => ({
  out: join(folder(), 'labels.db'),
  prompts: items(2),
  k: 3,
  ...more,
});

async function listening(listener: RequestListener): Promise<string> {
  const server: Server = httpServer(listener);
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  onEnd(() => void server.close());
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** Opens the page and labels one item. */
async function labelAt(url: string, invitation: string): Promise<void> {
  const page = await ask(`${url}/`);
  expect([page.status, page.text]).toEqual([200, expect.stringContaining('src="app.js"')]);
  for (const file of ['app.js', 'app.css']) expect((await ask(`${url}/${file}`)).status).toBe(200);
  const ada = new Person(url, await cookieOf(`${url}/${invitation}`));
  await ada.label(numberOf);
  expect((await ada.get('api/session')).json().progress).toEqual({ done: 1, skipped: 0, left: 1 });
}

async function rowsIn(file: string) {
  const database = await openFeedback(file, { readOnly: true });
  try {
    return [...feedbackRows(database, 'rankings')];
  } finally {
    database.close();
  }
}

test('Fastify, below a prefix, beside routes whose errors and headers stay theirs', async () => {
  const options = optionsOf();
  const page = labelling(options);
  const app = Fastify();
  app.get('/own', async () => {
    throw new Error('of my own');
  });
  app.post('/own', async () => ({ ok: true }));
  await app.register(page, { prefix: '/label' });
  const url = await app.listen({ port: 0 });
  onEnd(() => app.close());
  await labelAt(`${url}/label`, await page.invite('Ada'));
  // Relative addresses need the slash.
  const moved = await ask(`${url}/label?key=x`);
  expect([moved.status, moved.headers.location]).toEqual([302, 'label/?key=x']);
  const own = await ask(`${url}/own`);
  expect(own.json()).toMatchObject({ message: 'of my own', statusCode: 500 });
  expect(own.headers['content-security-policy']).toBeUndefined();
  expect((await ask(`${url}/own`, { headers: { origin: 'http://other' }, body: {} })).status).toBe(200);
  expect((await ask(`${url}/label/api/next`, { headers: { origin: 'http://other' }, body: {} })).status).toBe(403);
  expect((await ask(`${url}/label/`)).headers['content-security-policy']).toContain("default-src 'self'");
  await app.close();
  expect(await rowsIn(options.out)).toHaveLength(1);
});

test('Express, below a path and behind its body parser', async () => {
  const options = optionsOf();
  const page = labelling(options);
  onEnd(() => page.close());
  const app = express();
  app.use(express.json());
  app.use('/people/label', await page.handler());
  app.get('/own', (_, response) => void response.json({ ok: true }));
  const url = await listening(app);
  await labelAt(`${url}/people/label`, await page.invite('Ada'));
  const moved = await ask(`${url}/people/label`);
  expect([moved.status, moved.headers.location]).toEqual([302, 'label/']);
  expect((await ask(`${url}/own`)).json()).toEqual({ ok: true });
  expect((await ask(`${url}/people/label/api/nothing`)).status).toBe(404);
  expect(await rowsIn(options.out)).toHaveLength(1);
});

test('node:http, with a sign-in of its own', async () => {
  const options = optionsOf({
    labelerOf: ({ headers }) => (headers.authorization === 'Bearer a' ? 'Ada' : undefined),
    owner: 'Ada',
  });
  const page = labelling(options);
  onEnd(() => page.close());
  const url = await listening(await page.handler());
  const headers = { authorization: 'Bearer a' };
  const { task } = (await ask(`${url}/api/next`, { headers, body: {} })).json();
  const answer = fullAnswer(task, numberOf);
  expect((await ask(`${url}/api/tasks/${task.id}/submit`, { headers, body: answer })).status).toBe(200);
  expect((await ask(`${url}/api/overview`, { headers })).json().labels).toBe(1);
  for (const other of [{}, { authorization: 'Bearer b' }])
    expect((await ask(`${url}/api/next`, { headers: other, body: {} })).status).toBe(401);
  // An invitation does not pass by the sign-in.
  expect((await ask(`${url}/${await page.invite('Eve')}`)).headers).not.toHaveProperty('set-cookie');
  expect((await rowsIn(options.out))[0]).toMatchObject({ labeler: 'Ada' });
});

test.each<[string, Partial<LabellingOptions>, string]>([
  ['one response to rank', { k: 1 }, 'k is 1, expected an integer from 2 to 9 in mode rank'],
  ['three of a pair', { mode: 'pair' }, 'k is 3, expected an integer from 2 to 2 in mode pair'],
  ['a share above 1', { repeats: 1 }, 'repeats is 1, expected from 0 to below 1'],
  [
    'learning without a model',
    { learning: { ensemble: 1, learningRate: 1e-3, batchSize: 8, epochs: 1 } },
    'models is empty',
  ],
])('%s is refused at once', (_, options, message) => {
  expect(() => labelling(optionsOf(options))).toThrow(message);
});

test('an attention item without a rank per response is refused', async () => {
  const page = labelling(optionsOf({ prompts: [{ prompt: 'p', responses: ['a', 'a'], ranks: [0, 1] }] }));
  await expect(page.invite('Ada')).rejects.toThrow('has 2 ranks and 1 distinct responses');
});

test('one file is not labelled twice, also not in one process; it is free again once the first is closed', async () => {
  const options = optionsOf();
  const first = labelling(options);
  await first.invite('Ada');
  const second = labelling(options);
  await expect(second.invite('Ada')).rejects.toThrow(
    `${options.out} is in use by another heed label in this process: stop that one first`,
  );
  await first.close();
  const third = labelling(options);
  await third.invite('Ada');
  await third.close();
});

test('an item that somebody filled meanwhile is not filled again', async () => {
  const database = await openFeedback(join(folder(), 'labels.db'));
  onEnd(() => void database.close());
  const store = new Store(database);
  store.add([{ prompt: 'p', responses: [] }], { seed: 0, heldOut: 0, needed: 2, most: 9 });
  const item = store.nextWaiting()!;
  const found = (text: string) => ['a', 'b'].map((each) => ({ model: 'm', text: each + text }));
  store.fill(item, found('1'));
  store.fill(item, found('2'));
  store.giveUp(item.id, 'too late');
  expect(database.prepare('SELECT text FROM responses').pluck().all()).toEqual(['a1', 'b1']);
  expect(database.prepare('SELECT state, responses FROM items').all()).toEqual([
    { state: 'ready', responses: '[1,2]' },
  ]);
});
