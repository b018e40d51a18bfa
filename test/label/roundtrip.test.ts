// What is exported comes back: rankings, thumbs and demonstrations, in every format, with all that the format holds.
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { openFeedback } from '../../lib/feedback/database.js';
import type { FeedbackKind } from '../../lib/feedback/kinds.js';
import { type FeedbackRow, feedbackRows } from '../../lib/feedback/rows.js';
import { exported, type Format, imported } from '../../lib/label/exchange.js';
import { Importer } from '../../lib/label/importer.js';
import { Store } from '../../lib/label/store.js';
import { flags as allFlags } from '../../lib/label/types.js';
import { heed } from '../cli/heed.js';
// @ts-expect-error plain JavaScript
import { randomOf } from './attack.mjs';
import { folder, items, onEnd, openDesk } from './desk.js';

interface Draw {
  next(): number;
  int(n: number): number;
  pick<T>(list: readonly T[]): T;
}

const kinds: readonly FeedbackKind[] = ['rankings', 'feedback', 'demonstrations'];
const formats: readonly Format[] = ['jsonl', 'argilla', 'label-studio'];

/** A row as `heed label --export` writes it, of what people may say. */
function randomRow(kind: FeedbackKind, d: Draw, i: number, format: Format): FeedbackRow {
  const word = () => d.pick(['ja', ' nein\n', '<b>é</b>', 'A, B', '"quoted"', '猫 😀', 'x\ty']);
  const maybe = (fields: object) => (d.next() < 0.5 ? fields : {});
  const n = d.int(12);
  const prompt =
    n % 3 === 0
      ? [
          { role: 'system', content: word() },
          { role: 'user', content: `${n}` },
        ]
      : `${n}: ${n % 2 ? 'Why?' : 'Wer?\n'}`;
  const category = n % 4 === 0 ? { category: `c${n}` } : {}; // one of a prompt
  const isFull = format === 'jsonl';
  const labeler = isFull ? maybe({ labeler: d.pick(['Ada', 'Bea']) }) : { labeler: d.pick(['Ada', 'Bea', 'Cem']) };
  const created = new Date(1.7e12 + 1000 * i + d.int(1000)).toISOString();
  // What was sampled follows from text and model, as in a file that was written once.
  const kept = (text: string, model: string) => {
    const own = randomOf(text.length * 31 + model.length + n) as Draw;
    if (!isFull || own.next() < 0.4) return {};
    const tokens = Array.from({ length: 1 + own.int(5) }, () => own.int(50_000));
    return {
      prompt_tokens: [n, 2, 3],
      tokens,
      logprobs: tokens.map(() => Math.fround(-own.next() * 9)).map((one) => Number(one.toPrecision(9))),
      finish: own.pick(['stop', 'length', 'abort']),
      ...(own.next() < 0.5 ? { sampling: { seed: own.int(9), temperature: 0.7 } } : {}),
    };
  };
  const purpose = isFull ? { purpose: d.pick(['label', 'label', 'repeat', 'attention']) } : {};
  const common = { prompt, ...labeler, created, ...category, ...purpose };
  const textOf = (k: number) => `${k} ${['ja', '<b>é</b>', 'zwei\nZeilen'][k % 3]} ${n}`;
  const modelOf = (text: string) => (text.length % 2 ? 'sft' : 'ppo');
  if (kind === 'feedback') {
    const response = textOf(d.int(3));
    const model = modelOf(response);
    return { ...common, response, label: d.next() < 0.5, model, ...kept(response, model) };
  }
  if (kind === 'demonstrations') {
    const text = textOf(d.int(3));
    const edited = d.next() < 0.5 ? {} : { edited: { text, model: modelOf(text), ...kept(text, modelOf(text)) } };
    const response = 'edited' in edited && d.next() < 0.3 ? text : `${i} ${word()}`;
    return { ...common, response, ...edited };
  }
  const responses = [0, 1, 2, 3]
    .slice(0, 2 + (n % 3))
    .map(textOf)
    .sort(() => d.next() - 0.5);
  const levels = responses.map(() => d.int(3));
  const used = [...new Set(levels)].sort();
  const each = responses.map((text) => kept(text, modelOf(text)) as Record<string, unknown>);
  const names = [...new Set(each.flatMap(Object.keys))];
  const lists: Record<string, unknown> = Object.fromEntries(
    names.map((name) => [name, each.map((one) => one[name] ?? null)]),
  );
  if (each.every((one) => 'prompt_tokens' in one)) lists.prompt_tokens = [n, 2, 3];
  return {
    ...common,
    responses,
    ranks: levels.map((level) => used.indexOf(level)),
    ...maybe({ confidence: 1 + d.int(3) }),
    ...maybe({ seconds: d.int(1000) / 10 }),
    models: responses.map(modelOf),
    ...lists,
    ...maybe({
      ratings: responses.map(() => 1 + d.int(7)),
      flags: responses.map(() => allFlags.map(([name]) => name).filter(() => d.next() < 0.2)),
    }),
  };
}

