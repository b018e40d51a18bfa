// `heed label --export` and `--import`: what is written, what is refused, what comes back.
import { existsSync, linkSync, mkdirSync, readFileSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { RowWriter } from '../../lib/cli/output.js';
import { heed, rowsOf } from '../cli/heed.js';
import { folder, items, numberOf, openDesk } from './desk.js';

/** A folder with `labels.db`, in which Ada has labelled every item. */
async function labelled(count: number): Promise<string> {
  const dir = folder();
  const desk = await openDesk({ out: join(dir, 'labels.db'), prompts: items(count) });
  const ada = await desk.person('Ada');
  for (let i = 0; i < count; i++) await ada.label(numberOf);
  await desk.close();
  return dir;
}

test('no database is replaced by rows: not by its name, a link to it, nor the names of its log', async () => {
  const dir = await labelled(2);
  symlinkSync('labels.db', join(dir, 'link.jsonl'));
  linkSync(join(dir, 'labels.db'), join(dir, 'hard.jsonl'));
  const before = readFileSync(join(dir, 'labels.db'));
  const targets = [
    'labels.db',
    'x/../labels.db',
    'link.jsonl',
    'hard.jsonl',
    'labels.db-wal',
    'labels.db-shm',
    'labels.db-journal',
  ];
  mkdirSync(join(dir, 'x'));
  for (const target of targets) {
    const opening = RowWriter.open(join(dir, target));
    expect([target, await opening.catch((error) => error.message)]).toEqual([
      target,
      expect.stringContaining('SQLite database'),
    ]);
  }
  const { status, stderr } = await heed(['label', 'labels.db', '--export', 'labels.db'], { cwd: dir });
  expect([status, stderr]).toEqual([
    1,
    'heed: cannot write labels.db: it is an SQLite database, expected another file\n',
  ]);
  expect(readFileSync(join(dir, 'labels.db')).equals(before)).toBe(true);
});

test('--export - writes to standard output', async () => {
  const dir = await labelled(2);
  const { status, stdout, stderr } = await heed(['label', 'labels.db', '--export', '-'], { cwd: dir });
  expect([status, stderr]).toEqual([0, expect.stringContaining('standard output: 2 rows')]);
  expect(rowsOf(stdout)).toMatchObject([{ labeler: 'Ada' }, { labeler: 'Ada' }]);
  expect(existsSync(join(dir, '-'))).toBe(false);
});
