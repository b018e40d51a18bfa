/**
 * A byte-level BPE trainer (Sennrich et al. 2016; bytes and pre-tokenisation as in GPT-2): no package on npm takes a vocabulary size and
 * keeps every byte. The result is a Hugging Face `tokenizer.json`; tokenizer.ts encodes with it.
 */

import { WORDS } from './words.js';

/** Ends a document or a response. */
export const END_OF_TEXT = '<|endoftext|>';
/** Pads batches in other programs; heed does not pad. */
export const PAD = '<|pad|>';

/** The words of a corpus with their number of occurrences. */
export type WordCounts = Map<string, number>;

export interface BpeOptions {
  /** Total number of tokens: special tokens, 256 bytes and merges. */
  readonly vocabSize: number;
  /** They get the first ids, in this order. Default: end-of-text and padding. */
  readonly specialTokens?: readonly string[];
  /** Pairs that occur less often are not merged. Default 2. */
  readonly minFrequency?: number;
  /** Called periodically with the number of tokens so far. */
  readonly onProgress?: (tokens: number) => void;
}

/** A trained vocabulary. Tokens are written in GPT-2's alphabet, where every byte is a printable character. */
export interface BpeVocabulary {
  /** By id. */
  readonly tokens: readonly string[];
  /** In the order they were learnt and are applied. */
  readonly merges: readonly (readonly [string, string])[];
  /** The first of `tokens`. */
  readonly specialTokens: readonly string[];
}

/**
 * Adds the words of a text to `counts`.
 *
 * @param specialTokens they split the text and are not counted
 */
export function countWords(
  text: string,
  counts: WordCounts,
  specialTokens: readonly string[] = [END_OF_TEXT, PAD],
): void {
  let pieces = [text];
  for (const token of specialTokens) pieces = pieces.flatMap((piece) => piece.split(token));
  for (const piece of pieces) {
    for (const word of piece.match(WORDS) ?? []) counts.set(word, (counts.get(word) ?? 0) + 1);
  }
}

/** GPT-2's alphabet: the character that represents each byte. */
export function byteAlphabet(): string[] {
  const alphabet = new Array<string>(256);
  let others = 0;
  for (let byte = 0; byte < 256; byte++) {
    const printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    alphabet[byte] = String.fromCharCode(printable ? byte : 256 + others++);
  }
  return alphabet;
}

/**
 * Learns merges: repeatedly, the most frequent pair of adjacent tokens becomes a token. Ties go to the pair with the smaller ids, so the
 * result depends only on the counts, not on their order.
 *
 * @returns fewer tokens than requested if no remaining pair occurs `minFrequency` times
 * @throws RangeError if the vocabulary cannot hold the special tokens and 256 bytes, or an option is invalid
 */
export function trainBpe(counts: WordCounts, options: BpeOptions): BpeVocabulary {
  const steps = bpeSteps(counts, options);
  for (;;) {
    const step = steps.next();
    if (step.done) return step.value;
  }
}

/**
 * {@link trainBpe} in steps of at most a few milliseconds, for callers that must do other work in between. Yields the number of words
 * processed.
 */
