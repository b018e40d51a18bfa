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

/** A tokenizer like Llama's: SentencePiece's spaces, bytes for unknown characters, <s> before a text. */
export function llamaLike(): Record<string, unknown> {
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

/** Other ways to split and decode a text, with the merges of a byte-level tokenizer. */
export function variants(json: Record<string, unknown>): Record<string, Record<string, unknown>> {
  const byteLevel = json.pre_tokenizer as Record<string, unknown>;
  const bytes = { ...byteLevel, use_regex: false };
  const regex =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
  const split = { type: 'Split', pattern: { Regex: regex }, behavior: 'Isolated', invert: false };
  const sequence = (...pretokenizers: unknown[]) => ({ type: 'Sequence', pretokenizers });
  return {
    regex: { ...json, normalizer: { type: 'NFC' }, pre_tokenizer: sequence(split, bytes) },
    digits: { ...json, pre_tokenizer: sequence({ type: 'Digits', individual_digits: true }, byteLevel) },
    'prefix space': { ...json, pre_tokenizer: { ...byteLevel, add_prefix_space: true } },
    'no decoder': { ...json, decoder: null },
  };
}
