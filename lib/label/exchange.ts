/** Labels as rows: heed's own, Argilla's records and Label Studio's tasks with a ranker, out and in. */
import { isObject } from '../core/json.js';
import { dialogueOf, responseOf, wholeDialogueField } from '../data/dialogue.js';
import { labelField, rowError, stringsField } from '../data/fields.js';
import type { Row } from '../data/index.js';
import type { Database } from '../feedback/database.js';
import type { FeedbackKind } from '../feedback/kinds.js';
import type { FeedbackRow } from '../feedback/rows.js';
import { argillaRecord, fromArgilla } from './argilla.js';
import { fromLabelStudio, labelStudioTask } from './labelstudio.js';
import {
  checked,
  detailsOf,
  type ForeignLabel,
  keptOf,
  keptOfEach,
  kKept,
  type OnLost,
  ranksOf,
  shownPrompt,
  stringIn,
} from './ranking.js';
import type { NewItem } from './store.js';

export type { ForeignLabel, ForeignRanking } from './ranking.js';

export const formats = ['jsonl', 'argilla', 'label-studio'] as const;
export type Format = (typeof formats)[number];

/** A row of `heed label --prompts`: a prompt, with `responses` and `ranks` if it has them. @throws DataError naming the field */
export function itemOf(row: Row): NewItem {
  const { value } = row;
  const responses = 'responses' in value ? stringsField(row, 'responses') : undefined;
  const ranks = 'ranks' in value ? ranksOf(row, 'ranks', value.ranks, responses?.length ?? 0) : undefined;
  const { category, models } = detailsOf(value, responses?.length ?? 0, () => {});
  return { prompt: shownPrompt(row), responses, ranks, category, models };
}

/**
 * A prompt of a file of feedback, as heed serve keeps it, with at most `k` of what was answered.
 *
 * @returns undefined for one that the page cannot show as it was: with calls of tools, or names
 */
export function answeredItem(row: Row, k: number): NewItem | undefined {
  const { prompt, responses, models, sampled, category } = row.value as unknown as NewItem & { responses: string[] };
  const isText = typeof prompt === 'string' && prompt.trim() !== '';
  const isShown = (message: object) => Object.keys(message).every((key) => key === 'role' || key === 'content');
  if (!isText && !(Array.isArray(prompt) && prompt.every(isShown))) return undefined;
  const first = <T>(list: readonly T[] | undefined) => list?.slice(0, k);
  return { prompt, responses: first(responses), models: first(models), sampled: first(sampled), category };
}

/** The rows of a file in a format: one row for each that was said, or for all that was said of the same. */
export function exported(rows: Iterable<FeedbackRow>, format: Format): Iterable<object> {
  if (format === 'jsonl') return rows;
  const groups = new Map<string, FeedbackRow[]>();
  for (const row of rows) {
    const key = JSON.stringify([row.prompt, row.category, aboutOf(row)]);
    const group = groups.get(key);
    if (group) group.push(row);
    else groups.set(key, [row]);
  }
  return [...groups.values()].map(format === 'argilla' ? argillaRecord : labelStudioTask);
}

/** What a row is about besides its prompt: for rankings in no order, as labelers see others, and the first's stands. */
function aboutOf({ responses, models, response, model, edited, label }: FeedbackRow): unknown {
  if (responses)
    return (responses as string[])
      .map((text, k) => JSON.stringify([text, (models as string[] | undefined)?.[k]]))
      .sort();
  return label === undefined ? (edited ?? null) : [response, model];
}

