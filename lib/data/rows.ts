/**
 * Reads files as rows, recognised by their content: JSON Lines, JSON arrays, CSV and TSV, Parquet, Arrow, files of feedback; each of the
 * text formats may be compressed with gzip or zstd. Errors name file:line.
 */
import { DataError } from '../core/errors.js';
import { refuseForeign } from '../core/foreign.js';
import type { Abortable } from '../core/native.js';
import { Pace } from '../core/pace.js';
import { openFeedback } from '../feedback/database.js';
import { feedbackRows, kindIn } from '../feedback/rows.js';
import { bytesOf, type ReadOptions } from './bytes.js';
import { arrowRows, parquetRows } from './columns.js';
import { csvRows, type Table } from './csv.js';
import { filesOf } from './folder.js';
import { arrayRows, lineRows } from './json.js';

/** One row of a file. */
export interface Row {
  readonly file: string;
  /** Counted from 1; in a table without lines, the row. */
  readonly line: number;
  readonly value: Readonly<Record<string, unknown>>;
  /** Whether the file is one of feedback. */
  readonly isFeedback?: boolean;
}

/**
 * All rows of a file, or of a folder's data files.
 *
 * @throws DataError naming the file, or the line that is not a row
 */
export async function readRows(path: string, options: Abortable = {}): Promise<Row[]> {
  const rows: Row[] = [];
  for await (const row of streamRows(path, options)) rows.push(row);
  return rows;
}

/** {@link readRows}, but a file without a row is a DataError too. */
export async function readSomeRows(path: string, options: ReadOptions = {}): Promise<Row[]> {
  const rows: Row[] = [];
  for await (const row of streamRows(path, options)) rows.push(row);
  if (rows.length === 0) throw noRows(path);
  return rows;
}

export const noRows = (file: string) => new DataError('is empty, expected at least one row', { file });

/**
 * The rows of a file, one after the other: of any size. Of a folder, those of its data files ({@link filesOf}).
 *
 * @throws DataError naming the file, or the line that is not a row
 */
export async function* streamRows(path: string, options: ReadOptions = {}): AsyncGenerator<Row> {
  for (const file of await filesOf(path)) yield* fileRows(file, options);
}

async function* fileRows(file: string, options: ReadOptions): AsyncGenerator<Row> {
  const { signal } = options;
  const chunks = bytesOf(file, options);
  try {
    const first = await chunks.next();
    if (first.done) return;
    const head = first.value;
    if (head.subarray(0, 4).toString('latin1') === 'PAR1') return yield* parquetRows(file, options);
    if (head.subarray(0, kSqlite.length).toString('latin1') === kSqlite) return yield* databaseRows(file, options);
    const isArrow =
      head.subarray(0, 6).toString('latin1') === 'ARROW1' || (head.length >= 4 && head.readInt32LE() === -1);
    if (isArrow) return yield* arrowRows(file, options);
    const whole = async function* () {
      yield head;
      yield* chunks;
    };
    const text = head.subarray(0, 1 << 16).toString('utf8');
    const blank = text.match(/^\ufeff?\s*/)![0];
    const start = text.slice(blank.length);
    if (/^\[\s*[{\]]|^\[$/.test(start)) return yield* arrayRows(whole(), file, signal);
    const table = tableOf(start, file, blank.split('\n').length - 1);
    if (table !== undefined) return yield* csvRows(whole(), file, table, signal);
    yield* lineRows(whole(), file, signal);
  } finally {
    await chunks.return(undefined);
  }
}

const kSqlite = 'SQLite format 3\0';

/** @throws DataError for another program's database, or one without rows of the kind that is wanted */
async function* databaseRows(file: string, { kind, signal }: ReadOptions): AsyncGenerator<Row> {
  const database = await openFeedback(file, { readOnly: true });
  const pace = new Pace(signal, 1 << 10);
  try {
    let line = 0;
    for (const value of feedbackRows(database, kind ?? kindIn(database), { forTraining: true })) {
      yield { file, line: ++line, value, isFeedback: true };
      await pace.add(1);
    }
    const name = kind === 'feedback' ? 'thumbs' : kind;
    if (line === 0 && kind) throw new DataError(`has no ${name}, expected at least one`, { file });
  } finally {
    database.close();
  }
}

/** Names of which a table's header has at least one, if the file is not named as a table. */
const kFields =
  /(^|[,;\t])"?(text|prompt|response|completion|messages|conversations|instruction|output|chosen|rejected|responses)"?($|[,;\t])/;

/**
 * How a table is written; undefined if the text is not a table. Before the header there may be comments, and a line for Excel that names
 * what separates cells: `sep=;`.
 */
function tableOf(start: string, file: string, blankLines: number): Table | undefined {
  if (start.startsWith('{')) return undefined;
  const isNamed = /\.[ct]sv(\.(gz|zst))?$/i.test(file);
  const lines = start.split(/\r?\n/);
  const isBefore = (line: string) => !kFields.test(line) && /^(sep=.$|#)/i.test(line);
  const skipped = isNamed ? lines.findIndex((line) => !isBefore(line)) : 0;
  const header = lines[skipped];
  if (header === undefined || (!isNamed && !kFields.test(header))) return undefined;
  const said = lines.slice(0, skipped).find((line) => /^sep=/i.test(line))?.[4];
  const counts = ['\t', ',', ';'].map((mark) => [header.split(mark).length, mark] as const);
  return {
    delimiter: said ?? counts.reduce((most, each) => (each[0] > most[0] ? each : most))[1],
    skipped: skipped > 0 ? blankLines + skipped : 0,
  };
}

/** Whether a file's name says that it is plain text: `.txt`, `.txt.gz`, `.txt.zst`. */
export function isTextFile(file: string): boolean {
  return /\.(txt|text)(\.(gz|zst))?$/i.test(file);
}

/** The text of a file, compressed or not, in pieces. @throws DataError naming the file, also if it is empty */
export async function* streamText(file: string, options: ReadOptions = {}): AsyncGenerator<string> {
  const pace = new Pace(options.signal, 1 << 20);
  const decoder = new TextDecoder('utf-8', { fatal: true });
  const decode = (bytes?: Uint8Array) => {
    try {
      return bytes ? decoder.decode(bytes, { stream: true }) : decoder.decode();
    } catch (cause) {
      throw new DataError('is not UTF-8 text', { file }, { cause });
    }
  };
  let isFirst = true;
  let isEmpty = true;
  for await (const bytes of bytesOf(file, options)) {
    if (isFirst) refuseForeign(bytes, file, 'text', ['an HTML page']);
    isFirst = false;
    const text = decode(bytes);
    isEmpty &&= text.trim() === '';
    yield text;
    await pace.add(bytes.length);
  }
  const rest = decode();
  yield rest;
  if (isEmpty && rest.trim() === '') throw new DataError('is empty, expected text', { file });
}
