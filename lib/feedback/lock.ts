/** One process at a time labels a file: what it asks, samples and learns is planned for all of the file. */
import { realpathSync } from 'node:fs';
import { HeedError } from '../core/errors.js';
import { loadSqlite } from './sqlite.js';

/** Milliseconds to wait for a process that is just ending. */
const kPatience = 500;

export interface Lock {
  release(): void;
}

/**
 * Locks `file`, which exists, by a file beside it, `file-lock`. The lock is the operating system's and ends with the process, however that ends; the
 * file beside stays and means nothing by itself.
 *
 * @param purpose what holds it, for the message: `heed label`
 * @throws HeedError ERR_IO when another process, or this one, holds it
 */
export async function lockFile(file: string, purpose: string): Promise<Lock> {
  const Sqlite = await loadSqlite();
  const lock = new Sqlite(`${realpathSync(file)}-lock`, { timeout: kPatience });
  try {
    lock.exec('BEGIN IMMEDIATE');
    lock.pragma(`user_version = ${process.pid}`);
    lock.exec('COMMIT; BEGIN IMMEDIATE'); // readers may look who holds it
    return { release: () => void lock.close() };
  } catch (cause) {
    const holder = holderOf(lock);
    lock.close();
    if ((cause as { code?: string }).code !== 'SQLITE_BUSY')
      throw new HeedError('ERR_IO', `cannot lock ${file}: ${(cause as Error).message}`, { cause });
    throw new HeedError(
      'ERR_IO',
      `${file} is in use by another ${purpose}${holder}: stop that one first, or give this one a file of its own`,
      { cause },
    );
  }
}

function holderOf(lock: { pragma(source: string, options: { simple: boolean }): unknown }): string {
  try {
    const pid = lock.pragma('user_version', { simple: true });
    return pid === process.pid ? ' in this process' : ` (process ${pid})`;
  } catch {
    return '';
  }
}