export function* bpeSteps(counts: WordCounts, options: BpeOptions): Generator<number, BpeVocabulary, void> {
  const { vocabSize, specialTokens = [END_OF_TEXT, PAD], minFrequency = 2, onProgress } = options;
  const smallest = specialTokens.length + 256;
  if (!(Number.isInteger(vocabSize) && vocabSize >= smallest && vocabSize <= kMaxVocabulary)) {
    throw new RangeError(
      `vocabSize is ${vocabSize}, expected an integer from ${smallest} (special tokens and bytes) to ${kMaxVocabulary}`,
    );
  }
  if (new Set(specialTokens).size !== specialTokens.length || specialTokens.includes('')) {
    throw new RangeError(`specialTokens are ${JSON.stringify(specialTokens)}, expected different, non-empty texts`);
  }
  if (!(minFrequency >= 1)) throw new RangeError(`minFrequency is ${minFrequency}, expected at least 1`);

  const alphabet = byteAlphabet();
  const tokens = [...specialTokens, ...alphabet.toSorted()]; // one UTF-16 unit each: sorted by code point
  const ids = new Map(tokens.map((token, id) => [token, id]));
  const corpus = new Corpus(counts);
  yield* corpus.fill(
    counts,
    Int32Array.from(alphabet, (character) => ids.get(character)!),
  );
  const merges: (readonly [string, string])[] = [];
  const merged = new Set<number>();

  while (tokens.length < vocabSize) {
    const best = corpus.mostFrequent();
    if (!best || best.count < minFrequency) break;
    const [a, b] = [Math.floor(best.pair / kMaxVocabulary), best.pair % kMaxVocabulary];
    const [left, right] = [tokens[a]!, tokens[b]!];
    // The same text can arise as ab + c and as a + bc: one token, two merges.
    let id = ids.get(left + right);
    if (id === undefined) {
      id = tokens.push(left + right) - 1;
      ids.set(left + right, id);
      if (tokens.length % 256 === 0) onProgress?.(tokens.length);
    }
    if (!merged.has(best.pair)) merges.push([left, right]);
    merged.add(best.pair);
    yield* corpus.merge(a, b, id);
  }
  return { tokens, merges, specialTokens };
}

const kWordsOfStep = 4096;
const kMaxVocabulary = 2 ** 20; // a pair is the exact integer a · 2^20 + b

/** The distinct words as symbols, with the words in which each pair of adjacent symbols occurs. */
class Corpus {
  readonly #symbols: Int32Array; // symbols of all words; a word that shrinks leaves a gap after it
  readonly #starts: Int32Array;
  readonly #lengths: Int32Array;
  readonly #weights: Float64Array;
  readonly #pairs = new Map<number, { count: number; words: number[] }>();
  readonly #queue = new PairQueue();

  constructor(counts: WordCounts) {
    let bytes = 0;
    for (const word of counts.keys()) bytes += Buffer.byteLength(word);
    this.#symbols = new Int32Array(bytes);
    this.#starts = new Int32Array(counts.size);
    this.#lengths = new Int32Array(counts.size);
    this.#weights = Float64Array.from(counts.values());
  }

  *fill(counts: WordCounts, symbolOf: Int32Array): Generator<number, void, void> {
    let at = 0;
    let w = 0;
    for (const text of counts.keys()) {
      const word = Buffer.from(text);
      this.#starts[w] = at;
      this.#lengths[w] = word.length;
      for (const byte of word) this.#symbols[at++] = symbolOf[byte]!;
      for (let i = at - word.length + 1; i < at; i++) this.#add(this.#symbols[i - 1]!, this.#symbols[i]!, w);
      if (++w % kWordsOfStep === 0) yield kWordsOfStep;
    }
    for (const [pair, { count }] of this.#pairs) this.#queue.push(pair, count);
  }

  #add(a: number, b: number, word: number): number {
    const pair = a * kMaxVocabulary + b;
    const found = this.#pairs.get(pair);
    if (!found) {
      this.#pairs.set(pair, { count: this.#weights[word]!, words: [word] });
    } else {
      found.count += this.#weights[word]!;
      if (found.words.at(-1) !== word) found.words.push(word);
    }
    return pair;
  }

