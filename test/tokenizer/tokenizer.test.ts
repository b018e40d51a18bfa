import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { Tokenizer as Reference } from 'tokenizers';
import { Random } from '../../lib/core/random.js';
import { countWords, toTokenizerJson, trainBpe } from '../../lib/tokenizer/bpe.js';
import { copyTokenizer, TextStream, Tokenizer } from '../../lib/tokenizer/tokenizer.js';
import { sentences, smallTokenizer } from './corpus.js';

const kOdd = [
  '',
  ' ',
  'naïve 😀 cafe\u0301',
  'a\u0085b\ufeffc',
  '\ufeffstart',
  '  two  spaces \n\n\ttabs\r\n',
  'x<|endoftext|>y <|pad|> z<|endoftext|>',
  '日本語テスト 👩‍👩‍👧 🇩🇪',
  "hello . , ? ! 'm n't do n't 's 've 're",
  '\u0000\u0001\u007f\u00a0\u00ad\u200b',
  '٣٤٥ Ⅷ ½ ²',
];

const json = (() => {
  const counts = new Map<string, number>();
  for (const text of sentences(300)) countWords(text, counts);
  return toTokenizerJson(trainBpe(counts, { vocabSize: 600 }));
})();

/** A tokenizer as Llama's: SentencePiece's spaces, bytes for what is unknown, <s> before a text. */
function llamaLike(): Record<string, unknown> {
  const bytes = Array.from({ length: 256 }, (_, b) => `<0x${b.toString(16).toUpperCase().padStart(2, '0')}>`);
  const tokens = [
    '<unk>',
    '<s>',
    '</s>',
    ...bytes,
    '▁',
    ...'abcdehlortw',
    'he',
    'll',
    '▁he',
    '▁hell',
    '▁w',
    'or',
    '▁wor',
  ];
  const special = (id: number) => ({
    id,
    content: tokens[id],
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  });
  return {
    version: '1.0',
    added_tokens: [special(0), special(1), special(2)],
    normalizer: {
      type: 'Sequence',
      normalizers: [
        { type: 'Prepend', prepend: '▁' },
        { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
      ],
    },
    pre_tokenizer: null,
    post_processor: {
      type: 'TemplateProcessing',
      single: [{ SpecialToken: { id: '<s>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
      pair: [{ Sequence: { id: 'A', type_id: 0 } }, { Sequence: { id: 'B', type_id: 1 } }],
      special_tokens: { '<s>': { id: '<s>', ids: [1], tokens: ['<s>'] } },
    },
    decoder: {
      type: 'Sequence',
      decoders: [
        { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
        { type: 'ByteFallback' },
        { type: 'Fuse' },
        { type: 'Strip', content: ' ', start: 1, stop: 0 },
      ],
    },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: '<unk>',
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: true,
      byte_fallback: true,
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges: ['h e', 'l l', '▁ he', '▁he ll', '▁ w', 'o r', '▁w or'],
    },
  };
}

describe.each([
  ['byte level', json],
  ['Llama-like', llamaLike()],
])('encode and decode, %s, as the reference', (_, source) => {
  const tokenizer = Tokenizer.fromJson(source);
  const reference = Reference.fromString(JSON.stringify(source));
  const agree = async (text: string) => {
    const ids = tokenizer.encode(text);
    expect(Array.from(ids)).toEqual(
      Array.from((await reference.encode(text, null, { addSpecialTokens: false })).getIds()),
    );
    expect(tokenizer.decode(ids, false)).toBe(await reference.decode(Array.from(ids), false));
    expect(tokenizer.decode(ids, true)).toBe(await reference.decode(Array.from(ids), true));
  };

  test('odd texts', async () => {
    // The library's byte fallback drops U+FEFF when it decodes; its byte level does not.
    for (const text of kOdd) if (source === json || !text.includes('\ufeff')) await agree(text);
  });

  test('random texts', async () => {
    const random = new Random(9);
    for (let i = 0; i < 300; i++) {
      const points = Array.from({ length: 25 }, () => {
        const point = random.pick([32 + random.int(95), random.int(0x3000), random.int(0x110000)]);
        return point >= 0xd800 && point < 0xe000 ? 63 : point;
      });
      await agree(String.fromCodePoint(...points));
    }
  });

  test('ordinary sentences', async () => {
    for (const text of sentences(100, 4)) await agree(text);
  });
});

test('special tokens with characters of regular expressions are found, the longest first', async () => {
  const special = (content: string, id: number) => ({ ...(json.added_tokens as object[])[0], content, id });
  const source = {
    ...json,
    added_tokens: [
      ...(json.added_tokens as object[]),
      special('[a-b]', 600),
      special('[a-b]+(c)', 601),
      special('/^$\\\\', 602),
    ],
  };
  const tokenizer = Tokenizer.fromJson(source);
  const reference = Reference.fromString(JSON.stringify(source));
  for (const text of ['x[a-b]y', '[a-b]+(c)', ' [a-b]+ (c)', '/^$\\\\/', '[a-b][a-b]+(c)<|pad|>']) {
    const expected = Array.from((await reference.encode(text, null, { addSpecialTokens: false })).getIds());
    expect(Array.from(tokenizer.encode(text))).toEqual(expected);
    expect(Array.from(tokenizer.encode(text))).toEqual(expected); // from the words seen before
  }
});

describe('Tokenizer', () => {
  const tokenizer = Tokenizer.fromJson(json);

  test('keeps every byte', () => {
    for (const text of kOdd) expect(tokenizer.decode(tokenizer.encode(text), false)).toBe(text);
  });

  test('knows its special tokens', () => {
    expect(tokenizer.vocabSize).toBe(600);
    expect(tokenizer.endOfText).toBe(0);
    expect(tokenizer.pad).toBe(1);
    expect(tokenizer.prefix.length).toBe(0);
    expect(tokenizer.tokenToId('<|pad|>')).toBe(1);
    expect(tokenizer.idToToken(0)).toBe('<|endoftext|>');
    expect(tokenizer.tokenToId('no such token')).toBeUndefined();
    const llama = Tokenizer.fromJson(llamaLike());
    expect([llama.endOfText, llama.pad, Array.from(llama.prefix)]).toEqual([2, undefined, [1]]);
  });

  test('refuses a model with fewer rows than it has tokens', () => {
    tokenizer.requireFits(600);
    tokenizer.requireFits(640);
    expect(() => tokenizer.requireFits(599, 'runs/model')).toThrow(
      'tokenizer.json has 600 tokens, more than the vocabulary of runs/model, which has 599',
    );
  });

  test('refuses what is no id; ids above its vocabulary have no text', () => {
    for (const id of [-1, 1.5, Number.NaN]) expect(() => tokenizer.decode([id])).toThrow(`${id} is no token id`);
    const ids = tokenizer.encode('a word');
    expect(tokenizer.decode([600, ...ids, 639])).toBe('a word');
    expect(tokenizer.decode([600])).toBe('');
  });

  test('encodes a long word and a long document', () => {
    expect(tokenizer.decode(tokenizer.encode('ab'.repeat(50_000)))).toBe('ab'.repeat(50_000));
    const long = sentences(20_000).join(' ');
    expect(tokenizer.decode(tokenizer.encode(long))).toBe(long);
  });

  test.each([
    ['no object', 5, 'is not a JSON object'],
    ['no model', {}, 'model is missing'],
    ['no vocabulary', { model: { type: 'BPE' } }, 'model.vocab is missing'],
    ['an empty vocabulary', { model: { type: 'BPE', vocab: {} } }, 'model.vocab is empty'],
    ['an id that is none', { model: { type: 'BPE', vocab: { a: -4 } } }, 'model.vocab["a"] has the id -4'],
    [
      'an id that is a text',
      { model: { type: 'BPE', vocab: { a: 0 } }, added_tokens: [{ id: '7' }] },
      'added_tokens[0] has the id "7"',
    ],
    [
      'an unknown model',
      { ...json, model: { type: 'Magic', vocab: { a: 0 } } },
      'model.type is "Magic", expected BPE, Unigram, WordPiece',
    ],
    [
      'an unknown decoder',
      { ...json, decoder: { type: 'Magic' } },
      'is not a tokenizer that can be used: Unknown Decoder',
    ],
    [
      'no end',
      { ...json, added_tokens: [], model: { ...(json.model as object), vocab: { a: 0 }, merges: [] } },
      'has no end-of-text token',
    ],
  ])('refuses a file with %s', (_, value, message) => {
    expect(() => Tokenizer.fromJson(value, { file: 'bad.json' })).toThrow(`bad.json: ${message}`);
  });
});

describe('a folder', () => {
  let dir: string;
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'heed-tokenizer-'));
  });
  afterEach(() => rm(dir, { recursive: true }));
  const write = (name: string, value: unknown) =>
    writeFile(join(dir, name), typeof value === 'string' ? value : JSON.stringify(value));

  test('is read with what stands beside tokenizer.json', async () => {
    await write('tokenizer.json', json);
    expect((await Tokenizer.load(dir)).endOfText).toBe(0);
    await write('config.json', { eos_token_id: 5 });
    expect((await Tokenizer.load(dir)).endOfText).toBe(5);
    await write('tokenizer_config.json', { eos_token: { content: '<|pad|>' }, chat_template: 'from the config' });
    const tokenizer = await Tokenizer.load(join(dir, 'tokenizer.json'));
    expect(tokenizer.endOfText).toBe(1);
    expect(tokenizer.chatTemplate).toBe('from the config');
    await write('chat_template.jinja', 'from its file');
    expect((await Tokenizer.load(dir)).chatTemplate).toBe('from its file');
    expect((await Tokenizer.load(dir, { endOfText: '<|endoftext|>' })).endOfText).toBe(0);
  });

  test('that is missing, empty or damaged is named', async () => {
    await expect(Tokenizer.load(join(dir, 'nowhere'))).rejects.toThrow(/nowhere: does not exist/);
    await expect(Tokenizer.load(dir)).rejects.toThrow(/tokenizer\.json: does not exist/);
    await write('tokenizer.json', '{"model"');
    await expect(Tokenizer.load(dir)).rejects.toThrow(/tokenizer\.json: is not valid JSON/);
    await write('tokenizer.json', json);
    await write('tokenizer_config.json', { eos_token: '<nothing>' });
    await expect(Tokenizer.load(dir)).rejects.toThrow(
      'has no token "<nothing>", which should be its end-of-text token',
    );
  });

  test('is copied whole', async () => {
    await write('tokenizer.json', json);
    await write('tokenizer_config.json', { eos_token: '<|pad|>' });
    const to = join(dir, 'copy');
    await mkdir(to);
    await copyTokenizer(dir, to);
    expect((await Tokenizer.load(to)).endOfText).toBe(1);
    expect(existsSync(join(to, 'chat_template.jinja'))).toBe(false);
    await expect(copyTokenizer(join(dir, 'nowhere'), to)).rejects.toThrow('tokenizer.json: does not exist');
  });
});

describe('TextStream', () => {
  test.each([
    ['byte level', smallTokenizer()],
    ['Llama-like', Tokenizer.fromJson(llamaLike())],
  ])('gives the text of the tokens, no character in halves: %s', (_, tokenizer) => {
    for (const text of [...kOdd.filter((t) => !t.includes('<|')), ...sentences(30, 8), 'hello world he']) {
      const stream = new TextStream(tokenizer);
      const ids = tokenizer.encode(text);
      const parts = Array.from(ids, (id) => stream.push(id));
      for (const part of parts) expect(part).not.toContain('\ufffd');
      expect([...parts, stream.end()].join('')).toBe(tokenizer.decode(ids));
    }
  });
});
