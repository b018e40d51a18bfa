/** The process that computes a run: `RUN/process.json`. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

export const kProcessFile = 'process.json';

/** What a process says of the run that it computes. */
export interface Doing {
  readonly phase?: string | undefined;
  /** Optimizer steps of the whole run. */
  readonly total?: number | undefined;
  /** Whether it waits, as it was asked to. */
  readonly paused?: boolean | undefined;
}

/** A live process that has a run open. */
export interface Writer extends Doing {
  readonly pid: number;
}

/** Says that this process computes the run in `dir`. */
export async function announce(dir: string, doing: Doing = {}): Promise<void> {
  const file = { pid: process.pid, started: await startOf(process.pid), ...doing };
  await writeFile(join(dir, kProcessFile), `${JSON.stringify(file, null, 2)}\n`);
}

/** The live process that has this run open, if any; it may be this one. */
export async function writerOf(dir: string): Promise<Writer | undefined> {
  let writer: Writer & { started?: unknown };
  try {
    writer = JSON.parse(await readFile(join(dir, kProcessFile), 'utf8'));
  } catch {
    return undefined; // no file, or its writer was killed while writing it
  }
  const { pid, started, ...doing } = writer ?? {};
  if (!Number.isInteger(pid)) return undefined;
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return undefined;
  }
  // The id may have been reused by another process.
  return (await startOf(pid)) === (started ?? undefined) ? { ...doing, pid } : undefined;
}

/** The id of another live process that has this run open, if any. */
export async function userOf(dir: string): Promise<number | undefined> {
  const writer = await writerOf(dir);
  return writer?.pid === process.pid ? undefined : writer?.pid;
}

/** A process's start time in Linux's clock ticks; undefined on other systems. */
async function startOf(pid: number): Promise<string | undefined> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
  } catch {
    return undefined;
  }
}
