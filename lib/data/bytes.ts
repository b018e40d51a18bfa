/** A file's bytes as a stream, uncompressed: gzip and zstd are recognised by their content. */
import { createReadStream } from 'node:fs';
import { Readable } from 'node:stream';
import * as zlib from 'node:zlib';
import { Decompress } from 'fzstd';
import { DataError, whyUnreadable } from '../core/errors.js';
import type { Abortable } from '../core/native.js';
import { Pace } from '../core/pace.js';
import type { FeedbackKind } from '../feedback/kinds.js';

const kChunk = 1 << 18;

export interface ReadOptions extends Abortable {
  /** Called with the number of bytes that were read, compressed. */
  readonly onBytes?: ((count: number) => void) | undefined;
  /** Which rows of a file of feedback are wanted. Default: those that it has. */
  readonly kind?: FeedbackKind | undefined;
}

/** The chunks of a file. @throws DataError naming a file that cannot be read or decompressed */
export async function* bytesOf(file: string, { signal, onBytes }: ReadOptions): AsyncGenerator<Buffer> {
  signal?.throwIfAborted();
  const source = createReadStream(file, { highWaterMark: kChunk });
  try {
    const chunks = source[Symbol.asyncIterator]() as AsyncIterableIterator<Buffer>;
    const first = await readFirst(chunks, file);
    const whole = async function* () {
      if (first.length > 0) yield first;
      onBytes?.(first.length);
      for await (const chunk of chunks) {
        onBytes?.(chunk.length);
        yield chunk;
      }
    };
    if (first[0] === 0x1f && first[1] === 0x8b)
      yield* through(zlib.createGunzip({ chunkSize: kChunk }), whole(), file, 'gzip');
    else if (first.length >= 4 && first.readUInt32LE() === 0xfd2fb528) {
      if (createZstdDecompress) yield* through(createZstdDecompress({ chunkSize: kChunk }), whole(), file, 'zstd');
      else yield* unzstd(whole(), file, signal);
    } else yield* whole();
  } finally {
    source.destroy();
  }
}

/** The chunks through a decompressor of Node. */
async function* through(
  decompressor: NodeJS.ReadWriteStream & { destroy(error: Error): unknown },
  chunks: AsyncIterable<Buffer>,
  file: string,
  format: string,
): AsyncGenerator<Buffer> {
  const compressed = Readable.from(chunks).on('error', (error) => decompressor.destroy(error));
  try {
    for await (const chunk of compressed.pipe(decompressor)) yield chunk as Buffer;
  } catch (cause) {
    if (cause instanceof DataError) throw cause;
    throw new DataError(`is not valid ${format} data: ${(cause as Error).message}`, { file }, { cause });
  }
}

/** Node's own from 22.15 on, which checks checksums too. */
const createZstdDecompress = (zlib as { createZstdDecompress?: (o: object) => Parameters<typeof through>[0] })
  .createZstdDecompress;

async function* unzstd(
  chunks: AsyncIterable<Buffer>,
  file: string,
  signal: AbortSignal | undefined,
): AsyncGenerator<Buffer> {
  const ready: Buffer[] = [];
  const stream = new Decompress((bytes) => {
    if (bytes.length > 0) ready.push(Buffer.from(bytes)); // the library reuses its memory
  });
  const pace = new Pace(signal, kChunk);
  const decompress = (bytes: Uint8Array, isLast: boolean) => {
    try {
      stream.push(bytes, isLast);
    } catch (cause) {
      throw new DataError(`is not valid zstd data: ${(cause as Error).message}`, { file }, { cause });
    }
  };
  for await (const chunk of chunks) {
    decompress(chunk, false);
    yield* ready.splice(0);
    await pace.add(chunk.length);
  }
  decompress(new Uint8Array(), true);
  yield* ready.splice(0);
}

/** The first bytes, at least four if the file has them. */
async function readFirst(chunks: AsyncIterator<Buffer>, file: string): Promise<Buffer> {
  let first = Buffer.alloc(0);
  try {
    while (first.length < 4) {
      const next = await chunks.next();
      if (next.done) break;
      first = Buffer.concat([first, next.value]);
    }
  } catch (cause) {
    throw unreadable(file, cause);
  }
  return first;
}

/** An error that says why a file cannot be read. */
export function unreadable(file: string, cause: unknown): DataError {
  return new DataError(whyUnreadable(cause), { file }, { cause });
}
