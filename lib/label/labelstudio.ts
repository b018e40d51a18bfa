/** Labels as tasks of Label Studio, out and in: rankings with a ranker or a pair, thumbs as choices, demonstrations as text. */
import { isObject } from '../core/json.js';
import { rowError } from '../data/fields.js';
import type { Row } from '../data/index.js';
import type { FeedbackRow } from '../feedback/rows.js';
import {
  checked,
  detailsOf,
  type ForeignLabel,
  likeFirst,
  type OnLost,
  shownPrompt,
  stringIn,
  textOf,
  thumbOf,
} from './ranking.js';

/** A task for `<List value="$items"/><Ranker>` with a `<Bucket>` per rank, since a list alone has no ties. */
export function labelStudioTask(rows: readonly FeedbackRow[], index: number): object {
  const first = rows[0]!;
  if (!first.responses) return taskOfOne(rows, index);
  const responses = first.responses as string[];
  return {
    id: index + 1,
    data: {
      prompt: textOf(first.prompt),
      ...(typeof first.prompt === 'string' ? {} : { messages: first.prompt }),
      ...(first.category === undefined ? {} : { category: first.category }),
      items: responses.map((body, k) => ({
        id: `response-${k + 1}`,
        title: `Response ${k + 1}`,
        body,
        model: (first.models as string[] | undefined)?.[k],
      })),
    },
    annotations: rows.map((row, i) => {
      const { ranks, ratings, flags } = likeFirst(first, row);
      const also = (name: string, type: string, value: unknown) =>
        value === undefined ? [] : [{ from_name: name, to_name: 'results', type, value: { [type]: value } }];
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
          ...also('confidence', 'rating', row.confidence),
          ...responses.flatMap((_, k) => [
            ...also(`response-${k + 1}-rating`, 'rating', ratings?.[k]),
            ...also(`response-${k + 1}-flags`, 'choices', flags?.[k]),
          ]),
        ],
      };
    }),
  };
}

/** For `<Choices name="label" toName="response">` with good and bad, or `<TextArea name="response" toName="prompt">`. */
function taskOfOne(rows: readonly FeedbackRow[], index: number): object {
  const { prompt, category, label, response, model, edited } = rows[0]!;
  const before = edited as { text: string; model: string } | undefined;
  const isThumb = label !== undefined;
  return {
    id: index + 1,
    data: {
      prompt: textOf(prompt),
      ...(typeof prompt === 'string' ? {} : { messages: prompt }),
      ...(category === undefined ? {} : { category }),
      ...(isThumb ? { response, model } : before ? { edited: before.text, model: before.model } : {}),
    },
    annotations: rows.map((row, i) => ({
      id: i + 1,
      completed_by: { email: row.labeler ?? '' },
      created_at: row.created,
      was_cancelled: false,
      result: [
        isThumb
          ? {
              from_name: 'label',
              to_name: 'response',
              type: 'choices',
              value: { choices: [row.label ? 'good' : 'bad'] },
            }
          : { from_name: 'response', to_name: 'prompt', type: 'textarea', value: { text: [row.response] } },
      ],
    })),
  };
}

export function fromLabelStudio(row: Row, onLost: OnLost): ForeignLabel[] {
  const { data, annotations } = row.value;
  if (!isObject(data)) throw rowError(row, 'is missing, expected the data of a task', 'data');
  if (!Array.isArray(annotations)) throw rowError(row, 'is missing, expected what people answered', 'annotations');
  const isRanked = (annotations as unknown[]).some((one) => resultsOf(one).some(({ type }) => type === 'ranker'));
  const isOther = (annotations as unknown[]).some((one) => resultsOf(one).some(({ type }) => kOther.has(String(type))));
  return !isRanked && isOther ? otherLabels(row, data, annotations, onLost) : rankings(row, data, annotations, onLost);
}

const kOther = new Set(['pairwise', 'choices', 'textarea']);

const resultsOf = (annotation: unknown): Record<string, unknown>[] =>
  isObject(annotation) && annotation.was_cancelled !== true && Array.isArray(annotation.result)
    ? annotation.result.filter(isObject)
    : [];

function saidBy(annotation: Readonly<Record<string, unknown>>, data: Readonly<Record<string, unknown>>) {
  const who = annotation.completed_by;
  const email = isObject(who) ? (who.email ?? who.id) : who;
  return {
    labeler: email === undefined || email === null ? undefined : String(email),
    created: annotation.created_at,
    seconds: annotation.lead_time,
    category: data.category,
  };
}

const kNoText = new Set(['category', 'model']);

