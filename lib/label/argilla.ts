/** Rankings as records of Argilla, out and in. */
import { isObject } from '../core/json.js';
import { rowError } from '../data/fields.js';
import type { Row } from '../data/index.js';
import type { FeedbackRow } from '../feedback/rows.js';
import {
  checked,
  detailsOf,
  type ForeignRanking,
  likeFirst,
  type OnLost,
  shownPrompt,
  stringIn,
  textOf,
} from './ranking.js';

/**
 * As `FeedbackDataset` saves it: options `response-1` …, where equal ranks are ties. What was said besides is in questions of their own:
 * `confidence`, `seconds`, `created`, and of each option `response-1-rating`, `response-1-flags`.
 */
export function argillaRecord(rows: readonly FeedbackRow[], index: number): object {
  const first = rows[0]!;
  const responses = first.responses as string[];
  return {
    external_id: String(index),
    fields: {
      prompt: textOf(first.prompt),
      ...Object.fromEntries(responses.map((text, k) => [`response-${k + 1}`, text])),
    },
    metadata: {
      models: first.models,
      ...(first.category === undefined ? {} : { category: first.category }),
      ...(typeof first.prompt === 'string' ? {} : { messages: first.prompt }),
    },
    responses: rows.map((row) => {
      const { ranks, ratings, flags } = likeFirst(first, row);
      const { confidence, seconds, created } = row;
      const answers = {
        ranking: ranks.map((rank, k) => ({ value: `response-${k + 1}`, rank: rank + 1 })),
        confidence,
        seconds,
        created,
        ...Object.fromEntries(
          responses.flatMap((_, k) => [
            [`response-${k + 1}-rating`, ratings?.[k]],
            [`response-${k + 1}-flags`, flags?.[k]],
          ]),
        ),
      };
      return {
        user_id: row.labeler ?? null,
        status: 'submitted',
        values: Object.fromEntries(
          Object.entries(answers).flatMap(([name, value]) => (value === undefined ? [] : [[name, { value }]])),
        ),
      };
    }),
  };
}

/** Records of `FeedbackDataset`, or of Argilla 2's `records.to_list()`: there a ranking is a list of names, the best first. */
export function fromArgilla(row: Row, onLost: OnLost): ForeignRanking[] {
  const { fields, responses, metadata } = row.value;
  if (!isObject(fields)) throw rowError(row, 'is missing, expected the fields of a record', 'fields');
  const said = isObject(metadata) ? metadata : {};
  const found = answersIn(row, responses).flatMap(({ user, values }) =>
    [...values.values()].flatMap((value) => {
      const ranked = argillaRanks(value, fields);
      return ranked ? [{ user, values, ...ranked }] : [];
    }),
  );
  const names = Object.keys(fields).filter((name) => !found.some(({ options }) => options.includes(name)));
  const promptField = names.find((name) => /prompt|instruction|input|question|context/i.test(name)) ?? names[0];
  if (found.length > 0 && promptField === undefined)
    throw rowError(row, 'has only what is ranked, expected a prompt beside', 'fields');
  const messages = Array.isArray(said.messages) ? said.messages : undefined;
  const ranked = Object.keys(fields).filter((name) => name !== promptField);
  const models = Array.isArray(said.models) && said.models.length === ranked.length ? said.models : undefined;
  return found.map(({ user, values, options, ranks }) => {
    const each = (what: string) => {
      const list = options.map((name) => values.get(`${name}-${what}`));
      return list.every((one) => one === undefined) ? undefined : list;
    };
    return checked(row, {
      prompt: shownPrompt({
        ...row,
        value: { prompt: messages ?? stringIn(row, `fields.${promptField}`, fields[promptField!]) },
      }),
      responses: options.map((name) => stringIn(row, `fields.${name}`, fields[name])),
      ranks,
      ...detailsOf(
        {
          labeler: user,
          created: values.get('created'),
          confidence: values.get('confidence'),
          seconds: values.get('seconds'),
          category: said.category,
          models: models && options.map((name) => models[ranked.indexOf(name)]),
          ratings: each('rating'),
          flags: each('flags'),
        },
        options.length,
        onLost,
      ),
    });
  });
}

/** What each user submitted, by question: a list of users' answers, or in Argilla 2 per question a list of answers. */
function answersIn(row: Row, responses: unknown): { user: unknown; values: Map<string, unknown> }[] {
  const isSubmitted = (one: unknown): one is Record<string, unknown> =>
    isObject(one) && (one.status ?? 'submitted') === 'submitted';
  if (Array.isArray(responses))
    return responses.filter(isSubmitted).flatMap(({ user_id: user, values }) => {
      if (!isObject(values)) return [];
      const answers = Object.entries(values).map(([name, one]) => [name, isObject(one) ? one.value : one] as const);
      return [{ user, values: new Map(answers) }];
    });
  if (!isObject(responses)) throw rowError(row, 'is missing, expected what users answered', 'responses');
  const people = new Map<unknown, { user: unknown; values: Map<string, unknown> }>();
  for (const [question, some] of Object.entries(responses))
    for (const [i, one] of [some].flat().entries()) {
      if (!isSubmitted(one)) continue;
      const key = one.user_id ?? i;
      const person = people.get(key) ?? { user: one.user_id, values: new Map() };
      person.values.set(question, one.value);
      people.set(key, person);
    }
  return [...people.values()];
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
