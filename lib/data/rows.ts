/** Files as rows: JSON Lines and plain text, gzip or not. What is wrong is named as file:line. */
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { gunzip } from 'node:zlib';
import { DataError } from '../core/errors.js';

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
 * The rows of a JSON Lines file (`.gz` too, told by its content). Empty lines are passed over.
 *
 * @throws DataError naming the file, or the line that is not a JSON object in UTF-8
 */
export async function readRows(file: string): Promise<Row[]> {
  const bytes = await readBytes(file);
  const rows: Row[] = [];
  for (let start = 0, line = 1; start < bytes.length; line++) {
    const newline = bytes.indexOf(kNewline, start);
    const end = newline < 0 ? bytes.length : newline;
    const text = decode(bytes.subarray(start, end), { file, line });
    if (text.trim() !== '') rows.push({ file, line, value: parse(text, { file, line }) });
    start = end + 1;
  }
  return rows;
}

/** A whole text file (`.gz` too). @throws DataError naming the file */
export async function readTextFile(file: string): Promise<string> {
  return decode(await readBytes(file), { file });
}

/** Whether a file is plain text by its name: `.txt`, `.txt.gz`. */
export function isTextFile(file: string): boolean {
  return /\.(txt|text)(\.gz)?$/i.test(file);
}

async function readBytes(file: string): Promise<Buffer> {
  let bytes: Buffer;
  try {
    bytes = await readFile(file);
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    const why = code === 'ENOENT' ? 'does not exist' : code === 'EISDIR' ? 'is a folder, expected a file' : message;
    throw new DataError(why, { file }, { cause });
  }
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes;
  try {
    return await promisify(gunzip)(bytes);
  } catch (cause) {
    throw new DataError(`is not whole gzip data: ${(cause as Error).message}`, { file }, { cause });
  }
}

function decode(bytes: Uint8Array, place: { file: string; line?: number }): string {
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
    const array = place.line === 1 && text.trimStart().startsWith('[');
    const hint = array ? ' (a JSON array? one object per line is expected: jq -c ".[]" makes it so)' : '';
    throw new DataError(`is not valid JSON: ${(cause as Error).message}${hint}`, place, { cause });
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  const is = value === null ? 'null' : Array.isArray(value) ? 'an array' : `a ${typeof value}`;
  throw new DataError(`is ${is}, expected a JSON object`, place);
}
