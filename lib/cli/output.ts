/** Rows that a command writes, to a file or to standard output. */
import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import { HeedError } from '../errors.js';

/** Writes rows as JSON Lines. A file gets its name when it is whole. */
export class RowWriter {
  readonly #path: string | undefined;
  readonly #file: FileHandle | undefined;

  private constructor(path: string | undefined, file: FileHandle | undefined) {
    this.#path = path;
    this.#file = file;
  }

  /** @param path undefined: standard output */
  static async open(path: string | undefined): Promise<RowWriter> {
    if (path === undefined) return new RowWriter(undefined, undefined);
    return new RowWriter(path, await io(path, () => open(`${path}.tmp`, 'w')));
  }

  async write(row: object): Promise<void> {
    const line = `${JSON.stringify(row)}\n`;
    if (this.#file) await io(this.#path!, () => this.#file!.appendFile(line));
    else await writeOut(line);
  }

  /** Puts the file in its place. */
  async finish(): Promise<void> {
    if (!this.#file) return;
    await io(this.#path!, async () => {
      await this.#file!.sync();
      await this.#file!.close();
      await rename(`${this.#path}.tmp`, this.#path!);
    });
  }

  /** Leaves nothing behind of a file that will not be whole. */
  async abandon(): Promise<void> {
    if (!this.#file) return;
    await this.#file.close().catch(() => {});
    await rm(`${this.#path}.tmp`, { force: true }).catch(() => {});
  }
}

/** Text on standard output; resolves when it is out, so that a slow reader slows us. */
export function writeOut(text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    process.stdout.write(text, (error) => (error ? reject(error) : resolve()));
  });
}

/** Numbers whose shortest decimal form, read and rounded to float32, is `x` again: JSON of 0.1f is 0.1. */
export function float32Json(x: ArrayLike<number>): number[] {
  return Array.from(x, shortestFloat32);
}

/** @throws HeedError for what JSON cannot say */
export function shortestFloat32(x: number): number {
  if (!Number.isFinite(x))
    throw new HeedError('ERR_INVALID_ARGUMENT', `the model gave ${x}: its weights are not finite numbers`);
  for (let digits = 6; digits < 9; digits++) {
    const shorter = Number(x.toPrecision(digits));
    if (Math.fround(shorter) === x) return shorter;
  }
  return Number(x.toPrecision(9)); // nine digits always do
}

async function io<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    throw new HeedError('ERR_IO', `cannot write ${path}: ${code === 'ENOSPC' ? 'the disk is full' : message}`, {
      cause,
    });
  }
}
