import { setImmediate } from 'node:timers';
import { describe, expect, test } from '@jest/globals';
import {
  ChatTemplate,
  demonstration,
  describeReport,
  packSequences,
  readDemonstrations,
  readDocuments,
  readPrompts,
  readRankings,
  splitByPrompt,
  type TrainSequence,
} from '../../lib/data/index.js';
import { kCharacters } from '../../lib/data/read.js';
import { readScorable } from '../../lib/data/score.js';
import { packDocuments, packResponses } from '../../lib/runtime/batch.js';
import { smallTokenizer } from '../tokenizer/corpus.js';
import { temporaryFolder, turnsDuring } from './files.js';

const folder = temporaryFolder();
const tokenizer = smallTokenizer();
const options = { tokenizer, maxLength: 64 };
const ids = async (text: string) => Array.from(await tokenizer.encode(text));
const end = tokenizer.endOfText;
/** The spans of a sequence with loss, as text, each with the text before it. */
const spans = ({ tokens, spans }: TrainSequence) =>
  Array.from({ length: spans.length / 2 }, (_, i) =>
    tokenizer.decode(tokens.slice(spans[2 * i], spans[2 * i + 1]), false),
  );

test('an empty file is named, also if it is one of several', async () => {
  const good = folder.write('good.jsonl', [{ prompt: 'Say a', response: 'lo' }]);
  for (const [name, content] of [
    ['none.jsonl', ''],
    ['none.txt', ' \n'],
    ['none.jsonl.gz', ''],
  ] as const) {
    const file = folder.write(name, content);
    await expect(readDocuments([file], options)).rejects.toThrow(`${file}: is empty, expected`);
    if (!name.includes('txt'))
      await expect(readDemonstrations([good, file], options)).rejects.toThrow(`${file}: is empty, expected`);
  }
});

describe('tokenising leaves the event loop a turn for each portion of text', () => {
  const text = 'so it is said '.repeat(30);
  const cases: readonly [string, readonly object[], (file: string, signal?: AbortSignal) => Promise<unknown>][] = [
    [
      'demonstrations',
      [{ prompt: text, response: text }],
      (file, signal) => readDemonstrations([file], { ...options, signal }),
    ],
    [
      'rankings',
      [{ prompt: text, chosen: text, rejected: 'no' }],
      (file, signal) => readRankings([file], { ...options, signal }),
    ],
    [
      'prompts',
      [{ messages: [{ role: 'user', content: text + text }] }],
      (file, signal) =>
        readPrompts([file], {
          ...options,
          maxNewTokens: 1,
          template: new ChatTemplate('{{ messages[0].content }}', tokenizer),
          signal,
        }),
    ],
    ['documents', [{ text: text + text }], (file, signal) => readDocuments([file], { ...options, signal })],
    [
      'rows to score',
      [{ text: text + text }],
      (file, signal) => readScorable([file], { tokenizer, vocabSize: 999, maxPositions: 1e6, signal }),
    ],
  ];
  test.each(cases)('of %s', async (_, rows, read) => {
    const many = Array.from({ length: 400 }, () => rows).flat();
    const file = folder.write('many.jsonl', many);
    const portions = (many.length * 2 * text.length) / kCharacters;
    expect(portions).toBeGreaterThan(30);
    expect(await turnsDuring(() => read(file))).toBeGreaterThan(0.8 * portions);
    const controller = new AbortController();
    let turns = 0;
    const turn = () => (++turns === 15 ? controller.abort(new Error('enough')) : setImmediate(turn));
    setImmediate(turn);
    await expect(read(file, controller.signal)).rejects.toThrow('enough');
  });
});

