/** Who may decode now: a bounded queue, in the order of arrival. */
import { RequestError } from '../http/server.js';

interface Waiting {
  readonly slots: number;
  readonly admit: () => void;
}

export class Admission {
  readonly #slots: number;
  readonly #most: number;
  readonly #waiting: Waiting[] = [];
  #busy = 0;

  /** @param slots responses decoded at the same time @param most requests that wait */
  constructor(slots: number, most: number) {
    this.#slots = slots;
    this.#most = most;
  }

  get busy(): number {
    return this.#busy;
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  /** Whether a request of one answer would be refused now. */
  get isFull(): boolean {
    return this.#isQueueFull && (this.#waiting.length > 0 || this.#busy >= this.#slots);
  }

  get #isQueueFull(): boolean {
    return this.#waiting.length >= this.#most;
  }

  /**
   * Waits for slots for that many answers, for all of them if there are more answers. @returns a function that gives them back; calling it again does nothing
   * @throws RequestError 429 when the queue is full; 400 that names `param` for more answers than slots and queue take; the signal's reason
   */
  async enter(answers: number, signal: AbortSignal, param = 'n'): Promise<() => void> {
    signal.throwIfAborted();
    const most = this.#slots + this.#most;
    if (answers > most)
      throw new RequestError(
        400,
        `${answers} answers are asked for, expected at most ${most}: as many as are decoded or wait`,
        'invalid_request_error',
        param,
      );
    const slots = Math.min(answers, this.#slots); // the rest follows in these
    if (this.#waiting.length > 0 || this.#busy + slots > this.#slots) {
      if (this.#isQueueFull)
        throw new RequestError(
          429,
          `${this.#most} requests are waiting already; try again later`,
          'requests',
          undefined,
          { 'retry-after': '1' },
          'rate_limit_exceeded',
        );
      await new Promise<void>((resolve, reject) => {
        const admit = () => {
          signal.removeEventListener('abort', leave);
          resolve();
        };
        const waiting = { slots, admit };
        const leave = () => {
          this.#waiting.splice(this.#waiting.indexOf(waiting), 1);
          this.#admit();
          reject(signal.reason);
        };
        signal.addEventListener('abort', leave, { once: true });
        this.#waiting.push(waiting);
      });
    } else this.#busy += slots;
    let isIn = true;
    return () => {
      if (!isIn) return;
      isIn = false;
      this.#busy -= slots;
      this.#admit();
    };
  }

  #admit(): void {
    for (let first = this.#waiting[0]; first && this.#busy + first.slots <= this.#slots; first = this.#waiting[0]) {
      this.#waiting.shift();
      this.#busy += first.slots;
      first.admit();
    }
  }
}
