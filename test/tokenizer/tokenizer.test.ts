import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { Tokenizer as Reference } from 'tokenizers';
import { Random } from '../../lib/core/random.js';
import { countWords, toTokenizerJson, trainBpe } from '../../lib/tokenizer/bpe.js';
import { copyTokenizer } from '../../lib/tokenizer/files.js';
import { TextStream, Tokenizer } from '../../lib/tokenizer/tokenizer.js';
import { turnsDuring } from '../data/files.js';
import { llamaLike, sentences, smallTokenizer, variants } from './corpus.js';

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

describe.each([['byte level', json], ['Llama-like', llamaLike()], ...Object.entries(variants(json))])(
  'encode and decode, %s, as the reference',
  (_, source) => {
    const tokenizer = Tokenizer.fromJson(source);
    const reference = Reference.fromString(JSON.stringify(source));
    const agree = async (text: string) => {
      const ids = await tokenizer.encode(text);
      expect(Array.from(ids)).toEqual(
        Array.from((await reference.encode(text, null, { addSpecialTokens: false })).getIds()),
      );
      expect(tokenizer.decode(ids, false)).toBe(await reference.decode(Array.from(ids), false));
      expect(tokenizer.decode(ids, true)).toBe(await reference.decode(Array.from(ids), true));
    };

    test('odd texts', async () => {
      for (const text of kOdd) await agree(text);
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
  },
);

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
    expect(Array.from(await tokenizer.encode(text))).toEqual(expected);
    expect(Array.from(await tokenizer.encode(text))).toEqual(expected); // from the words seen before
  }
});

