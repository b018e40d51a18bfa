/** What a reader has to know of the judges of heed eval. */
import { resolve } from 'node:path';
import type { Judged } from '../evaluate/judges.js';
import type { Label } from '../evaluate/labels.js';
import { rewardsOf } from '../evaluate/lineage.js';
import { counted } from '../report/html.js';
import { type ModelFolder, namesOf } from './models.js';

/** Why a judge has no verdict on some pairs, or on any. */
export function withoutVerdict({ judge, comparisons, failed, lastError }: Judged, labels: readonly Label[]) {
  if (failed > 0)
    return `${judge} did not judge ${counted(failed, 'pair')}: ${lastError ?? 'too long for it, or without a score'}`;
  if (comparisons.length > 0) return undefined;
  const labelled = new Set(labels.flatMap(({ models }) => models ?? []));
  return judge === 'people' && labelled.size > 0
    ? `${judge} compared no two models: the labels are of ${[...labelled].join(', ')}${labelled.size === 1 ? ' alone' : ', never in one row'}`
    : `${judge} compared no two models: no two of them have an output to the same prompt`;
}

/** A judge that a model was trained against says how well it was optimised for this judge. */
export async function optimisedFor(
  judges: readonly { readonly name: string; readonly folder: ModelFolder | undefined }[],
  folders: readonly ModelFolder[],
  names: readonly string[],
): Promise<string[]> {
  const notes: string[] = [];
  for (const [m, { dir, adapter }] of folders.entries()) {
    const rewards = await rewardsOf(adapter?.dir ?? dir);
    for (const { name, folder } of judges) {
      const own = folder ? resolve(folder.adapter?.dir ?? folder.dir) : name;
      if (rewards.includes(own))
        notes.push(
          `${names[m]} was optimised for the judge ${folder ? namesOf([own])[0] : name}: its win rates by it say how far, not that people would prefer it`,
        );
    }
  }
  return notes;
}
