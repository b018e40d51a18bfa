/** Rows of tables in columns: Parquet files, and Arrow files as the `datasets` library saves them. */
import { open, readFile } from 'node:fs/promises';
import { tableFromIPC } from '@uwdata/flechette';
import { type FileMetaData, parquetMetadataAsync, parquetReadObjects } from 'hyparquet';
import { compressors } from 'hyparquet-compressors';
import { DataError } from '../core/errors.js';
import { Pace } from '../core/pace.js';
import { type ReadOptions, unreadable } from './bytes.js';
import type { Row } from './rows.js';

/** Rows between two turns of the event loop. */
const kRows = 1 << 6;
/** Every writer in use closes its streams, so that a file without an end is cut short. */
const kEndOfStream = Buffer.of(0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0);

/** A row per record, one row group in memory at a time; `line` counts rows. @throws DataError naming a file that is not valid */
export async function* parquetRows(file: string, { signal, onBytes }: ReadOptions): AsyncGenerator<Row> {
  const handle = await open(file);
  try {
    const { size } = await handle.stat();
    const source = {
      byteLength: size,
      async slice(start: number, end = size): Promise<ArrayBuffer> {
        const bytes = new Uint8Array(end - start);
        const { bytesRead } = await handle.read(bytes, 0, bytes.length, start);
        onBytes?.(bytesRead);
        return bytes.buffer.slice(0, bytesRead);
      },
    };
    const valid = async <T>(reading: Promise<T>): Promise<T> => {
      try {
        return await reading;
      } catch (cause) {
        throw new DataError(`is not a valid Parquet file: ${(cause as Error).message}`, { file }, { cause });
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
    const isStream = bytes.length < 8 || bytes.readInt32LE() === -1;
    if (isStream && !bytes.subarray(-kEndOfStream.length).equals(kEndOfStream)) throw new Error('its end is missing');
    const table = tableFromIPC(bytes);
    for (let i = 0; i < table.numRows; i++) {
      yield { file, line: i + 1, value: plain(table.get(i)) as Row['value'] };
      await pace.add(1);
    }
  } catch (cause) {
    if (signal?.aborted) throw cause;
    throw new DataError(`is not a valid Arrow file: ${(cause as Error).message}`, { file }, { cause });
  }
}

/** A record as JSON has it. Tables hold null where a row has no such field: these are left out. */
function plain(value: unknown): unknown {
  if (typeof value === 'bigint') return Number(value);
  if (typeof value !== 'object' || value === null || value instanceof Date) return value;
  if (Array.isArray(value) || ArrayBuffer.isView(value)) return Array.from(value as ArrayLike<unknown>, plain);
  const fields = Object.entries(value).filter(([, inner]) => inner !== null && inner !== undefined);
  return Object.fromEntries(fields.map(([name, inner]) => [name, plain(inner)]));
}
