// Many clients that come, leave and say what they think: a small share of benchmarks/load.mjs.
import { expect, test } from '@jest/globals';
import { load, metricsOf } from '../../benchmarks/load.mjs';
import { openFeedback } from '../../lib/feedback/database.js';
import { start, theEngine } from './service.js';

test('64 clients with aborts: nothing fails, nothing stays behind', async () => {
  const { url, feedback, close } = await start({ slots: 16, queue: 64 });
  const counts = await load({ url, clients: 64, seconds: 6 });
  expect(counts.failed).toEqual([]);
  expect(counts.answers).toBeGreaterThan(50);
  expect(counts.aborted).toBeGreaterThan(5);
  let metrics = await metricsOf(url);
  while (metrics.heed_slots_busy! > 0) metrics = await metricsOf(url);
  expect(metrics.heed_queue_waiting).toBe(0);
  await close();
  const database = await openFeedback(feedback, { readOnly: true });
  expect(database.prepare('SELECT count(*) FROM thumbs').pluck().get()).toBe(counts.feedback);
  database.close();
  expect((await theEngine()).usage().cacheBytes).toBe(0);
});
