/** `versions.json`: what was learnt, and on which model. */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { DataError } from '../core/errors.js';
import { packDocuments } from '../runtime/batch.js';
import type { LanguageModel } from '../runtime/model.js';
import type { VersionInfo } from './versions.js';

/** `versions.json`. */
export interface History {
  readonly serving: number;
  /** Rows of feedback at the last training. */
  readonly learnt: number;
  /** Tests on the held-out feedback since a version passed. */
  readonly attempts?: number | undefined;
  /** See {@link probeOf}: of the model that the versions are adapters to. */
  readonly base?: readonly number[] | undefined;
  readonly versions: readonly VersionInfo[];
}

/** @throws DataError for a damaged file, or one of versions that were learnt on another model */
export async function openHistory(file: string, model: LanguageModel): Promise<History> {
  const first = { version: 0, created: Date.now() };
  const found: History = existsSync(file) ? await readRecord(file) : { serving: 0, learnt: 0, versions: [first] };
  const base = await probeOf(model);
  if (found.base && found.versions.length > 1 && found.base.some((x, i) => !(Math.abs(x - base[i]!) < kSame)))
    throw new DataError(
      'has versions that were learnt on another model than the one that is served: give that model, or another folder for versions',
      { file },
    );
  return { ...found, base };
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
