import { statSync } from 'node:fs';
import { setImmediate } from 'node:timers';
import { describe, expect, test } from '@jest/globals';
import {
  ChatTemplate,
  type DataReport,
  demonstration,
  describeReport,
  Frame,
  packSequences,
  readDemonstrations,
  readDocuments,
  readPrompts,
  readRankings,
  splitByPrompt,
  TEMPLATES,
  type TrainSequence,
} from '../../lib/data/index.js';
import { kCharacters } from '../../lib/data/portions.js';
import { readScorable } from '../../lib/data/score.js';
import { packDocuments, packResponses } from '../../lib/runtime/batch.js';
import { toTokenizerJson, trainBpe } from '../../lib/tokenizer/bpe.js';
import { Tokenizer } from '../../lib/tokenizer/tokenizer.js';
import { llamaLike, smallTokenizer } from '../tokenizer/corpus.js';
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
  test('are a prompt and a response with loss and an end', async () => {
    const file = folder.write('a.jsonl', [{ prompt: 'Say a', response: 'lo', id: 1, extra: { kept: true } }]);
    const { items, report } = await readDemonstrations([file], options);
    expect(Array.from(items.at(0)!.tokens)).toEqual([...(await ids('Say a')), ...(await ids('lo')), end]);
    expect(spans(items.at(0)!)).toEqual(['lo<|endoftext|>']);
    const tokens = items.at(0)!.tokens.length;
    expect(report).toEqual({
      rows: 1,
      kept: 1,
      empty: 0,
      overlong: 0,
      unlearnt: 0,
      unrendered: 0,
      cut: 0,
      lastTurnOnly: 0,
      checks: 0,
      encodedApart: 0,
      otherTokens: 0,
      tokens,
      lossTokens: (await ids('lo')).length + 1,
    });
  });

  test('have the ids of their text; where a token would span prompt and response, they are counted', async () => {
    const llama = Tokenizer.fromJson(llamaLike());
    const tokens = async (row: object) => {
      const { items, report } = await readDemonstrations([folder.write('a.jsonl', [row])], {
        tokenizer: llama,
        maxLength: 64,
      });
      return [Array.from(items.at(0)!.tokens, (id) => llama.idToToken(id)).join(' '), report.encodedApart, report];
    };
    expect((await tokens({ prompt: 'hello', response: ' world' })).slice(0, 2)).toEqual([
      '<s> ▁hell o ▁wor l d </s>',
      0,
    ]);
    const [text, count, report] = await tokens({ prompt: 'hello ', response: 'world' });
    expect([text, count]).toEqual(['<s> ▁hell o ▁ w or l d </s>', 1]);
    expect(describeReport(report as DataReport, 64)).toContain(
      '; prompt and response encoded apart, since a token would span both: 1',
    );
    const ranking = { prompt: 'hello', chosen: ' world', rejected: ' he' };
    const { items } = await readRankings([folder.write('b.jsonl', [ranking])], { tokenizer: llama, maxLength: 64 });
    expect(items.at(0)!.responses.map((ids) => Array.from(ids, (id) => llama.idToToken(id)).join(' '))).toEqual([
      '▁wor l d </s>',
      '▁he </s>',
    ]);
    const [tree] = await readScorable([folder.write('c.jsonl', [ranking])], {
      tokenizer: llama,
      vocabSize: 999,
      maxPositions: 64,
    });
    expect(tree!.tree!.responses).toEqual(items.at(0)!.responses);
  });

  test('that already end are not ended twice', async () => {
    const file = folder.write('a.jsonl', [{ prompt: 'a', response: 'lo<|endoftext|>' }]);
    expect(spans((await readDemonstrations([file], options)).items.at(0)!)).toEqual(['lo<|endoftext|>']);
  });

  test('of instruction, input and output', async () => {
    const file = folder.write('a.jsonl', [
      { instruction: 'Count', input: 'a b', output: '2' },
      { instruction: 'Count', input: '', output: '0' },
      { instruction: 'Count', output: '0' },
    ]);
    const { items } = await readDemonstrations([file], options);
    const texts = Array.from(items, ({ tokens }) => tokenizer.decode(tokens, false));
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
    expect(Array.from(cut.items.at(0)!.tokens)).toEqual([...(await ids('a')), ...(await ids(long))].slice(0, 64)); // no end-of-text is added
    expect(Array.from(cut.items.at(0)!.spans)).toEqual([(await ids('a')).length, 64]);
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
    [{ prompt: 'a', response: 'b\ud83d' }, ':2: response has half a character, \\ud83d, at 1, expected whole ones'],
    [{ prompt: '\udc00', response: 'b😀' }, ':2: prompt has half a character, \\udc00, at 0, expected whole ones'],
    [{ prompt: null, response: 'a' }, ':2: prompt is null, expected a string'],
    [{ instruction: 'a', input: 3, output: 'b' }, ':2: input is 3, expected a string'],
    [{ instruction: 'a' }, ':2: output is missing'],
    [{ text: 'a' }, ':2: has the fields text, expected prompt and response, messages, or instruction and output'],
    [{}, ':2: has no fields, expected prompt and response'],
    [{ messages: [] }, ':2: messages is empty'],
    [{ messages: 'hi' }, ':2: messages is "hi", expected a list of messages'],
    [{ messages: [{ role: 'user' }] }, ':2: messages[0].content is missing'],
    [
      { messages: [{ role: 'User', content: 'a' }] },
      ':2: messages has no turn of an assistant but only of User, expected',
    ],
    [{ prompt: 'a', response: 'b', completion: 'c' }, ':2: completion is there beside response, expected only one'],
    [{ messages: [{ role: 'assistant', content: 'a' }] }, ':2: messages is a dialogue and needs a chat template'],
    [{ conversations: [{ from: 'gpt', value: 5 }] }, ':2: conversations[0].content is 5, expected a string'],
    [{ conversations: [{ value: 'a' }] }, ':2: conversations[0].role is missing'],
    [
      { messages: [{ role: 'user', content: [{ type: 'image' }] }] },
      ':2: messages[0].content[0] is {"type":"image"}, expected a text part',
    ],
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
    expect(spans(items.at(0)!)).toEqual([' Hello<|endoftext|>', ' See you<|endoftext|>']);
    expect(tokenizer.decode(items.at(0)!.tokens, false)).toBe(
      'Be brief.\nUser: Hi\nAssistant: Hello<|endoftext|>\nUser: Bye\nAssistant: See you<|endoftext|>',
    );
  });

  test('are cut within a turn, without tokens after the last one with loss', async () => {
    const file = folder.write('a.jsonl', [{ messages }]);
    const template = await plain;
    const whole = (await readDemonstrations([file], { ...options, template })).items.at(0)!;
    const within = whole.spans[2]! + 1;
    const cut = (
      await readDemonstrations([file], { tokenizer, maxLength: within, overlong: 'cut', template })
    ).items.at(0)!;
    expect(Array.from(cut.spans)).toEqual([...whole.spans.slice(0, 3), within]);
    const between = whole.spans[2]!;
    const shorter = (
      await readDemonstrations([file], { tokenizer, maxLength: between, overlong: 'cut', template })
    ).items.at(0)!;
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
      return tokenizer.decode((await readDemonstrations([file], { ...options, template })).items.at(0)!.tokens, false);
    };
    expect(await text('plain')).toBe('User: Hi\nAssistant: Hello<|endoftext|>');
    expect(await text('hh')).toBe('\n\nHuman: Hi\n\nAssistant:Hello<|endoftext|>');
    const jinja = folder.write(
      'chat.jinja',
      '{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}',
    );
    expect(await text(jinja)).toBe('[user]Hi[assistant]Hello<|endoftext|>');
  });

  test('templates strip the characters that they name, as in Python', async () => {
    const text = async (source: string) => {
      const template = new ChatTemplate(source, tokenizer, 'mine');
      return template.prompt({ messages: [{ role: 'user', content: '\n\n  a b \n' }] });
    };
    expect(await text("{{ messages[0].content.lstrip('\\n') }}|")).toBe('  a b \n|');
    expect(await text("{{ messages[0].content.rstrip('\\n') }}|")).toBe('\n\n  a b |');
    expect(await text("{% if true %}{{ (messages[0].content | upper).strip('\\n').strip(' ') }}{% endif %}|")).toBe(
      'A B|',
    );
    expect(await text('{{ messages[0].content.strip() }}|')).toBe('a b|');
    expect(await text("{{ {'x': [messages[0].content.strip('\\n ab')]}['x'][0] }}|")).toBe('|');
  });

  // What jinja2 3.1 writes in transformers' environment.
  test.each([
    [
      '{% for i in [1, 2, 3, 4] %}<{{ i }}{% if i == 2 %}!{% continue %}{% endif %}{% if i == 3 %}?{% break %}{% endif %}>{% endfor %}',
      '<1><2!<3?',
    ],
    ['{% for i in [1, 2] %}{{ i }}{% continue %}{% else %}none{% endfor %}|', '12none|'],
    ['{% for i in [] %}{{ i }}{% else %}none{% endfor %}|', 'none|'],
    ['{% for i in [1, 2] %}{% for k in [3, 4] %}{{ k }}{% break %}{% endfor %}{{ i }}{% endfor %}|', '3132|'],
    [
      '{% macro m(x) %}{% for k in [1, 2] %}{{ x }}{% continue %}{% endfor %}{% endmacro %}{% for i in [5, 6] %}{{ m(i) }}.{% endfor %}|',
      '55.66.|',
    ],
    ['{{ true }} {{ none }} {{ nothing }} {{ 1 == 2 }} {{ 1.0 }} {{ 3 / 2 }}', 'True None  False 1.0 1.5'],
    [
      "{{ [1, 'a', none, true, [\"it's\"]] }} {{ {'k': 'x\\n\\\\'} }} {{ (1, 2) }}",
      "[1, 'a', None, True, [\"it's\"]] {'k': 'x\\n\\\\'} (1, 2)",
    ],
    ["{{ 'a' ~ true ~ none ~ 2 }}", 'aTrueNone2'],
    ['{{ -7 % 3 }} {{ 7 % -3 }} {{ 6 % 3 }} {{ 7 % 3 }}', '2 -2 0 1'],
    ['{{ range(3) | list }} {{ range(5, 1, -2) | list }} {{ range(2, 1) | list }}', '[0, 1, 2] [5, 3] []'],
    ['{% set x = 3 %}{# no #}{{ x }}', '3'],
  ])('%s is rendered as by Python', async (template, expected) => {
    const rendered = new ChatTemplate(template, tokenizer).prompt({ messages: [{ role: 'user', content: 'hi' }] });
    expect(rendered).toBe(expected);
  });

  test('texts within lists are quoted as by Python', () => {
    const quoted = (content: string) =>
      new ChatTemplate('{{ [messages[0].content] }}', tokenizer).prompt({ messages: [{ role: 'user', content }] });
    expect(quoted(`it's`)).toBe(`["it's"]`);
    expect(quoted(`"it's"`)).toBe(`['"it\\'s"']`);
    expect(quoted('a\t\u0001\\é')).toBe(`['a\\t\\x01\\\\é']`);
  });

  test('strftime_now writes the date of now, and names what it cannot write', () => {
    const render = (format: string) =>
      new ChatTemplate(`{{ strftime_now('${format}') }}`, tokenizer).prompt({ messages: [] });
    const now = new Date();
    const month = [
      'January',
      'February',
      'March',
      'April',
      'May',
      'June',
      'July',
      'August',
      'September',
      'October',
      'November',
      'December',
    ];
    expect(render('%-d %B %Y %%')).toBe(`${now.getDate()} ${month[now.getMonth()]} ${now.getFullYear()} %`);
    expect(render('%d %b %y')).toBe(
      `${String(now.getDate()).padStart(2, '0')} ${month[now.getMonth()]!.slice(0, 3)} ${String(now.getFullYear()).slice(2)}`,
    );
    expect(() => render('%c')).toThrow('strftime_now has %c, heed implements Y y m d');
    expect(() => new ChatTemplate("{{ raise_exception('no system') }}", tokenizer).prompt({ messages: [] })).toThrow(
      'the chat template: no system',
    );
  });

  test('a template of the tokenizer that does not parse is no obstacle to texts', async () => {
    const broken = Tokenizer.fromJson(toTokenizerJson(trainBpe(new Map([['ab', 3]]), { vocabSize: 260 })), {
      chatTemplate: '{% for',
    });
    const file = folder.write('a.jsonl', [{ prompt: 'a', response: 'b' }]);
    expect((await readDemonstrations([file], { tokenizer: broken, maxLength: 9 })).report.kept).toBe(1);
    const dialogue = folder.write('b.jsonl', [{ messages }]);
    await expect(readDemonstrations([dialogue], { tokenizer: broken, maxLength: 9 })).rejects.toThrow(
      "b.jsonl:1: the tokenizer's chat template: ",
    );
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
  });

  const chatMl = `{% if tools %}[tools {{ tools | tojson }}]{% endif %}{% for m in messages %}[{{ m.role }}]{% if m.reasoning_content %}({{ m.reasoning_content }}){% endif %}{{ m.content }}{% for c in m.tool_calls or [] %}<{{ c.function.name }}>{% endfor %}.{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}`;
  const learntOf = async (row: object, source = chatMl) => {
    const template = new ChatTemplate(source, tokenizer, 'mine');
    const { items, report } = await readDemonstrations([folder.write('a.jsonl', [row])], { ...options, template });
    const shown = Array.from(items, (item) => {
      let text = '';
      let at = 0;
      for (let i = 0; i < item.spans.length; i += 2) {
        const [begin, end] = [item.spans[i]!, item.spans[i + 1]!];
        text += `${tokenizer.decode(item.tokens.slice(at, begin), false)}{${tokenizer.decode(item.tokens.slice(begin, end), false)}}`;
        at = end;
      }
      return text;
    });
    return { text: shown[0], report };
  };
  const turn = (role: string, content: unknown, more: object = {}) => ({ role, content, ...more });

  test('end where the template ends a turn; end-of-text that it does not write stands at the end alone', async () => {
    const row = { messages: [turn('user', 'a'), turn('assistant', 'b'), turn('user', 'c'), turn('assistant', 'd')] };
    expect((await learntOf(row)).text).toBe('[user]a.[assistant]{b.}[user]c.[assistant]{d.<|endoftext|>}');
  });

  test('give the template all fields of a turn, and the tools of the row', async () => {
    const calls = [{ type: 'function', function: { name: 'look', arguments: {} } }];
    const tools = [{ name: 'look' }];
    const messages = [turn('user', 'a'), turn('assistant', null, { tool_calls: calls, reasoning_content: 'b' })];
    const expected = '[tools [{"name": "look"}]][user]a.[assistant]{(b)<look>.<|endoftext|>}';
    expect((await learntOf({ tools, messages })).text).toBe(expected);
    expect((await learntOf({ tools: JSON.stringify(tools), messages })).text).toBe(expected);
    expect((await learntOf({ chat_template_kwargs: { tools }, messages })).text).toBe(expected);
    await expect(learntOf({ tools: 'look', messages })).rejects.toThrow('tools is "look", expected a list of tools');
    await expect(learntOf({ chat_template_kwargs: 1, messages })).rejects.toThrow('is 1, expected an object');
  });

  test('do not learn turns of weight 0, or that are not to be trained', async () => {
    const messages = (more: object) => [
      turn('user', 'a'),
      turn('assistant', 'bad', more),
      turn('user', 'c'),
      turn('assistant', 'd', { weight: 1 }),
    ];
    const expected = '[user]a.[assistant]bad.[user]c.[assistant]{d.<|endoftext|>}';
    expect((await learntOf({ messages: messages({ weight: 0 }) })).text).toBe(expected);
    expect((await learntOf({ messages: messages({ train: false }) })).text).toBe(expected);
    const none = await learntOf({ messages: [turn('user', 'a'), turn('assistant', 'b', { weight: 0 })] });
    expect(none.report).toMatchObject({ kept: 0, empty: 0, unlearnt: 1 });
  });

  test('are read as ShareGPT and as lists of parts write them', async () => {
    const conversations = [
      { from: 'human', value: 'a' },
      { from: 'gpt', value: 'b' },
    ];
    const parts = [turn('user', [{ type: 'text', text: 'a' }]), turn('assistant', [{ text: '' }, 'b'])];
    const expected = '[user]a.[assistant]{b.<|endoftext|>}';
    const calling = [
      { from: 'human', value: 'a' },
      { from: 'function_call', value: 'b' },
    ];
    expect((await learntOf({ conversations: calling })).text).toBe(expected);
    expect((await learntOf({ conversations })).text).toBe(expected);
    expect((await learntOf({ messages: parts })).text).toBe(expected);
    expect((await learntOf({ prompt: [turn('user', 'a')], completion: [turn('assistant', 'b')] })).text).toBe(expected);
    expect((await learntOf({ prompt: 'a', completion: 'b' })).text).toBe(expected);
  });

  test('of ShareGPT may have their system turn beside them, and tools that answer', async () => {
    const conversations = [
      { from: 'human', value: 'a' },
      { from: 'observation', value: 'o' },
      { from: 'gpt', value: 'b' },
    ];
    expect((await learntOf({ conversations, system: 'S' })).text).toBe(
      '[system]S.[user]a.[tool]o.[assistant]{b.<|endoftext|>}',
    );
    const own = [{ from: 'system', value: 'own' }, ...conversations];
    const { text: withOwn } = await learntOf({ conversations: own, system: 'S' });
    expect(withOwn).toContain('[system]own.[user]');
    expect(withOwn).not.toContain('[system]S');
  });

  test('with a turn of which the template writes nothing learn the others', async () => {
    const bare = '{% for m in messages %}{{ m.content }}{% endfor %}';
    const messages = [
      turn('user', 'a'),
      turn('assistant', null, { tool_calls: [] }),
      turn('tool', 'c'),
      turn('assistant', 'd'),
    ];
    expect((await learntOf({ messages }, bare)).text).toBe('ac{d<|endoftext|>}');
  });

  test('end at the last end-of-text of a turn', async () => {
    const messages = [turn('user', 'a'), turn('assistant', 'b<|endoftext|>c')];
    const ending = '{% for m in messages %}{{ m.content }}{{ eos_token if m.role == "assistant" }}\n{% endfor %}';
    expect((await learntOf({ messages }, ending)).text).toBe('a\n{b<|endoftext|>c<|endoftext|>}');
  });

  test('of a prompt are read, not learnt', async () => {
    const prompt = [turn('user', 'a'), turn('assistant', 'b'), turn('user', 'c')];
    expect((await learntOf({ prompt, response: 'd' })).text).toBe(
      '[user]a.[assistant]b.[user]c.[assistant]{d.<|endoftext|>}',
    );
  });

  test('whose earlier turns the template changes are learnt in their last turn, and counted', async () => {
    const rewriting = `{% for m in messages %}[{{ m.role }}]{% if m.role == 'assistant' and loop.last %}(){% endif %}{{ m.content }}.{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}`;
    const two = { messages: [turn('user', 'a'), turn('assistant', 'b'), turn('user', 'c'), turn('assistant', 'd')] };
    const { text, report } = await learntOf(two, rewriting);
    expect(text).toBe('[user]a.[assistant]b.[user]c.[assistant]{()d.<|endoftext|>}');
    expect(report).toMatchObject({ kept: 1, lastTurnOnly: 1, unrendered: 0 });
    expect(describeReport(report, 64)).toContain(
      '; only the last turn learnt, since the chat template changes earlier ones: 1',
    );
    const one = await learntOf({ messages: two.messages.slice(0, 2) }, rewriting);
    expect(one.report).toMatchObject({ kept: 1, lastTurnOnly: 0 });
    const thinking = `${rewriting}{% if add_generation_prompt %}<think>{% endif %}`;
    const dropped = await learntOf(two, thinking);
    expect(dropped.report).toMatchObject({ kept: 0, unrendered: 1 });
    expect(describeReport(dropped.report, 64)).toContain('dropped: 1 whose prompt the chat template does not continue');
  });
});