/** Choices of one of two, thumbs and demonstrations. */
function otherLabels(
  row: Row,
  data: Readonly<Record<string, unknown>>,
  annotations: readonly unknown[],
  onLost: OnLost,
): ForeignLabel[] {
  const names = Object.keys(data).filter((name) => typeof data[name] === 'string' && !kNoText.has(name));
  const promptName = names.find((name) => /prompt|instruction|input|question/i.test(name)) ?? names[0];
  if (promptName === undefined && !Array.isArray(data.messages))
    throw rowError(row, 'has no text, expected a prompt', 'data');
  const prompt = shownPrompt({
    ...row,
    value: { prompt: Array.isArray(data.messages) ? data.messages : data[promptName!] },
  });
  const others = names.filter((name) => name !== promptName);
  const text = (name: string) => stringIn(row, `data.${name}`, data[name]);
  const model = typeof data.model === 'string' ? data.model : undefined;
  return annotations.flatMap((annotation) =>
    resultsOf(annotation).flatMap((result): ForeignLabel[] => {
      const said = saidBy(annotation as Record<string, unknown>, data);
      const value = isObject(result.value) ? result.value : {};
      if (result.type === 'pairwise') {
        const named = String(result.to_name).split(',');
        const pair = named.length === 2 && named.every((name) => others.includes(name)) ? named : others;
        const chosen = ['left', 'right'].indexOf(String(value.selected));
        if (pair.length !== 2) throw rowError(row, `has ${pair.length} texts beside the prompt, expected two`, 'data');
        if (chosen < 0) return [];
        const ranks = chosen === 0 ? [0, 1] : [1, 0];
        return [checked(row, { prompt, responses: pair.map(text), ranks, ...detailsOf(said, 2, onLost) })];
      }
      const { labeler, created, category } = detailsOf({ ...said, seconds: undefined }, 1, onLost);
      const who = { prompt, labeler, created, category };
      const label = Array.isArray(value.choices) && value.choices.length === 1 ? thumbOf(value.choices[0]) : undefined;
      if (result.type === 'choices' && label !== undefined && others.length === 1)
        return [{ kind: 'thumb', ...who, response: text(others[0]!), label, model }];
      const written = [value.text].flat().join('\n');
      if (result.type === 'textarea' && written.trim() !== '') {
        const edited = others.length === 1 ? { edited: { text: text(others[0]!), model } } : {};
        return [{ kind: 'demonstration', ...who, response: written, ...edited }];
      }
      onLost(`the answer to ${String(result.from_name)}`);
      return [];
    }),
  );
}

function rankings(
  row: Row,
  data: Readonly<Record<string, unknown>>,
  annotations: readonly unknown[],
  onLost: OnLost,
): ForeignLabel[] {
  const lists = Object.values(data).filter(Array.isArray) as unknown[][];
  const list = lists.find(
    (items) => items.length > 1 && items.every((one) => isObject(one) && 'id' in one && 'body' in one),
  );
  if (!list) throw rowError(row, 'has no list of {id, body}, expected the items that were ranked', 'data');
  const texts = new Map(
    (list as Record<string, unknown>[]).map(({ id, body }) => [String(id), stringIn(row, 'data.items.body', body)]),
  );
  const models = new Map((list as Record<string, unknown>[]).map(({ id, model }) => [String(id), model]));
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
    const also = (name: string, type: string) => {
      const one = (annotation.result as unknown[]).find((each) => isObject(each) && each.from_name === name);
      return isObject(one) && isObject(one.value) ? one.value[type] : undefined;
    };
    const each = (what: string, type: string) => {
      const answers = ids.map((id) => also(`${id}-${what}`, type));
      return answers.every((one) => one === undefined) ? undefined : answers;
    };
    const written = ids.map((id) => models.get(id));
    return [
      checked(row, {
        prompt: shownPrompt({ ...row, value: { prompt: Array.isArray(data.messages) ? data.messages : prompt![1] } }),
        responses: ids.map((id) => texts.get(id)!),
        ranks: levels.flatMap((level, rank) => level.map(() => rank)),
        ...detailsOf(
          {
            ...saidBy(annotation, data),
            confidence: also('confidence', 'rating'),
            models: written.every((one) => one === undefined) ? undefined : written,
            ratings: each('rating', 'rating'),
            flags: each('flags', 'choices'),
          },
          ids.length,
          onLost,
        ),
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
  const [only] = lists;
  if (lists.length === 1) return /^rank-\d+$/.test(only![0]) ? [only![1]] : only![1].map((id) => [id]); // all equal, or a list
  const numberOf = (name: string) => Number(/(\d+)$/.exec(name)?.[1] ?? Number.NaN);
  if (lists.every(([name]) => !Number.isNaN(numberOf(name)))) lists.sort(([a], [b]) => numberOf(a) - numberOf(b));
  return lists.map(([, ids]) => ids);
}
