/** Encodes with Hugging Face's native library without blocking the event loop: concurrent requests become small batches on its threads. */
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import type { Encoding, Tokenizer as Native } from 'tokenizers';
import { HeedError } from '../core/errors.js';

type Library = typeof import('tokenizers');
let loaded: Library | undefined;

/** The library, loaded on the first call so that importing heed never fails. @throws HeedError if it has no binary for this platform */
export function library(): Library {
  try {
    loaded ??= createRequire(import.meta.url ?? join(process.cwd(), 'heed'))('tokenizers') as Library;
    return loaded;
  } catch (cause) {
    const why = (cause as Error).message.split('\n')[0];
    throw new HeedError('ERR_INTERNAL', `the tokenizers package, which encodes text, cannot be loaded: ${why}`, {
      cause,
    });
  }
}

/** Characters per call of the library: a few milliseconds of work, after which aborts are noticed and the process can exit. */
const kBatch = 1 << 16;

interface Waiting {
  readonly text: string;
  readonly signal: AbortSignal | undefined;
  readonly resolve: (encoding: Encoding) => void;
  readonly reject: (reason: unknown) => void;
}

/** Encodes texts in the order they are requested. */
export class Encoder {
  readonly #tokenizer: Native;
  #queue: Waiting[] = [];
  #next = 0;
  #isRunning = false;

  constructor(tokenizer: Native) {
    this.#tokenizer = tokenizer;
  }

  /** @throws the signal's reason after an abort; HeedError if the library rejects the text */
  encode(text: string, signal?: AbortSignal): Promise<Encoding> {
    return new Promise((resolve, reject) => {
      this.#queue.push({ text, signal, resolve, reject });
      if (!this.#isRunning) void this.#run();
    });
  }

  async #run(): Promise<void> {
    this.#isRunning = true;
    await undefined; // so that everything requested in this turn is encoded together
    while (this.#next < this.#queue.length) {
      await this.#encode(this.#take());
      await setImmediate(); // promises alone would starve timers and signals
    }
    this.#queue = [];
    this.#next = 0;
    this.#isRunning = false;
  }

  #take(): Waiting[] {
    const batch: Waiting[] = [];
    for (let size = 0; this.#next < this.#queue.length && size < kBatch; this.#next++) {
      const waiting = this.#queue[this.#next]!;
      if (waiting.signal?.aborted) {
        waiting.reject(waiting.signal.reason);
        continue;
      }
      batch.push(waiting);
      size += waiting.text.length;
    }
    return batch;
  }

  async #encode(batch: readonly Waiting[]): Promise<void> {
    if (batch.length === 0) return;
    try {
      const encodings = await this.#tokenizer.encodeBatch(
        batch.map(({ text }) => text),
        { addSpecialTokens: false },
      );
      batch.forEach(({ resolve }, i) => {
        resolve(encodings[i]!);
      });
    } catch (cause) {
      if (batch.length > 1) {
        for (const waiting of batch) await this.#encode([waiting]); // to find out which one failed
      } else {
        const why = (cause as Error).message;
        batch[0]!.reject(new HeedError('ERR_INVALID_ARGUMENT', `the text cannot be encoded: ${why}`, { cause }));
      }
    }
  }
}

/** The ids of an encoding. */
export const idsOf = (encoding: Encoding): Int32Array => Int32Array.from(encoding.getIds());
