/** Reads files as rows: JSON Lines and plain text, gzipped or not. Errors name file:line. */
import { createReadStream } from 'node:fs';
import { Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { DataError } from '../core/errors.js';
import { refuseForeign } from '../core/foreign.js';
import { printable } from '../core/json.js';
import type { Abortable } from '../core/native.js';
import { Pace } from '../core/pace.js';

/** One row of a file. */
export interface Row {
  readonly file: string;
  /** Counted from 1. */
  readonly line: number;
  readonly value: Readonly<Record<string, unknown>>;
}

const kNewline = 0x0a;
const utf8 = new TextDecoder('utf-8', { fatal: true });

/**
 * The rows of a JSON Lines file (gzip is recognised by its content). Empty lines are skipped.
 *
 * @throws DataError naming the file, or the line that is not a JSON object in UTF-8
 */
export async function readRows(file: string, options: Abortable = {}): Promise<Row[]> {
  const rows: Row[] = [];
  for await (const row of streamRows(file, options)) rows.push(row);
  return rows;
}

/** {@link readRows}, but a file without a row is a DataError too. */
export async function readSomeRows(file: string, options: Abortable = {}): Promise<Row[]> {
  const rows = await readRows(file, options);
  if (rows.length === 0) throw new DataError('is empty, expected at least one row', { file });
  return rows;
}

async function* streamRows(file: string, { signal }: Abortable): AsyncGenerator<Row> {
  const pace = new Pace(signal);
  let line = 0;
  for await (const bytes of linesOf(file, signal)) {
    line++;
    const place = { file, line };
    if (line === 1) refuseForeign(bytes, file, 'JSON Lines');
    const text = decode(bytes, place);
    if (text.trim() !== '') yield { file, line, value: parse(text, place) };
    await pace.add(bytes.length);
  }
}

/** The contents of a text file, gzipped or not. @throws DataError naming the file, also if it is empty */
export async function readTextFile(file: string, { signal }: Abortable = {}): Promise<string> {
  const pace = new Pace(signal, 1 << 20);
  const decoder = new TextDecoder('utf-8', { fatal: true });
  const parts: string[] = [];
  const add = (bytes?: Uint8Array) => {
    try {
      parts.push(bytes ? decoder.decode(bytes, { stream: true }) : decoder.decode());
    } catch (cause) {
      throw new DataError('is not UTF-8 text', { file }, { cause });
    }
  };
  let isFirst = true;
  for await (const bytes of bytesOf(file, signal)) {
    if (isFirst) refuseForeign(bytes, file, 'text', ['an HTML page']);
    isFirst = false;
    add(bytes);
    await pace.add(bytes.length);
  }
  add();
  const text = parts.join('');
  if (text.trim() === '') throw new DataError('is empty, expected text', { file });
  return text;
}

/** Whether a file's name says that it is plain text: `.txt`, `.txt.gz`. */
export function isTextFile(file: string): boolean {
  return /\.(txt|text)(\.gz)?$/i.test(file);
}

/** A file's lines without their line breaks. */
async function* linesOf(file: string, signal: AbortSignal | undefined): AsyncGenerator<Buffer> {
  let begun: Buffer[] = []; // start of a line whose end has not been read yet
  for await (const chunk of bytesOf(file, signal)) {
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

/** A file's bytes in chunks, uncompressed. */
async function* bytesOf(file: string, signal: AbortSignal | undefined): AsyncGenerator<Buffer> {
  signal?.throwIfAborted();
  const source = createReadStream(file, { highWaterMark: 1 << 18 });
  try {
    const chunks = source[Symbol.asyncIterator]() as AsyncIterableIterator<Buffer>;
    const first = await readFirst(chunks, file);
    if (first[0] !== 0x1f || first[1] !== 0x8b) {
      if (first.length > 0) yield first;
      yield* chunks;
      return;
    }
    const whole = async function* () {
      yield first;
      yield* chunks;
    };
    const gunzip = createGunzip({ chunkSize: 1 << 18 });
    const compressed = Readable.from(whole()).on('error', (error) => gunzip.destroy(error));
    try {
      yield* compressed.pipe(gunzip);
    } catch (cause) {
      if (cause instanceof DataError) throw cause;
      throw new DataError(`is not valid gzip data: ${(cause as Error).message}`, { file }, { cause });
    }
  } finally {
    source.destroy();
  }
}

/** The first bytes, at least two if the file has them. @throws DataError naming a file that cannot be read */
async function readFirst(chunks: AsyncIterator<Buffer>, file: string): Promise<Buffer> {
  let first = Buffer.alloc(0);
  try {
    while (first.length < 2) {
      const next = await chunks.next();
      if (next.done) break;
      first = Buffer.concat([first, next.value]);
    }
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    const why = code === 'ENOENT' ? 'does not exist' : code === 'EISDIR' ? 'is a folder, expected a file' : message;
    throw new DataError(why, { file }, { cause });
  }
  return first;
}

function decode(bytes: Uint8Array, place: { file: string; line: number }): string {
  try {
    return utf8.decode(bytes);
  } catch (cause) {
    throw new DataError('is not UTF-8 text', place, { cause });
  }
}

function parse(text: string, place: { file: string; line: number }): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    if (place.line === 1 && /\.[ct]sv(\.gz)?$/i.test(place.file)) {
      throw new DataError('is a CSV or TSV table, expected JSON Lines', { file: place.file }, { cause });
    }
    throw new DataError(`is not valid JSON: ${printable((cause as Error).message)}${arrayHint(text, place)}`, place, {
      cause,
    });
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  const is = value === null ? 'null' : Array.isArray(value) ? 'an array' : `a ${typeof value}`;
  throw new DataError(`is ${is}, expected a JSON object${arrayHint(text, place)}`, place);
}

function arrayHint(text: string, { line }: { line: number }): string {
  const isArray = line === 1 && text.trimStart().startsWith('[');
  return isArray ? ' (a JSON array? expected one object per line: convert it with jq -c ".[]")' : '';
}
