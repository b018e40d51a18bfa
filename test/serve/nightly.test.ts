// Training at night: by the clock's hour, in any time zone, once, and made up for when the service did not run.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import { timeOfDay } from '../../lib/serve/learning/nightly.js';
import { start as startChild } from '../phases/support/child.js';
import { collect, trained, training, versionsOf } from './people.js';
import { folder, start } from './service.js';

/** The next times at which clocks of a zone show `at`, after each of `times`. */
async function nextIn(zone: string, at: string, ...times: string[]): Promise<string[]> {
  const before = process.env.TZ;
  process.env.TZ = zone; // the child's
  try {
    const { code, stdout, stderr } = await startChild('../../serve/support/nights.ts', [at, ...times]).ended;
    if (code !== 0) throw new Error(stderr);
    return JSON.parse(stdout);
  } finally {
    if (before === undefined) delete process.env.TZ;
    else process.env.TZ = before;
  }
}

test('the next night: across midnight, and where clocks skip the hour or show it twice', async () => {
  const [utc, helsinki, newYork, late] = await Promise.all([
    nextIn('UTC', '03:00', '2026-03-01T02:59:59.999Z', '2026-03-01T03:00:00Z', '2026-12-31T23:30:00Z'),
    // 3 o'clock is 4 on 29 March; on 25 October it comes twice, at 0 and 1 UTC.
    nextIn(
      'Europe/Helsinki',
      '03:00',
      '2026-03-28T12:00:00Z',
      '2026-03-29T01:00:00Z',
      '2026-10-24T12:00:00Z',
      '2026-10-25T00:00:00Z',
      '2026-10-25T00:30:00Z',
    ),
    nextIn('America/New_York', '02:30', '2026-03-08T06:00:00Z', '2026-03-08T07:30:00Z', '2026-11-01T05:00:00Z'),
    nextIn('Asia/Kolkata', '23:59:30', '2026-05-05T18:29:29Z', '2026-05-05T18:29:30Z'),
  ]);
  expect(utc).toEqual(['2026-03-01T03:00:00.000Z', '2026-03-02T03:00:00.000Z', '2027-01-01T03:00:00.000Z']);
  expect(helsinki).toEqual([
    '2026-03-29T01:00:00.000Z', // shown as 4
    '2026-03-30T00:00:00.000Z', // 3 again
    '2026-10-25T00:00:00.000Z',
    '2026-10-26T01:00:00.000Z',
    '2026-10-26T01:00:00.000Z',
  ]);
  expect(newYork).toEqual(['2026-03-08T07:30:00.000Z', '2026-03-09T06:30:00.000Z', '2026-11-01T07:30:00.000Z']);
  expect(late).toEqual(['2026-05-05T18:29:30.000Z', '2026-05-06T18:29:30.000Z']);
  expect(timeOfDay('03:00')).toEqual({ hours: 3, minutes: 0, seconds: 0 });
  for (const wrong of ['3', '24:00', '3:00', '03:60', '03:00:60', ''])
    expect(() => timeOfDay(wrong)).toThrow('expected a time of day');
});

const clock = (time: number) => {
  const date = new Date(time);
  return [date.getHours(), date.getMinutes(), date.getSeconds()].map((n) => String(n).padStart(2, '0')).join(':');
};

test('it trains when the hour comes, not before; a start after a missed hour makes up for it, once', async () => {
  const feedback = join(folder(), 'feedback.db');
  const log: Record<string, unknown>[] = [];
  const options = { feedback, apiKeys: ['key'], slots: 32, queue: 128 };
  const nightly = (at: string) => ({ ...training, when: 'nightly' as const, every: 40, learningRate: 0, at });
  const record = () => JSON.parse(readFileSync(`${feedback}.versions/versions.json`, 'utf8'));
  const attempts = () => log.filter(({ event }) => event === 'training').length;

  // In the hour that is far away nothing happens, however much feedback there is.
  const far = await start({ ...options, training: nightly(clock(Date.now() - 3_600_000)) }, '127.0.0.1', log);
  await collect(far.url, 48, (_text, i) => i % 2 === 0);
  expect(await trained(far.url)).toMatchObject({ current: 0, training: 'waiting' });
  expect([attempts(), record().learnt]).toEqual([0, 0]);
  await far.close();

  const due = Math.ceil(Date.now() / 1000 + 1) * 1000;
  const near = await start({ ...options, training: nightly(clock(due)) }, '127.0.0.1', log);
  while (attempts() === 0) await sleep(20);
  const trainedAt = log.find(({ event }) => event === 'training')!.time as number;
  expect(trainedAt).toBeGreaterThanOrEqual(due);
  await trained(near.url);
  expect(record()).toMatchObject({ learnt: 48, attempts: 1 });
  expect(record().looked).toBeGreaterThanOrEqual(due);
  await collect(near.url, 48, (_text, i) => i % 2 === 0);
  expect(await versionsOf(near.url)).toMatchObject({ training: 'waiting' }); // until the next night
  await near.close();

  // It ran last two days ago: the nights since were missed.
  const file = `${feedback}.versions/versions.json`;
  writeFileSync(file, JSON.stringify({ ...record(), looked: Date.now() - 2 * 86_400_000 }));
  const again = await start({ ...options, training: nightly(clock(Date.now() - 3_600_000)) }, '127.0.0.1', log);
  while (attempts() < 2) await sleep(20);
  await trained(again.url);
  expect(record()).toMatchObject({ learnt: 96, attempts: 2 });
  await collect(again.url, 48, (_text, i) => i % 2 === 0);
  await again.close();
  const twice = await start({ ...options, training: nightly(clock(Date.now() - 3_600_000)) }, '127.0.0.1', log);
  expect(await versionsOf(twice.url)).toMatchObject({ training: 'waiting' });
  expect(attempts()).toBe(2);
});