describe('demonstrations', () => {
  test('are a prompt and a response with loss and an end, tokenised separately', async () => {
    const file = folder.write('a.jsonl', [{ prompt: 'Say a', response: 'lo', id: 1, extra: { kept: true } }]);
    const { items, report } = await readDemonstrations([file], options);
    expect(Array.from(items[0]!.tokens)).toEqual([...(await ids('Say a')), ...(await ids('lo')), end]);
    expect(spans(items[0]!)).toEqual(['lo<|endoftext|>']);
    const tokens = items[0]!.tokens.length;
    expect(report).toEqual({
      rows: 1,
      kept: 1,
      empty: 0,
      overlong: 0,
      cut: 0,
      tokens,
      lossTokens: (await ids('lo')).length + 1,
    });
  });

  test('that already end are not ended twice', async () => {
    const file = folder.write('a.jsonl', [{ prompt: 'a', response: 'lo<|endoftext|>' }]);
    expect(spans((await readDemonstrations([file], options)).items[0]!)).toEqual(['lo<|endoftext|>']);
  });

  test('of instruction, input and output', async () => {
    const file = folder.write('a.jsonl', [
      { instruction: 'Count', input: 'a b', output: '2' },
      { instruction: 'Count', input: '', output: '0' },
      { instruction: 'Count', output: '0' },
    ]);
    const { items } = await readDemonstrations([file], options);
    const texts = items.map(({ tokens }) => tokenizer.decode(tokens, false));
    expect(texts).toEqual(['Count\na b\n2<|endoftext|>', 'Count\n0<|endoftext|>', 'Count\n0<|endoftext|>']);
  });

  test('empty and over-long ones are dropped and counted', async () => {
    const long = 'word '.repeat(80);
    const file = folder.write('a.jsonl', [
      { prompt: ' \n', response: 'a' },
      { prompt: 'a', response: '' },
      { prompt: 'a', response: '<|endoftext|>' },
      { prompt: 'a', response: long },
      { prompt: long, response: 'a' },
      { prompt: 'a', response: 'b' },
    ]);
    const dropped = await readDemonstrations([file], options);
    expect(dropped.report).toMatchObject({ rows: 6, kept: 1, empty: 3, overlong: 2, cut: 0 });
    expect(dropped.items.length).toBe(1);
    const cut = await readDemonstrations([file], { ...options, overlong: 'cut' });
    expect(cut.report).toMatchObject({ rows: 6, kept: 2, empty: 3, overlong: 1, cut: 1 });
    expect(Array.from(cut.items[0]!.tokens)).toEqual([...(await ids('a')), ...(await ids(long))].slice(0, 64)); // no end-of-text is added
    expect(Array.from(cut.items[0]!.spans)).toEqual([(await ids('a')).length, 64]);
    expect(describeReport(cut.report, 64)).toMatch(
      /^6 rows, 2 kept \(\d+ tokens, \d+ with loss\); dropped: 3 empty, 1 longer than 64 tokens; cut at 64 tokens: 1$/,
    );
  });

  test('exactly as long as allowed are kept', async () => {
    const file = folder.write('a.jsonl', [{ prompt: 'Say a', response: 'lo' }]);
    const length = (await ids('Say a')).length + (await ids('lo')).length + 1;
    expect((await readDemonstrations([file], { tokenizer, maxLength: length })).report.kept).toBe(1);
    expect((await readDemonstrations([file], { tokenizer, maxLength: length - 1 })).report.overlong).toBe(1);
  });

  test.each([
    [{ prompt: 'a' }, ':2: response is missing, expected a string'],
    [{ response: 'a' }, ':2: has the fields response, expected prompt, messages or instruction'],
    [{ prompt: 'a', response: 7 }, ':2: response is 7, expected a string'],
    [{ prompt: null, response: 'a' }, ':2: prompt is null, expected a string'],
    [{ instruction: 'a', input: 3, output: 'b' }, ':2: input is 3, expected a string'],
    [{ instruction: 'a' }, ':2: output is missing'],
    [{ text: 'a' }, ':2: has the fields text, expected prompt and response, messages, or instruction and output'],
    [{}, ':2: has no fields, expected prompt and response'],
    [{ messages: [] }, ':2: messages is empty'],
    [{ messages: 'hi' }, ':2: messages is "hi", expected a list of messages'],
    [{ messages: [{ role: 'user' }] }, ':2: messages[0].content is missing'],
    [{ messages: [{ role: 'user', content: 'a' }] }, ':2: messages is a dialogue and needs a chat template'],
  ])('a bad row is named with its field: %j', async (row, message) => {
    const file = folder.write('bad.jsonl', [{ prompt: 'a', response: 'b' }, row]);
    await expect(readDemonstrations([file], options)).rejects.toThrow(`bad.jsonl${message}`);
  });
});

