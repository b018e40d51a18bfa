import { Random } from '../../lib/core/random.js';
import { countWords, toTokenizerJson, trainBpe } from '../../lib/tokenizer/bpe.js';
import { Tokenizer } from '../../lib/tokenizer/tokenizer.js';

const kSyllables = ['ka', 'lo', 'mi', 'ter', 'an', 'sho', 've', 'ri', 'pe', 'du', 'st', 'ing', 'ed', 'un'];

/** Sentences of made-up words, some frequent and some rare, with digits, punctuation and text beyond ASCII. */
export function sentences(count: number, seed = 1): string[] {
  const random = new Random(seed);
  const lexicon = Array.from({ length: 300 }, () =>
    Array.from({ length: 1 + random.int(4) }, () => random.pick(kSyllables)).join(''),
  );
  const word = () => lexicon[Math.floor(random.next() ** 3 * lexicon.length)]!;
  const odd = ["don't", 'naïve', '😀', 'façade', '12:45', '(yes)', '  two', '\n\n', 'Привет', '日本'];
  return Array.from({ length: count }, () => {
    const words = Array.from({ length: 3 + random.int(10) }, () => (random.chance(0.1) ? random.pick(odd) : word()));
    return `${words.join(' ')}.`;
  });
}

/** A tokenizer trained on {@link sentences}. */
export function smallTokenizer(vocabSize = 400): Tokenizer {
  const counts = new Map<string, number>();
  for (const text of sentences(300)) countWords(text, counts);
  return Tokenizer.fromJson(toTokenizerJson(trainBpe(counts, { vocabSize })));
}
