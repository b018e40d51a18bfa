import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { Tokenizer as Reference } from 'tokenizers';
import { Random } from '../../lib/core/random.js';
import {
  bpeSteps,
  byteAlphabet,
  countWords,
  toTokenizerJson,
  trainBpe,
  type WordCounts,
} from '../../lib/tokenizer/bpe.js';
import { partsOf } from '../../lib/tokenizer/words.js';
import { sentences } from './corpus.js';

const counted = (texts: readonly string[]): WordCounts => {
  const counts: WordCounts = new Map();
  for (const text of texts) countWords(text, counts);
  return counts;
};

/** The definition, without index and queue: recounts all pairs after every merge. */
function slowMerges(counts: WordCounts, merges: number): string[] {
  const alphabet = byteAlphabet();
  const ids = new Map(alphabet.toSorted().map((token, i) => [token, i]));
  const words = [...counts].map(([word, count]) => ({
    count,
    symbols: [...Buffer.from(word)].map((b) => alphabet[b]!),
  }));
  const learnt: string[] = [];
  for (let m = 0; m < merges; m++) {
    const pairs = new Map<string, number>();
    for (const { symbols, count } of words) {
      for (let i = 1; i < symbols.length; i++) {
        const pair = `${symbols[i - 1]} ${symbols[i]}`;
        pairs.set(pair, (pairs.get(pair) ?? 0) + count);
      }
    }
    const rank = (pair: string) => pair.split(' ').map((token) => ids.get(token)!);
    const [best, count] = [...pairs].reduce((a, b) => {
      if (a[1] !== b[1]) return a[1] > b[1] ? a : b;
      const [a0, a1] = rank(a[0]);
      const [b0, b1] = rank(b[0]);
      return a0! < b0! || (a0 === b0 && a1! < b1!) ? a : b;
    });
    if (count < 2) break;
    learnt.push(best);
    const [left, right] = best.split(' ');
    if (!ids.has(left! + right!)) ids.set(left! + right!, ids.size);
    for (const word of words) {
      const out: string[] = [];
      for (const symbol of word.symbols) {
        if (out.at(-1) === left && symbol === right) out[out.length - 1] = left + right!;
        else out.push(symbol);
      }
      word.symbols = out;
    }
  }
  return learnt;
}

describe('words', () => {
  test("are GPT-2's", () => {
    const counts = counted(["We'll don't  stop,\n\nnow 2024!"]);
    expect([...counts.keys()]).toEqual(['We', "'ll", ' don', "'t", ' ', ' stop', ',', '\n', 'now', ' 2024', '!']);
  });

  test('lose no character of any text', () => {
    const random = new Random(5);
    for (let i = 0; i < 200; i++) {
      const text = Array.from({ length: 30 }, () =>
        String.fromCodePoint(random.chance(0.5) ? random.int(128) : random.int(0xd800)),
      ).join('');
      const counts: WordCounts = new Map();
      countWords(text, counts, []);
      const length = [...counts].reduce((n, [word, count]) => n + word.length * count, 0);
      expect(length).toBe(text.length);
    }
  });

  test('do not cross special tokens, which are not words', () => {
    expect([...counted(['one<|endoftext|>two<|pad|>']).keys()]).toEqual(['one', 'two']);
  });
});

test('the parts of a long text have the same words', () => {
  const text = sentences(300).join(' \n\t ');
  for (const size of [1, 7, 100]) {
    const parts = [...partsOf(text, size)];
    expect(parts.join('')).toBe(text);
    expect(counted(parts)).toEqual(counted([text]));
    const longest = Math.max(...text.split(/\s+/).map((word) => word.length));
    expect(Math.max(...parts.map((part) => part.length))).toBeLessThanOrEqual(size + longest + 6);
  }
  expect([...partsOf('', 5)]).toEqual([]);
});

