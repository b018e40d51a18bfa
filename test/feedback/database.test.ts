import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import Sqlite from 'better-sqlite3';
import { openFeedback } from '../../lib/feedback/database.js';

let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'heed-feedback-'));
});
afterAll(() => rmSync(dir, { recursive: true }));

test('a new file has the tables, and opens again with its rows', async () => {
  const file = join(dir, 'new.db');
  const first = await openFeedback(file);
  const { lastInsertRowid } = first.prepare('INSERT INTO prompts (prompt, created) VALUES (\'"hi"\', 1)').run();
  expect(() =>
    first.prepare("INSERT INTO responses (prompt, model, text, created) VALUES (?, 'm', 't', 1)").run(999),
  ).toThrow(/FOREIGN KEY/);
  first.close();
  const again = await openFeedback(file, { readOnly: true });
  expect(again.prepare('SELECT id, prompt FROM prompts').all()).toEqual([{ id: lastInsertRowid, prompt: '"hi"' }]);
  expect(() => again.exec('DELETE FROM prompts')).toThrow(/readonly/);
  again.close();
});

test('other files are refused by name and left as they are', async () => {
  const text = join(dir, 'rows.jsonl');
  writeFileSync(text, '{"prompt": "x"}\n'.repeat(100));
  await expect(openFeedback(text)).rejects.toThrow(`${text}: is not an SQLite database`);
  const other = join(dir, 'other.db');
  const theirs = new Sqlite(other);
  theirs.exec('CREATE TABLE prompts (x)');
  await expect(openFeedback(other)).rejects.toThrow(`${other}: is another program's database`);
  expect(theirs.prepare('SELECT name FROM sqlite_schema').pluck().all()).toEqual(['prompts']);
  theirs.close();
  await expect(openFeedback(join(dir, 'missing.db'), { readOnly: true })).rejects.toThrow(
    'missing.db: it does not exist',
  );
  await expect(openFeedback(join(dir, 'no/folder.db'))).rejects.toThrow(
    `${join(dir, 'no')} is no folder, expected one`,
  );
});

test('a file of a newer version is refused', async () => {
  const file = join(dir, 'newer.db');
  const database = await openFeedback(file);
  database.pragma('user_version = 999');
  database.close();
  await expect(openFeedback(file)).rejects.toThrow('has version 999');
});
