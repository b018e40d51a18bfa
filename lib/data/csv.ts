/** Rows of a table as text, with a header: comma, semicolon or tab between the cells. */
import { Readable } from 'node:stream';
import { CsvError, parse } from 'csv-parse';
import { DataError } from '../core/errors.js';
import { refuseForeign } from '../core/foreign.js';
import { Pace } from '../core/pace.js';
import type { Row } from './rows.js';

/** Fields with lists, which a table keeps as JSON. */
const kLists = ['messages', 'conversations', 'responses', 'ranks', 'scores', 'tools', 'tokens'];
const kLongestRow = 1 << 26; // characters: a quote that is never closed would take the whole file

/** What separates the cells of a table, and the lines before its header. */
export interface Table {
  readonly delimiter: string;
  readonly skipped: number;
}

/** @throws DataError naming a column that is there twice: one would hide the other */
function uniqueNames(header: string[], file: string): string[] {
  const names = header.map((name) => name.trim());
  const repeated = names.find((name, i) => name !== '' && names.indexOf(name) !== i);
  if (repeated !== undefined) throw new DataError(`has two columns ${JSON.stringify(repeated)}`, { file, line: 1 });
  return header;
}

/** A row per record. Empty cells are left out. @throws DataError naming the line that has another number of cells than the header */
export async function* csvRows(
  chunks: AsyncIterable<Buffer>,
  file: string,
  { delimiter, skipped }: Table,
  signal: AbortSignal | undefined,
): AsyncGenerator<Row> {
  const parser = parse({
    bom: true,
    columns: (header: string[]) => uniqueNames(header, file),
    delimiter,
    from_line: 1 + skipped,
    info: true,
    max_record_size: kLongestRow,
    relax_quotes: delimiter === '\t',
    skip_empty_lines: true,
  });
  const checked = async function* () {
    let isFirst = true;
    const decoder = new TextDecoder('utf-8', { fatal: true });
    const decode = (chunk?: Buffer) => {
      try {
        return decoder.decode(chunk, { stream: chunk !== undefined });
      } catch (cause) {
        throw new DataError('is not UTF-8 text', { file }, { cause });
      }
    };
    for await (const chunk of chunks) {
      if (isFirst) refuseForeign(chunk, file, 'a table');
      isFirst = false;
      yield decode(chunk);
    }
    yield decode();
  };
  const source = Readable.from(checked()).on('error', (error) => parser.destroy(error));
  const pace = new Pace(signal);
  try {
    for await (const { record, info } of source.pipe(parser)) {
      const line = info.lines as number; // where the record ends
      yield { file, line, value: rowOf(record) };
      await pace.add(1 << 8);
    }
  } catch (error) {
    if (!(error instanceof CsvError)) throw error;
    const { lines, message } = error as CsvError & { lines?: number };
    throw new DataError(`is not a valid table: ${message}`, { file, line: lines }, { cause: error });
  } finally {
    source.destroy();
  }
}

function rowOf(record: Record<string, string>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(record)
      .filter(([, cell]) => cell !== '')
      .map(([name, cell]) => [name.trim(), kLists.includes(name.trim()) || isTurns(cell) ? listOf(cell) : cell]),
  );
}

/** Whether a cell has a list of messages. */
const isTurns = (cell: string) => /^\s*\[\s*\{\s*"(role|content|from|value)"/.test(cell);

function listOf(cell: string): unknown {
  try {
    return JSON.parse(cell);
  } catch {
    return cell; // whoever reads the field says what it expects
  }
}
