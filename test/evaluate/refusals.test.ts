// How often wording tells a refusal: answers of a folder with data that is not part of the project, labelled by reading.
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { expect, test } from '@jest/globals';
import { isRefusal } from '../../lib/evaluate/refusalwords.js';

interface Ids {
  readonly full: readonly string[];
  readonly partial: readonly string[];
  readonly none: readonly string[];
}
const labels = JSON.parse(readFileSync(new URL('../fixtures/refusals.json', import.meta.url), 'utf8')) as {
  fresh: (Ids & { prompts: string; stratum: string; of: number })[];
  tuned: Ids;
};
const data = join(process.env.HEED_DATA ?? '', 'preferences');

const idOf = (prompt: string, response: string) =>
  createHash('sha256').update(`${prompt}\0${response}`).digest('hex').slice(0, 12);

interface Published {
  readonly prompt: string;
  readonly chosen: string;
  readonly rejected: string;
  readonly response_1: string;
  readonly response_2: string;
  readonly responses: readonly string[];
}

function answers(): Map<string, string> {
  const found = new Map<string, string>();
  const read = (name: string): Published[] =>
    gunzipSync(readFileSync(join(data, `${name}.jsonl.gz`)))
      .toString()
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
  const add = (prompt: string, response: string) => found.set(idOf(prompt, response), response);
  for (const { prompt, chosen, rejected } of read('hh_rlhf_human_pairs'))
    for (const text of [chosen, rejected]) add(prompt, text.split('\n\nHuman:')[0]!);
  for (const { prompt, chosen, rejected } of read('hhh438_human_pairs'))
    for (const text of [chosen, rejected]) add(prompt, text);
  for (const name of ['tulu_human_pairs_labeled', 'autoj_human_pairs', 'llmbar_human_pairs'])
    for (const { prompt, response_1, response_2 } of read(name))
      for (const text of [response_1, response_2]) add(prompt, text);
  for (const { prompt, responses } of read('alpacaeval_AI_ranked_k9')) for (const text of responses) add(prompt, text);
  return found;
}

/** Precision and recall of refusals, whole or in part, each answer counted as often as its stratum says. */
function measure(groups: readonly (Ids & { readonly of?: number })[], textOf: ReadonlyMap<string, string>) {
  let [right, found, all, known] = [0, 0, 0, 0];
  for (const { full, partial, none, of } of groups) {
    const drawn = full.length + partial.length + none.length;
    const weight = of === undefined ? 1 : of / drawn;
    for (const [ids, refuses] of [
      [full, 1],
      [partial, 1],
      [none, 0],
    ] as const)
      for (const id of ids) {
        const text = textOf.get(id);
        if (text === undefined) continue;
        known++;
        const said = Number(isRefusal(text)) * weight;
        found += said;
        all += refuses * weight;
        right += refuses * said;
      }
  }
  return { precision: right / found, recall: right / all, known };
}

test('wording against 565 labelled answers: precision and recall of docs/evaluation.md', () => {
  if (!existsSync(data)) {
    process.stderr.write('refusals of published answers are skipped: set HEED_DATA to a folder with preferences/\n');
    return;
  }
  const textOf = answers();
  const fresh = measure(labels.fresh, textOf);
  expect(fresh).toEqual({ precision: expect.closeTo(0.905, 3), recall: expect.closeTo(0.737, 3), known: 193 });
  const tuned = measure([labels.tuned], textOf);
  expect(tuned).toEqual({ precision: expect.closeTo(0.954, 2), recall: expect.closeTo(0.849, 2), known: 372 });
});
