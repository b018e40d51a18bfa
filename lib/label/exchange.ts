/** Labels as rows: heed's own, Argilla's records and Label Studio's tasks with a ranker, out and in. */
import { rowError, stringsField } from '../data/fields.js';
import type { Row } from '../data/index.js';
import type { Database } from '../feedback/database.js';
import type { FeedbackKind } from '../feedback/kinds.js';
import type { FeedbackRow } from '../feedback/rows.js';
import { argillaRecord, fromArgilla } from './argilla.js';
import { fromLabelStudio, labelStudioTask } from './labelstudio.js';
import { checked, detailsOf, type ForeignRanking, type OnLost, ranksOf, shownPrompt, stringIn } from './ranking.js';
import type { NewItem } from './store.js';

export type { ForeignRanking } from './ranking.js';

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

/** The rows of a file's rankings in a format: one row per ranking, or per prompt. */
export function exported(rows: Iterable<FeedbackRow>, format: Format): Iterable<object> {
  if (format === 'jsonl') return rows;
  const groups = new Map<string, FeedbackRow[]>();
  for (const row of rows) {
    // Labelers see other orders: responses are those of the first.
    const key = JSON.stringify([row.prompt, [...(row.responses as string[])].sort()]);
    groups.set(key, [...(groups.get(key) ?? []), row]);
  }
  return [...groups.values()].map(format === 'argilla' ? argillaRecord : labelStudioTask);
}

/** What of a file of labels its rows have no place for, in words with counts. */
export function leftOut(database: Database, kind: FeedbackKind, format: Format): string[] {
  const count = (from: string) => database.prepare(`SELECT count(*) FROM ${from}`).pluck().get() as number;
  const parts: [number, string][] = [
    [kind === 'rankings' ? 0 : count('rankings'), 'rankings'],
    [kind === 'feedback' ? 0 : count('thumbs'), 'thumbs'],
    [kind === 'demonstrations' ? 0 : count('demonstrations'), 'demonstrations'],
    [format === 'jsonl' ? 0 : count("rankings WHERE purpose <> 'label'"), 'repetitions and attention items'],
    [count("tasks WHERE state = 'skipped'"), 'skipped tasks'],
    [count('items WHERE ranks IS NOT NULL'), 'known orders of attention items'],
    [count('responses WHERE tokens IS NOT NULL'), 'responses’ token ids and log-probabilities'],
  ];
  return parts.flatMap(([number, what]) => (number > 0 ? [`${number} ${what}`] : []));
}

/**
 * The rankings of a row that another program, or heed, wrote.
 *
 * @param onLost is told, per ranking, what else the row has that a file of labels has no place for
 * @throws DataError naming the field that is wrong
 */
export function imported(row: Row, format: Format, onLost: OnLost = () => {}): ForeignRanking[] {
  if (format === 'argilla') return fromArgilla(row, onLost);
  return format === 'label-studio' ? fromLabelStudio(row, onLost) : [fromRow(row, onLost)];
}

function fromRow(row: Row, onLost: OnLost): ForeignRanking {
  const { value } = row;
  const isPair = 'chosen' in value || 'rejected' in value;
  if (!isPair && !('responses' in value))
    throw rowError(row, 'is missing, expected responses with their ranks: only rankings are imported', 'responses');
  const responses = isPair
    ? ['chosen', 'rejected'].map((field) => stringIn(row, field, value[field]))
    : stringsField(row, 'responses');
  for (const field of Object.keys(value)) if (!kKept.has(field)) onLost(field);
  return checked(row, {
    prompt: shownPrompt(row),
    responses,
    ranks: isPair ? [0, 1] : ranksOf(row, 'ranks', value.ranks, responses.length),
    ...detailsOf(value, responses.length, onLost),
  });
}

const kKept = new Set(
  (
    'prompt messages conversations instruction input responses ranks chosen rejected ' +
    'labeler created purpose confidence seconds category models ratings flags'
  ).split(' '),
);