async function fileWith(rows: Iterable<object>, format: Format) {
  const database = await openFeedback(join(folder(), 'labels.db'));
  onEnd(() => void database.close());
  const lost: string[] = [];
  const importer = new Importer(new Store(database));
  let added = 0;
  let total = 0;
  for (const [i, row] of [...rows].entries()) {
    const value = JSON.parse(JSON.stringify(row)) as Record<string, unknown>;
    for (const label of imported({ file: 'f', line: i + 1, value }, format, (what) => lost.push(what))) {
      total++;
      if (importer.add(label)) added++;
    }
  }
  return { database, lost, added, total };
}

/** Rows in an order of their own, and a ranking's responses too: other programs show them otherwise. */
const sorted = (rows: readonly FeedbackRow[]) =>
  rows
    .map(({ responses, ranks, models, ratings, flags, ...rest }) => {
      const each = (responses as string[] | undefined)?.map(
        (text, k) =>
          [
            text,
            ...[ranks, models, ratings, flags].map((list) => (list as unknown[] | undefined)?.[k] ?? null),
          ] as const,
      );
      return JSON.stringify(
        Object.entries({ ...rest, each: each?.sort(([a], [b]) => (a < b ? -1 : 1)) }).sort(([a], [b]) =>
          a < b ? -1 : 1,
        ),
      );
    })
    .sort();

describe.each(formats)('%s', (format) => {
  test.each(kinds)('%s: random files come back', async (kind) => {
    for (let seed = 1; seed <= 6; seed++) {
      const draw = randomOf(seed * 100 + kinds.indexOf(kind)) as Draw;
      const rows = Array.from({ length: 1 + draw.int(30) }, (_, i) => randomRow(kind, draw, i, format));
      if (format === 'jsonl' && rows.length > 3) rows.push(rows[1]!); // two people may say the same
      const { database, lost, added } = await fileWith(exported(rows, format), format);
      const found = [...feedbackRows(database, kind, { all: format === 'jsonl' })];
      expect(lost).toEqual([]);
      expect(added).toBe(rows.length);
      if (format === 'jsonl') expect(found).toEqual(rows);
      else expect(sorted(found)).toEqual(sorted(rows));
      // Once more into the same file: nothing is new.
      const importer = new Importer(new Store(database));
      for (const row of exported(found, format)) {
        const value = JSON.parse(JSON.stringify(row)) as Record<string, unknown>;
        for (const label of imported({ file: 'f', line: 1, value }, format)) expect(importer.add(label)).toBe(false);
      }
    }
  });
});

