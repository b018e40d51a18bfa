import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { alignConfig, chooseRun } from '../../lib/align/index.js';

let root: string;
let base: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'heed-choose-'));
  base = join(root, 'align');
});
afterEach(() => rmSync(root, { recursive: true }));

const config = alignConfig({ seed: 3 });
function stopped(out: string, options: object = config) {
  mkdirSync(join(out, 'sft'), { recursive: true });
  mkdirSync(join(out, 'data'), { recursive: true });
  writeFileSync(join(out, 'sft', 'metrics.jsonl'), '{"step":1}\n');
  writeFileSync(join(out, 'sft', 'config.json'), JSON.stringify(options));
}

test('the first run uses the given folder, without a notice', async () => {
  expect(await chooseRun(base, config)).toEqual({ out: base, resume: false });
});

test('a run that was stopped is continued', async () => {
  stopped(base);
  expect(await chooseRun(base, config)).toEqual({
    out: base,
    resume: true,
    notice: `${base} was stopped: continuing it`,
  });
});

test('a new run starts beside a complete one, and a run with other options is not continued', async () => {
  stopped(base);
  writeFileSync(join(base, 'report.json'), '{}');
  expect(await chooseRun(base, config)).toEqual({
    out: `${base}-2`,
    resume: false,
    notice: `${base} is complete: a new run starts in ${base}-2`,
  });
  stopped(`${base}-2`, alignConfig({ seed: 4 }));
  expect(await chooseRun(base, config)).toMatchObject({ out: `${base}-3`, resume: false });
  stopped(`${base}-3`);
  expect(await chooseRun(base, config)).toMatchObject({ out: `${base}-3`, resume: true });
});

test('a run with other options is named in the notice', async () => {
  stopped(base, alignConfig({ seed: 4 }));
  expect((await chooseRun(base, config)).notice).toBe(
    `${base} is a run with other options: a new run starts in ${base}-2`,
  );
});

test('a run that is still running is left alone', async () => {
  stopped(base);
  mkdirSync(join(base, 'ppo'));
  const started = (await import('node:fs'))
    .readFileSync(`/proc/${process.ppid}/stat`, 'utf8')
    .split(') ')
    .at(-1)!
    .split(' ')[19];
  writeFileSync(join(base, 'ppo', 'process.json'), JSON.stringify({ pid: process.ppid, started }));
  expect(await chooseRun(base, config)).toEqual({
    out: `${base}-2`,
    resume: false,
    notice: `${base} is still running: a new run starts in ${base}-2`,
  });
});

test('a folder with other contents is not used', async () => {
  mkdirSync(base);
  expect((await chooseRun(base, config)).out).toBe(base);
  writeFileSync(join(base, 'thesis.txt'), 'mine');
  expect((await chooseRun(base, config)).out).toBe(`${base}-2`);
});