describe('rankings', () => {
  test('have a prompt, responses and dense ranks', async () => {
    const file = folder.write('a.jsonl', [
      { prompt: 'p', responses: ['a', 'b', 'c'], ranks: [2, 0.5, 2], scores: [1] },
      { prompt: 'p', chosen: 'a', rejected: 'b' },
    ]);
    const { items, report } = await readRankings([file], options);
    expect(Array.from(items, ({ ranks }) => Array.from(ranks))).toEqual([
      [1, 0, 1],
      [0, 1],
    ]);
    expect(Array.from(items.at(0)!.prompt)).toEqual(await ids('p'));
    const responses = await Promise.all(['a', 'b', 'c'].map(ids));
    expect(items.at(0)!.responses.map((r) => Array.from(r))).toEqual(responses.map((r) => [...r, end]));
    expect(report.tokens).toBe(1 + 6 + 1 + 4);
  });

  test('of people who are checked by them are not trained on: repetitions and attention items', async () => {
    const file = folder.write(
      'a.jsonl',
      ['label', 'repeat', 'attention', undefined, 'attention'].map((purpose) => ({
        prompt: `p ${purpose}`,
        responses: ['a', 'b'],
        ranks: [0, 1],
        purpose,
      })),
    );
    const { keys, report } = await readRankings([file], options);
    expect(keys).toEqual(['p label', 'p undefined']);
    expect(report).toMatchObject({ rows: 5, kept: 2, checks: 3 });
    expect(describeReport(report, 64)).toContain('dropped: 3 repetitions or attention items');
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
    expect(items.at(0)!.responses.map((r) => r.length)).toEqual([63, 2]);
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
    [{ chosen: 'a', rejected: 'b' }, 'has the fields chosen, rejected, expected prompt, or dialogues'],
    [
      { prompt: 'p', chosen: [{ role: 'user', content: 'a' }], rejected: [{ role: 'user', content: 'b' }] },
      'chosen goes on with a turn of "user", expected an assistant\'s',
    ],
    [{ prompt: 'p', chosen: [{ role: 'assistant', content: 'a' }], rejected: 'b' }, 'rejected is "b", expected a list'],
    [
      { prompt: 'p', response: 'a' },
      'has the fields prompt, response, expected prompt with responses and ranks, or with chosen and rejected',
    ],
  ])('a bad row is named with its field: %j', async (row, message) => {
    const file = folder.write('bad.jsonl', [{ prompt: 'p', chosen: 'a', rejected: 'b' }, row]);
    await expect(readRankings([file], options)).rejects.toThrow(`bad.jsonl:2: ${message}`);
  });
});

