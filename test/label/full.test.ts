// A disk that is full: the person is told, whoever started the server too, and work goes on when there is room.
import { join } from 'node:path';
import { describe, expect, jest, test } from '@jest/globals';
import { openFeedback } from '../../lib/feedback/database.js';
import { createServer, listen } from '../../lib/http/server.js';
import { Queue } from '../../lib/label/queue.js';
import { labelRoutes } from '../../lib/label/routes.js';
import { Store } from '../../lib/label/store.js';
import type { Mode } from '../../lib/label/types.js';
import { chromiumPath, useBrowser, windowOf } from './browser.js';
import { folder, fullAnswer, items, numberOf, onEnd, openDesk, Person } from './desk.js';

/** A page for Ada alone, and what makes its file full, or gives it room again. */
async function openPage(mode: Mode) {
  const database = await openFeedback(join(folder(), 'labels.db'));
  onEnd(() => void database.close());
  const store = new Store(database);
  store.add(items(2), { seed: 0, heldOut: 0, needed: 2, most: 9 });
  const queue = new Queue(store, { seed: 0, mode, order: 'random', repeats: 0, attention: 0 });
  const app = createServer();
  const labelerOf = () => 'Ada';
  const overview = () => {
    throw new Error('the overview is broken');
  };
  const shared = { store, queue, mode, rates: true, guidelines: '', owner: 'Ada', labelerOf, overview, onDemand() {} };
  await app.register(async (scope) => labelRoutes(scope, shared));
  const url = await listen(app, { host: '127.0.0.1', port: 0 });
  onEnd(() => app.close());
  const written = jest.spyOn(process.stderr, 'write').mockReturnValue(true);
  onEnd(() => written.mockRestore());
  const pragma = (name: string) => database.pragma(name, { simple: true });
  const room = pragma('max_page_count');
  return {
    url,
    ada: new Person(url, ''),
    written: written.mock.calls,
    fill: () => pragma(`max_page_count = ${pragma('page_count')}`),
    empty: () => pragma(`max_page_count = ${room}`),
    drafts: () => database.prepare('SELECT draft FROM tasks').pluck().all() as string[],
  };
}

const kSentence = "the server's disk is full, and nothing was saved: try again when it has room";

test('a full disk is answered with a sentence and reported on standard error; the task stays open', async () => {
  const { ada, written, fill, empty } = await openPage('rank');
  const task = await ada.task();
  fill();
  const draft = { text: 'x'.repeat(50_000) };
  const reply = await ada.post(`api/tasks/${task.id}/draft`, draft);
  expect([reply.status, reply.json().error.message]).toEqual([507, kSentence]);
  expect(written).toEqual([[`heed: POST /api/tasks/${task.id}/draft: database or disk is full\n`]]);
  empty();
  expect((await ada.post(`api/tasks/${task.id}/draft`, draft)).status).toBe(200);
  expect((await ada.submit(task, fullAnswer(task, numberOf))).status).toBe(200);

  expect((await ada.get('api/overview')).status).toBe(500);
  expect(written.at(-1)).toEqual(['heed: GET /api/overview: the overview is broken\n']);
});

(chromiumPath ? describe : describe.skip)('in a browser', () => {
  useBrowser();

  test('prompts that nobody can label are counted', async () => {
    const desk = await openDesk({ prompts: [...items(1), { prompt: 'p', responses: ['a', 'a', 'a'] }] });
    const link = `${desk.url}/${await desk.page.invite('Ada')}`;
    await (await desk.person('Ada')).label(numberOf);
    const page = await windowOf(link);
    await page
      .getByText('Everything is labelled. Thank you! Left out, with too few distinct responses: 1 prompt.')
      .waitFor();
  });

  test('what was written stays on the page while the disk is full, and is saved when it has room', async () => {
    const { url, fill, empty, drafts } = await openPage('demonstrate');
    const page = await windowOf(`${url}/`);
    const field = page.locator('textarea');
    await field.waitFor();
    fill();
    const text = 'word '.repeat(10_000);
    await field.fill(text);
    await page.getByText(`Your draft is not saved: ${kSentence}`).waitFor();
    expect(await field.inputValue()).toBe(text);
    const saved = page.waitForResponse((reply) => reply.url().endsWith('/draft') && reply.ok());
    empty();
    await saved;
    expect(drafts().map((draft) => JSON.parse(draft).text)).toEqual([text]);
    expect(await field.inputValue()).toBe(text);
  });
});
