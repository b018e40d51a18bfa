/**
 * A run on disk; it can be killed at any moment and resumed.
 *
 *   RUN/config.json         the configuration
 *   RUN/metrics.jsonl       one line per optimizer step, each step once
 *   RUN/step-000100/        a checkpoint: models, optimizer moments, state.json
 *   RUN/model/              the final model
 *   RUN/answers.jsonl       what the model answers to a few prompts while it is trained
 *   RUN/process.json        the process that is writing it
 *   RUN/request.json        what those who watch it ask for: see requests.ts
 *
 * A checkpoint is written as `step-000100.tmp`, flushed to disk and renamed: a folder with its final name is complete.
 * A folder named `.tmp` was being written or deleted when the process ended, and is removed when the run is opened again.
 */
import { existsSync } from 'node:fs';
import { appendFile, type FileHandle, mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { DataError, HeedError } from '../core/errors.js';
import { flush, makeFolder } from '../core/files.js';
import { version } from '../core/package.js';
import { writeFileAtomic, writeFlushed } from './files.js';
import { announce, type Doing, kProcessFile, userOf } from './process.js';
import { ask, obey, requestOf } from './requests.js';

/** What a phase needs, besides its models, to resume. JSON. */
export interface RunState {
  /** 'pretrain', 'sft', 'reward' or 'ppo'. */
  readonly phase: string;
  /** Optimizer steps taken. */
  readonly step: number;
  /** The last step in metrics.jsonl: one less than `step` when its validation was aborted and must be repeated. */
  readonly logged: number;
  /** The options that determine the result; differences at a resume are reported. */
  readonly options: Readonly<Record<string, unknown>>;
  /** A digest of the data; resuming with other data is an error. */
  readonly data: string;
  /** What models that are not in the checkpoint answer; on the same device, resuming with others is an error. */
  readonly models?: string | undefined;
  /** Numbers of the phase: KL coefficient, best validation loss, counts. */
  readonly progress: Readonly<Record<string, unknown>>;
}

/** A {@link RunState} and the software and device that wrote it. */
export interface SavedState extends RunState {
  readonly versions: { readonly heed: string; readonly node: string };
  /** Device and instruction-set level: results of other levels may differ in rounding. */
  readonly device: string;
}

/** A complete checkpoint on disk. */
export interface Checkpoint {
  readonly dir: string;
  readonly step: number;
  readonly state: SavedState;
}

/** A line of answers.jsonl. */
export interface LiveAnswers {
  readonly step: number;
  /** Whether the prompts are trained on (`train`) or held out (`instance`). */
  readonly split: 'train' | 'instance';
  readonly answers: readonly { readonly prompt: string; readonly text: string }[];
}

export interface RunFolderOptions {
  /** Continue from the newest checkpoint. Default false: a folder that already holds a run is an error. */
  readonly resume?: boolean | undefined;
  /** Number of checkpoints to keep. Default 2. */
  readonly keep?: number | undefined;
  /** Written to config.json when the run is new. */
  readonly config?: Readonly<Record<string, unknown>> | undefined;
  /** A model folder whose tokenizer files are copied beside every model of this run. */
  readonly tokenizerFrom?: string | undefined;
}

const kStepFolder = /^step-(\d{6,})$/;

/** One run's folder: its metrics and its checkpoints. Use {@link RunFolder.open}; close it at the end. */
export class RunFolder {
  readonly dir: string;
  readonly tokenizerFrom: string | undefined;
  /** The checkpoint to continue from; undefined for a new run. */
  readonly checkpoint: Checkpoint | undefined;
  readonly #keep: number;
  readonly #metrics: FileHandle;
  #doing: Doing | undefined;

  private constructor(dir: string, options: RunFolderOptions, checkpoint: Checkpoint | undefined, metrics: FileHandle) {
    this.dir = dir;
    this.tokenizerFrom = options.tokenizerFrom;
    this.checkpoint = checkpoint;
    this.#keep = options.keep ?? 2;
    this.#metrics = metrics;
  }

  /**
   * Opens a new run, or one to resume. Resuming removes half-written folders, finds the newest checkpoint and deletes later steps
   * from metrics.jsonl; a run that was stopped before its first checkpoint starts from the beginning.
   *
   * @throws HeedError ERR_INVALID_ARGUMENT when the folder holds a run and `resume` is not set; ERR_IO
   */
  static async open(dir: string, options: RunFolderOptions = {}): Promise<RunFolder> {
    const { keep = 2, resume = false, config } = options;
    if (!(Number.isInteger(keep) && keep >= 1)) throw new RangeError(`keep is ${keep}, expected an integer above 0`);
    return io(`cannot open the run ${dir}`, async () => {
      if (existsSync(dir) && !(await stat(dir)).isDirectory())
        throw new HeedError('ERR_IO', `cannot open the run ${dir}: it is a file, expected a folder`);
      await makeFolder(dir);
      const user = await userOf(dir);
      if (user !== undefined) {
        throw new HeedError(
          'ERR_INVALID_ARGUMENT',
          `${dir} is being written by process ${user}: stop it or choose another folder`,
        );
      }
      const metricsFile = join(dir, 'metrics.jsonl');
      const configFile = join(dir, 'config.json');
      const steps = await stepFolders(dir);
      const isRun = existsSync(metricsFile);
      // A run that failed before its first step has nothing to lose.
      if (!resume && (steps.length > 0 || (isRun && (await stat(metricsFile)).size > 0))) {
        throw new HeedError('ERR_INVALID_ARGUMENT', `${dir} already holds a run: resume it, or choose another folder`);
      }
      if (!resume && !isRun && existsSync(configFile)) {
        throw new HeedError(
          'ERR_INVALID_ARGUMENT',
          `${dir} holds a config.json that is not a run's: choose another folder`,
        );
      }
      // In a folder that is not yet a run, such files are the user's.
      if (isRun) {
        await removeUnfinished(dir);
        await ask(dir, undefined);
      }
      const newest = steps.at(-1);
      const checkpoint = newest === undefined ? undefined : await readCheckpoint(join(dir, newest));
      await keepSteps(metricsFile, checkpoint?.state.logged ?? 0);
      for (const old of steps.slice(0, -keep)) await retire(join(dir, old));
      if (isRun) await keepSteps(join(dir, kAnswers), checkpoint?.state.logged ?? 0);
      const metrics = await open(metricsFile, 'a'); // before config.json, without which the folder would look like a model
      try {
        await announce(dir);
        if (config && !(resume && existsSync(configFile))) await writeFileAtomic(configFile, json(config));
      } catch (error) {
        await metrics.close();
        throw error;
      }
      return new RunFolder(dir, options, checkpoint, metrics);
    });
  }

  /** Adds one line to metrics.jsonl. */
  async append(line: object): Promise<void> {
    await io(`cannot write ${join(this.dir, 'metrics.jsonl')}`, () =>
      this.#metrics.appendFile(`${JSON.stringify(line)}\n`),
    );
  }

  /**
   * Writes a checkpoint and then removes the oldest beyond `keep`. A failure leaves the earlier ones as they are. A checkpoint that
   * already exists is kept: a repeated step gives the same result.
   *
   * @param write writes models and moments into the folder it is given, and flushes them to disk
   */
  async save(state: RunState, device: string, write: (dir: string) => Promise<void>): Promise<void> {
    const dir = join(this.dir, `step-${String(state.step).padStart(6, '0')}`);
    await io(`cannot save the checkpoint ${dir}`, async () => {
      if (existsSync(dir)) return;
      const unfinished = `${dir}.tmp`;
      await rm(unfinished, { recursive: true, force: true });
      try {
        await mkdir(unfinished);
        await write(unfinished);
        const saved: SavedState = { ...state, versions: versions(), device };
        await writeFlushed(join(unfinished, 'state.json'), json(saved));
        await this.#metrics.sync(); // the checkpoint relies on the lines up to this step
        await flush(unfinished);
        await rename(unfinished, dir);
        await flush(this.dir);
      } catch (error) {
        await rm(unfinished, { recursive: true, force: true }).catch(() => {});
        throw error;
      }
      for (const old of (await stepFolders(this.dir)).slice(0, -this.#keep)) await retire(join(this.dir, old));
    });
  }

  /** Adds one line to answers.jsonl: what the model answers to a few prompts at a step. */
  async appendAnswers(line: LiveAnswers): Promise<void> {
    const path = join(this.dir, kAnswers);
    await io(`cannot write ${path}`, () => appendFile(path, `${JSON.stringify(line)}\n`));
  }

  /**
   * Tells those who watch the run what is computed, then does as they ask: waits while they want it paused.
   *
   * @param save called before it waits, as a process that is paused may be ended
   * @throws StopRequested; the signal's reason
   */
  async obey(doing: Doing, signal?: AbortSignal | undefined, save?: () => Promise<void>): Promise<void> {
    if (JSON.stringify(doing) !== JSON.stringify(this.#doing)) await announce(this.dir, doing);
    this.#doing = doing;
    await obey(this.dir, signal, async (paused) => {
      if (paused) await save?.();
      await announce(this.dir, paused ? { ...doing, paused } : doing);
    });
  }

  /** Writes a JSON file into the run, atomically. */
  async writeJson(name: string, value: unknown): Promise<void> {
    const path = join(this.dir, name);
    await io(`cannot write ${path}`, () => writeFileAtomic(path, json(value)));
  }

  async close(): Promise<void> {
    await this.#metrics.close();
    await rm(join(this.dir, kProcessFile), { force: true });
    if ((await requestOf(this.dir)) !== undefined) await ask(this.dir, undefined);
  }
}

const kAnswers = 'answers.jsonl';

/** How a checkpoint's device and versions differ from the present ones, as messages; empty if results will be bit-identical. */
export function differences(saved: SavedState, now: { options: RunState['options']; device: string }): string[] {
  const found: string[] = [];
  const say = (what: string, then: unknown, current: unknown) => {
    if (JSON.stringify(then) !== JSON.stringify(current)) {
      found.push(
        `${what} was ${JSON.stringify(then)} when the checkpoint was saved and is ${JSON.stringify(current)} now`,
      );
    }
  };
  say('the version of heed', saved.versions.heed, version);
  say('the device', saved.device, now.device);
  const names = new Set([...Object.keys(saved.options), ...Object.keys(now.options)]);
  for (const name of names) say(name, saved.options[name], now.options[name]);
  return found.map((sentence) => `${sentence}: results may differ from an uninterrupted run`);
}

function versions(): SavedState['versions'] {
  return { heed: version, node: process.version };
}

/** The step of the newest checkpoint of the run in `dir`, 0 if there is none. */
export async function newestStep(dir: string): Promise<number> {
  const newest = (await stepFolders(dir)).at(-1);
  return newest === undefined ? 0 : Number(kStepFolder.exec(newest)![1]);
}

async function stepFolders(dir: string): Promise<string[]> {
  const names = (await readdir(dir)).filter((name) => kStepFolder.test(name));
  const step = (name: string) => Number(kStepFolder.exec(name)![1]);
  return names.sort((a, b) => step(a) - step(b));
}

async function readCheckpoint(dir: string): Promise<Checkpoint> {
  const file = join(dir, 'state.json');
  let state: SavedState;
  try {
    state = JSON.parse(await readFile(file, 'utf8')) as SavedState;
  } catch (cause) {
    throw new DataError('cannot be read; remove its folder to resume from an earlier checkpoint', { file }, { cause });
  }
  const complete =
    typeof state?.phase === 'string' &&
    Number.isInteger(state.step) &&
    Number.isInteger(state.logged) &&
    typeof state.data === 'string' &&
    typeof state.device === 'string' &&
    isRecord(state.options) &&
    isRecord(state.progress) &&
    isRecord(state.versions);
  if (!complete) {
    throw new DataError('is not the state of a checkpoint; remove its folder to resume from an earlier one', { file });
  }
  return { dir, step: state.step, state };
}

const isRecord = (x: unknown) => typeof x === 'object' && x !== null;

/** Keeps the lines of steps up to `last`: later steps will be repeated. Also drops a line cut short by a kill. */
async function keepSteps(file: string, last: number): Promise<void> {
  if (!existsSync(file)) return;
  const text = await readFile(file, 'utf8');
  const kept = text.split('\n').filter((line) => {
    if (line === '') return false;
    try {
      const { step } = JSON.parse(line) as { step?: unknown };
      return typeof step === 'number' && step <= last;
    } catch {
      return false;
    }
  });
  const wanted = kept.map((line) => `${line}\n`).join('');
  if (wanted !== text) await writeFileAtomic(file, wanted);
}

async function removeUnfinished(dir: string): Promise<void> {
  for (const name of await readdir(dir)) {
    if (/\.tmp(-|$)/.test(name)) await rm(join(dir, name), { recursive: true, force: true });
  }
}

/** Removes a folder, after renaming it, so that its name never refers to a partly removed one. */
async function retire(dir: string): Promise<void> {
  if (!existsSync(dir)) return;
  const doomed = `${dir}.old.tmp`;
  await rm(doomed, { recursive: true, force: true });
  await rename(dir, doomed);
  await rm(doomed, { recursive: true, force: true });
}

const json = (value: unknown) => `${JSON.stringify(value, null, 2)}\n`;

/** Turns operating-system errors into ERR_IO with a message; passes on all others. */
async function io<T>(doing: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    const { errno, code, message } = cause as NodeJS.ErrnoException;
    if (typeof errno !== 'number') throw cause;
    const why = code === 'ENOSPC' ? 'the disk is full' : message;
    throw new HeedError('ERR_IO', `${doing}: ${why}`, { cause });
  }
}
