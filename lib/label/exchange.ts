/** Labels as rows of other programs: Argilla's records and Label Studio's tasks with a ranker, out and in. */
import { isObject } from '../core/json.js';
import { promptOf } from '../data/dialogue.js';
import { rowError, stringsField } from '../data/fields.js';
import type { Row } from '../data/index.js';
import type { FeedbackRow } from '../feedback/rows.js';
import { kMostResponses } from './check.js';
import type { NewItem } from './store.js';
import type { ShownPrompt } from './types.js';

export const formats = ['jsonl', 'argilla', 'label-studio'] as const;
export type Format = (typeof formats)[number];

/** A ranking that somebody made elsewhere. */
export interface ForeignRanking {
  readonly prompt: ShownPrompt;
  readonly responses: readonly string[];
  /** (K) 0 is best, equal ranks are ties. */
  readonly ranks: readonly number[];
  readonly labeler?: string | undefined;
  /** Milliseconds since 1970. */
  readonly created?: number | undefined;
  readonly purpose?: string | undefined;
  readonly confidence?: number | undefined;
  readonly seconds?: number | undefined;
}

/** A row of `heed label --prompts`: a prompt, with `responses` and `ranks` if it has them. @throws DataError naming the field */
export function itemOf(row: Row): NewItem {
  const { value } = row;
  const responses = 'responses' in value ? stringsField(row, 'responses') : undefined;
  const ranks = 'ranks' in value ? ranksOf(row, 'ranks', value.ranks, responses?.length ?? 0) : undefined;
  return { prompt: shownPrompt(row), responses, ranks, category: category(value.category) };
}

function category(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined;
}

