/** Rows of tables in columns: Parquet files, and Arrow files as the `datasets` library saves them. */
import { open, readFile } from 'node:fs/promises';
import { setImmediate } from 'node:timers/promises';
import { type FileMetaData, parquetMetadataAsync, parquetReadObjects } from 'hyparquet';
import { compressors } from 'hyparquet-compressors';
import { DataError } from '../core/errors.js';
import { Pace } from '../core/pace.js';
import { arrowTable } from './arrow.js';
import { type ReadOptions, unreadable } from './bytes.js';
import type { Row } from './rows.js';

/** Rows between two turns of the event loop. */
const kRows = 1 << 6;

/** A row per record, one row group in memory at a time; `line` counts rows. @throws DataError naming a file that is not valid */
export async function* parquetRows(file: string, { signal, onBytes }: ReadOptions): AsyncGenerator<Row> {
  const handle = await open(file);
  try {
    const { size } = await handle.stat();
    const source = {
      byteLength: size,
      async slice(start: number, end = size): Promise<ArrayBuffer> {
        // The library begins to read one column after the other. If it fails on the way, nobody would wait for those that it began.
        await setImmediate();
        if (isOver) return await new Promise(() => {});
        const bytes = new Uint8Array(end - start);
        const { bytesRead } = await handle.read(bytes, 0, bytes.length, start);
        onBytes?.(bytesRead);
        return bytes.buffer.slice(0, bytesRead);
      },
    };
    let isOver = false;
    const valid = async <T>(reading: Promise<T>): Promise<T> => {
      try {
        return await reading;
      } catch (cause) {
        isOver = true;
        throw invalid(file, 'Parquet', cause);
      }
    };
    const metadata: FileMetaData = await valid(parquetMetadataAsync(source));
    const pace = new Pace(signal, kRows);
    let line = 0;
    for (const group of metadata.row_groups) {
      const count = Number(group.num_rows);
      const reading = parquetReadObjects({ file: source, metadata, compressors, rowStart: line, rowEnd: line + count });
      for (const record of await valid(reading)) {
        yield { file, line: ++line, value: plain(record) as Row['value'] };
        await pace.add(1);
      }
    }
  } finally {
    await handle.close();
  }
}

/** A row per record of an Arrow stream or file; `line` counts rows. @throws DataError naming a file that is not valid */
export async function* arrowRows(file: string, { signal, onBytes }: ReadOptions): AsyncGenerator<Row> {
  const bytes = await readFile(file, { signal }).catch((cause) => {
    throw unreadable(file, cause);
  });
  onBytes?.(bytes.length);
  const pace = new Pace(signal, kRows);
  try {
    const table = arrowTable(bytes);
    for (let i = 0; i < table.numRows; i++) {
      yield { file, line: i + 1, value: plain(table.get(i)) as Row['value'] };
      await pace.add(1);
    }
  } catch (cause) {
    if (signal?.aborted) throw cause;
    throw invalid(file, 'Arrow', cause);
  }
}

/** What is wrong with a file. The libraries do not check everything: damage may show as an error of their own code. */
function invalid(file: string, format: string, cause: unknown): DataError {
  const isTheirs = cause instanceof TypeError || cause instanceof RangeError;
  const why = isTheirs ? 'it is damaged' : (cause as Error).message;
  return new DataError(`is not a valid ${format} file: ${why}`, { file }, { cause });
}

/**
 * A record as JSON has it. Tables hold null where a row has no such field: these are left out. A whole number beyond 2^53 is text, as
 * no number of JavaScript is that one.
 */
function plain(value: unknown): unknown {
  if (typeof value === 'bigint') return Number.isSafeInteger(Number(value)) ? Number(value) : String(value);
  if (typeof value !== 'object' || value === null || value instanceof Date) return value;
  if (Array.isArray(value) || ArrayBuffer.isView(value)) return Array.from(value as ArrayLike<unknown>, plain);
  const fields = Object.entries(value).filter(([, inner]) => inner !== null && inner !== undefined);
  return Object.fromEntries(fields.map(([name, inner]) => [name, plain(inner)]));
}