describe('trainBpe', () => {
  const counts = counted(sentences(200));

  test('works in steps, none of them long', () => {
    const many: WordCounts = new Map(Array.from({ length: 20_000 }, (_, i) => [`ab${i}`, 1]));
    const done: number[] = [];
    const steps = bpeSteps(many, { vocabSize: 270 });
    let step = steps.next();
    for (; !step.done; step = steps.next()) done.push(step.value);
    expect(step.value).toEqual(trainBpe(many, { vocabSize: 270 }));
    expect(Math.max(...done)).toBeLessThanOrEqual(4096);
    // All words are visited once at the start, and all those with the first pair, which are all of them, once more.
    expect(done.reduce((sum, words) => sum + words, 0)).toBeGreaterThan(36_000);
  });

  test('learns the same merges as the definition', () => {
    const { merges } = trainBpe(counts, { vocabSize: 258 + 150 });
    expect(merges.map((merge) => merge.join(' '))).toEqual(slowMerges(counts, 150));
  });

  test('handles overlaps: aaaa, abab', () => {
    const overlapping = new Map([
      ['aaaaaaa', 3],
      ['abababab', 5],
      ['aab', 2],
    ]);
    const { merges } = trainBpe(overlapping, { vocabSize: 264 });
    expect(merges.map((merge) => merge.join(' '))).toEqual(slowMerges(overlapping, 6));
  });

  test('is a function of the counts, whatever their order', () => {
    const shuffled = new Map(new Random(3).shuffle([...counts]));
    expect(trainBpe(shuffled, { vocabSize: 500 })).toEqual(trainBpe(counts, { vocabSize: 500 }));
  });

  test('stops when no pair is left', () => {
    const { tokens, merges } = trainBpe(new Map([['ab', 2]]), { vocabSize: 1000 });
    expect(merges).toEqual([['a', 'b']]);
    expect(tokens.length).toBe(259);
    expect(trainBpe(new Map(), { vocabSize: 300 }).tokens.length).toBe(258);
  });

  test('gives special tokens the first ids', () => {
    expect(trainBpe(counts, { vocabSize: 300 }).tokens.slice(0, 2)).toEqual(['<|endoftext|>', '<|pad|>']);
    expect(trainBpe(counts, { vocabSize: 300, specialTokens: ['<s>'] }).tokens[0]).toBe('<s>');
  });

  test('refuses invalid options', () => {
    expect(() => trainBpe(counts, { vocabSize: 257 })).toThrow('vocabSize is 257, expected an integer from 258');
    expect(() => trainBpe(counts, { vocabSize: 300.5 })).toThrow('vocabSize is 300.5');
    expect(() => trainBpe(counts, { vocabSize: 300, specialTokens: ['a', 'a'] })).toThrow('different, non-empty');
    expect(() => trainBpe(counts, { vocabSize: 300, minFrequency: 0 })).toThrow('minFrequency is 0');
  });

  test('is fast enough for a corpus of millions of words', () => {
    const random = new Random(2);
    const many: WordCounts = new Map();
    for (let i = 0; i < 60_000; i++) {
      const word = Array.from({ length: 2 + random.int(9) }, () => String.fromCharCode(97 + random.int(26))).join('');
      many.set(` ${word}`, 1 + random.int(100));
    }
    const start = performance.now();
    expect(trainBpe(many, { vocabSize: 4096 }).tokens.length).toBe(4096);
    expect(performance.now() - start).toBeLessThan(20_000); // seconds are expected; recounting would take hours
  });
});

const python = process.env.HEED_PYTHON ?? 'python3';
const hasPython = spawnSync(python, ['-c', 'import tokenizers']).status === 0;
const skipped = `(${python} has no tokenizers: set HEED_PYTHON to one that has)`;

(hasPython ? test : test.skip)(`Hugging Face's trainer learns the same ${hasPython ? '' : skipped}`, () => {
  const dir = mkdtempSync(join(tmpdir(), 'heed-bpe-'));
  try {
    const texts = sentences(500, 7);
    writeFileSync(join(dir, 'texts.json'), JSON.stringify(texts));
    const program = `
import json, sys
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
t = Tokenizer(models.BPE()); t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
t.train_from_iterator(json.load(open(sys.argv[1] + '/texts.json')), trainers.BpeTrainer(vocab_size=900, min_frequency=2,
  special_tokens=['<|endoftext|>', '<|pad|>'], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
t.save(sys.argv[1] + '/reference.json')`;
    execFileSync(python, ['-c', program, dir]);
    const reference = JSON.parse(readFileSync(join(dir, 'reference.json'), 'utf8'));
    const { tokens, merges } = trainBpe(counted(texts), { vocabSize: 900 });
    expect(merges).toEqual(reference.model.merges);
    expect(tokens.map((token) => reference.model.vocab[token])).toEqual(tokens.map((_, id) => id));
  } finally {
    rmSync(dir, { recursive: true });
  }
});

test('Hugging Face reads tokenizer.json, with every byte', async () => {
  const json = toTokenizerJson(trainBpe(counted(sentences(200)), { vocabSize: 500 }));
  const reference = Reference.fromString(JSON.stringify(json));
  expect(reference.getVocabSize()).toBe(500);
  for (const text of ['naïve café', '😀 \u0000\u007f\u0085\ufeff', 'unseen 漢字 words\r\n\t']) {
    const ids = (await reference.encode(text)).getIds();
    expect(await reference.decode(ids, false)).toBe(text);
  }
});