describe('dialogues', () => {
  const plain = ChatTemplate.load('plain', tokenizer);
  const messages = [
    { role: 'system', content: 'Be brief.' },
    { role: 'user', content: 'Hi' },
    { role: 'assistant', content: 'Hello' },
    { role: 'user', content: 'Bye' },
    { role: 'assistant', content: 'See you' },
  ];

  test('are one sequence in which every turn of the assistant carries loss', async () => {
    const file = folder.write('a.jsonl', [{ messages }]);
    const { items } = await readDemonstrations([file], { ...options, template: await plain });
    expect(spans(items[0]!)).toEqual([' Hello<|endoftext|>', ' See you<|endoftext|>']);
    expect(tokenizer.decode(items[0]!.tokens, false)).toBe(
      'Be brief.\nUser: Hi\nAssistant: Hello<|endoftext|>\nUser: Bye\nAssistant: See you<|endoftext|>',
    );
  });

  test('are cut within a turn, without tokens after the last one with loss', async () => {
    const file = folder.write('a.jsonl', [{ messages }]);
    const template = await plain;
    const whole = (await readDemonstrations([file], { ...options, template })).items[0]!;
    const within = whole.spans[2]! + 1;
    const cut = (await readDemonstrations([file], { tokenizer, maxLength: within, overlong: 'cut', template }))
      .items[0]!;
    expect(Array.from(cut.spans)).toEqual([...whole.spans.slice(0, 3), within]);
    const between = whole.spans[2]!;
    const shorter = (await readDemonstrations([file], { tokenizer, maxLength: between, overlong: 'cut', template }))
      .items[0]!;
    expect(Array.from(shorter.spans)).toEqual(Array.from(whole.spans.slice(0, 2)));
    expect(shorter.tokens.length).toBe(whole.spans[1]);
  });

  test("as prompts end at the start of the assistant's turn", async () => {
    const file = folder.write('a.jsonl', [
      { messages },
      { prompt: 'Hi' },
      { prompt: [{ role: 'user', content: 'Hi' }] },
    ]);
    const { items } = await readPrompts([file], { ...options, maxNewTokens: 4, template: await plain });
    expect(items.map(({ text }) => text)).toEqual([
      'Be brief.\nUser: Hi\nAssistant: Hello<|endoftext|>\nUser: Bye\nAssistant:',
      'User: Hi\nAssistant:',
      'User: Hi\nAssistant:',
    ]);
  });

  test('a template frames prompt and response', async () => {
    const file = folder.write('a.jsonl', [{ prompt: 'Hi', response: 'Hello' }]);
    const text = async (name: string) => {
      const template = await ChatTemplate.load(name, tokenizer);
      return tokenizer.decode((await readDemonstrations([file], { ...options, template })).items[0]!.tokens, false);
    };
    expect(await text('plain')).toBe('User: Hi\nAssistant: Hello<|endoftext|>');
    expect(await text('hh')).toBe('\n\nHuman: Hi\n\nAssistant:Hello<|endoftext|>');
    const jinja = folder.write(
      'chat.jinja',
      '{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}',
    );
    expect(await text(jinja)).toBe('[user]Hi[assistant]Hello<|endoftext|>');
  });

  test('bad templates are named, with the row', async () => {
    const file = folder.write('a.jsonl', [{ messages }]);
    await expect(ChatTemplate.load('tokenizer', tokenizer)).rejects.toThrow('the tokenizer has no chat template');
    await expect(ChatTemplate.load(folder.path('none.jinja'), tokenizer)).rejects.toThrow('none.jinja: cannot be read');
    await expect(ChatTemplate.load(folder.write('bad.jinja', '{% for'), tokenizer)).rejects.toThrow('bad.jinja: ');
    const refusing = new ChatTemplate("{{ raise_exception('no system turns') }}", tokenizer, 'mine');
    await expect(readDemonstrations([file], { ...options, template: refusing })).rejects.toThrow(
      'a.jsonl:1: mine: no system turns',
    );
    const counting = new ChatTemplate('{{ messages | length }}', tokenizer, 'counting');
    await expect(readDemonstrations([file], { ...options, template: counting })).rejects.toThrow(
      'a.jsonl:1: counting renders turn',
    );
  });
});