  #drop(a: number, b: number, word: number): void {
    const found = this.#pairs.get(a * kMaxVocabulary + b);
    if (found) found.count -= this.#weights[word]!;
  }

  /** The pair to merge next. Counts in the queue may be too high, never too low: stale entries are reinserted with their count. */
  mostFrequent(): { pair: number; count: number } | undefined {
    for (let top = this.#queue.pop(); top; top = this.#queue.pop()) {
      const count = this.#pairs.get(top.pair)?.count ?? 0;
      if (count === top.count && count > 0) return top;
      if (count > 0 && count < top.count) this.#queue.push(top.pair, count);
    }
    return undefined;
  }

  /** Replaces every pair (a, b) by `id`, left to right within each word. */
  *merge(a: number, b: number, id: number): Generator<number, void, void> {
    const pair = a * kMaxVocabulary + b;
    const { words } = this.#pairs.get(pair)!;
    this.#pairs.delete(pair);
    const grown = new Set<number>();
    for (const [i, word] of words.entries()) {
      this.#mergeWord(word, a, b, id, grown);
      if ((i + 1) % kWordsOfStep === 0) yield kWordsOfStep;
    }
    this.#pairs.delete(pair); // overlaps, such as the middle of aaaa, counted it again
    for (const key of grown) {
      const count = this.#pairs.get(key)?.count ?? 0;
      if (count > 0) this.#queue.push(key, count);
    }
    yield words.length % kWordsOfStep;
  }

  #mergeWord(word: number, a: number, b: number, id: number, grown: Set<number>): void {
    const start = this.#starts[word]!;
    const end = start + this.#lengths[word]!;
    let to = start;
    for (let from = start; from < end; from++) {
      let symbol = this.#symbols[from]!;
      if (symbol === a && from + 1 < end && this.#symbols[from + 1] === b) {
        if (to > start) {
          const before = this.#symbols[to - 1]!;
          this.#drop(before, a, word);
          grown.add(this.#add(before, id, word));
        }
        if (from + 2 < end) {
          const after = this.#symbols[from + 2]!;
          this.#drop(b, after, word);
          grown.add(this.#add(id, after, word));
        }
        symbol = id;
        from++;
      }
      this.#symbols[to++] = symbol;
    }
    this.#lengths[word] = to - start;
  }
}

/** A binary heap of pairs by decreasing count, then by increasing ids. */
class PairQueue {
  readonly #pairs: number[] = [];
  readonly #counts: number[] = [];

  push(pair: number, count: number): void {
    let i = this.#pairs.push(pair) - 1;
    this.#counts.push(count);
    while (i > 0) {
      const parent = (i - 1) >> 1;
      if (!this.#before(i, parent)) break;
      this.#swap(i, parent);
      i = parent;
    }
  }

  pop(): { pair: number; count: number } | undefined {
    if (this.#pairs.length === 0) return undefined;
    const top = { pair: this.#pairs[0]!, count: this.#counts[0]! };
    this.#swap(0, this.#pairs.length - 1);
    this.#pairs.pop();
    this.#counts.pop();
    for (let i = 0; ; ) {
      const left = 2 * i + 1;
      let first = i;
      if (left < this.#pairs.length && this.#before(left, first)) first = left;
      if (left + 1 < this.#pairs.length && this.#before(left + 1, first)) first = left + 1;
      if (first === i) return top;
      this.#swap(i, first);
      i = first;
    }
  }

  #before(i: number, j: number): boolean {
    const difference = this.#counts[i]! - this.#counts[j]!;
    return difference > 0 || (difference === 0 && this.#pairs[i]! < this.#pairs[j]!);
  }

  #swap(i: number, j: number): void {
    [this.#pairs[i], this.#pairs[j]] = [this.#pairs[j]!, this.#pairs[i]!];
    [this.#counts[i], this.#counts[j]] = [this.#counts[j]!, this.#counts[i]!];
  }
}

/** The vocabulary as Hugging Face's `tokenizer.json`. */
export function toTokenizerJson({ tokens, merges, specialTokens }: BpeVocabulary): Record<string, unknown> {
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true };
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: specialTokens.map((content, id) => ({
      id,
      content,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: true,
    })),
    normalizer: null,
    pre_tokenizer: byteLevel,
    post_processor: null,
    decoder: byteLevel,
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges: merges.map(([left, right]) => `${left} ${right}`), // no token contains a space: it is Ġ in this alphabet
    },
  };
}
