/** People as judges: rows of a blind comparison, `{prompt, responses, models, ranks, labeler}`. */
import { numbersField, optionalString, rowError, stringsField } from '../data/fields.js';
import type { Row } from '../data/index.js';
import { readSomeRows } from '../data/rows.js';
import type { Comparison, LabeledRanking } from '../statistics/index.js';
import { categoryOf, promptTextOf } from './answers.js';
import type { Judged } from './judges.js';

/** One person's ranking of outputs to a prompt. */
export interface Label extends LabeledRanking {
  /** The prompt's text, or the messages of a dialogue as JSON. */
  readonly item: string;
  readonly labeler: string;
  /** Who the labeler belongs to: the row's `group`. */
  readonly group: string | undefined;
  readonly category: string | undefined;
  /** Why it was asked, as heed label writes: `repeat` for agreement with oneself, `attention` for an item whose order is known. */
  readonly purpose?: 'label' | 'repeat' | 'attention' | undefined;
  readonly responses: readonly string[];
  /** Which model wrote each response; undefined if the row does not say. */
  readonly models: readonly string[] | undefined;
  /** (K) 0 is best. */
  readonly ranks: readonly number[];
  readonly source: Row;
}

/**
 * Reads rankings with their labelers: `{prompt, responses, ranks}` or `{prompt, chosen, rejected}`, with `labeler`, and optionally `models`,
 * `group`, `category` and `purpose`. A row without a labeler is of the labeler «unknown».
 * Repetitions and attention items of `heed label` are among them: {@link countedLabels} leaves them out.
 *
 * @throws DataError naming file, line and field
 */
export async function readLabels(files: readonly string[], options: { signal?: AbortSignal } = {}): Promise<Label[]> {
  const labels: Label[] = [];
  for (const file of files) for (const row of await readSomeRows(file, options)) labels.push(labelOf(row));
  return labels;
}

/** What tells prompts apart: a text, or a dialogue's messages. */
function itemOf(row: Row): string {
  const dialogue = [row.value.messages, row.value.prompt].find(Array.isArray);
  return dialogue ? JSON.stringify(dialogue) : promptTextOf(row);
}

function labelOf(row: Row): Label {
  const isPair = !('responses' in row.value) && 'chosen' in row.value;
  const responses = isPair
    ? [row.value.chosen, row.value.rejected].map((_, k) => optionalString(row, k === 0 ? 'chosen' : 'rejected'))
    : stringsField(row, 'responses');
  const ranks = isPair ? [0, 1] : numbersField(row, 'ranks');
  const models = 'models' in row.value ? stringsField(row, 'models') : undefined;
  for (const [field, list] of Object.entries({ ranks, ...(models ? { models } : {}) }))
    if (list.length !== responses.length)
      throw rowError(row, `has length ${list.length}, expected ${responses.length}: one per response`, field);
  return {
    item: itemOf(row),
    labeler: optionalString(row, 'labeler') || 'unknown',
    group: optionalString(row, 'group') || undefined,
    category: categoryOf(row),
    purpose: purposeOf(row),
    responses,
    models,
    ranks,
    source: row,
  };
}

const kPurposes = ['label', 'repeat', 'attention'] as const;

function purposeOf(row: Row): Label['purpose'] {
  const given = optionalString(row, 'purpose') || 'label';
  const purpose = kPurposes.find((one) => one === given);
  if (purpose === undefined)
    throw rowError(row, `is ${JSON.stringify(given)}, expected one of ${kPurposes.join(', ')}`, 'purpose');
  return purpose;
}

/**
 * What people preferred, pair by pair of the models of a row. Pairs of one model with itself say nothing of models.
 *
 * @throws DataError for a row that does not name its models
 */
export function comparisonsOf(labels: readonly Label[], judge = 'people'): Judged {
  const comparisons: Comparison[] = [];
  for (const { item, labeler, models, ranks, responses, source } of labels) {
    if (!models) throw rowError(source, 'is missing, expected the model of each response: ["A", "B"]', 'models');
    for (let i = 0; i < ranks.length; i++)
      for (let j = i + 1; j < ranks.length; j++) {
        if (models[i] === models[j]) continue;
        const outcome = (Math.sign(ranks[j]! - ranks[i]!) + 1) / 2;
        const outputs = [responses[i]!, responses[j]!] as const;
        comparisons.push({ prompt: item, a: models[i]!, b: models[j]!, outcome, outputs, labeler });
      }
  }
  return { judge, comparisons, failed: 0 };
}