describe('rankings', () => {
  test('have a prompt, responses and dense ranks', async () => {
    const file = folder.write('a.jsonl', [
      { prompt: 'p', responses: ['a', 'b', 'c'], ranks: [2, 0.5, 2], scores: [1] },
      { prompt: 'p', chosen: 'a', rejected: 'b' },
    ]);
    const { items, report } = await readRankings([file], options);
    expect(items.map(({ ranks }) => Array.from(ranks))).toEqual([
      [1, 0, 1],
      [0, 1],
    ]);
    expect(Array.from(items[0]!.prompt)).toEqual(await ids('p'));
    const responses = await Promise.all(['a', 'b', 'c'].map(ids));
    expect(items[0]!.responses.map((r) => Array.from(r))).toEqual(responses.map((r) => [...r, end]));
    expect(report.tokens).toBe(1 + 6 + 1 + 4);
  });

  test('too long: dropped, or their responses cut', async () => {
    const long = 'word '.repeat(80);
    const file = folder.write('a.jsonl', [
      { prompt: 'p', chosen: long, rejected: 'b' },
      { prompt: long, chosen: 'a', rejected: 'b' },
      { prompt: 'p', chosen: 'a', rejected: ' ' },
    ]);
    expect((await readRankings([file], options)).report).toMatchObject({ kept: 0, empty: 1, overlong: 2 });
    const { items, report } = await readRankings([file], { ...options, overlong: 'cut' });
    expect(report).toMatchObject({ kept: 1, empty: 1, overlong: 1, cut: 1 });
    expect(items[0]!.responses.map((r) => r.length)).toEqual([63, 2]);
  });

  test.each([
    [{ prompt: 'p', responses: ['a'], ranks: [0] }, 'responses has length 1, expected at least 2 to compare'],
    [{ prompt: 'p', responses: [], ranks: [] }, 'responses is empty'],
    [{ prompt: 'p', responses: ['a', 'b'], ranks: [0] }, 'ranks has length 1, expected 2: one per response'],
    [{ prompt: 'p', responses: ['a', 'b'] }, 'ranks is missing, expected a list of numbers'],
    [{ prompt: 'p', responses: ['a', 'b'], ranks: [0, '1'] }, 'ranks[1] is "1", expected a finite number'],
    [{ prompt: 'p', responses: ['a', 'b'], ranks: [0, null] }, 'ranks[1] is null'],
    [{ prompt: 'p', responses: ['a', 5], ranks: [0, 1] }, 'responses[1] is 5, expected a string'],
    [{ prompt: 'p', responses: 'a', ranks: [0, 1] }, 'responses is "a", expected a list of strings'],
    [{ prompt: 'p', chosen: 'a' }, 'rejected is missing'],
    [{ chosen: 'a', rejected: 'b' }, 'has the fields chosen, rejected, expected prompt'],
    [
      { prompt: 'p', response: 'a' },
      'has the fields prompt, response, expected prompt with responses and ranks, or with chosen and rejected',
    ],
  ])('a bad row is named with its field: %j', async (row, message) => {
    const file = folder.write('bad.jsonl', [{ prompt: 'p', chosen: 'a', rejected: 'b' }, row]);
    await expect(readRankings([file], options)).rejects.toThrow(`bad.jsonl:2: ${message}`);
  });
});

test('prompts leave room for the response; other fields stay with the row', async () => {
  const file = folder.write('a.jsonl', [
    { prompt: 'Say a', response: 'ignored', label: 3 },
    { instruction: 'Say', input: 'b' },
    { prompt: 'word '.repeat(80) },
    { prompt: '' },
  ]);
  const { items, report } = await readPrompts([file], { ...options, maxNewTokens: 40 });
  expect(items.map(({ text, row }) => [text, row.line, row.value.label])).toEqual([
    ['Say a', 1, 3],
    ['Say\nb\n', 2, undefined],
  ]);
  expect(report).toMatchObject({ rows: 4, kept: 2, empty: 1, overlong: 1 });
});

