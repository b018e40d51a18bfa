/** Folders that are written completely or not at all, even if the process is killed. */
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, open, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { HeedError } from './errors.js';
import { call, native } from './native.js';

/**
 * Writes a folder under a temporary name, flushes it to disk, and renames it in one step, which replaces an earlier folder of that
 * name. A failure leaves nothing behind.
 *
 * @param mayHold whether an earlier folder may hold a file of this name: the whole folder is replaced
 * @param write writes the files into the folder it is given
 * @throws HeedError ERR_IO when the disk is full or the write fails; as {@link requireReplaceable}; as `write`
 */
export async function writeFolder(
  dir: string,
  mayHold: (name: string) => boolean,
  write: (dir: string) => Promise<void>,
): Promise<void> {
  const target = resolve(dir);
  const unfinished = `${target}.tmp-${process.pid}-${randomBytes(4).toString('hex')}`;
  await requireReplaceable(dir, mayHold);
  try {
    await makeFolder(dirname(target));
    await mkdir(unfinished);
    await write(unfinished);
    for (const name of await readdir(unfinished)) await flush(join(unfinished, name));
    await flush(unfinished);
    await moveInto(unfinished, target);
    await flush(dirname(target));
  } catch (cause) {
    await rm(unfinished, { recursive: true, force: true }).catch(() => {});
    const { errno, code, message } = cause as NodeJS.ErrnoException;
    if (typeof errno !== 'number') throw cause;
    throw new HeedError('ERR_IO', `cannot save ${dir}: ${code === 'ENOSPC' ? 'the disk is full' : message}`, { cause });
  }
}

/** @throws HeedError ERR_INVALID_ARGUMENT when `dir` is a file, or a folder with other files, which would be lost */
export async function requireReplaceable(dir: string, mayHold: (name: string) => boolean): Promise<void> {
  if (!existsSync(dir)) return;
  const fail = (why: string): never => {
    throw new HeedError('ERR_INVALID_ARGUMENT', `cannot save ${dir}: ${why}`);
  };
  if (!(await stat(dir)).isDirectory()) fail('it is a file, expected a folder');
  const foreign = (await readdir(dir)).find((name) => !mayHold(name));
  if (foreign !== undefined) fail(`it holds ${foreign}, which would be lost; choose another folder`);
}

/**
 * Makes a folder and its parents. Node's own `recursive` never returns in `/proc`, and reports a read-only disk as a missing parent.
 *
 * @throws HeedError ERR_IO naming a file that is in the way
 */
export async function makeFolder(dir: string): Promise<void> {
  try {
    await mkdir(dir);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === 'EEXIST' && (await stat(dir)).isDirectory()) return;
    const file = code === 'EEXIST' ? dir : code === 'ENOTDIR' ? dirname(dir) : undefined;
    if (file !== undefined)
      throw new HeedError('ERR_IO', `cannot make the folder ${dir}: ${file} is a file, expected a folder`, { cause });
    if (code !== 'ENOENT' || existsSync(dirname(dir))) throw cause;
    await makeFolder(dirname(dir));
    await makeFolder(dir);
  }
}

/** Writes text into a folder that {@link writeFolder} is filling. */
export async function writeText(dir: string, name: string, text: string): Promise<void> {
  await writeFile(join(dir, name), text);
}

async function moveInto(from: string, to: string): Promise<void> {
  if (!existsSync(to)) return await rename(from, to);
  const old = `${from}.old`;
  if (call(() => native().exchangePaths(from, to))) {
    await rename(from, old);
  } else {
    // Some network file systems cannot exchange: for a moment there is no folder of that name, only the old and the new beside it.
    await rename(to, old);
    await rename(from, to);
  }
  await rm(old, { recursive: true, force: true });
}

/** Flushes a file or folder to disk. Windows has no such thing for folders, and flushes only files that are open for writing. */
export async function flush(path: string): Promise<void> {
  const isWindows = process.platform === 'win32';
  if (isWindows && (await stat(path)).isDirectory()) return;
  const file = await open(path, isWindows ? 'r+' : 'r');
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}
