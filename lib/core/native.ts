/** The only module that uses the addon: it turns its jobs into promises. */
import type * as addon from '../../bindings/addon.js';
import { loadAddon } from './addon.js';
import { type ErrorCode, HeedError } from './errors.js';

let loaded: typeof addon | undefined;

/** The native module, loaded at the first call, so that importing heed never fails. */
export function native(): typeof addon {
  loaded ??= loadAddon() as typeof addon;
  return loaded;
}

/** Options of a call that can be aborted. */
export interface Abortable {
  /** Aborting it makes the call reject with the signal's reason within 250 ms. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Starts a native job and waits for it.
 * The error is constructed here, after the await, so that its stack names the caller and not the compute thread.
 */
export async function run<T>(signal: AbortSignal | undefined, start: () => addon.Job<T>): Promise<T> {
  signal?.throwIfAborted();
  let unlink: (() => void) | undefined;
  try {
    const job = start();
    if (signal) unlink = link(signal, job);
    return await job.promise;
  } catch (cause) {
    if ((cause as { code?: string }).code === 'ERR_ABORTED') signal?.throwIfAborted();
    throw translate(cause);
  } finally {
    unlink?.();
  }
}

interface Cancellable {
  cancel(): void;
}
interface Linked {
  readonly jobs: Set<Cancellable>;
  readonly cancel: () => void;
}
const linked = new WeakMap<AbortSignal, Linked>();

/** Calls `cancel` when the signal aborts. One listener for all of a signal: Node warns of a leak at more than ten. @returns a function that undoes it */
export function link(signal: AbortSignal, job: Cancellable): () => void {
  let entry = linked.get(signal);
  if (!entry) {
    const jobs: Linked['jobs'] = new Set();
    const cancel = () => {
      for (const each of jobs) each.cancel();
    };
    entry = { jobs, cancel };
    signal.addEventListener('abort', entry.cancel, { once: true });
    linked.set(signal, entry);
  }
  const { jobs, cancel } = entry;
  jobs.add(job);
  return () => {
    jobs.delete(job);
    if (jobs.size > 0) return;
    signal.removeEventListener('abort', cancel);
    linked.delete(signal);
  };
}

/** A native error as a HeedError or TypeError of this realm. */
export function translate(cause: unknown): Error {
  const { code, message, name } = cause as { code?: ErrorCode; message?: string; name?: string };
  if (name === 'TypeError') return new TypeError(message, { cause });
  return new HeedError(code ?? 'ERR_INTERNAL', message ?? String(cause), { cause });
}

/** Calls a synchronous native method, and translates its errors. */
export function call<T>(method: () => T): T {
  try {
    return method();
  } catch (cause) {
    throw translate(cause);
  }
}
