/** The outputs of several models to the same prompts, as text: from files, or sampled. */
import { basename } from 'node:path';
import { optionalString, rowError, stringField } from '../data/fields.js';
import type { Frame, Row } from '../data/index.js';
import { readSomeRows } from '../data/rows.js';

/** A prompt of an evaluation. */
export interface EvaluatedPrompt {
  /** As in the file. */
  readonly text: string;
  /** The row's `category`; figures are given for each as well. */
  readonly category: string | undefined;
  readonly row: Readonly<Record<string, unknown>>;
}

/** One model's outputs. */
export interface Answers {
  readonly model: string;
  /** (prompts) undefined: there is none. */
  readonly texts: readonly (string | undefined)[];
  /** The folder of the model, if heed sampled them. */
  readonly dir?: string | undefined;
}

const kResponses = ['response', 'output', 'completion'];

/** The prompt of a row: `prompt`, or `instruction` with `input`. */
export function promptTextOf(row: Row): string {
  if ('prompt' in row.value) return stringField(row, 'prompt');
  const instruction = stringField(row, 'instruction');
  const input = optionalString(row, 'input');
  return input === '' ? instruction : `${instruction}\n\n${input}`;
}

export const categoryOf = ({ value }: Row): string | undefined =>
  value.category === undefined || value.category === null ? undefined : String(value.category);

/**
 * The prompts of files, each once.
 *
 * @returns `repeated`: rows whose prompt an earlier row has, which are left out
 * @throws DataError for a file without rows, or a row without a prompt
 */
export async function readEvaluatedPrompts(files: readonly string[], options: { signal?: AbortSignal } = {}) {
  const prompts: (EvaluatedPrompt & { readonly source: Row })[] = [];
  const seen = new Set<string>();
  let repeated = 0;
  for (const file of files)
    for (const row of await readSomeRows(file, options)) {
      const text = 'messages' in row.value ? JSON.stringify(row.value.messages) : promptTextOf(row);
      if (seen.has(text)) repeated++;
      else prompts.push({ text, category: categoryOf(row), row: row.value, source: row });
      seen.add(text);
    }
  return { prompts, repeated };
}

/**
 * Outputs of any models: rows `{prompt, response, model?}`, where the response may be called `output` or `completion`, and the model is the
 * file's name if the row does not say.
 *
 * @param prompts those to be evaluated; undefined: all that the files have
 * @param rendered (prompts) the same prompts as a template renders them, which heed generate writes
 * @returns `unasked`: outputs to other prompts, which are left out, with the first one and its place; `repeated`: further outputs of a model to a prompt in one file, which are left out
 * @throws DataError naming file, line and field; for a file without rows; for outputs of one model to a prompt in two files
 */
export async function readOutputs(
  files: readonly string[],
  prompts: readonly EvaluatedPrompt[] | undefined,
  options: { signal?: AbortSignal; rendered?: readonly string[] | undefined } = {},
): Promise<{
  prompts: readonly EvaluatedPrompt[];
  answers: Answers[];
  unasked: number;
  firstUnasked: string | undefined;
  repeated: number;
}> {
  const all: EvaluatedPrompt[] = [...(prompts ?? [])];
  const places = new Map<string, number>();
  all.forEach(({ text }, p) => {
    places.set(text, p);
  });
  options.rendered?.forEach((text, p) => {
    if (!places.has(text)) places.set(text, p);
  });
  const found = new Map<string, (string | undefined)[]>();
  const fileOf = new Map<string, string>();
  let [unasked, repeated] = [0, 0];
  let firstUnasked: string | undefined;
  for (const file of files)
    for (const row of await readSomeRows(file, options)) {
      const text = promptTextOf(row);
      let place = places.get(text);
      if (place === undefined && prompts) {
        unasked++;
        firstUnasked ??= `${quoted(text)} (${row.file}:${row.line})`;
        continue;
      }
      if (place === undefined) {
        place = all.length;
        places.set(text, place);
        all.push({ text, category: categoryOf(row), row: row.value });
      }
      const field = kResponses.find((name) => name in row.value);
      if (field === undefined)
        throw rowError(row, `has no output: expected one of the fields ${kResponses.join(', ')}`);
      const model = optionalString(row, 'model') || basename(file).replace(/\.(jsonl?|csv|parquet)(\.(gz|zst))?$/, '');
      const texts = found.get(model) ?? [];
      found.set(model, texts);
      const output = stringField(row, field);
      const key = JSON.stringify([model, place]);
      const before = fileOf.get(key);
      if (before !== undefined && before !== file)
        throw rowError(row, `is a second output of ${model} to its prompt, of which ${before} has the first`, field);
      if (before !== undefined) repeated++;
      else texts[place] = output;
      fileOf.set(key, file);
    }
  const answers = Array.from(found, ([model, texts]) => ({ model, texts: all.map((_, p) => texts[p]) }));
  return { prompts: all, answers, unasked, firstUnasked, repeated };
}

/** A prompt in a message: its beginning, as JSON. */
export const quoted = (text: string) => JSON.stringify(text.length > 60 ? `${text.slice(0, 60)}…` : text);

/** The text of each prompt as a model's template renders it. @throws DataError for a prompt that needs a template */
export function renderedPrompts(frame: Frame, prompts: readonly { readonly source: Row }[]): string[] {
  return prompts.map(({ source }) => frame.prompt(source));
}
