// A disk that is full: the person is told, whoever started the server too, and work goes on when there is room.
import { join } from 'node:path';
import { expect, jest, test } from '@jest/globals';
import { openFeedback } from '../../lib/feedback/database.js';
import { createServer, listen } from '../../lib/http/server.js';
import { Queue } from '../../lib/label/queue.js';
import { labelRoutes } from '../../lib/label/routes.js';
import { Store } from '../../lib/label/store.js';
import { folder, fullAnswer, items, numberOf, onEnd, Person } from './desk.js';

test('a full disk is answered with a sentence and reported on standard error; the task stays open', async () => {
  const database = await openFeedback(join(folder(), 'labels.db'));
  onEnd(() => void database.close());
  const store = new Store(database);
  store.add(items(2), { seed: 0, heldOut: 0, needed: 2, most: 9 });
  const queue = new Queue(store, { seed: 0, mode: 'rank', order: 'random', repeats: 0, attention: 0 });
  const app = createServer();
  const labelerOf = () => 'Ada';
  const overview = () => {
    throw new Error('the overview is broken');
  };
  const shared = {
    store,
    queue,
    mode: 'rank',
    rates: true,
    guidelines: '',
    owner: 'Ada',
    labelerOf,
    overview,
  } as const;
  await app.register(async (scope) => labelRoutes(scope, { ...shared, onDemand() {} }));
  const ada = new Person(await listen(app, { host: '127.0.0.1', port: 0 }), '');
  onEnd(() => app.close());
  const written = jest.spyOn(process.stderr, 'write').mockReturnValue(true);
  onEnd(() => written.mockRestore());

  const task = await ada.task();
  const room = database.pragma('max_page_count', { simple: true });
  database.pragma(`max_page_count = ${database.pragma('page_count', { simple: true })}`);
  const draft = { text: 'x'.repeat(50_000) };
  const reply = await ada.post(`api/tasks/${task.id}/draft`, draft);
  expect([reply.status, reply.json().error.message]).toEqual([
    507,
    "the server's disk is full, and nothing was saved: try again when it has room",
  ]);
  expect(written.mock.calls).toEqual([[`heed: POST /api/tasks/${task.id}/draft: database or disk is full\n`]]);
  database.pragma(`max_page_count = ${room}`);
  expect((await ada.post(`api/tasks/${task.id}/draft`, draft)).status).toBe(200);
  expect((await ada.submit(task, fullAnswer(task, numberOf))).status).toBe(200);

  expect((await ada.get('api/overview')).status).toBe(500);
  expect(written.mock.calls.at(-1)).toEqual(['heed: GET /api/overview: the overview is broken\n']);
});
