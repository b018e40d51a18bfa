import { describe, expect, test } from '@jest/globals';
import { Tokenizer as Reference } from 'tokenizers';
import { Random } from '../../lib/core/random.js';
import { countWords, toTokenizerJson, trainBpe } from '../../lib/tokenizer/bpe.js';
import { apartness } from '../../lib/tokenizer/description.js';
import { encodeInParts } from '../../lib/tokenizer/parts.js';
import { llamaLike, sentences, variants } from './corpus.js';

const byteLevel = (() => {
  const counts = new Map<string, number>();
  for (const text of sentences(300)) countWords(text, counts);
  return toTokenizerJson(trainBpe(counts, { vocabSize: 600 }));
})();

const kOdd = [
  '\n\n',
  '   ',
  '123456789',
  '0000000000',
  '<|endoftext|>',
  '</s>',
  '👩‍👩‍👧',
  'e\u0301',
  '\ufeff',
  '!!\n\n',
  '\r\n',
];
const kMore = [
  '\ud800',
  "don't",
  '我们的生活很好，今天天气不错。',
  'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa',
  'hellohellohello',
  ' he',
  'low ',
];

function mixed(random: Random, size: number): string {
  const words = sentences(20, random.int(1000)).join(' ').split(' ');
  const parts: string[] = [];
  for (let length = 0; length < size; length += parts.at(-1)!.length) {
    parts.push(
      random.chance(0.3) ? random.pick([...kOdd, ...kMore]) : `${random.pick(['', ' '])}${random.pick(words)}`,
    );
  }
  return parts.join('');
}

describe.each([['byte level', byteLevel], ['Llama-like', llamaLike()], ...Object.entries(variants(byteLevel))])(
  'a text in parts has the ids of the whole text: %s',
  (_, source) => {
    const reference = Reference.fromString(JSON.stringify(source));
    const isApart = apartness(source);
    const encode = (text: string) => reference.encode(text, null, { addSpecialTokens: false });
    const wholeIds = async (text: string) => (await encode(text)).getIds();

    test('mixed texts', async () => {
      const random = new Random(3);
      let calls = 0;
      let parts = 0;
      for (let i = 0; i < 40; i++) {
        const text = mixed(random, 300 + random.int(2000));
        const counted = (part: string) => {
          calls++;
          return encode(part);
        };
        const ids = await encodeInParts(text, { encode: counted, isApart, size: 256, overlap: 96 });
        expect(Array.from(ids)).toEqual(await wholeIds(text));
        parts += Math.ceil(text.length / 256);
      }
      expect(calls).toBeLessThan(1.3 * parts); // nearly every part is joined, not encoded again
    });

    test('a very long word, alone and between others', async () => {
      const word = 'ab'.repeat(1000);
      for (const text of [word, `hello ${word} world ${sentences(10).join(' ')}`]) {
        const ids = await encodeInParts(text, { encode, isApart, size: 64, overlap: 32 });
        expect(Array.from(ids)).toEqual(await wholeIds(text));
      }
    });

    test('every length', async () => {
      const text = mixed(new Random(5), 200);
      for (let length = 0; length < 200; length++) {
        const some = text.slice(0, length);
        const ids = await encodeInParts(some, { encode, isApart, size: 40, overlap: 24 });
        expect(Array.from(ids)).toEqual(await wholeIds(some));
      }
    });
  },
);

test('characters are separable only if they are known and no token has both', () => {
  const isApart = apartness(llamaLike())!;
  expect([isApart('o', ' '), isApart('l', 'l'), isApart(' ', 'w'), isApart('z', ' ')]).toEqual([
    true,
    false,
    false,
    false,
  ]);
  expect(apartness(byteLevel)).toBeUndefined();
  expect(apartness({ ...llamaLike(), normalizer: { type: 'NFKC' } })).toBeUndefined();
});
