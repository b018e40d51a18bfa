/** `versions.json`: what was learnt, and on which model. */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { DataError } from '../../core/errors.js';
import { writeFileAtomic } from '../../runs/files.js';
import { packDocuments } from '../../runtime/batch.js';
import type { LanguageModel } from '../../runtime/model.js';
import type { VersionInfo } from './versions.js';

/** `versions.json`. */
export interface History {
  readonly serving: number;
  /** Rows of feedback at the last training. */
  readonly learnt: number;
  /** Tests on the held-out feedback since a version passed. */
  readonly attempts?: number | undefined;
  /** When it was last looked at night whether there is enough to train, or when it first would be; milliseconds since 1970. */
  readonly looked?: number | undefined;
  /** See {@link probeOf}: of the model that the versions are adapters to. */
  readonly base?: readonly number[] | undefined;
  readonly versions: readonly VersionInfo[];
}

/** The file and what it says. Changes are written one after the other, and count once they are on the disk. */
export class HistoryFile {
  readonly #file: string;
  #record: History;
  #last: Promise<unknown> = Promise.resolve();

  private constructor(file: string, record: History) {
    this.#file = file;
    this.#record = record;
  }

  /**
   * @param isNew whether there may be no file yet
   * @throws DataError for a damaged file, one of versions that were learnt on another model, or none
   */
  static async open(file: string, model: LanguageModel, isNew = true): Promise<HistoryFile> {
    const isThere = existsSync(file);
    if (!isThere && !isNew)
      throw new DataError('is not there, expected the list of versions that were learnt', { file });
    const first = { version: 0, created: Date.now() };
    const found: History = isThere ? await readRecord(file) : { serving: 0, learnt: 0, versions: [first] };
    const base = await probeOf(model);
    if (found.base && found.versions.length > 1 && found.base.some((x, i) => !(Math.abs(x - base[i]!) < kSame)))
      throw new DataError(
        'has versions that were learnt on another model than the one that is served: give that model, or another folder for versions',
        { file },
      );
    return new HistoryFile(file, { ...found, base });
  }

  get record(): History {
    return this.#record;
  }

  /** Runs `work` when no other runs and nothing is being written. */
  async alone<T>(work: (write: (change: Partial<History>) => Promise<void>) => Promise<T>): Promise<T> {
    const done = this.#last.then(() =>
      work(async (change) => {
        const record = { ...this.#record, ...change };
        await writeFileAtomic(this.#file, `${JSON.stringify(record, undefined, 2)}\n`);
        this.#record = record;
      }),
    );
    this.#last = done.catch(() => undefined);
    return await done;
  }

  async write(change: Partial<History>): Promise<void> {
    await this.alone((write) => write(change));
  }
}

const kSame = 0.02; // nats: more than devices and number formats differ, less than models do

/** A model by what it computes, wherever its folder is: log-probabilities of some ids in nats. */
async function probeOf(model: LanguageModel): Promise<number[]> {
  const tokens = Array.from({ length: 16 }, (_, i) => (i * 7919) % model.config.vocabSize);
  const { logprobs } = await model.logprobs(packDocuments([tokens]));
  return Array.from(logprobs, (x) => Number(x.toFixed(4)));
}

async function readRecord(file: string): Promise<History> {
  const content = await readFile(file, 'utf8');
  try {
    const record = JSON.parse(content) as Partial<History>;
    if (Array.isArray(record.versions) && record.versions.some(({ version }) => version === record.serving))
      return record as History;
  } catch (cause) {
    throw new DataError(`is not JSON (${(cause as Error).message})`, { file }, { cause });
  }
  throw new DataError('has no list of versions with the one that is served', { file });
}
