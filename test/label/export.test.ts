// `heed label --export` and `--import`: what is written, what is refused, what comes back.
import { existsSync, linkSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { RowWriter } from '../../lib/cli/output.js';
import { openFeedback } from '../../lib/feedback/database.js';
import { feedbackRows } from '../../lib/feedback/rows.js';
import { exported, type Format, imported, itemOf } from '../../lib/label/exchange.js';
import { Importer } from '../../lib/label/importer.js';
import { Store } from '../../lib/label/store.js';
import type { Rating } from '../../lib/label/types.js';
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

/** A ranking without the order in which its responses were shown. */
function unordered({ responses, ranks, ratings, flags, models, ...rest }: Record<string, unknown>) {
  const lists = { ranks, ratings, flags, models } as Record<string, unknown[]>;
  const of = (k: number) => Object.fromEntries(Object.entries(lists).map(([name, list]) => [name, list?.[k]]));
  return { ...rest, responses: Object.fromEntries((responses as string[]).map((text, k) => [text, of(k)])) };
}

describe('export, then import into another file', () => {
  /** Two people, ties, ratings with flags, models, categories, and repetitions. */
  async function source() {
    const dir = folder();
    const prompts = items(8).map((item, i) => ({ ...item, models: ['sft', 'ppo', 'ppo'], category: `c${i % 2}` }));
    const desk = await openDesk({ out: join(dir, 'labels.db'), prompts, double: 0.999, repeats: 0.5 });
    for (const name of ['Ada', 'Bea']) {
      const person = await desk.person(name);
      for (let next = await person.next(), i = 0; 'task' in next; next = await person.next(), i++) {
        const { responses } = next.task;
        const ratings = responses.map((text) => ({
          rating: 7 - numberOf(text),
          flags: numberOf(text) === i % 3 ? ['opinion', 'violent'] : [],
        })) as Rating[];
        const ranks = responses.map((text) => Math.min(1, numberOf(text)));
        const reply = await person.submit(next.task, { ratings, ranks, confidence: 1 + (i % 3), seconds: i + 0.5 });
        expect(reply.status).toBe(200);
      }
    }
    await desk.close();
    return dir;
  }

  test('keeps all that was said, and who wrote what', async () => {
    const dir = await source();
    const database = await openFeedback(join(dir, 'labels.db'), { readOnly: true });
    for (const format of ['jsonl', 'argilla', 'label-studio'] as Format[]) {
      const all = format === 'jsonl';
      const rows = [...feedbackRows(database, 'rankings', { all })];
      expect(rows.length).toBeGreaterThan(all ? 16 : 15);
      const lost: string[] = [];
      const copy = await openFeedback(join(dir, `${format}.db`));
      const importer = new Importer(new Store(copy));
      for (const [i, row] of [...exported(rows, format)].entries()) {
        const value = JSON.parse(JSON.stringify(row));
        for (const ranking of imported({ file: 'f', line: i + 1, value }, format, (what) => lost.push(what)))
          expect(importer.add(ranking)).toBe(true);
      }
      const back = [...feedbackRows(copy, 'rankings', { all })];
      const sorted = (list: typeof rows) => list.map((row) => JSON.stringify(sortedKeys(unordered(row)))).sort();
      expect(sorted(back)).toEqual(sorted(rows));
      if (all) expect(back).toEqual(rows); // in the order shown too
      expect(lost).toEqual([]);
      copy.close();
    }
    database.close();
  });

  test('says what a format does not hold', async () => {
    const dir = await source();
    const run = async (...args: string[]) => (await heed(['label', ...args], { cwd: dir })).stderr;
    expect(await run('labels.db', '--export', 'a.json', '--format', 'argilla')).toMatch(/not in them: \d+ repetitions/);
    writeFileSync(
      join(dir, 'theirs.jsonl'),
      `${JSON.stringify({ prompt: 'p', responses: ['a', 'b'], ranks: [0, 1], confidence: 9, score: [1, 2] })}\n`,
    );
    expect(await run('copy.db', '--import', 'theirs.jsonl')).toContain(
      'not kept: score (1 of 1), confidence that is not 1 to 3 (1 of 1)',
    );
  });
});

test('rows of --prompts may say which models wrote their responses', () => {
  const value = { prompt: 'p', responses: ['a', 'b'], models: ['m', 'n'] };
  expect(itemOf({ file: 'f', line: 1, value })).toMatchObject({ models: ['m', 'n'] });
});

const sortedKeys = (value: unknown): unknown =>
  value !== null && typeof value === 'object' && !Array.isArray(value)
    ? Object.fromEntries(
        Object.entries(value)
          .sort()
          .map(([key, one]) => [key, sortedKeys(one)]),
      )
    : value;