describe('pairs as public data sets write them', () => {
  const template = new ChatTemplate(
    '{% for m in messages %}[{{ m.role }}]{{ m.content }}.{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}',
    tokenizer,
    'mine',
  );
  const read = async (row: object, template?: ChatTemplate) => {
    const { items } = await readRankings([folder.write('a.jsonl', [row])], { tokenizer, maxLength: 256, template });
    const text = (tokens: Int32Array) => tokenizer.decode(tokens, false);
    return [text(items.at(0)!.prompt), ...items.at(0)!.responses.map(text), Array.from(items.at(0)!.ranks).join()];
  };
  const user = { role: 'user', content: 'a' };
  const assistant = (content: string) => ({ role: 'assistant', content });
  const expected = ['[user]a.[assistant]', 'b.<|endoftext|>', 'c.<|endoftext|>', '0,1'];

  test.each([
    ['text after a prompt', { prompt: 'a', chosen: 'b', rejected: 'c' }],
    ['turns after a prompt', { prompt: [user], chosen: [assistant('b')], rejected: [assistant('c')] }],
    ['whole dialogues', { chosen: [user, assistant('b')], rejected: [user, assistant('c')] }],
    [
      'whole dialogues beside a text',
      { prompt: 'a', chosen: [user, assistant('b')], rejected: [user, assistant('c')] },
    ],
    [
      'whole dialogues beside a list',
      { prompt: [user], chosen: [user, assistant('b')], rejected: [user, assistant('c')] },
    ],
    ['text after a dialogue', { prompt: [user], chosen: 'b', rejected: 'c' }],
    ["Anthropic's dialogues", { chosen: '\n\nHuman: a\n\nAssistant: b', rejected: '\n\nHuman: a\n\nAssistant: c' }],
  ])('%s', async (_, row) => {
    expect(await read(row, template)).toEqual(expected);
  });

  test("Anthropic's dialogues are left as they are in their own form", async () => {
    const begin = '\n\nHuman: a\n\nAssistant: one\n\nHuman: more\n\nAssistant:';
    const row = { chosen: `${begin} two`, rejected: `${begin} too\n\nHuman: ?\n\nAssistant: b` };
    const whole = [begin, ' two<|endoftext|>', ' too\n\nHuman: ?\n\nAssistant: b<|endoftext|>', '0,1'];
    expect(await read(row)).toEqual(whole);
    expect(await read(row, await ChatTemplate.load('hh', tokenizer))).toEqual(whole);
    expect(await read(row, template)).toEqual([
      '[user]a.[assistant]one.[user]more.[assistant]',
      'two.<|endoftext|>',
      'too.[user]?.[assistant]b.<|endoftext|>',
      '0,1',
    ]);
  });

  test("a prompt in Anthropic's form is not repeated, and not a turn of its own", async () => {
    const prompt = '\n\nHuman: a\n\nAssistant:';
    const repeated = { prompt, chosen: `${prompt} b`, rejected: `${prompt} c` };
    expect(await read(repeated)).toEqual([prompt, ' b<|endoftext|>', ' c<|endoftext|>', '0,1']);
    expect(await read(repeated, template)).toEqual(expected);
    expect(await read({ prompt, chosen: ' b', rejected: ' c' }, template)).toEqual(expected);
    const file = folder.write('b.jsonl', [{ prompt, response: ' b' }]);
    const { items } = await readDemonstrations([file], { ...options, template });
    expect(tokenizer.decode(items.at(0)!.tokens, false)).toBe('[user]a.[assistant]b.<|endoftext|>');
    const { items: prompts } = await readPrompts([file], { ...options, template, maxNewTokens: 4 });
    expect(prompts[0]!.text).toBe('[user]a.[assistant]');
    const hh = await ChatTemplate.load('hh', tokenizer);
    expect((await readPrompts([file], { ...options, template: hh, maxNewTokens: 4 })).items.at(0)!.text).toBe(prompt);
    expect(new Frame(tokenizer, template).promptText(prompt)).toBe('[user]a.[assistant]'); // of generateText
  });

  test('a text prompt that is no turn of the dialogues is refused', async () => {
    const row = { prompt: 'other', chosen: [user, assistant('b')], rejected: [user, assistant('c')] };
    await expect(read(row, template)).rejects.toThrow('prompt is "other", which is no turn of the dialogue in chosen');
  });

  test('a completion of several turns is scored as a whole', async () => {
    const row = { prompt: [user], completion: [assistant('b'), user, assistant('c')] };
    const scoring = { tokenizer, template, vocabSize: 999, maxPositions: 64 };
    const [scored] = await readScorable([folder.write('c.jsonl', [row])], scoring);
    expect(spans(scored!.sequence!)).toEqual(['b.', 'c.<|endoftext|>']);
  });

  test('several turns may follow what both share', async () => {
    const chosen = [user, assistant('b'), user, assistant('d')];
    expect(await read({ chosen, rejected: [user, assistant('c')] }, template)).toEqual([
      '[user]a.[assistant]',
      'b.[user]a.[assistant]d.<|endoftext|>',
      'c.<|endoftext|>',
      '0,1',
    ]);
    const same = { chosen: [user, assistant('b'), user, assistant('c')], rejected: chosen };
    expect((await read(same, template)).slice(0, 2)).toEqual([
      '[user]a.[assistant]b.[user]a.[assistant]',
      'c.<|endoftext|>',
    ]);
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

test.each(['plain', 'hh'] as const)('the template %s refuses tools instead of leaving them out', async (name) => {
  const template = new ChatTemplate(TEMPLATES[name], tokenizer, name);
  const turns = [
    { role: 'user', content: 'How is Paris?' },
    { role: 'assistant', content: '', tool_calls: [{ function: { name: 'weather', arguments: {} } }] },
  ];
  const file = folder.write('tools.jsonl', [{ messages: turns }]);
  await expect(readDemonstrations([file], { ...options, template })).rejects.toThrow(
    `tools.jsonl:1: ${name} has no form for tools and their calls`,
  );
});

describe('weights', () => {
  const rows = Array.from({ length: 8 }, (_, i) => ({ prompt: `question ${i}`, response: `answer ${i}` }));
  const answers = ({ items }: Awaited<ReturnType<typeof readDemonstrations>>) =>
    Array.from(items, (item) => tokenizer.decode(item.tokens).match(/answer (\d)/)![1]).join('');

  test('take a row of a file more or less often, evenly, and counted so', async () => {
    const files = [folder.write('a.jsonl', rows.slice(0, 4)), folder.write('b.jsonl', rows.slice(4))];
    expect(answers(await readDemonstrations(files, options))).toBe('01234567');
    expect(answers(await readDemonstrations(files, { ...options, weights: [2, 1] }))).toBe('001122334567');
    const read = await readDemonstrations(files, { ...options, weights: [0.5, 1.25] });
    expect(answers(read)).toBe('1345677');
    expect(read.report).toMatchObject({ rows: 7, kept: 7 });
    expect(read.keys).toEqual([...answers(read)].map((i) => `question ${i}`));
    const tokens = Array.from(read.items, (item) => item.tokens.length).reduce((a, b) => a + b);
    expect(read.report.tokens).toBe(tokens);
  });

  test('of documents and prompts too', async () => {
    const texts = folder.write('a.txt', 'one two three<|endoftext|>four<|endoftext|>five');
    const { items, report } = await readDocuments([texts], { ...options, weights: [2 / 3] });
    expect(Array.from(items, ({ tokens }) => tokenizer.decode(tokens))).toEqual(['four', 'five']);
    expect(report).toMatchObject({ rows: 2, kept: 2 });
    const file = folder.write('a.jsonl', rows.slice(0, 2));
    const prompts = await readPrompts([file], { ...options, maxNewTokens: 1, weights: [2] });
    expect(prompts.items.map(({ text }) => text)).toEqual(['question 0', 'question 0', 'question 1', 'question 1']);
  });

  test('that are none, or not one per file, are refused', async () => {
    const file = folder.write('a.jsonl', rows);
    await expect(readDemonstrations([file], { ...options, weights: [0] })).rejects.toThrow('a weight is 0');
    await expect(readDemonstrations([file], { ...options, weights: [1, 1] })).rejects.toThrow(
      'weights has length 2, expected 1: one per file',
    );
  });
});

test('a very long document is read in parts with the windows of the whole', async () => {
  const text = Array.from({ length: 30_000 }, (_, i) => `line ${i} has ${'some '.repeat(i % 7)}words`).join('\n');
  const file = folder.write('long.txt', `short<|endoftext|>${text}<|endoftext|> \n<|endoftext|>end`);
  const whole = await readDocuments([file], options);
  const parts = await readDocuments([file], options, 1000);
  expect(Array.from(parts.items, ({ tokens }) => tokens.join())).toEqual(
    Array.from(whole.items, ({ tokens }) => tokens.join()),
  );
  expect(parts).toMatchObject({ keys: whole.keys, report: whole.report });
  expect(whole.report).toMatchObject({ rows: 4, kept: 3, empty: 1 });
});

test('progress is in bytes of all files', async () => {
  const rows = Array.from({ length: 2000 }, (_, i) => ({ prompt: `question ${i}`, response: 'answer' }));
  const files = [folder.write('a.jsonl', rows), folder.write('b.jsonl.gz', rows)];
  const seen: { done: number; total: number }[] = [];
  await readDemonstrations(files, { ...options, onProgress: (at) => seen.push(at) });
  const total = files.reduce((sum, file) => sum + statSync(file).size, 0);
  expect(seen.every((at) => at.total === total)).toBe(true);
  expect(seen.at(-1)!.done).toBe(total);
  expect(seen.map(({ done }) => done)).toEqual(seen.map(({ done }) => done).sort((a, b) => a - b));
});

describe('splitByPrompt', () => {
  const keys = Array.from({ length: 100 }, (_, i) => `prompt ${i % 40}`);
  const items = keys.map((key, i) => ({ key, i }));

  test('keeps the items of a prompt together, and holds out a fraction of the prompts', () => {
    const { train, validation } = splitByPrompt({ items, keys }, 0.25, 1);
    expect(train.length + validation.length).toBe(100);
    const back = new Set(Array.from(validation, ({ key }) => key));
    expect(back.size).toBe(10);
    expect([...train].some(({ key }) => back.has(key))).toBe(false);
  });

  test('depends on prompt and seed, not on the order', () => {
    const back = (order: typeof items, seed: number) =>
      new Set(
        Array.from(
          splitByPrompt({ items: order, keys: order.map(({ key }) => key) }, 0.25, seed).validation,
          ({ key }) => key,
        ),
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
