// What is said where SQLite does not load. The installed package is checked by .ci/package.sh.
import { createRequire } from 'node:module';
import { expect, test } from '@jest/globals';
import { explain, loadSqlite, refuseNewer } from '../../lib/feedback/sqlite.js';

const failure = (work: () => unknown): Error & { code?: string } => {
  try {
    work();
  } catch (error) {
    return error as Error;
  }
  throw new Error('it did not fail');
};

test('what is loaded opens a file', async () => {
  const database = new (await loadSqlite())(':memory:');
  expect(database.prepare('SELECT 1').pluck().get()).toBe(1);
  database.close();
});

test('where it is missing, the version that this Node can load is installed', () => {
  const missing = failure(() => createRequire('/nowhere/')('better-sqlite3'));
  expect(missing.code).toBe('MODULE_NOT_FOUND');
  expect(explain(missing, '20.19.0')).toBe('which is not installed: run `npm install better-sqlite3@12`');
  expect(explain(missing, '22.12.0')).toBe('which is not installed: run `npm install better-sqlite3@13`');
  const other = failure(() => createRequire('/nowhere/')('bindings'));
  expect(explain(other, '20.19.0')).toMatch(/^which does not load \(Cannot find module 'bindings'/);
});

test('where its install script was not run, it is run, or a version installed that has none', () => {
  const bindings = createRequire(createRequire(import.meta.url).resolve('better-sqlite3'))('bindings');
  const unbuilt = failure(() => bindings('heed_never_built'));
  expect(explain(unbuilt, '20.20.2')).toBe(
    'whose install script was not run or failed: run `npm rebuild better-sqlite3`',
  );
  expect(explain(unbuilt, '26.0.0')).toBe(
    'whose install script was not run or failed: run `npm install better-sqlite3@13`',
  );
});

test('version 13, which crashes Node 20, is refused there', () => {
  refuseNewer('12.11.1');
  refuseNewer(undefined);
  const refused = failure(() => refuseNewer('13.2.0'));
  expect(refused.message).toBe(`its version 13.2.0 needs Node 22, and this is ${process.versions.node}`);
  expect(explain(refused, '20.20.2')).toMatch(
    /^which does not load \(its version 13.* `npm install better-sqlite3@12`$/,
  );
});
