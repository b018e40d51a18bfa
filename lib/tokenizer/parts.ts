/**
 * Encodes long texts in overlapping parts, each taking a few milliseconds. Two parts are joined inside their overlap, at a boundary that no
 * token can cross, so the ids equal those of the whole text.
 */
import type { Encoding } from 'tokenizers';
import { idsOf } from './library.js';

export interface PartOptions {
  readonly encode: (text: string) => Promise<Encoding>;
  /** Whether no token of the vocabulary spans these two adjacent characters; undefined if unknown. */
  readonly isApart: ((before: string, after: string) => boolean) | undefined;
  /** Characters per part. */
  readonly size?: number;
  /** Characters shared with each neighbouring part. */
  readonly overlap?: number;
}

interface Part {
  readonly begin: number;
  readonly end: number;
  readonly encoding: Encoding;
  readonly ids: Int32Array;
}

/** Parts encoded ahead of the one being joined. */
const kAhead = 8;
/** Tokens on either side of a boundary that must match in both parts. */
const kAlike = 3;

/** The ids of a text of any length. */
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
    found.catch(() => {}); // the result may never be used
    ahead.set(i, found);
    return found;
  };

  const joined: Int32Array[] = [];
  let first = 0;
  let last = 0; // `current` is the parts from first to last
  let from = 0; // ids of `current` before this index are already joined
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
      last = Math.min(count - 1, last + (last - first + 1)); // doubles, so that one endless word costs at most three times its length
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

/** The first shared boundary in a range of the text, as the number of ids before it in the left part and in the right part. */
function findSeam(
  text: string,
  left: Part,
  right: Part,
  begin: number,
  end: number,
  isApart: PartOptions['isApart'],
): { left: number; right: number } | undefined {
  let at = Math.ceil(begin) + (isLowSurrogate(text, Math.ceil(begin)) ? 1 : 0);
  let inLeft = codePoints(text, left.begin, at); // the library counts in code points
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

/** Whether the tokens around the boundary match in ids and positions. */
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

/** Whether the second half of a surrogate pair is at this index. */
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
