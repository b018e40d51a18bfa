/** What `heed eval` found: `eval.json`, and the page made of it. */
import { constants, existsSync } from 'node:fs';
import { access, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { HeedError } from '../core/errors.js';
import { makeFolder } from '../core/files.js';
import { writeFileAtomic } from '../runs/files.js';
import type { AcrossLabelers } from './acrosslabelers.js';
import type { EvaluatedPrompt } from './answers.js';
import type { Figure } from './figure.js';
import type { OverCurve } from './overoptimisation.js';
import { evalPage } from './page.js';
import type { ValuesReport } from './values.js';
import type { WinReport } from './wins.js';

/** Over-optimisation of proxies, in standard deviations of the initial policy's single samples. */
export interface OverReport {
  readonly policy: string;
  readonly gold: string;
  readonly prompts: number;
  readonly samples: number;
  readonly curves: readonly OverCurve[];
}

/** The contents of `eval.json`. */
export interface EvalReport {
  readonly kind: 'eval';
  /** Of heed. */
  readonly version: string;
  /** ISO 8601. */
  readonly date: string;
  readonly command: string;
  /** Names of the models, in the order of the tables, and where they are from. */
  readonly models: readonly { readonly model: string; readonly from: string; readonly outputs: number }[];
  readonly prompts: number;
  readonly wins?: WinReport | undefined;
  readonly figures: readonly Figure[];
  /** Whose preferences: of `--labels`. */
  readonly values?: (ValuesReport & { readonly acrossLabelers?: AcrossLabelers | undefined }) | undefined;
  readonly overoptimisation?: OverReport | undefined;
  /** The first prompts with every model's output. */
  readonly samples: readonly {
    readonly prompt: EvaluatedPrompt['text'];
    readonly category?: string | undefined;
    readonly answers: readonly { readonly model: string; readonly text: string }[];
  }[];
  /** What a reader has to know: outputs that are missing, judgements that failed. */
  readonly notes: readonly string[];
}

/**
 * Makes the folder of a report, so that what is wrong with it is known before hours of evaluation.
 *
 * @returns removes the folder if it was made here and is still empty
 * @throws HeedError ERR_IO naming the folder
 */
export async function openEval(dir: string): Promise<() => Promise<void>> {
  const isNew = !existsSync(dir);
  try {
    await makeFolder(dir);
    await access(dir, constants.W_OK);
  } catch (cause) {
    if (cause instanceof HeedError) throw cause; // a sentence already
    const { code, message } = cause as NodeJS.ErrnoException;
    const why = kReasons[code ?? ''] ?? message;
    throw new HeedError('ERR_IO', `cannot write the report into ${dir}: ${why}`, { cause });
  }
  return async () => {
    if (isNew) await rmdir(dir).catch(() => {}); // not empty: it is someone else's by now
  };
}

const kReasons: Readonly<Record<string, string>> = {
  ENOENT: 'its parent takes no new folder',
  EACCES: 'permission denied',
  EPERM: 'permission denied',
  EROFS: 'the disk is read-only',
  ENOSPC: 'the disk is full',
};

/** Writes `eval.json` and `eval.html` into a folder. @returns the page's path */
export async function writeEval(dir: string, report: EvalReport): Promise<string> {
  await makeFolder(dir);
  await writeFileAtomic(join(dir, 'eval.json'), `${JSON.stringify(report, null, 1)}\n`);
  const file = join(dir, 'eval.html');
  await writeFileAtomic(file, evalPage(report));
  return file;
}