test('documents end; long ones are windows in which every token is predicted once', async () => {
  const long = 'some words and more of them. '.repeat(20);
  const file = folder.write('a.jsonl', [{ text: 'short' }, { text: long }, { text: '' }]);
  const { items, report } = await readDocuments([file], { tokenizer, maxLength: 16 });
  expect(report).toMatchObject({ rows: 3, kept: 2, empty: 1 });
  const [first, ...rest] = items;
  expect(Array.from(first!.tokens)).toEqual([...(await ids('short')), end]);
  const joined = rest.flatMap(({ tokens }, i) => Array.from(i === 0 ? tokens : tokens.slice(1)));
  expect(joined).toEqual([...(await ids(long)), end]);
  for (const { tokens, spans } of items) {
    expect(tokens.length).toBeLessThanOrEqual(16);
    expect(Array.from(spans)).toEqual([1, tokens.length]);
  }
  expect(report.lossTokens).toBe(report.tokens - items.length);
  expect(report.lossTokens).toBe((await ids('short')).length + (await ids(long)).length);
});

describe('packSequences', () => {
  test('is packResponses for one response and packDocuments for a document', () => {
    const pairs: [number[], number[]][] = [
      [
        [1, 2, 3],
        [4, 5, 0],
      ],
      [[6], [0]],
    ];
    expect(packSequences(pairs.map(([prompt, response]) => demonstration(prompt, response)))).toEqual(
      packResponses(pairs.map(([prompt, response]) => ({ prompt, responses: [response] }))),
    );
    const documents = [Int32Array.of(1, 2, 3), Int32Array.of(4, 5)];
    expect(packSequences(documents.map((tokens) => ({ tokens, spans: Int32Array.of(1, tokens.length) })))).toEqual(
      packDocuments(documents),
    );
  });

  test('has a row for every token with loss of several spans', () => {
    const batch = packSequences([
      { tokens: Int32Array.of(9, 8), spans: Int32Array.of(1, 2) },
      { tokens: Int32Array.of(1, 2, 3, 4, 5, 6), spans: Int32Array.of(2, 3, 4, 6) },
    ]);
    expect(Array.from(batch.rows)).toEqual([0, 3, 5, 6]);
    expect(Array.from(batch.targets)).toEqual([8, 3, 5, 6]);
    expect(Array.from(batch.cuRows)).toEqual([0, 1, 4]);
    expect(Array.from(batch.cuSeqlens)).toEqual([0, 2, 8]);
  });

  test.each([[[0, 2]], [[1, 1]], [[2, 1]], [[1, 5]], [[2, 3, 1, 2]], [[]]])('refuses spans %j', (spans) => {
    const tokens = Int32Array.of(1, 2, 3, 4);
    expect(() => packSequences([{ tokens, spans: Int32Array.from(spans) }])).toThrow(/^sequence 0/);
  });
});

describe('splitByPrompt', () => {
  const keys = Array.from({ length: 100 }, (_, i) => `prompt ${i % 40}`);
  const items = keys.map((key, i) => ({ key, i }));

  test('keeps the items of a prompt together, and holds out a fraction of the prompts', () => {
    const { train, validation } = splitByPrompt({ items, keys }, 0.25, 1);
    expect(train.length + validation.length).toBe(100);
    const back = new Set(validation.map(({ key }) => key));
    expect(back.size).toBe(10);
    expect(train.some(({ key }) => back.has(key))).toBe(false);
  });

  test('depends on prompt and seed, not on the order', () => {
    const back = (order: typeof items, seed: number) =>
      new Set(
        splitByPrompt({ items: order, keys: order.map(({ key }) => key) }, 0.25, seed).validation.map(({ key }) => key),
      );
    expect(back(items.toReversed(), 1)).toEqual(back(items, 1));
    expect(back(items, 2)).not.toEqual(back(items, 1));
  });

  test('keeps something on each side', () => {
    expect(splitByPrompt({ items, keys }, 0, 1).validation).toEqual([]);
    const two = { items: [1, 2], keys: ['a', 'b'] };
    expect(splitByPrompt(two, 0.01, 1).validation.length).toBe(1);
    expect(splitByPrompt(two, 0.99, 1).train.length).toBe(1);
    expect(splitByPrompt({ items: [1], keys: ['a'] }, 0.5, 1)).toEqual({ train: [1], validation: [] });
    expect(() => splitByPrompt(two, 1, 1)).toThrow('the validation fraction is 1');
  });
});
