/** Keeps the owner's overview without stopping the page: a file of many labels is looked through in a thread of its own. */
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { HeedError } from '../core/errors.js';
import { packageRoot } from '../core/package.js';
import type { Database } from '../feedback/database.js';
import { type Measures, measuresOf } from './overview.js';
import type { Mode } from './types.js';

/** Labels up to which it takes less time than to start a thread. */
const kAtOnce = 50;
/** Milliseconds for which what was found is shown again: several windows may show it. */
const kFresh = 1000;
/** The same as a multiple of the time that it took: a sixth of one core, at most, is spent on it. */
const kRest = 5;
/** Milliseconds that a request waits for new figures. Where they take longer it gets those before. */
const kPatience = 1000;

interface Found {
  readonly measures: Measures;
  readonly freshUntil: number;
  readonly took: number;
}

export class Overviewer {
  readonly #database: Database;
  readonly #mode: Mode;
  readonly #onFailure: (error: unknown) => void;
  readonly #workers = new Set<Worker>();
  #found: Found | undefined;
  #isClosed = false;
  #next: Promise<Measures> | undefined;

  constructor(database: Database, mode: Mode, onFailure: (error: unknown) => void) {
    this.#database = database;
    this.#mode = mode;
    this.#onFailure = onFailure;
  }

  /** What is in the file now. */
  async measure(): Promise<Measures> {
    const { name } = this.#database;
    const labels = this.#database.prepare('SELECT coalesce(sum(done), 0) FROM labelers').pluck().get() as number;
    return labels <= kAtOnce ? measuresOf(this.#database, this.#mode) : await this.#inThread(name);
  }

  /** What was in it lately. */
  async read(): Promise<Measures> {
    if (this.#found && performance.now() < this.#found.freshUntil) return this.#found.measures;
    const isAwaited = !this.#found || this.#found.took <= kPatience;
    if (!this.#next) {
      this.#next = this.#measureOnce().finally(() => {
        this.#next = undefined;
      });
      if (!isAwaited) this.#next.catch((error) => this.#onLateFailure(error));
    }
    return isAwaited ? this.#next : this.#found!.measures;
  }

  #onLateFailure(error: unknown): void {
    if (this.#isClosed) return;
    this.#found = undefined; // the next request waits, and is told
    this.#onFailure(error);
  }

  async #measureOnce(): Promise<Measures> {
    const began = performance.now();
    const measures = await this.measure();
    const now = performance.now();
    const took = now - began;
    this.#found = { measures, took, freshUntil: now + Math.max(kFresh, kRest * took) };
    return measures;
  }

  async #inThread(file: string): Promise<Measures> {
    const worker = new Worker(join(packageRoot ?? '', 'dist/lib/label/overviewworker.js'), {
      workerData: { file, mode: this.#mode },
    });
    this.#workers.add(worker);
    try {
      return await new Promise<Measures>((found, fail) => {
        worker.once('message', found);
        worker.once('error', fail);
        worker.once('exit', () =>
          fail(new HeedError('ERR_ABORTED', `the overview of ${file} was ended: the page closes`)),
        );
      });
    } finally {
      this.#workers.delete(worker);
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await Promise.all([...this.#workers].map((worker) => worker.terminate()));
  }
}
