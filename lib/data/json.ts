/** Rows of JSON Lines, and of a file that is one JSON array of objects. */
import { DataError } from '../core/errors.js';
import { refuseForeign } from '../core/foreign.js';
import { printable } from '../core/json.js';
import { Pace } from '../core/pace.js';
import type { Row } from './rows.js';

const kNewline = 0x0a;
const utf8 = new TextDecoder('utf-8', { fatal: true });

interface Place {
  readonly file: string;
  readonly line: number;
}

/** A row per line; empty lines are skipped. @throws DataError naming the line that is not a JSON object in UTF-8 */
export async function* lineRows(
  chunks: AsyncIterable<Buffer>,
  file: string,
  signal: AbortSignal | undefined,
): AsyncGenerator<Row> {
  const pace = new Pace(signal);
  let line = 0;
  for await (const bytes of linesOf(chunks)) {
    const place = { file, line: ++line };
    if (line === 1) refuseForeign(bytes, file, 'JSON Lines');
    const text = decode(bytes, place);
    if (text.trim() !== '') yield { ...place, value: parse(text, place) };
    await pace.add(bytes.length);
  }
}

/** Lines without their line breaks. */
async function* linesOf(chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let begun: Buffer[] = []; // start of a line whose end has not been read yet
  for await (const chunk of chunks) {
    let start = 0;
    for (let end = chunk.indexOf(kNewline); end >= 0; end = chunk.indexOf(kNewline, start)) {
      const rest = chunk.subarray(start, end);
      yield begun.length === 0 ? rest : Buffer.concat([...begun, rest]);
      begun = [];
      start = end + 1;
    }
    if (start < chunk.length) begun.push(chunk.subarray(start));
  }
  if (begun.length > 0) yield Buffer.concat(begun);
}

enum Byte {
  Quote = 0x22,
  Comma = 0x2c,
  Open = 0x5b,
  Backslash = 0x5c,
  Close = 0x5d,
  OpenBrace = 0x7b,
  CloseBrace = 0x7d,
}
const isSpace = (byte: number) => byte === 0x20 || (byte >= 0x09 && byte <= 0x0d);

/** A row per element, with the line on which it begins. @throws DataError naming the element that is not a JSON object in UTF-8 */
export async function* arrayRows(
  chunks: AsyncIterable<Buffer>,
  file: string,
  signal: AbortSignal | undefined,
): AsyncGenerator<Row> {
  const pace = new Pace(signal);
  let line = 1;
  let begun: Buffer[] = []; // start of an element whose end has not been read yet
  let from = -1; // where the element begins in the chunk
  let place: Place = { file, line };
  let state: 'before' | 'inside' | 'after' = 'before'; // of the array
  let depth = 0;
  let isText = false;
  let isEscaped = false;
  let isNext = false; // a comma was read
  const element = (end: Buffer): Row => {
    const text = decode(Buffer.concat([...begun, end]), place);
    begun = [];
    if (text.trim() === '') throw new DataError('has a comma without an element before it', place);
    return { ...place, value: parse(text, place) };
  };
  for await (const chunk of chunks) {
    if (from >= 0) from = 0;
    for (let i = 0; i < chunk.length; i++) {
      const byte = chunk[i]!;
      if (byte === kNewline) line++;
      if (isText) {
        if (isEscaped) isEscaped = false;
        else if (byte === Byte.Backslash) isEscaped = true;
        else if (byte === Byte.Quote) isText = false;
        continue;
      }
      if (isSpace(byte)) continue;
      if (state === 'after') throw new DataError('goes on after the end of its JSON array', { file, line });
      if (state === 'before') {
        if (byte === Byte.Open) state = 'inside'; // after a byte order mark, perhaps
        continue;
      }
      const isEnd = depth === 0 && (byte === Byte.Comma || byte === Byte.Close);
      if (isEnd) {
        if (from >= 0) yield element(chunk.subarray(from, i));
        else if (isNext || byte === Byte.Comma)
          throw new DataError('has a comma without an element beside it', { file, line });
        from = -1;
        isNext = byte === Byte.Comma;
        if (byte === Byte.Close) state = 'after';
        continue;
      }
      if (from < 0) {
        from = i;
        place = { file, line };
      }
      if (byte === Byte.Quote) isText = true;
      else if (byte === Byte.Open || byte === Byte.OpenBrace) depth++;
      else if (byte === Byte.Close || byte === Byte.CloseBrace) depth--;
    }
    if (from >= 0) begun.push(chunk.subarray(from));
    await pace.add(chunk.length);
  }
  if (state !== 'after') throw new DataError('ends within its JSON array', { file });
}

function decode(bytes: Uint8Array, place: Place): string {
  try {
    return utf8.decode(bytes);
  } catch (cause) {
    throw new DataError('is not UTF-8 text', place, { cause });
  }
}

const kDigits = 16; // of 2^53
const kLong = new RegExp(`\\d{${kDigits}}`);
const kTokens = new RegExp(`"(?:[^"\\\\]|\\\\.)*"|(?<![\\d.eE+-])-?\\d{${kDigits},}(?![\\d.eE])`, 'gs');

/** With whole numbers beyond 2^53 as text, as no number of JavaScript is that one. */
function exact(text: string): string {
  if (!kLong.test(text)) return text;
  return text.replace(kTokens, (token) =>
    token[0] === '"' || Number.isSafeInteger(Number(token)) ? token : `"${token}"`,
  );
}

function parse(text: string, place: Place): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(exact(text));
  } catch (cause) {
    const hint = place.line === 1 && text.trim() === '{' ? ' (expected one object per line, or a JSON array)' : '';
    throw new DataError(`is not valid JSON: ${printable((cause as Error).message)}${hint}`, place, { cause });
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  const is = value === null ? 'null' : Array.isArray(value) ? 'an array' : `a ${typeof value}`;
  throw new DataError(`is ${is}, expected a JSON object`, place);
}
