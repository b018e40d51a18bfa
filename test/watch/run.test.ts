import { appendFileSync, mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { ask } from '../../lib/runs/requests.js';
import { RunFolder } from '../../lib/runs/runfolder.js';
import { WatchedRuns } from '../../lib/watch/find.js';
import { WatchedRun } from '../../lib/watch/run.js';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'heed-watch-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const file = () => join(dir, 'metrics.jsonl');
const line = (step: number, more = {}) => `${JSON.stringify({ step, loss: 1 / step, ...more })}\n`;
const write = (...texts: string[]) => appendFileSync(file(), texts.join(''));
const watched = () => new WatchedRun(dir, 'runs/a');
const stepsOf = async (run: WatchedRun) => {
  await run.state();
  return run.points().rows.map(({ step }) => step);
};

describe('points', () => {
  test('grow with the file; a line that is not yet whole waits', async () => {
    const run = watched();
    expect(await stepsOf(run)).toEqual([]);
    write(line(1), line(2), line(3).slice(0, 7));
    expect(await stepsOf(run)).toEqual([1, 2]);
    write(line(3).slice(7), line(4));
    expect(await stepsOf(run)).toEqual([1, 2, 3, 4]);
  });

  test('survive a character that is cut in two, and lines that are broken', async () => {
    const run = watched();
    const text = Buffer.from(line(1, { warnings: ['größer'] }));
    const cut = text.indexOf(0xc3) + 1;
    appendFileSync(file(), text.subarray(0, cut));
    await run.state();
    appendFileSync(file(), text.subarray(cut));
    write('nonsense\n', '{"loss": 3}\n', 'null\n', '\n', line(2));
    expect(await stepsOf(run)).toEqual([1, 2]);
    expect((await run.state()).warnings).toEqual(['größer']);
  });

  test('start anew when a resumed run has cut its file', async () => {
    const run = watched();
    write(...[1, 2, 3, 4].map((step) => line(step, step === 4 ? { warnings: ['lost'] } : {})));
    expect(await stepsOf(run)).toEqual([1, 2, 3, 4]);
    truncateSync(file(), line(1).length);
    expect(await stepsOf(run)).toEqual([1]);
    expect((await run.state()).warnings).toEqual([]);
  });

  test('are means of a few steps once there are very many', async () => {
    const run = watched();
    write(...Array.from({ length: 2500 }, (_, i) => line(i + 1, i % 4 === 0 ? { kl: i } : {})));
    await run.state();
    const { every, from, rows } = run.points();
    expect([every, from, rows.length]).toEqual([4, 0, 625]);
    expect(rows[1]).toEqual({ step: 8, loss: (1 / 5 + 1 / 6 + 1 / 7 + 1 / 8) / 4, kl: 4 });
  });

  test('are sent from where the reader is, unless they are thinned anew', async () => {
    const run = watched();
    write(...Array.from({ length: 1998 }, (_, i) => line(i + 1)));
    await run.state();
    const all = run.points();
    expect(all.every).toBe(2);
    write(line(1999));
    await run.state();
    const more = run.points({ every: 2, from: all.rows.length - 1 });
    expect([more.from, more.rows.map(({ step }) => step)]).toEqual([998, [1998, 1999]]);
    write(line(2000), line(2001));
    await run.state();
    const anew = run.points({ every: 2, from: 999 });
    expect([anew.every, anew.from, anew.rows.length]).toEqual([4, 0, 501]);
    expect(run.points({ every: 4, from: 9999 }).from).toBe(0);
  });
});

test('answers are the newest ones, and those that a resumed run will give again go', async () => {
  const run = watched();
  write(line(1));
  const answer = (step: number) =>
    `${JSON.stringify({ step, split: 'train', answers: [{ prompt: 'a', text: 'b' }] })}\n`;
  writeFileSync(join(dir, 'answers.jsonl'), answer(1) + answer(2) + answer(3));
  expect((await run.state()).samplings).toBe(3);
  expect(run.answers(2).map(({ step }) => step)).toEqual([2, 3]);
  truncateSync(join(dir, 'answers.jsonl'), answer(1).length);
  expect((await run.state()).samplings).toBe(1);
  expect(run.answers().map(({ step }) => step)).toEqual([1]);
});

describe('the state', () => {
  test('is that of the process that writes it', async () => {
    const run = watched();
    const open = await RunFolder.open(dir, { config: { command: 'ppo', version: '1', options: { policy: 'sft' } } });
    await open.append({ step: 1, kl: 2, tokensComputed: 100, seconds: 0.5, percentOfPeak: 40 });
    await open.obey({ phase: 'ppo', total: 50 }, undefined);
    expect(await run.state()).toMatchObject({
      name: 'runs/a',
      phase: 'ppo',
      status: 'running',
      step: 1,
      total: 50,
      tokensPerSecond: 200,
      percentOfPeak: 40,
      secondsPerStep: 0.5,
      kl: { value: 2 },
      about: { model: 'sft', command: 'ppo', version: '1' },
    });
    expect((await run.state()).resumesAt).toBeUndefined();
    await ask(dir, 'pause');
    expect((await run.state()).status).toBe('pausing');
    const controller = new AbortController();
    const waiting = open.obey({ phase: 'ppo', total: 50 }, controller.signal).catch(() => {});
    while ((await run.state()).status !== 'paused') await new Promise((resolve) => setTimeout(resolve, 10));
    controller.abort();
    await waiting;
    await ask(dir, 'stop');
    expect((await run.state()).status).toBe('stopping');
    await open.close();
    expect(await run.state()).toMatchObject({ status: 'stopped', resumesAt: 0 });
    mkdirSync(join(dir, 'step-000040'));
    expect(await run.state()).toMatchObject({ status: 'stopped', resumesAt: 40 });
    writeFileSync(join(dir, 'result.json'), '{"steps": 1}');
    const finished = await run.state();
    expect([finished.status, finished.resumesAt]).toEqual(['finished', undefined]);
  });

  test('has the KL with its limits', async () => {
    writeFileSync(
      join(dir, 'config.json'),
      JSON.stringify({ command: 'ppo', options: { stopAtKl: 10, klTarget: 6, policy: 'x' } }),
    );
    write(line(1, { kl: 9 }), line(2)); // not every step measures it
    const { kl, warnings } = await watched().state();
    expect(kl).toEqual({ value: 9, limit: 10, target: 6 });
    expect(warnings).toEqual([expect.stringContaining('9 of the 10 nats')]);
  });

  test('of a folder that says nothing of itself', async () => {
    write(line(1));
    const state = await watched().state();
    expect(state).toMatchObject({ phase: 'sft', status: 'stopped', warnings: [] });
    expect(state.resumesAt).toBeUndefined();
  });
});

describe('runs', () => {
  const make = (...path: string[]) => {
    mkdirSync(join(dir, ...path), { recursive: true });
    writeFileSync(join(dir, ...path, 'metrics.jsonl'), line(1));
  };
  const names = async (runs: WatchedRuns) => (await runs.all()).map(({ name }) => name.replace(dir, ''));

  test('are found below a folder, but not in checkpoints and models', async () => {
    make('a');
    make('b', 'sft');
    make('a', 'step-000100');
    make('a', 'model');
    make('one', 'two', 'three');
    make('one', 'two', 'three', 'four');
    expect((await names(new WatchedRuns([dir]))).sort()).toEqual(['/a', '/b/sft', '/one/two/three']);
    expect(await names(new WatchedRuns([join(dir, 'a'), join(dir, 'a')]))).toEqual(['/a']);
  });

  test('that start later come last, so that numbers stay', async () => {
    make('b');
    const runs = new WatchedRuns([dir]);
    expect(await names(runs)).toEqual(['/b']);
    make('a');
    await new Promise((resolve) => setTimeout(resolve, 2100));
    expect(await names(runs)).toEqual(['/b', '/a']);
  });

  test('a file is no folder of runs', async () => {
    make('a');
    const file = join(dir, 'a', 'metrics.jsonl');
    await expect(new WatchedRuns([file]).all()).rejects.toThrow(
      `cannot watch ${file}: it is a file, expected a run folder or a folder of runs`,
    );
  });

  test('a folder that is not there is named', async () => {
    await expect(new WatchedRuns([join(dir, 'no')]).all()).rejects.toThrow(
      `cannot watch ${join(dir, 'no')}: there is no such folder`,
    );
  });
});
