import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { readDemonstrations, readFeedback, readRows } from '../../lib/data/index.js';
import { openFeedback } from '../../lib/feedback/database.js';
import { feedbackRows } from '../../lib/feedback/rows.js';
import { exported, type ForeignLabel, type ForeignRanking, type Format, imported } from '../../lib/label/exchange.js';
import { Tokenizer } from '../../lib/tokenizer/tokenizer.js';
import { heed, readRowsOf } from '../cli/heed.js';
import { folder, fullAnswer, items, openDesk } from './desk.js';

const rowOf = (value: object) => ({ file: 'f.json', line: 3, value: value as Record<string, unknown> });

/** Two labelers who see other orders, with ties, of a text and a dialogue. */
const rows = [
  {
    prompt: 'p',
    responses: ['a', 'b', 'c'],
    ranks: [0, 1, 1],
    labeler: 'Ada',
    models: ['m', 'm', 'n'],
    purpose: 'label',
  },
  {
    prompt: 'p',
    responses: ['c', 'a', 'b'],
    ranks: [2, 0, 1],
    labeler: 'Bea',
    models: ['n', 'm', 'm'],
    purpose: 'label',
  },
  {
    prompt: [{ role: 'user', content: 'q' }],
    responses: ['d', 'e'],
    ranks: [1, 0],
    labeler: 'Ada',
    models: ['m', 'm'],
  },
];
const byText = (label: ForeignLabel | Omit<ForeignRanking, 'kind'>) => {
  const { prompt, responses, ranks, labeler } = label as ForeignRanking;
  return {
    prompt,
    labeler,
    ranks: Object.fromEntries(responses.map((text, k) => [text, ranks[k]! - Math.min(...ranks)])),
  };
};

test.each<Format>(['jsonl', 'argilla', 'label-studio'])(
  'what is exported as %s comes back the same, ties too',
  (format) => {
    const out = [...exported(rows, format)].map((row) => JSON.parse(JSON.stringify(row)));
    expect(out).toHaveLength(format === 'jsonl' ? 3 : 2);
    const back = out.flatMap((value) => imported(rowOf(value), format));
    expect(back.map(byText)).toEqual(rows.map(byText));
  },
);

test('Argilla’s records have the fields and values that its rankings have', () => {
  const [record] = [...exported(rows, 'argilla')] as Record<string, unknown>[];
  expect(record).toMatchObject({
    fields: { prompt: 'p', 'response-1': 'a', 'response-2': 'b', 'response-3': 'c' },
    responses: [
      { user_id: 'Ada', status: 'submitted' },
      {
        user_id: 'Bea',
        values: {
          ranking: {
            value: [
              { value: 'response-1', rank: 1 },
              { value: 'response-2', rank: 2 },
              { value: 'response-3', rank: 3 },
            ],
          },
        },
      },
    ],
  });
});

test('Argilla 2 lists the best first, by question; drafts and other questions do not count', () => {
  const record = {
    id: 'x',
    fields: { instruction: 'Do it', response_1: 'one', response_2: 'two' },
    responses: {
      ranking: [
        { value: ['response_2', 'response_1'], user_id: 'u1', status: 'submitted' },
        {
          value: [
            { value: 'response_1', rank: 1 },
            { value: 'response_2', rank: 1 },
          ],
          user_id: 'u2',
        },
        { value: ['response_1', 'response_2'], user_id: 'u3', status: 'draft' },
      ],
      rationale: [{ value: 'because', user_id: 'u1', status: 'submitted' }],
    },
  };
  expect(imported(rowOf(record), 'argilla').map(byText)).toEqual([
    { prompt: 'Do it', labeler: 'u1', ranks: { one: 1, two: 0 } },
    { prompt: 'Do it', labeler: 'u2', ranks: { one: 0, two: 0 } },
  ]);
});

test('Label Studio’s ranker: a list, a list under the name of the tag, buckets, and what nobody ranked', () => {
  const task = (ranker: unknown, more: object = {}) =>
    rowOf({
      data: { prompt: 'q', items: ['a', 'b', 'c'].map((id) => ({ id, title: id, body: `text ${id}` })) },
      annotations: [
        {
          completed_by: 7,
          was_cancelled: false,
          result: [{ type: 'ranker', value: { ranker } }],
          lead_time: 3,
          ...more,
        },
      ],
    });
  const ranks = (ranker: unknown, more?: object) =>
    imported(task(ranker, more), 'label-studio').map((one) => byText(one).ranks);
  expect(ranks(['b', 'c', 'a'])).toEqual([{ 'text b': 0, 'text c': 1, 'text a': 2 }]);
  expect(ranks({ rank: ['c', 'b', 'a'] })).toEqual([{ 'text c': 0, 'text b': 1, 'text a': 2 }]);
  expect(ranks({ 'rank-2': ['a'], 'rank-1': ['b', 'c'], _: [] })).toEqual([{ 'text b': 0, 'text c': 0, 'text a': 1 }]);
  expect(ranks({ 'rank-1': ['a', 'b', 'c'] })).toEqual([{ 'text a': 0, 'text b': 0, 'text c': 0 }]); // all equal
  expect(ranks({ good: ['c'], bad: ['a'], _: ['b'] })).toEqual([{ 'text c': 0, 'text a': 1 }]);
  expect(ranks(['a', 'b'], { was_cancelled: true })).toEqual([]);
  expect(imported(task(['a', 'b']), 'label-studio')[0]).toMatchObject({ labeler: '7', seconds: 3 });
  expect(() => imported(task(['a', 'z']), 'label-studio')).toThrow('f.json:3: annotations ranks z');
});