describe('Tokenizer', () => {
  const special = (id: string) => ({ SpecialToken: { id, type_id: 0 } });
  const sequence = { Sequence: { id: 'A', type_id: 0 } };
  const named = {
    '<|pad|>': { id: '<|pad|>', ids: [1], tokens: ['<|pad|>'] },
    '<|endoftext|>': { id: '<|endoftext|>', ids: [0], tokens: ['<|endoftext|>'] },
  };
  const tokenizer = Tokenizer.fromJson(json);

  test('keeps every byte', async () => {
    for (const text of kOdd) expect(tokenizer.decode(await tokenizer.encode(text), false)).toBe(text);
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

  test.each([
    [
      'a template',
      {
        type: 'TemplateProcessing',
        single: [special('<|pad|>'), sequence, special('<|endoftext|>')],
        pair: [sequence],
        special_tokens: named,
      },
      [1],
    ],
    [
      'several',
      {
        type: 'Sequence',
        processors: [
          json.post_processor ?? { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
          {
            type: 'TemplateProcessing',
            single: [special('<|endoftext|>'), special('<|pad|>'), sequence],
            pair: [sequence],
            special_tokens: named,
          },
        ],
      },
      [0, 1],
    ],
    ['BERT', { type: 'BertProcessing', sep: ['<|endoftext|>', 0], cls: ['<|pad|>', 1] }, [1]],
    [
      'RoBERTa',
      {
        type: 'RobertaProcessing',
        sep: ['<|endoftext|>', 0],
        cls: ['<|pad|>', 1],
        trim_offsets: true,
        add_prefix_space: false,
      },
      [1],
    ],
    [
      'one that adds tokens only at the end',
      {
        type: 'TemplateProcessing',
        single: [sequence, special('<|endoftext|>')],
        pair: [sequence],
        special_tokens: named,
      },
      [],
    ],
  ])('knows the tokens that a post-processor puts before a text: %s', async (_, post_processor, expected) => {
    const source = { ...json, post_processor };
    expect(Array.from(Tokenizer.fromJson(source).prefix)).toEqual(expected);
    const reference = await Reference.fromString(JSON.stringify(source)).encode('lo', null, { addSpecialTokens: true });
    expect(reference.getIds().slice(0, expected.length)).toEqual(expected);
  });

  test("ignores the file's truncation, padding and merge dropout", async () => {
    const long = sentences(20).join(' ');
    const source = {
      ...json,
      truncation: { direction: 'Right', max_length: 4, strategy: 'LongestFirst', stride: 0 },
      padding: {
        strategy: { Fixed: 512 },
        direction: 'Right',
        pad_to_multiple_of: null,
        pad_id: 1,
        pad_type_id: 0,
        pad_token: '<|pad|>',
      },
      model: { ...(json.model as object), dropout: 0.5 },
    };
    expect(await Tokenizer.fromJson(source).encode(long)).toEqual(await tokenizer.encode(long));
  });

  test('names a character that its vocabulary lacks', async () => {
    const model = { type: 'BPE', vocab: { a: 0, b: 1, ab: 2, '</s>': 3 }, merges: ['a b'] };
    const source = { ...json, added_tokens: [], pre_tokenizer: { type: 'Whitespace' }, decoder: null, model };
    const small = Tokenizer.fromJson(source);
    expect(Array.from(await small.encode('ab a  b'))).toEqual([2, 0, 1]);
    await expect(small.encode('ab ac b')).rejects.toThrow('tokenizer.json has no token for "c"');
    await expect(small.encode('abc')).rejects.toThrow('tokenizer.json has no token for "c"');
  });

  test('encodes several texts like each of them, in order', async () => {
    const texts = sentences(300, 12);
    const alone = [];
    for (const text of texts) alone.push(await tokenizer.encode(text));
    expect(await Tokenizer.fromJson(json).encodeBatch(texts)).toEqual(alone);
    expect(await tokenizer.encodeBatch([])).toEqual([]);
  });

  test.each([
    ['words', json],
    ['parts', variants(json).regex],
    ['one word', llamaLike()],
  ])('lets the event loop turn within a long text, and can be aborted there: %s', async (_, source) => {
    const long = 'hello world '.repeat(40_000);
    const one = Tokenizer.fromJson(source);
    expect(await turnsDuring(() => one.encode(long))).toBeGreaterThan(6);
    const controller = new AbortController();
    setImmediate(() => setImmediate(() => controller.abort(new Error('enough'))));
    await expect(Tokenizer.fromJson(source).encode(long, { signal: controller.signal })).rejects.toThrow('enough');
    await expect(one.encode('hello', { signal: controller.signal })).rejects.toThrow('enough');
    await expect(one.encode(7 as never)).rejects.toThrow('text is of type number');
  });

  test('refuses a model with fewer rows than it has tokens', () => {
    tokenizer.requireFits(600);
    tokenizer.requireFits(640);
    expect(() => tokenizer.requireFits(599, 'runs/model')).toThrow(
      'tokenizer.json has 600 tokens, more than the vocabulary of runs/model, which has 599',
    );
  });

  test('refuses invalid ids; ids above its vocabulary have no text', async () => {
    for (const id of [-1, 1.5, Number.NaN]) expect(() => tokenizer.decode([id])).toThrow(`${id} is not a token id`);
    const ids = await tokenizer.encode('a word');
    expect(tokenizer.decode([600, ...ids, 639])).toBe('a word');
    expect(tokenizer.decode([600])).toBe('');
  });

  test('encodes a long word and a long document', async () => {
    expect(tokenizer.decode(await tokenizer.encode('ab'.repeat(50_000)))).toBe('ab'.repeat(50_000));
    const long = sentences(20_000).join(' ');
    expect(tokenizer.decode(await tokenizer.encode(long))).toBe(long);
  });

  test.each([
    ['a value that is not an object', 5, 'is not a JSON object'],
    ['no model', {}, 'model is missing'],
    ['no vocabulary', { model: { type: 'BPE' } }, 'model.vocab is missing'],
    ['an empty vocabulary', { model: { type: 'BPE', vocab: {} } }, 'model.vocab is empty'],
    ['an invalid id', { model: { type: 'BPE', vocab: { a: -4 } } }, 'model.vocab["a"] has the id -4'],
    [
      'an id that is a string',
      { model: { type: 'BPE', vocab: { a: 0 } }, added_tokens: [{ id: '7' }] },
      'added_tokens[0] has the id "7"',
    ],
    [
      'an unknown model',
      { ...json, model: { type: 'Magic', vocab: { a: 0 } } },
      'model.type is "Magic", expected BPE, Unigram, WordPiece, WordLevel',
    ],
    ['an unknown decoder', { ...json, decoder: { type: 'Magic' } }, 'cannot be used as a tokenizer: '],
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

  test('is read with the files beside tokenizer.json', async () => {
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
    await rm(join(dir, 'chat_template.jinja'));
    await mkdir(join(dir, 'chat_templates'));
    await write('chat_templates/default.jinja', 'one of several');
    expect((await Tokenizer.load(dir)).chatTemplate).toBe('one of several');
    await rm(join(dir, 'chat_templates'), { recursive: true });
    expect((await Tokenizer.load(dir, { endOfText: '<|endoftext|>' })).endOfText).toBe(0);
  });

  test('may name the token that begins a text; tokenizer.json says whether it is added', async () => {
    await write('tokenizer.json', json);
    const plain = await Tokenizer.load(dir);
    expect([plain.bos, plain.prefix.length]).toEqual([undefined, 0]);
    await write('tokenizer_config.json', { bos_token: { content: '<|pad|>' } });
    const named = await Tokenizer.load(dir);
    expect([named.bos, named.prefix.length]).toEqual([1, 0]);
    expect(Array.from((await Tokenizer.load(dir, { addBos: true })).prefix)).toEqual([1]);
    // transformers 5 does not read add_bos_token where there is a tokenizer.json.
    await write('tokenizer_config.json', { bos_token: '<|pad|>', add_bos_token: true });
    expect(Array.from((await Tokenizer.load(dir)).prefix)).toEqual([]);

    await write('tokenizer.json', llamaLike());
    await write('tokenizer_config.json', {});
    expect(Array.from((await Tokenizer.load(dir)).prefix)).toEqual([1]);
    expect((await Tokenizer.load(dir)).bos).toBe(1);
    await write('tokenizer_config.json', { add_bos_token: false });
    expect(Array.from((await Tokenizer.load(dir)).prefix)).toEqual([1]);
    expect(Array.from((await Tokenizer.load(dir, { addBos: false })).prefix)).toEqual([]);
    await write('tokenizer_config.json', { bos_token: '<nothing>' });
    await expect(Tokenizer.load(dir)).rejects.toThrow('which is configured as its beginning-of-text token');
  });

  test('may say that a text begins with a space', async () => {
    await write('tokenizer.json', json);
    const ids = async () => Array.from(await (await Tokenizer.load(dir)).encode('lo'));
    const spaced = Array.from(await (await Tokenizer.load(dir)).encode(' lo'));
    expect(await ids()).not.toEqual(spaced);
    await write('tokenizer_config.json', { add_prefix_space: true });
    expect(await ids()).toEqual(spaced);
    for (const tokenizer_class of ['PreTrainedTokenizerFast', 'TokenizersBackend']) {
      await write('tokenizer_config.json', { add_prefix_space: true, tokenizer_class }); // which take tokenizer.json as it is
      expect(await ids()).not.toEqual(spaced);
    }
    await write('tokenizer_config.json', { add_prefix_space: 'yes' });
    await expect(Tokenizer.load(dir)).rejects.toThrow(
      'tokenizer_config.json: add_prefix_space is "yes", expected true or false',
    );
    await write('tokenizer.json', {
      ...json,
      pre_tokenizer: {
        type: 'Sequence',
        pretokenizers: [{ ...(json.pre_tokenizer as object), add_prefix_space: true }],
      },
    });
    await write('tokenizer_config.json', { add_prefix_space: false });
    expect(await ids()).not.toEqual(spaced);
    const metaspace = (scheme: string) => ({
      type: 'Metaspace',
      replacement: '▁',
      prepend_scheme: scheme,
      split: false,
    });
    const tokens = async (scheme: string, text: string) => {
      await write('tokenizer.json', { ...llamaLike(), normalizer: null, pre_tokenizer: metaspace(scheme) });
      const tokenizer = await Tokenizer.load(dir);
      return Array.from(await tokenizer.encode(text), (id) => tokenizer.idToToken(id)).join(' ');
    };
    expect(await tokens('always', 'he')).toBe('he');
    await write('tokenizer_config.json', { add_prefix_space: true });
    expect(await tokens('never', 'he')).toBe('▁he');
    expect(await tokens('always', 'he</s>he')).toBe('▁he </s> ▁he');
    expect(await tokens('first', 'he</s>he')).toBe('▁he </s> he');
  });

  test('may add tokens that tokenizer.json lacks', async () => {
    await write('tokenizer.json', json);
    await write('added_tokens.json', { '<tool>': 601, '<think>': 600 });
    await write('tokenizer_config.json', {
      added_tokens_decoder: { 1: { content: '<|pad|>' }, 602: { content: '<end>', special: true } },
    });
    const tokenizer = await Tokenizer.load(dir);
    expect(tokenizer.vocabSize).toBe(603);
    expect(Array.from(await tokenizer.encode('<think><tool><end>'))).toEqual([600, 601, 602]);
    expect(tokenizer.decode([600, 602])).toBe('<think>');
    await write('added_tokens.json', { '<tool>': 700 });
    await expect(Tokenizer.load(dir)).rejects.toThrow(/gives "<tool>" the id \d+, but the files beside it give it 700/);
  });

  test('may name special tokens that tokenizer.json does not list, as transformers 5 reads them', async () => {
    const size = Tokenizer.fromJson(json).vocabSize;
    const idsOf = async (text: string) => Array.from(await (await Tokenizer.load(dir)).encode(text));
    await write('tokenizer.json', json);
    // New ones get the next ids: the usual keys first, then a model's own, then the list of others.
    await write('tokenizer_config.json', {
      additional_special_tokens: ['<x>', '<|pad|>', '<own>'],
      own_token: '<own>',
      unk_token: { content: '<unk>', lstrip: true },
    });
    expect(await idsOf('  <unk><own><x>')).toEqual([size, size + 1, size + 2]);
    expect((await Tokenizer.load(dir)).decode([size, size + 2])).toBe('');
    await write('tokenizer_config.json', {
      extra_special_tokens: { y_token: '<y>' },
      additional_special_tokens: ['<x>'],
    });
    expect(await idsOf('<y>')).toEqual([size]);
    expect((await idsOf('<x>')).length).toBeGreaterThan(1);

    // special_tokens_map.json counts before the configuration, and only without added_tokens_decoder.
    await write('special_tokens_map.json', { unk_token: '<u>', additional_special_tokens: ['<z>'] });
    await write('tokenizer_config.json', { unk_token: '<unk>' });
    expect(await idsOf('<u>')).toEqual([size]);
    for (const text of ['<unk>', '<z>']) expect((await idsOf(text)).length).toBeGreaterThan(1);
    await write('tokenizer_config.json', { unk_token: '<unk>', added_tokens_decoder: { 1: { content: '<|pad|>' } } });
    expect(await idsOf('<unk>')).toEqual([size]);
    expect((await idsOf('<u>')).length).toBeGreaterThan(1);

    // A token of the vocabulary becomes one that is found in a text.
    await rm(join(dir, 'special_tokens_map.json'));
    await write('tokenizer.json', { ...json, added_tokens: [] });
    await write('tokenizer_config.json', { eos_token: '<|endoftext|>' });
    expect(await idsOf('<|endoftext|>')).toEqual([0]);
    // One that added_tokens.json lists is special: not shown, and found before normalisation.
    await write('tokenizer.json', { ...json, normalizer: { type: 'Lowercase' } });
    await write('added_tokens.json', { '<T>': size });
    await write('tokenizer_config.json', { additional_special_tokens: ['<T>'] });
    expect(await idsOf('<T>')).toEqual([size]);
    expect((await Tokenizer.load(dir)).decode([size])).toBe('');
    await write('added_tokens.json', {});
    expect(await idsOf('<T>')).toEqual([size]);
    // Unigram lists its tokens, and their ids are their places.
    const model = {
      type: 'Unigram',
      unk_id: 0,
      vocab: [
        ['<u>', 0],
        ['</s>', 0],
        ['a', -1],
      ],
    };
    await write('tokenizer.json', { model, added_tokens: [] });
    await write('tokenizer_config.json', { eos_token: '</s>', additional_special_tokens: ['<T>'] });
    expect(await idsOf('a</s><T>')).toEqual([2, 1, 3]);
    await write('tokenizer_config.json', { split_special_tokens: true });
    await expect(Tokenizer.load(dir)).rejects.toThrow(
      'tokenizer_config.json: split_special_tokens is true, heed implements only false',
    );
  });

  test('of an early version of the format has no type of its model', async () => {
    const { type, ...model } = json.model as Record<string, unknown>;
    expect(type).toBe('BPE');
    const old = Tokenizer.fromJson({ ...json, model });
    expect(await old.encode('shoterkalo')).toEqual(await Tokenizer.fromJson(json).encode('shoterkalo'));
    const words = { vocab: { '<|endoftext|>': 0, ka: 1 }, unk_token: '<|endoftext|>' };
    const pieces = { ...words, continuing_subword_prefix: '##', max_input_chars_per_word: 100 };
    const unigram = {
      vocab: [
        ['<|endoftext|>', 0],
        ['ka', -1],
      ],
      unk_id: 0,
    };
    for (const other of [words, pieces, unigram]) {
      const tokenizer = Tokenizer.fromJson({
        ...json,
        model: other,
        added_tokens: [],
        pre_tokenizer: null,
        decoder: null,
      });
      expect(Array.from(await tokenizer.encode('ka'))).toEqual([1]);
    }
  });

  test('with a file of another format is refused by its name', async () => {
    await write('tokenizer.json', 'version https://git-lfs.github.com/spec/v1\noid sha256:0\n');
    await expect(Tokenizer.load(dir)).rejects.toThrow('tokenizer.json: is a Git LFS pointer, expected JSON');
    await write('tokenizer.json', json);
    await write('chat_template.jinja', '<!DOCTYPE html>');
    await expect(Tokenizer.load(dir)).rejects.toThrow('chat_template.jinja: is an HTML page, expected text');
  });

  test('that is missing, empty or damaged is named', async () => {
    await expect(Tokenizer.load(join(dir, 'nowhere'))).rejects.toThrow(/nowhere: does not exist/);
    await expect(Tokenizer.load(dir)).rejects.toThrow(/tokenizer\.json: does not exist/);
    await write('tokenizer.json', '{"model"');
    await expect(Tokenizer.load(dir)).rejects.toThrow(/tokenizer\.json: is not valid JSON/);
    await write('tokenizer.json', json);
    await write('tokenizer_config.json', { eos_token: '<nothing>' });
    await expect(Tokenizer.load(dir)).rejects.toThrow(
      'has no token "<nothing>", which is configured as its end-of-text token',
    );
  });

  test('is copied completely', async () => {
    await write('tokenizer.json', json);
    await write('tokenizer_config.json', { eos_token: '<|pad|>' });
    const to = join(dir, 'copy');
    await mkdir(to);
    await copyTokenizer(dir, to);
    expect((await Tokenizer.load(to)).endOfText).toBe(1);
    expect(existsSync(join(to, 'chat_template.jinja'))).toBe(false);
    await mkdir(join(dir, 'chat_templates'));
    await write('chat_templates/default.jinja', 'one of several');
    await copyTokenizer(dir, to);
    expect((await Tokenizer.load(to)).chatTemplate).toBe('one of several');
    await expect(copyTokenizer(join(dir, 'nowhere'), to)).rejects.toThrow('tokenizer.json: does not exist');
  });
});

describe('a text after another', () => {
  const metaspace = { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always', split: false };
  const all: [string, Record<string, unknown>][] = [
    ['byte level', json],
    [
      'byte level with a space before texts',
      { ...json, pre_tokenizer: { ...(json.pre_tokenizer as object), add_prefix_space: true } },
    ],
    ['Llama-like', llamaLike()],
    ['Metaspace', { ...llamaLike(), normalizer: null, pre_tokenizer: metaspace }],
    ...Object.entries(variants(json)),
  ];

  test.each(all)('%s: has the ids of the joined text, or those of its own', async (_, source) => {
    const tokenizer = Tokenizer.fromJson(source);
    const random = new Random(4);
    const pieces = [
      'hello',
      ' world',
      'he',
      'llo',
      ' ',
      '  ',
      '\n',
      'A:',
      ' w',
      'ör',
      '<|pad|>',
      ' hello world',
      '1',
      '.',
    ];
    let joined = 0;
    for (let i = 0; i < 200; i++) {
      const [before, text] = [1, 2].map(() =>
        Array.from({ length: 1 + random.int(3) }, () => random.pick(pieces)).join(''),
      );
      const ids = await tokenizer.encode(before!);
      const after = await tokenizer.encodeAfter({ text: before!, ids }, text!);
      const whole = await tokenizer.encode(before! + text!);
      const both = [...ids, ...after.ids];
      expect(both.join() === Array.from(whole).join()).toBe(after.isJoined);
      if (after.isJoined) joined++;
    }
    expect(joined).toBeGreaterThan(20);
  });

  test.each([
    ['Llama-like', llamaLike()],
    ['Metaspace', { ...llamaLike(), normalizer: null, pre_tokenizer: metaspace }],
  ])('%s: no space is put before it', async (_, source) => {
    const tokenizer = Tokenizer.fromJson(source);
    const following = async (before: string, text: string) => {
      const ids = await tokenizer.encode(before);
      const found = await tokenizer.encodeAfter({ text: before, ids }, text);
      return [Array.from(found.ids, (id) => tokenizer.idToToken(id)).join(' '), found.isJoined];
    };
    expect(await following('hello', ' world')).toEqual(['▁wor l d', true]);
    expect(await following('hello ', 'world')).toEqual(['w or l d', false]);
    expect(await following('h', 'ello')).toEqual(['e ll o', false]);
    expect(await following('hello', '')).toEqual(['', true]);
  });
});

test('a response keeps the space that a decoder drops at the beginning of a text', async () => {
  const tokenizer = Tokenizer.fromJson(llamaLike());
  const prompt = await tokenizer.encode('hello');
  const { ids } = await tokenizer.encodeAfter({ text: 'hello', ids: prompt }, ' world');
  expect(tokenizer.decode(ids)).toBe('world');
  expect(tokenizer.decodeAfter(prompt, ids)).toBe(' world');
  expect(tokenizer.decodeAfter([], ids)).toBe('world');
  const stream = new TextStream(tokenizer, prompt);
  expect([...Array.from(ids, (id) => stream.push(id)), stream.end()].join('')).toBe(' world');
});

describe('TextStream', () => {
  test.each([
    ['byte level', smallTokenizer()],
    ['Llama-like', Tokenizer.fromJson(llamaLike())],
  ])('gives the text of the tokens without splitting characters: %s', async (_, tokenizer) => {
    for (const text of [...kOdd.filter((t) => !t.includes('<|')), ...sentences(30, 8), 'hello world he']) {
      const stream = new TextStream(tokenizer);
      const ids = await tokenizer.encode(text);
      const parts = Array.from(ids, (id) => stream.push(id));
      for (const part of parts) expect(part).not.toContain('\ufffd');
      expect([...parts, stream.end()].join('')).toBe(tokenizer.decode(ids));
    }
  });
});
