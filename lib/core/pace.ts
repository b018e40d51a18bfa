/** Splits long work on the JavaScript thread into portions, between which signals, timers and Ctrl-C are handled. */
import { setImmediate } from 'node:timers/promises';

/** Characters (or bytes, or numbers) between two turns of the event loop: a few milliseconds of the slowest work that uses it. */
export const kPortion = 1 << 15;

/** Counts work done and lets the event loop turn after every portion of it. */
export class Pace {
  readonly #signal: AbortSignal | undefined;
  readonly #portion: number;
  #done = 0;

  /** @param portion units of work between two turns; use fewer for slow work */
  constructor(signal?: AbortSignal, portion = kPortion) {
    this.#signal = signal;
    this.#portion = portion;
  }

  /** Adds work done; resolves after a turn of the event loop when a portion is full. @throws the signal's reason */
  async add(units: number): Promise<void> {
    this.#done += units;
    if (this.#done < this.#portion) return;
    this.#done = 0;
    await setImmediate();
    this.#signal?.throwIfAborted();
  }
}
