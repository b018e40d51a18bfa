/**
 * Long texts in parts that overlap, each a few milliseconds of work. Two parts are joined at a boundary that no token can cross and that
 * both of them see, so the ids are those of the whole text.
 */
import type { Encoding } from 'tokenizers';
import { idsOf } from './library.js';

export interface PartOptions {
  readonly encode: (text: string) => Promise<Encoding>;
  /** Whether no token of the vocabulary spans these two neighbouring characters; undefined where that is not known. */
  readonly isApart: ((before: string, after: string) => boolean) | undefined;
  /** Characters of a part. */
  readonly size?: number;
  /** Characters that a part shows of each of its neighbours. */
  readonly overlap?: number;
}

interface Part {
  readonly begin: number;
  readonly end: number;
  readonly encoding: Encoding;
  readonly ids: Int32Array;
}

/** Parts that are encoded ahead of the one that is joined. */
const kAhead = 8;
/** Tokens on either side of a boundary that must be the same in both parts. */
const kAlike = 3;

/** The ids of a text, whatever its length. */
export async function encodeInParts(text: string, options: PartOptions): Promise<Int32Array> {
  const { encode, isApart, size = 1 << 14, overlap = 1 << 9 } = options;
  const count = Math.ceil(text.length / size);
  if (text.length <= size + overlap) return idsOf(await encode(text));
  const edge = (at: number) => (isLowSurrogate(text, at) ? at + 1 : at);
  const part = async (first: number, last: number): Promise<Part> => {
    const begin = edge(Math.max(0, first * size - overlap));
    const end = edge(Math.min(text.length, (last + 1) * size + overlap));
    const encoding = await encode(text.slice(begin, end));
    return { begin, end, encoding, ids: idsOf(encoding) };
  };
  const ahead = new Map<number, Promise<Part>>();
  const request = (i: number) => {
    const found = ahead.get(i) ?? part(i, i);
    found.catch(() => {}); // it may never be asked for
    ahead.set(i, found);
    return found;
  };

  const joined: Int32Array[] = [];
  let first = 0;
  let last = 0; // `current` is the parts from first to last
  let from = 0; // its ids before this one are joined already
  let current = await request(0);
  while (last + 1 < count) {
    for (let i = last + 1; i < Math.min(count, last + 1 + kAhead); i++) request(i);
    const next = await request(last + 1);
    ahead.delete(last + 1);
    const middle = (last + 1) * size;
    const seam = findSeam(text, current, next, middle - overlap / 2, middle + overlap / 2, isApart);
    if (seam) {
      joined.push(current.ids.subarray(from, seam.left));
      [current, from, first] = [next, seam.right, last + 1];
      last++;
    } else {
      last = Math.min(count - 1, last + (last - first + 1)); // twice as many, so that one endless word costs no more than three of it
      current = await part(first, last);
    }
  }
  joined.push(current.ids.subarray(from));
  const ids = new Int32Array(joined.reduce((n, each) => n + each.length, 0));
  let at = 0;
  for (const each of joined) {
    ids.set(each, at);
    at += each.length;
  }
  return ids;
}

/** The first boundary between two places of the text: how many of the left part's ids stand before it, and of the right one's. */
function findSeam(
  text: string,
  left: Part,
  right: Part,
  begin: number,
  end: number,
  isApart: PartOptions['isApart'],
): { left: number; right: number } | undefined {
  let at = Math.ceil(begin) + (isLowSurrogate(text, Math.ceil(begin)) ? 1 : 0);
  let inLeft = codePoints(text, left.begin, at); // the library counts in these
  let inRight = codePoints(text, right.begin, at);
  while (at < Math.min(end, text.length)) {
    const i = left.encoding.charToToken(inLeft);
    const j = right.encoding.charToToken(inRight);
    if (i !== null && j !== null && i > 0 && j > 0) {
      const isStart = left.encoding.tokenToChars(i)?.[0] === inLeft && right.encoding.tokenToChars(j)?.[0] === inRight;
      const isBoundary = () =>
        (startsWord(left.encoding, i) && startsWord(right.encoding, j)) ||
        isApart?.(characterBefore(text, at), characterAt(text, at)) === true;
      if (isStart && areAlike(left, i, right, j) && isBoundary()) return { left: i, right: j };
    }
    at += characterAt(text, at).length;
    inLeft++;
    inRight++;
  }
  return undefined;
}

const startsWord = (encoding: Encoding, token: number) =>
  encoding.tokenToWord(token) !== encoding.tokenToWord(token - 1);

/** Whether the tokens around the boundary are the same ones, at the same places. */
function areAlike(left: Part, i: number, right: Part, j: number): boolean {
  const shift = (left.encoding.tokenToChars(i)?.[0] ?? 0) - (right.encoding.tokenToChars(j)?.[0] ?? 0);
  for (let step = -kAlike; step < kAlike; step++) {
    const a = left.encoding.tokenToChars(i + step);
    const b = right.encoding.tokenToChars(j + step);
    if (!a || !b || left.ids[i + step] !== right.ids[j + step]) return false;
    if (a[0] - shift !== b[0] || a[1] - shift !== b[1]) return false;
  }
  return true;
}

/** Whether the second half of a character stands there. */
const isLowSurrogate = (text: string, at: number) => {
  const unit = text.charCodeAt(at);
  return unit >= 0xdc00 && unit < 0xe000 && text.codePointAt(at - 1)! >= 0x10000;
};

const characterAt = (text: string, at: number) => String.fromCodePoint(text.codePointAt(at)!);
const characterBefore = (text: string, at: number) => characterAt(text, isLowSurrogate(text, at - 1) ? at - 2 : at - 1);

function codePoints(text: string, begin: number, end: number): number {
  let count = 0;
  for (let at = begin; at < end; at++) if (!isLowSurrogate(text, at)) count++;
  return count;
}
