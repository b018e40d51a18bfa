// What Ctrl-C says: what the command then does, and no run that there is none of.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, expect, test } from '@jest/globals';
import { heed } from './heed.js';

const cwd = mkdtempSync(join(tmpdir(), 'heed-stopping-'));
afterAll(() => rmSync(cwd, { recursive: true }));

test.each([
  ['watch . --port 0', 'Ctrl-C ends', 'the page ends, the runs go on'],
  [`serve ${resolve('models/base')} --port 0 --threads 1`, 'Ctrl-C ends', 'no new requests are taken'],
])('heed %s', async (line, interruptAt, sentence) => {
  const { status, stderr } = await heed(line.split(' '), { cwd, interruptAt });
  expect(stderr).toContain(`\n${sentence} (press Ctrl-C again to end at once)\n`);
  expect(status).toBe(0);
});

test('a file where a folder is expected', async () => {
  writeFileSync(join(cwd, 'file'), 'x');
  for (const [line, message] of [
    ['watch file', 'cannot watch file: it is a file, expected a run folder or a folder of runs'],
    ['align --out file', 'cannot make the folder file: file is a file, expected a folder'],
    ['label l.db --prompts file/x', 'file/x: is below a file, expected folders in its path'],
  ] as const) {
    const { status, stderr } = await heed(line.split(' '), { cwd });
    expect([line, status, stderr]).toEqual([line, 1, expect.stringContaining(`heed: ${message}`)]);
  }
});