function shownPrompt(row: Row): ShownPrompt {
  const { text, dialogue } = promptOf(row);
  const prompt = dialogue ? dialogue.messages.map(({ role, content }) => ({ role, content })) : text!;
  if (prompt.length === 0 || (typeof prompt === 'string' && prompt.trim() === ''))
    throw rowError(row, 'is empty, expected at least one word', 'prompt');
  // Without a template only a line break separates an instruction from its response.
  const isInstruction = typeof prompt === 'string' && !('prompt' in row.value);
  return isInstruction ? `${prompt}\n` : prompt;
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

/** In the order of the first row's responses. */
function ranksLike(first: FeedbackRow, row: FeedbackRow): number[] {
  const [order, own, ranks] = [first.responses as string[], row.responses as string[], row.ranks as number[]];
  return order.map((text) => ranks[own.indexOf(text)]!);
}

const textOf = (prompt: unknown): string =>
  typeof prompt === 'string'
    ? prompt
    : (prompt as { role: string; content: string }[]).map(({ role, content }) => `${role}: ${content}`).join('\n\n');

/** As `FeedbackDataset` saves it: options `response-1` …, where equal ranks are ties. */
function argillaRecord(rows: readonly FeedbackRow[], index: number): object {
  const first = rows[0]!;
  const responses = first.responses as string[];
  return {
    external_id: String(index),
    fields: {
      prompt: textOf(first.prompt),
      ...Object.fromEntries(responses.map((text, k) => [`response-${k + 1}`, text])),
    },
    metadata: { models: first.models, ...(typeof first.prompt === 'string' ? {} : { messages: first.prompt }) },
    responses: rows.map((row) => ({
      user_id: row.labeler ?? null,
      status: 'submitted',
      values: {
        ranking: { value: ranksLike(first, row).map((rank, k) => ({ value: `response-${k + 1}`, rank: rank + 1 })) },
      },
    })),
  };
}

/** A task for `<List value="$items"/><Ranker>` with a `<Bucket>` per rank, since a list alone has no ties. */
function labelStudioTask(rows: readonly FeedbackRow[], index: number): object {
  const first = rows[0]!;
  const responses = first.responses as string[];
  return {
    id: index + 1,
    data: {
      prompt: textOf(first.prompt),
      ...(typeof first.prompt === 'string' ? {} : { messages: first.prompt }),
      items: responses.map((body, k) => ({ id: `response-${k + 1}`, title: `Response ${k + 1}`, body })),
    },
    annotations: rows.map((row, i) => {
      const ranks = ranksLike(first, row);
      const buckets = [...new Set(ranks)].sort((a, b) => a - b);
      return {
        id: i + 1,
        completed_by: { email: row.labeler ?? '' },
        created_at: row.created,
        lead_time: row.seconds,
        was_cancelled: false,
        result: [
          {
            from_name: 'rank',
            to_name: 'results',
            type: 'ranker',
            value: {
              ranker: Object.fromEntries(
                buckets.map((rank) => [
                  `rank-${rank + 1}`,
                  ranks.flatMap((own, k) => (own === rank ? [`response-${k + 1}`] : [])),
                ]),
              ),
            },
          },
        ],
      };
    }),
  };
}

/** @throws DataError naming the field that is wrong */
export function imported(row: Row, format: Format): ForeignRanking[] {
  if (format === 'argilla') return fromArgilla(row);
  return format === 'label-studio' ? fromLabelStudio(row) : [fromRow(row)];
}

function fromRow(row: Row): ForeignRanking {
  const { value } = row;
  const isPair = 'chosen' in value || 'rejected' in value;
  const responses = isPair
    ? ['chosen', 'rejected'].map((field) => stringIn(row, field, value[field]))
    : stringsField(row, 'responses');
  const { labeler, created, purpose, confidence, seconds } = value;
  const time = typeof created === 'string' ? Date.parse(created) : Number.NaN;
  return checked(row, {
    prompt: shownPrompt(row),
    responses,
    ranks: isPair ? [0, 1] : ranksOf(row, 'ranks', value.ranks, responses.length),
    labeler: typeof labeler === 'string' ? labeler : undefined,
    created: Number.isNaN(time) ? undefined : time,
    purpose: typeof purpose === 'string' ? purpose : undefined,
    confidence: typeof confidence === 'number' ? confidence : undefined,
    seconds: typeof seconds === 'number' ? seconds : undefined,
  });
}

/** Records of `FeedbackDataset`, or of Argilla 2's `records.to_list()`: there a ranking is a list of names, the best first. */
function fromArgilla(row: Row): ForeignRanking[] {
  const { fields, responses, metadata } = row.value;
  if (!isObject(fields)) throw rowError(row, 'is missing, expected the fields of a record', 'fields');
  const answers: { user: unknown; value: unknown; question: string }[] = [];
  if (Array.isArray(responses)) {
    for (const one of responses as unknown[]) {
      if (!isObject(one) || !isObject(one.values) || (one.status ?? 'submitted') !== 'submitted') continue;
      for (const [question, answer] of Object.entries(one.values))
        answers.push({ user: one.user_id, value: isObject(answer) ? answer.value : answer, question });
    }
  } else if (isObject(responses)) {
    for (const [question, some] of Object.entries(responses))
      for (const one of [some].flat())
        if (isObject(one) && (one.status ?? 'submitted') === 'submitted')
          answers.push({ user: one.user_id, value: one.value, question });
  } else throw rowError(row, 'is missing, expected what users answered', 'responses');
  const found = answers.flatMap(({ user, value, question }) => {
    const ranked = argillaRanks(value, fields);
    return ranked ? [{ user, question, ...ranked }] : [];
  });
  const names = Object.keys(fields).filter((name) => !found.some(({ options }) => options.includes(name)));
  const promptField = names.find((name) => /prompt|instruction|input|question|context/i.test(name)) ?? names[0];
  if (found.length > 0 && promptField === undefined)
    throw rowError(row, 'has only what is ranked, expected a prompt beside', 'fields');
  const messages = isObject(metadata) && Array.isArray(metadata.messages) ? metadata.messages : undefined;
  return found.map(({ user, options, ranks }) =>
    checked(row, {
      prompt: shownPrompt({
        ...row,
        value: { prompt: messages ?? stringIn(row, `fields.${promptField}`, fields[promptField!]) },
      }),
      responses: options.map((name) => stringIn(row, `fields.${name}`, fields[name])),
      ranks,
      labeler: typeof user === 'string' && user !== '' ? user : undefined,
    }),
  );
}

/** @returns undefined unless it is a ranking of fields of the record */
function argillaRanks(value: unknown, fields: Readonly<Record<string, unknown>>) {
  if (!Array.isArray(value) || value.length < 2) return undefined;
  const entries = value.map((one, i) => {
    if (typeof one === 'string') return { name: one, rank: i };
    if (isObject(one) && typeof one.value === 'string')
      return { name: one.value, rank: typeof one.rank === 'number' ? one.rank : i };
    return undefined;
  });
  if (!entries.every((one) => one !== undefined && Object.hasOwn(fields, one.name))) return undefined;
  return { options: entries.map((one) => one!.name), ranks: entries.map((one) => one!.rank) };
}

function fromLabelStudio(row: Row): ForeignRanking[] {
  const { data, annotations } = row.value;
  if (!isObject(data)) throw rowError(row, 'is missing, expected the data of a task', 'data');
  if (!Array.isArray(annotations)) throw rowError(row, 'is missing, expected what people answered', 'annotations');
  const lists = Object.values(data).filter(Array.isArray) as unknown[][];
  const list = lists.find(
    (items) => items.length > 1 && items.every((one) => isObject(one) && 'id' in one && 'body' in one),
  );
  if (!list) throw rowError(row, 'has no list of {id, body}, expected the items that were ranked', 'data');
  const texts = new Map(
    (list as Record<string, unknown>[]).map(({ id, body }) => [String(id), stringIn(row, 'data.items.body', body)]),
  );
  const texted = Object.entries(data).filter(([, value]) => typeof value === 'string');
  const prompt = texted.find(([name]) => /prompt|instruction|input|question|text/i.test(name)) ?? texted[0];
  return (annotations as unknown[]).flatMap((annotation) => {
    if (!isObject(annotation) || annotation.was_cancelled === true || !Array.isArray(annotation.result)) return [];
    const result = (annotation.result as unknown[]).find((one) => isObject(one) && one.type === 'ranker');
    const value = isObject(result) && isObject(result.value) ? result.value.ranker : undefined;
    const levels = Array.isArray(value) ? value.map((id) => [id]) : isObject(value) ? bucketsOf(value) : undefined;
    if (!levels) return [];
    const ids = levels.flat().map(String);
    if (ids.length < 2) return [];
    if (!prompt && !Array.isArray(data.messages)) throw rowError(row, 'has no text, expected a prompt', 'data');
    const unknown = ids.find((id) => !texts.has(id));
    if (unknown !== undefined) throw rowError(row, `ranks ${unknown}, which is none of the items`, 'annotations');
    const who = annotation.completed_by;
    const email = isObject(who) ? (who.email ?? who.id) : who;
    const time = typeof annotation.created_at === 'string' ? Date.parse(annotation.created_at) : Number.NaN;
    return [
      checked(row, {
        prompt: shownPrompt({ ...row, value: { prompt: Array.isArray(data.messages) ? data.messages : prompt![1] } }),
        responses: ids.map((id) => texts.get(id)!),
        ranks: levels.flatMap((level, rank) => level.map(() => rank)),
        labeler: email === undefined || email === null || email === '' ? undefined : String(email),
        created: Number.isNaN(time) ? undefined : time,
        seconds: typeof annotation.lead_time === 'number' ? annotation.lead_time : undefined,
      }),
    ];
  });
}

/** One list, as a ranker without buckets may write it, or a list per bucket: by the number in its name, else as listed. */
function bucketsOf(value: Readonly<Record<string, unknown>>): unknown[][] {
  const lists = Object.entries(value).filter(([name, ids]) => name !== '_' && Array.isArray(ids)) as [
    string,
    unknown[],
  ][];
  if (lists.length === 1) return lists[0]![1].map((id) => [id]);
  const numberOf = (name: string) => Number(/(\d+)$/.exec(name)?.[1] ?? Number.NaN);
  if (lists.every(([name]) => !Number.isNaN(numberOf(name)))) lists.sort(([a], [b]) => numberOf(a) - numberOf(b));
  return lists.map(([, ids]) => ids);
}

function checked(row: Row, ranking: ForeignRanking): ForeignRanking {
  const { responses } = ranking;
  if (responses.length < 2 || responses.length > kMostResponses)
    throw rowError(row, `has ${responses.length} responses, expected from 2 to ${kMostResponses}`);
  if (new Set(responses).size < responses.length) throw rowError(row, 'has equal responses, expected different ones');
  return ranking;
}

function ranksOf(row: Row, field: string, value: unknown, length: number): number[] {
  const isRanks = Array.isArray(value) && value.length === length && value.every((rank) => Number.isFinite(rank));
  if (!isRanks) throw rowError(row, `is ${JSON.stringify(value)}, expected ${length} numbers: one per response`, field);
  return value as number[];
}

function stringIn(row: Row, field: string, value: unknown): string {
  if (typeof value === 'string') return value;
  throw rowError(row, `is ${JSON.stringify(value)?.slice(0, 60) ?? 'missing'}, expected a string`, field);
}