test('thumbs and demonstrations by the command line; a file with several kinds gives each by --kind', async () => {
  const dir = folder();
  const out = join(dir, 'labels.db');
  for (const mode of ['thumb', 'demonstrate'] as const) {
    const desk = await openDesk({ out, mode, k: mode === 'thumb' ? 3 : 0, prompts: items(mode === 'thumb' ? 2 : 4) });
    const ada = await desk.person('Ada');
    for (let i = 0; i < 2; i++) {
      const task = await ada.task();
      const answer = mode === 'thumb' ? { thumbs: [true, false, true] } : { text: `mine ${i}`, edited: i };
      expect((await ada.submit(task, answer)).status).toBe(200);
    }
    await desk.close();
  }
  const run = async (...args: string[]) => {
    const { status, stderr } = await heed(['label', ...args], { cwd: dir });
    expect([args, status]).toEqual([args, 0]);
    return stderr;
  };
  for (const format of formats) {
    const [first, second] = [`${format}.thumbs.json`, `${format}.demos.json`];
    expect(await run('labels.db', '--export', first, '--format', format, '--kind', 'thumbs')).toContain(
      'not in them: 2 demonstrations',
    );
    expect(await run('labels.db', '--export', second, '--format', format)).toContain('not in them: 6 thumbs');
    const said = await run(`${format}.db`, '--import', first, second, '--format', format);
    expect(said).toContain(`${format}.db: 6 of 6 thumbs are new, 2 of 2 demonstrations are new`);
    expect(await run(`${format}.db`, '--import', first, second, '--format', format)).toContain(
      '0 of 6 thumbs are new, 0 of 2',
    );
    const [a, b] = await Promise.all(
      [out, join(dir, `${format}.db`)].map((file) => openFeedback(file, { readOnly: true })),
    );
    for (const kind of ['feedback', 'demonstrations'] as const)
      expect(sorted([...feedbackRows(b!, kind)])).toEqual(sorted([...feedbackRows(a!, kind)]));
    // One task of three thumbs, as on the page.
    expect(b!.prepare('SELECT count(*) FROM tasks WHERE json_array_length(shown) = 3').pluck().get()).toBe(2);
    a!.close();
    b!.close();
  }
});

const row = (value: object) => ({ file: 'f.json', line: 3, value: value as Record<string, unknown> });

test('JSON Lines of others: dialogues, instructions, labels as words of a table', () => {
  const messages = [
    { role: 'user', content: 'q' },
    { role: 'assistant', content: 'a' },
  ];
  expect(imported(row({ messages, label: 'true' }), 'jsonl')).toMatchObject([
    { kind: 'thumb', prompt: [messages[0]], response: 'a', label: true },
  ]);
  expect(imported(row({ instruction: 'Do', input: 'it', output: 'done' }), 'jsonl')).toMatchObject([
    { kind: 'demonstration', prompt: 'Do\nit\n', response: 'done' },
  ]);
  expect(imported(row({ prompt: 'p', completion: 'c' }), 'jsonl')).toMatchObject([{ prompt: 'p', response: 'c' }]);
  const lost: string[] = [];
  imported(row({ prompt: 'p', response: 'c', tokens: [1], score: 3 }), 'jsonl', (what) => lost.push(what));
  imported(row({ prompt: 'p', response: 'c', label: 1, tokens: [1.5], logprobs: [0] }), 'jsonl', (what) =>
    lost.push(what),
  );
  expect(lost).toEqual([
    'score',
    'tokens',
    'tokens that is not a list of ids',
    'logprobs that is not one number per token',
  ]);
  for (const [value, message] of [
    [{ prompt: 'p' }, 'response is missing'],
    [{ prompt: 'p', response: ' ' }, 'response is empty'],
    [{ prompt: 'p', response: 'c', label: 'maybe' }, 'label is "maybe", expected true or false'],
    [{ prompt: 'p', response: 'c', edited: {} }, 'edited.text is missing, expected a string'],
    [{ messages: messages.slice(0, 1) }, 'messages ends with a turn of user, expected an assistant'],
  ] as const)
    expect(() => imported(row(value), 'jsonl')).toThrow(`f.json:3: ${message}`);
});

