/** The words that a byte-level tokenizer cuts a text into, and their ids. */

/** GPT-2's split into words, with Unicode's white space in place of JavaScript's (which has U+FEFF and lacks U+0085). */
export const WORDS: RegExp = (() => {
  const space = '\\p{White_Space}';
  return new RegExp(
    `'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^${space}\\p{L}\\p{N}]+|${space}+(?!\\P{White_Space})|${space}+`,
    'gu',
  );
})();

/**
 * A long text in parts that together have its words: it is cut before white space that follows a word.
 *
 * @param size of a part, characters, at least; a word is not cut
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

/** Whether GPT-2's words are all that a text is cut into before it is merged: then each word has its ids, wherever it stands. */
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

/** The ids of the words seen before: a corpus has few different ones. */
export class WordCache {
  readonly #ids = new Map<string, readonly number[]>();
  readonly #encode: (text: string) => number[];
  readonly #special: RegExp | undefined;

  constructor(json: Record<string, unknown>, encode: (text: string) => number[]) {
    this.#encode = encode;
    const special =
      (json.added_tokens as readonly { content: string }[] | undefined)?.map(({ content }) => content) ?? [];
    // The longest first, as the library takes them; the group keeps what parts the text.
    const escaped = special
      .sort((a, b) => b.length - a.length)
      .map((token) => token.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&'));
    this.#special = escaped.length > 0 ? new RegExp(`(${escaped.join('|')})`, 'u') : undefined;
  }

  encode(text: string): number[] {
    const ids: number[] = [];
    const parts = this.#special ? text.split(this.#special) : [text];
    parts.forEach((part, i) => {
      const words = i % 2 === 1 ? [part] : (part.match(WORDS) ?? []);
      for (const word of words) for (const id of this.#of(word)) ids.push(id);
    });
    return ids;
  }

  #of(word: string): readonly number[] {
    const known = this.#ids.get(word);
    if (known) return known;
    const ids = this.#encode(word);
    if (word.length <= 64 && this.#ids.size < 500_000) this.#ids.set(word, ids);
    return ids;
  }
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