/** What of a file of labels its rows have no place for, in words with counts. */
export function leftOut(database: Database, kind: FeedbackKind, format: Format): string[] {
  const count = (from: string) => database.prepare(`SELECT count(*) FROM ${from}`).pluck().get() as number;
  const parts: [number, string][] = [
    [kind === 'rankings' ? 0 : count('rankings'), 'rankings'],
    [kind === 'feedback' ? 0 : count('thumbs'), 'thumbs'],
    [kind === 'demonstrations' ? 0 : count('demonstrations'), 'demonstrations'],
    [
      format === 'jsonl' ? 0 : count("tasks WHERE state = 'done' AND purpose <> 'label'"),
      'repetitions and attention items',
    ],
    [count("tasks WHERE state = 'skipped'"), 'skipped tasks'],
    [count('items WHERE ranks IS NOT NULL'), 'known orders of attention items'],
    [
      format === 'jsonl' ? 0 : count('responses WHERE tokens IS NOT NULL'),
      'responses’ token ids and log-probabilities',
    ],
  ];
  return parts.flatMap(([number, what]) => (number > 0 ? [`${number} ${what}`] : []));
}

/**
 * What people said, by a row that another program, or heed, wrote: rankings, responses called good or bad, responses that were written.
 *
 * @param onLost is told, per ranking, what else the row has that a file of labels has no place for
 * @throws DataError naming the field that is wrong
 */
export function imported(row: Row, format: Format, onLost: OnLost = () => {}): ForeignLabel[] {
  if (format === 'argilla') return fromArgilla(row, onLost);
  return format === 'label-studio' ? fromLabelStudio(row, onLost) : [fromRow(row, onLost)];
}

function fromRow(row: Row, onLost: OnLost): ForeignLabel {
  const { value } = row;
  for (const field of Object.keys(value)) if (!kTaken.has(field)) onLost(field);
  const isPair = 'chosen' in value || 'rejected' in value;
  if (!isPair && !('responses' in value)) return ofOneResponse(row, onLost);
  const responses = isPair
    ? ['chosen', 'rejected'].map((field) => stringIn(row, field, value[field]))
    : stringsField(row, 'responses');
  return checked(row, {
    prompt: shownPrompt(row),
    responses,
    ranks: isPair ? [0, 1] : ranksOf(row, 'ranks', value.ranks, responses.length),
    kept: keptOfEach(value, responses.length, onLost),
    ...detailsOf(value, responses.length, onLost),
  });
}

/** A thumb if it has a label, else a demonstration. */
function ofOneResponse(row: Row, onLost: OnLost): ForeignLabel {
  const { value } = row;
  const { labeler, created, purpose, category } = detailsOf(value, 1, onLost);
  const said = { prompt: shownPrompt(row), labeler, created, purpose, category };
  const response = lastWords(row);
  if ('label' in value) {
    const { kept, model } = writtenBy(value, onLost);
    return { kind: 'thumb', ...said, response, label: labelField(row, 'label'), model, kept };
  }
  const { edited } = value;
  // Without `edited`, ids are those of the response, which whoever reads it encodes again.
  if (!isObject(edited)) {
    for (const field of [...kKept, 'model']) if (value[field] !== undefined && value[field] !== null) onLost(field);
    return { kind: 'demonstration', ...said, response };
  }
  const from = { text: stringIn(row, 'edited.text', edited.text), ...writtenBy(edited, onLost) };
  return { kind: 'demonstration', ...said, response, edited: from };
}

function writtenBy(value: Readonly<Record<string, unknown>>, onLost: OnLost) {
  const { model } = value;
  if (model !== undefined && model !== null && typeof model !== 'string') onLost('model that is not a name');
  return { kept: keptOf(value, onLost), model: typeof model === 'string' ? model : undefined };
}

/** The response of a row: a field of its own, or the last turn of a dialogue. */
function lastWords(row: Row): string {
  const field = wholeDialogueField(row);
  const response = field === undefined ? responseOf(row) : dialogueOf(row, field).messages;
  if (typeof response === 'string') {
    if (response.trim() === '') throw rowError(row, 'is empty, expected at least one word', 'response');
    return response;
  }
  const last = response.at(-1)!;
  if (last.role === 'assistant') return last.content;
  throw rowError(row, `ends with a turn of ${last.role}, expected an assistant's`, field ?? 'response');
}

const kTaken = new Set(
  (
    'prompt messages conversations instruction input responses ranks chosen rejected ' +
    'labeler created purpose confidence seconds category models ratings flags ' +
    'response completion output label model edited prompt_tokens tokens logprobs finish sampling'
  ).split(' '),
);
