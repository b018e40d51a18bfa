/** What people ask of a run while it is computed: `RUN/request.json`, written by `heed watch` and obeyed between two steps. */
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { HeedError } from '../core/errors.js';
import { writeFileAtomic } from './files.js';

export type RunRequest = 'pause' | 'stop';

/** A run was stopped by a request, after its last complete step was saved. */
export class StopRequested extends HeedError {
  override readonly name = 'StopRequested';
  constructor(dir: string) {
    super('ERR_ABORTED', `${dir} was stopped by a request`);
  }
}

const kFile = 'request.json';
/** Milliseconds between two looks at the file of a run that is paused. */
const kLook = 250;

/** What is asked of the run in `dir`, if anything. */
export async function requestOf(dir: string): Promise<RunRequest | undefined> {
  try {
    const { request } = JSON.parse(await readFile(join(dir, kFile), 'utf8')) as { request?: unknown };
    return request === 'pause' || request === 'stop' ? request : undefined;
  } catch {
    return undefined;
  }
}

/** Asks something of the run in `dir`; undefined takes it back. */
export async function ask(dir: string, request: RunRequest | undefined): Promise<void> {
  if (request === undefined) await rm(join(dir, kFile), { force: true });
  else await writeFileAtomic(join(dir, kFile), `${JSON.stringify({ request })}\n`);
}

/**
 * Waits while a pause is asked for.
 *
 * @param onPause called when it begins and when it ends
 * @throws StopRequested; the signal's reason
 */
export async function obey(
  dir: string,
  signal: AbortSignal | undefined,
  onPause: (paused: boolean) => Promise<void>,
): Promise<void> {
  let isPaused = false;
  for (;;) {
    const request = await requestOf(dir);
    if (request === 'stop') throw new StopRequested(dir);
    if (request === undefined) break;
    if (!isPaused) await onPause(true);
    isPaused = true;
    // Rejects with an AbortError, which the caller's own check turns into the signal's reason.
    await setTimeout(kLook, undefined, { signal }).catch(() => {});
    signal?.throwIfAborted();
  }
  if (isPaused) await onPause(false);
}
