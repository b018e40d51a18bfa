/**
 * A file of people's feedback: what models answered, and what people said of it. `heed label` and `heed serve` write it, training
 * commands read it.
 */
import { existsSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { DataError, HeedError } from '../core/errors.js';
import { migrations } from './schema.js';
import { loadSqlite } from './sqlite.js';

/** In SQLite's header, so that other programs' databases are recognised. "heed" in ASCII. */
const kApplication = 0x68656564;
/** The oldest version whose rows are read as those of the newest. */
const kReadable = 1;

/**
 * What heed uses of SQLite. It is better-sqlite3's, without its types: programs that use heed need not install them.
 */
export interface Database {
  /** The file. */
  readonly name: string;
  readonly open: boolean;
  readonly inTransaction: boolean;
  prepare(sql: string): Statement;
  exec(sql: string): unknown;
  pragma(source: string, options?: { simple?: boolean }): unknown;
  /** The function within a transaction; called by `immediate`, one that has the right to write from its beginning. */
  transaction<P extends unknown[], R>(work: (...values: P) => R): Transaction<P, R>;
  close(): unknown;
}

type Transaction<P extends unknown[], R> = ((...values: P) => R) & { readonly immediate: (...values: P) => R };

/** A statement, with values for its parameters: in order, or by name. */
export interface Statement {
  run(...values: unknown[]): { readonly changes: number; readonly lastInsertRowid: number | bigint };
  /** The first row; undefined if there is none. */
  get(...values: unknown[]): unknown;
  all(...values: unknown[]): unknown[];
  iterate(...values: unknown[]): IterableIterator<unknown>;
  /** The same statement, whose rows are their first column. */
  pluck(): Statement;
}

export interface OpenOptions {
  /** Read only, and the file must exist. */
  readonly readOnly?: boolean;
}

/**
 * Opens or makes a file of feedback. A row is on the disk when the statement that writes it returns, and survives a killed process.
 *
 * @throws DataError when the file is something else or of a newer version; HeedError ERR_IO when SQLite does not load or the file
 *   cannot be opened
 */
export async function openFeedback(file: string, { readOnly = false }: OpenOptions = {}): Promise<Database> {
  const Sqlite = await loadSqlite();
  let database: Database;
  try {
    database = new Sqlite(file, { readonly: readOnly, fileMustExist: readOnly, timeout: 10_000 });
  } catch (cause) {
    const folder = dirname(file);
    const why =
      readOnly && !existsSync(file)
        ? 'it does not exist'
        : existsSync(folder) && statSync(folder).isDirectory()
          ? (cause as Error).message
          : `${folder} is no folder, expected one for the file`;
    throw new HeedError('ERR_IO', `cannot open ${file}: ${why}`, { cause });
  }
  try {
    migrate(database, file, readOnly);
  } catch (error) {
    database.close();
    throw error;
  }
  return database;
}

function migrate(database: Database, file: string, readOnly: boolean): void {
  const { application, version, tables } = headerOf(database, file);
  if (application !== kApplication && (application !== 0 || version !== 0 || tables > 0))
    throw new DataError("is another program's database, expected a file of heed label or heed serve", { file });
  if (version > migrations.length)
    throw new DataError(`has version ${version}, expected at most ${migrations.length}: a newer heed wrote it`, {
      file,
    });
  if (readOnly) {
    if (version < kReadable)
      throw new DataError(`has version ${version}, expected ${kReadable}: open it once with heed label or heed serve`, {
        file,
      });
    return;
  }
  database.pragma('journal_mode = WAL');
  database.pragma('synchronous = FULL'); // with WAL, NORMAL may lose the last rows when power fails
  database.pragma('foreign_keys = ON');
  database
    .transaction(() => {
      // Another process may have done it since.
      for (const sql of migrations.slice(headerOf(database, file).version)) database.exec(sql);
      database.pragma(`application_id = ${kApplication}`);
      database.pragma(`user_version = ${migrations.length}`);
    })
    .immediate();
}

function headerOf(database: Database, file: string) {
  try {
    return {
      application: database.pragma('application_id', { simple: true }) as number,
      version: database.pragma('user_version', { simple: true }) as number,
      tables: database.prepare('SELECT count(*) FROM sqlite_schema').pluck().get() as number,
    };
  } catch (cause) {
    throw new DataError(`is not an SQLite database (${(cause as Error).message})`, { file }, { cause });
  }
}
