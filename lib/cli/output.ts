/** Output of a command: rows to a file or to standard output. */
import { existsSync } from 'node:fs';
import { type FileHandle, open, realpath, rename, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { DataError, HeedError } from '../core/errors.js';

/** Writes rows as JSON Lines. A file gets its final name when it is complete. */
export class RowWriter {
  readonly #path: string | undefined;
  readonly #file: FileHandle | undefined;
  readonly #unfinished: string | undefined; // undefined if it cannot be replaced: a pipe, a device

  private constructor(path?: string, file?: FileHandle, unfinished?: string) {
    this.#path = path;
    this.#file = file;
    this.#unfinished = unfinished;
  }

  /**
   * @param path undefined or `-`: standard output
   * @throws HeedError ERR_IO for a file that cannot be written, and for an SQLite database or its log: rows would replace it
   */
  static async open(path: string | undefined): Promise<RowWriter> {
    if (path === undefined || path === '-') return new RowWriter();
    return io(path, async () => {
      const there = existsSync(path) ? await stat(path) : undefined;
      if (there?.isDirectory()) throw new HeedError('ERR_IO', `cannot write ${path}: it is a folder, expected a file`);
      if (there && !there.isFile()) return new RowWriter(path, await open(path, 'w'));
      const target = there ? await realpath(path) : path; // a symbolic link is kept
      if (!existsSync(dirname(target)))
        throw new HeedError('ERR_IO', `cannot write ${path}: the folder ${dirname(target)} does not exist`);
      const unfinished = `${target}.tmp`;
      for (const name of [target, unfinished]) await refuseDatabase(name, path);
      return new RowWriter(target, await open(unfinished, 'w'), unfinished);
    });
  }

  async write(row: object): Promise<void> {
    const line = `${JSON.stringify(row)}\n`;
    if (this.#file) await io(this.#path!, () => this.#file!.appendFile(line));
    else await writeOut(line);
  }

  /** Gives the file its final name. */
  async finish(): Promise<void> {
    if (!this.#file) return;
    await io(this.#path!, async () => {
      if (this.#unfinished) await this.#file!.sync();
      await this.#file!.close();
      if (this.#unfinished) await rename(this.#unfinished, this.#path!);
    });
  }

  /** Removes an incomplete file. */
  async abandon(): Promise<void> {
    await this.#file?.close().catch(() => {});
    if (this.#unfinished) await rm(this.#unfinished, { force: true }).catch(() => {});
  }
}

/** People's labels are worth more than any output: a database is never replaced by rows. */
async function refuseDatabase(target: string, path: string): Promise<void> {
  const owner = target.replace(/-(wal|shm|journal)$/, '');
  if (await isDatabase(target))
    throw new HeedError('ERR_IO', `cannot write ${path}: it is an SQLite database, expected another file`);
  if (owner !== target && (await isDatabase(owner)))
    throw new HeedError(
      'ERR_IO',
      `cannot write ${path}: it belongs to the SQLite database ${owner}, expected another file`,
    );
}

const kSqlite = Buffer.from('SQLite format 3\0');

async function isDatabase(path: string): Promise<boolean> {
  if (!existsSync(path) || !(await stat(path)).isFile()) return false;
  const file = await open(path, 'r');
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(kSqlite.length), 0, kSqlite.length, 0);
    return bytesRead === kSqlite.length && buffer.equals(kSqlite);
  } finally {
    await file.close();
  }
}

/** Writes to standard output; resolves when the text is written, so that a slow reader slows the command. @throws EPIPE unchanged; HeedError */
export function writeOut(text: string): Promise<void> {
  const written = new Promise<void>((resolve, reject) => {
    process.stdout.write(text, (error) => (error ? reject(error) : resolve()));
  });
  return io('standard output', () => written);
}

/**
 * Numbers with the shortest decimal forms that round to the same float32: the JSON of 0.1f is 0.1.
 *
 * @param model the folder of the model that gave them, for the message
 * @throws DataError for numbers that JSON cannot represent
 */
export function float32Json(x: ArrayLike<number>, model: string): number[] {
  return Array.from(x, (value) => {
    if (Number.isFinite(value)) return shortestFloat32(value);
    throw new DataError(`the model gave ${value}: its weights are not finite numbers, or too large`, { file: model });
  });
}

/** The number with the shortest decimal form that rounds to the float32 `x`. */
export function shortestFloat32(x: number): number {
  for (let digits = 6; digits < 9; digits++) {
    const shorter = Number(x.toPrecision(digits));
    if (Math.fround(shorter) === x) return shorter;
  }
  return Number(x.toPrecision(9)); // nine digits always suffice
}

async function io<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    if (cause instanceof HeedError || code === 'EPIPE') throw cause;
    throw new HeedError('ERR_IO', `cannot write ${path}: ${code === 'ENOSPC' ? 'the disk is full' : message}`, {
      cause,
    });
  }
}
