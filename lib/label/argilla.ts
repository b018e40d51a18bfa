/** Labels as records of Argilla, out and in. */
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

/**
 * As `FeedbackDataset` saves it: options `response-1` …, where equal ranks are ties. What was said besides is in questions of their own:
 * `confidence`, `seconds`, `created`, and of each option `response-1-rating`, `response-1-flags`.
 */
export function argillaRecord(rows: readonly FeedbackRow[], index: number): object {
  const first = rows[0]!;
  if (!first.responses) return recordOfOne(rows, index);
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
      return submitted(row, answers);
    }),
  };
}

const submitted = (row: FeedbackRow, answers: Readonly<Record<string, unknown>>) => ({
  user_id: row.labeler ?? null,
  status: 'submitted',
  values: Object.fromEntries(
    Object.entries(answers).flatMap(([name, value]) => (value === undefined ? [] : [[name, { value }]])),
  ),
});

/** A thumb is a question `label` of a field `response`; a demonstration a question `response`, with a field `edited` if it began with one. */
function recordOfOne(rows: readonly FeedbackRow[], index: number): object {
  const { prompt, category, label, response, model, edited } = rows[0]!;
  const before = edited as { text: string; model: string } | undefined;
  const isThumb = label !== undefined;
  return {
    external_id: String(index),
    fields: {
      prompt: textOf(prompt),
      ...(isThumb ? { response } : before ? { edited: before.text } : {}),
    },
    metadata: {
      ...(isThumb || before ? { models: [isThumb ? model : before!.model] } : {}),
      ...(category === undefined ? {} : { category }),
      ...(typeof prompt === 'string' ? {} : { messages: prompt }),
    },
    responses: rows.map((row) =>
      submitted(row, {
        ...(isThumb ? { label: row.label ? 'good' : 'bad' } : { response: row.response }),
        created: row.created,
      }),
    ),
  };
}

/** Records of `FeedbackDataset`, or of Argilla 2's `records.to_list()`: there a ranking is a list of names, the best first. */
export function fromArgilla(row: Row, onLost: OnLost): ForeignLabel[] {
  const { fields, responses, metadata } = row.value;
  if (!isObject(fields)) throw rowError(row, 'is missing, expected the fields of a record', 'fields');
  const said = isObject(metadata) ? metadata : {};
  const answers = answersIn(row, responses);
  const rankings = answers.flatMap(({ user, values }) =>
    [...values.values()].flatMap((value) => {
      const ranked = argillaRanks(value, fields);
      return ranked ? [{ user, values, ...ranked }] : [];
    }),
  );
  const names = Object.keys(fields).filter((name) => !rankings.some(({ options }) => options.includes(name)));
  const promptField = names.find((name) => /prompt|instruction|input|question|context/i.test(name)) ?? names[0];
  if (answers.length > 0 && promptField === undefined)
    throw rowError(row, 'has only what is ranked, expected a prompt beside', 'fields');
  const messages = Array.isArray(said.messages) ? said.messages : undefined;
  const others = Object.keys(fields).filter((name) => name !== promptField);
  const models = Array.isArray(said.models) && said.models.length === others.length ? said.models : undefined;
  const text = (name: string) => stringIn(row, `fields.${name}`, fields[name]);
  const modelOf = (name: string): unknown => models?.[others.indexOf(name)];
  const prompt = () => shownPrompt({ ...row, value: { prompt: messages ?? text(promptField!) } });
  const common = (user: unknown, values: ReadonlyMap<string, unknown>) => ({
    labeler: user,
    created: values.get('created'),
    category: said.category,
  });

  const ranking = (by: (typeof answers)[number], options: readonly string[], ranks: readonly number[]) => {
    const { user, values } = by;
    const each = (what: string) => {
      const list = options.map((name) => values.get(`${name}-${what}`));
      return list.every((one) => one === undefined) ? undefined : list;
    };
    const details = {
      ...common(user, values),
      confidence: values.get('confidence'),
      seconds: values.get('seconds'),
      models: models && options.map(modelOf),
      ratings: each('rating'),
      flags: each('flags'),
    };
    return checked(row, {
      prompt: prompt(),
      responses: options.map(text),
      ranks,
      ...detailsOf(details, options.length, onLost),
    });
  };

  return answers.flatMap((by): ForeignLabel[] => {
    const { user, values } = by;
    const own = rankings.filter((one) => one.values === values);
    if (own.length > 0) return own.map(({ options, ranks }) => ranking(by, options, ranks));
    const found: ForeignLabel[] = [];
    const { labeler, created, category } = detailsOf(common(user, values), 1, onLost);
    const who = { labeler, created, category };
    for (const [question, value] of values) {
      const choice = others.length === 2 ? choiceOf(value, others) : undefined;
      const thumb = others.length === 1 ? thumbOf(value) : undefined;
      if (choice) found.push(ranking(by, others, choice));
      else if (thumb !== undefined) {
        const model = modelOf(others[0]!);
        found.push({
          kind: 'thumb',
          prompt: prompt(),
          ...who,
          response: text(others[0]!),
          label: thumb,
          model: typeof model === 'string' ? model : undefined,
        });
      } else if (typeof value === 'string' && kWritten.test(question) && value.trim() !== '') {
        const model = others.length === 1 ? modelOf(others[0]!) : undefined;
        const edited = others.length === 1 && {
          text: text(others[0]!),
          model: typeof model === 'string' ? model : undefined,
        };
        found.push({ kind: 'demonstration', prompt: prompt(), ...who, response: value, ...(edited ? { edited } : {}) });
      } else if (!['created', 'seconds', 'confidence'].includes(question)) onLost(`the question ${question}`);
    }
    return found;
  });
}

/** Questions whose answer is a response that a person wrote. */
const kWritten = /^(response|answer|output|completion|demonstration|correct|edit|rewrit)/i;

/** One of two: by the name of its field, A or B, left or right, 1 or 2; or neither. */
function choiceOf(value: unknown, fields: readonly string[]): [number, number] | undefined {
  if (typeof value !== 'string' && typeof value !== 'number') return undefined;
  const word = String(value).trim().toLowerCase();
  if (['tie', 'equal', 'same', 'both', 'neither', 'about the same'].includes(word)) return [0, 0];
  const place = [fields.map((name) => name.toLowerCase()), ['a', 'b'], ['left', 'right'], ['1', '2']]
    .map((words) => words.indexOf(word))
    .find((at) => at >= 0);
  return place === undefined ? undefined : place === 0 ? [0, 1] : [1, 0];
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
