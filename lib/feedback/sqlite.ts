/** Loads better-sqlite3, an optional dependency, or says which command repairs it. */
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { HeedError } from '../core/errors.js';
import type { Database } from './database.js';

interface SqliteOptions {
  readonly readonly?: boolean;
  readonly fileMustExist?: boolean;
  /** Milliseconds to wait for other connections. */
  readonly timeout?: number;
}

type Sqlite = new (file: string, options?: SqliteOptions) => Database;

/**
 * From version 13, better-sqlite3 brings its compiled part for every platform, so that it works where package managers run no install
 * scripts. In Node before 22 that part ends the process (SIGSEGV): there it must be version 12, whose install script downloads or compiles one.
 */
const kOldNode = 22;

/** @throws HeedError ERR_IO when it is not installed or does not load; the message has the command that repairs it */
export async function loadSqlite(): Promise<Sqlite> {
  try {
    if (majorOf(process.versions.node) < kOldNode) refuseNewer(installedVersion());
    const { default: Sqlite } = await import('better-sqlite3');
    new Sqlite(':memory:').close(); // only this loads the compiled part
    return Sqlite;
  } catch (cause) {
    throw new HeedError('ERR_IO', `feedback is kept by the package better-sqlite3, ${explain(cause as Error)}`, {
      cause,
    });
  }
}

/** What is wrong with better-sqlite3 and the command that repairs it, in Node `node`. */
export function explain(cause: Error & { code?: string }, node: string = process.versions.node): string {
  const isOld = majorOf(node) < kOldNode;
  const install = `npm install better-sqlite3@${isOld ? 12 : 13}`;
  if (/^(ERR_)?MODULE_NOT_FOUND$/.test(cause.code ?? '') && cause.message.includes("'better-sqlite3"))
    return `which is not installed: run \`${install}\``;
  // Version 12's words for a script that was not run or failed.
  if (cause.message.startsWith('Could not locate the bindings file'))
    return `whose install script was not run or failed: run \`${isOld ? 'npm rebuild better-sqlite3' : install}\``;
  return `which does not load (${cause.message}): run \`${install}\``;
}

/** @param version of better-sqlite3; undefined if it is unknown */
export function refuseNewer(version: string | undefined): void {
  if (version !== undefined && majorOf(version) > 12)
    throw new Error(`its version ${version} needs Node ${kOldNode}, and this is ${process.versions.node}`);
}

function installedVersion(): string | undefined {
  const require = createRequire(import.meta.url ?? join(process.cwd(), 'heed')); // a CommonJS bundle has no import.meta.url
  return (require('better-sqlite3/package.json') as { version?: string }).version;
}

function majorOf(version: string): number {
  return Number.parseInt(version, 10);
}
