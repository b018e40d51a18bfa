/** The only module that uses the addon: it finds and loads it, and turns its jobs into promises. */
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import type * as addon from '../../bindings/addon.js';
import { type ErrorCode, HeedError } from './errors.js';

const require = createRequire(import.meta.url);

/** The package's folder: the nearest one above this file that holds heed's package.json. */
function packageRoot(): string {
  for (let dir = dirname(fileURLToPath(import.meta.url)); ; dir = dirname(dir)) {
    const file = join(dir, 'package.json');
    if (existsSync(file) && (JSON.parse(readFileSync(file, 'utf8')) as { name?: string }).name === 'heed') return dir;
    if (dir === dirname(dir)) throw new HeedError('ERR_INTERNAL', 'the package.json of heed is missing');
  }
}

/** HEED_ADDON if set, else what was compiled here, else the prebuilt one. */
function addonPath(root: string): string {
  const { HEED_ADDON } = process.env;
  if (HEED_ADDON) return resolve(HEED_ADDON);
  const compiled = join(root, 'cmake-build/Release/heed.node');
  if (existsSync(compiled)) return compiled;
  return (require('node-gyp-build') as { resolve(dir: string): string }).resolve(root);
}

function load(): typeof addon {
  const root = packageRoot();
  try {
    return require(addonPath(root)) as typeof addon;
  } catch (cause) {
    const inRepository = existsSync(join(root, 'tsconfig.json'));
    const what = process.env.HEED_ADDON ? `the native addon HEED_ADDON=${process.env.HEED_ADDON}` : 'the native addon';
    throw new HeedError(
      'ERR_INTERNAL',
      `${what} cannot be loaded: run \`${inRepository ? 'npm run build' : 'npm rebuild heed'}\` (it needs cmake and a C++20 compiler). ${
        (cause as Error).message.split('\n')[0]
      }`,
      { cause },
    );
  }
}

let loaded: typeof addon | undefined;

/** The native module, loaded at the first call, so that importing heed never fails. */
export function native(): typeof addon {
  loaded ??= load();
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

interface Linked {
  readonly jobs: Set<addon.Job<unknown>>;
  readonly cancel: () => void;
}
const linked = new WeakMap<AbortSignal, Linked>();

/** One listener for all jobs of a signal: Node warns of a leak at more than ten. Returns a function that removes the job. */
function link(signal: AbortSignal, job: addon.Job<unknown>): () => void {
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
