/** The runs in the folders that were named, and those that start in them later. */
import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { HeedError } from '../core/errors.js';
import { WatchedRun } from './run.js';

/** heed align has its runs one folder below its own. */
const kDepth = 3;
/** Milliseconds between two looks for new runs. */
const kLook = 2000;

const isRun = (dir: string) => existsSync(join(dir, 'metrics.jsonl'));

export class WatchedRuns {
  readonly #paths: readonly string[];
  readonly #runs = new Map<string, WatchedRun>();
  #looked = Number.NEGATIVE_INFINITY;

  /** @param paths run folders, or folders of run folders */
  constructor(paths: readonly string[]) {
    this.#paths = paths;
  }

  /** @throws HeedError when a path is not there */
  async all(): Promise<readonly WatchedRun[]> {
    if (performance.now() - this.#looked > kLook) {
      for (const path of this.#paths) await this.#look(path, path, 0);
      this.#looked = performance.now();
    }
    return [...this.#runs.values()];
  }

  /** The `index`-th of {@link all}. */
  async at(index: number): Promise<WatchedRun | undefined> {
    return (await this.all())[index];
  }

  async #look(dir: string, name: string, depth: number): Promise<void> {
    const key = resolve(dir);
    if (isRun(dir) && !this.#runs.has(key)) this.#runs.set(key, new WatchedRun(dir, name));
    if (depth === kDepth) return;
    const entries = await readdir(dir, { withFileTypes: true }).catch((cause: NodeJS.ErrnoException) => {
      if (depth > 0) return [];
      const why =
        cause.code === 'ENOENT'
          ? 'there is no such folder'
          : cause.code === 'ENOTDIR'
            ? 'it is a file, expected a run folder or a folder of runs'
            : cause.message;
      throw new HeedError('ERR_IO', `cannot watch ${dir}: ${why}`, { cause });
    });
    for (const entry of entries) {
      // Checkpoints and models are many and hold no runs.
      if (!entry.isDirectory() || /^(step-|model$|ema$|tokenizer$|node_modules$|\.)/.test(entry.name)) continue;
      await this.#look(join(dir, entry.name), join(name, entry.name), depth + 1);
    }
  }
}