describe.each<[Format, object, string]>([
  ['jsonl', { prompt: 'p', responses: ['a'], ranks: [0] }, 'has 1 responses, expected from 2 to 9'],
  ['jsonl', { prompt: 'p', responses: ['a', 'b'], ranks: [0] }, 'ranks is [0], expected 2 numbers'],
  ['jsonl', { prompt: 'p', responses: ['a', 'a'], ranks: [0, 1] }, 'has equal responses'],
  ['jsonl', { prompt: ' ', responses: ['a', 'b'], ranks: [0, 1] }, 'prompt is empty'],
  ['argilla', { prompt: 'p' }, 'fields is missing'],
  ['argilla', { fields: {} }, 'responses is missing'],
  ['label-studio', { data: {} }, 'annotations is missing'],
  ['label-studio', { data: { text: 'x' }, annotations: [] }, 'data has no list of {id, body}'],
])('a wrong row of %s', (format, value, message) => {
  test(message, () => expect(() => imported(rowOf(value), format)).toThrow(`f.json:3: ${message}`));
});

const readingOf = async (dir: string) => ({ tokenizer: await Tokenizer.load(dir), maxLength: 256 });

test('by the command line: export, import into another file, training on the file itself', async () => {
  const dir = folder();
  const desk = await openDesk({ out: join(dir, 'labels.db'), prompts: items(12), double: 0.999 });
  for (const name of ['Ada', 'Bea']) {
    const person = await desk.person(name);
    for (let i = 0; i < 12; i++) {
      const task = await person.task();
      await person.submit(
        task,
        fullAnswer(task, (text) => Number(/answer (\d)/.exec(text)![1])),
      );
    }
  }
  await desk.close();
  const run = async (...args: string[]) => {
    const { status, stderr } = await heed(args, { cwd: dir });
    return { status, stderr };
  };
  for (const format of ['jsonl', 'argilla', 'label-studio']) {
    expect((await run('label', 'labels.db', '--export', 'out.json', '--format', format)).status).toBe(0);
    const added = await run('label', `${format}.db`, '--import', 'out.json', '--format', format);
    expect(added).toEqual({ status: 0, stderr: expect.stringContaining('24 of 24 rankings are new') });
  }
  const again = await run('label', 'jsonl.db', '--import', 'out.json', '--format', 'label-studio');
  expect(again.stderr).toContain('0 of 24 rankings are new');
  const read = async (name: string) => {
    const database = await openFeedback(join(dir, name), { readOnly: true });
    const found = [...feedbackRows(database, 'rankings')].map((row) => byText(row as unknown as ForeignRanking));
    database.close();
    return found.sort((a, b) => `${a.prompt}${a.labeler}`.localeCompare(`${b.prompt}${b.labeler}`));
  };
  const original = await read('labels.db');
  for (const name of ['jsonl.db', 'argilla.db', 'label-studio.db']) expect(await read(name)).toEqual(original);

  const base = join(process.cwd(), 'models/base');
  const reward = await run('reward', '--model', base, '--data', 'labels.db', '--out', 'reward', '--batch-size', '24');
  expect(reward).toEqual({ status: 0, stderr: expect.stringContaining('24 rows, 24 kept') });
  expect(readRowsOf(dir, 'reward/metrics.jsonl')[0]).toMatchObject({ prompts: 22, pairs: 66 });
  await expect(readFeedback([join(dir, 'labels.db')], await readingOf(base))).rejects.toThrow('has no thumbs');
  await expect(readDemonstrations([join(dir, 'labels.db')], await readingOf(base))).rejects.toThrow(
    'has no demonstrations',
  );
  writeFileSync(join(dir, 'other.db'), readFileSync(join(dir, 'labels.db')).fill(0, 68, 72)); // no application id
  await expect(readRows(join(dir, 'other.db'))).rejects.toThrow('another program');
});
