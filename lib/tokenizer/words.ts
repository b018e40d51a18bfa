/** Splits a text into the words of a byte-level tokenizer, and caches their ids. */

import { isObject } from '../core/json.js';
import { Pace } from '../core/pace.js';

/** GPT-2's split into words, with Unicode's white space instead of JavaScript's (which includes U+FEFF and lacks U+0085). */
export const WORDS: RegExp = (() => {
  const space = '\\p{White_Space}';
  return new RegExp(
    `'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^${space}\\p{L}\\p{N}]+|${space}+(?!\\P{White_Space})|${space}+`,
    'gu',
  );
})();

/**
 * Splits a long text without splitting its words: before white space that follows a word.
 *
 * @param size minimum characters per part
 */
export function* partsOf(text: string, size: number): Generator<string, void, void> {
  const boundary = /(?<=\P{White_Space})(?=\p{White_Space})/gu;
  let start = 0;
  while (text.length - start > size) {
    boundary.lastIndex = start + size;
    const end = boundary.exec(text)?.index ?? text.length;
    yield text.slice(start, end);
    start = end;
  }
  if (start < text.length) yield text.slice(start);
}

/** Whether texts are split into GPT-2's words and nothing else is done before merging: a word then has the same ids everywhere. */
export function isPlainByteLevel({
  normalizer,
  pre_tokenizer: before,
  added_tokens: added = [],
}: Record<string, unknown>): boolean {
  const isPlain =
    isObject(before) && before.type === 'ByteLevel' && before.use_regex !== false && before.add_prefix_space === false;
  const ownSpaces = (token: unknown) =>
    isObject(token) && (token.lstrip === true || token.rstrip === true || token.single_word === true);
  return isPlain && (normalizer ?? null) === null && Array.isArray(added) && !added.some(ownSpaces);
}

/** Characters processed between two turns of the event loop. */
const kPart = 1 << 14;

/** Caches the ids of words: a corpus has few distinct ones. */
export class WordCache {
  readonly #ids = new Map<string, Int32Array>();
  readonly #encode: (word: string, signal?: AbortSignal) => Promise<Int32Array>;
  readonly #special: RegExp | undefined;
  readonly #canCut: boolean;

  constructor(json: Record<string, unknown>, encode: (word: string, signal?: AbortSignal) => Promise<Int32Array>) {
    this.#encode = encode;
    const special =
      (json.added_tokens as readonly { content: string }[] | undefined)?.map(({ content }) => content) ?? [];
    // Longest first, as in the library; the capturing group keeps the separators in split().
    const escaped = special
      .sort((a, b) => b.length - a.length)
      .map((token) => token.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&'));
    this.#special = escaped.length > 0 ? new RegExp(`(${escaped.join('|')})`, 'u') : undefined;
    this.#canCut = !special.some((token) => /\p{White_Space}/u.test(token));
  }

  async encode(text: string, signal?: AbortSignal): Promise<Int32Array> {
    const pace = new Pace(signal, kPart);
    const found: Int32Array[] = [];
    for (const part of this.#canCut ? partsOf(text, kPart) : [text]) {
      const words = this.#split(part);
      const unseen = await this.#learn(words, signal);
      for (const word of words) found.push(this.#ids.get(word) ?? unseen.get(word)!);
      await pace.add(part.length);
    }
    const ids = new Int32Array(found.reduce((n, each) => n + each.length, 0));
    let at = 0;
    for (const each of found) {
      ids.set(each, at);
      at += each.length;
    }
    return ids;
  }

  #split(text: string): string[] {
    const parts = this.#special ? text.split(this.#special) : [text];
    return parts.flatMap((part, i) => (i % 2 === 1 ? [part] : (part.match(WORDS) ?? [])));
  }

  /** Encodes words that are not cached; returns those that will not be cached. */
  async #learn(words: readonly string[], signal?: AbortSignal): Promise<Map<string, Int32Array>> {
    const unseen = [...new Set(words.filter((word) => !this.#ids.has(word)))];
    const ids = await Promise.all(unseen.map((word) => this.#encode(word, signal)));
    const rest = new Map<string, Int32Array>();
    unseen.forEach((word, i) => {
      (word.length <= 64 && this.#ids.size < 500_000 ? this.#ids : rest).set(word, ids[i]!);
    });
    return rest;
  }
}