test('Argilla: a label of one response, one of two or a tie, a text that corrects it', () => {
  const answers = (question: string, ...values: unknown[]) => ({
    [question]: values.map((value, i) => ({ value, user_id: `u${i}`, status: 'submitted' })),
  });
  const one = { fields: { instruction: 'p', response: 'r' } };
  expect(
    imported(row({ ...one, responses: answers('quality', 'thumbs_up', 'Bad', 'unsure') }), 'argilla'),
  ).toMatchObject([
    { kind: 'thumb', prompt: 'p', response: 'r', label: true, labeler: 'u0' },
    { kind: 'thumb', label: false, labeler: 'u1' },
  ]);
  const lost: string[] = [];
  const both = { ...answers('corrected_response', 'better'), ...answers('rationale', 'why') };
  expect(imported(row({ ...one, responses: both }), 'argilla', (what) => lost.push(what))).toMatchObject([
    { kind: 'demonstration', prompt: 'p', response: 'better', edited: { text: 'r' }, labeler: 'u0' },
  ]);
  expect(lost).toEqual(['the question rationale']);
  const two = { fields: { prompt: 'p', 'response-1': 'r1', 'response-2': 'r2' } };
  const choices = answers('preference', 'response-2', 'A', 'tie', 'right', 'none');
  expect(imported(row({ ...two, responses: choices }), 'argilla').map((each) => 'ranks' in each && each.ranks)).toEqual(
    [
      [1, 0],
      [0, 1],
      [0, 0],
      [1, 0],
    ],
  );
});

test('Label Studio: Pairwise by the names of its texts, Choices, TextArea', () => {
  const task = (data: object, ...result: object[]) =>
    row({
      data,
      annotations: [
        { completed_by: { email: 'a@b' }, lead_time: 4, result },
        { was_cancelled: true, result },
      ],
    });
  const pair = (selected: string, to = 'pw') => ({
    from_name: 'pw',
    to_name: to,
    type: 'pairwise',
    value: { selected },
  });
  const texts = { answer2: 'y', question: 'p', answer1: 'x' };
  expect(imported(task(texts, pair('left', 'answer1,answer2')), 'label-studio')).toMatchObject([
    { kind: 'ranking', prompt: 'p', responses: ['x', 'y'], ranks: [0, 1], labeler: 'a@b', seconds: 4 },
  ]);
  expect(imported(task(texts, pair('right')), 'label-studio')).toMatchObject([
    { responses: ['y', 'x'], ranks: [1, 0] },
  ]);
  const choices = (word: string) => ({
    from_name: 'q',
    to_name: 'response',
    type: 'choices',
    value: { choices: [word] },
  });
  const area = { from_name: 'fix', to_name: 'prompt', type: 'textarea', value: { text: ['line', 'two'] } };
  expect(imported(task({ text: 'p', response: 'r' }, choices('Yes'), area), 'label-studio')).toMatchObject([
    { kind: 'thumb', prompt: 'p', response: 'r', label: true },
    { kind: 'demonstration', response: 'line\ntwo', edited: { text: 'r' } },
  ]);
  expect(() => imported(task({ prompt: 'p', one: 'x' }, pair('left')), 'label-studio')).toThrow(
    'f.json:3: data has 1 texts beside the prompt, expected two',
  );
});

test('a correction that comes back later is the last word', async () => {
  const said = { prompt: 'p', responses: ['a', 'b'], labeler: 'Ada', created: '2026-01-01T00:00:00.000Z' };
  const { database } = await fileWith(
    [
      { ...said, ranks: [0, 1] },
      { ...said, ranks: [1, 0] },
      { ...said, ranks: [0, 1] },
    ],
    'jsonl',
  );
  expect([...feedbackRows(database, 'rankings', { all: true })].map(({ ranks }) => ranks)).toEqual([
    [0, 1],
    [1, 0],
    [0, 1],
  ]);
  expect([...feedbackRows(database, 'rankings', { forTraining: true })].map(({ ranks }) => ranks)).toEqual([[0, 1]]);
});
