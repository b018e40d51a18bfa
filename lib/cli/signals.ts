/** Ctrl-C: the first makes the command save and end, the second ends it at once. */

import { StopRequested } from '../runs/requests.js';

/** A command was stopped by a signal. */
export class Interrupted extends Error {
  override readonly name = 'Interrupted';
  /** What to do next, if anything. */
  advice: string | undefined;
  constructor(readonly exitCode: number) {
    super('interrupted');
  }
}

const kSignals = { SIGINT: 130, SIGTERM: 143 } as const;

/** A request to stop a run, by `heed watch`, is as Ctrl-C. */
export const asInterrupted = (error: unknown): unknown =>
  error instanceof StopRequested ? new Interrupted(kSignals.SIGINT) : error;

/**
 * @param notify is called on the first signal
 * @returns the signal, and a function that stops listening
 */
export function onInterrupt(notify: () => void): { signal: AbortSignal; end(): void } {
  const controller = new AbortController();
  const listeners = Object.entries(kSignals).map(([name, exitCode]) => {
    const listener = () => {
      if (controller.signal.aborted) process.exit(exitCode);
      notify();
      controller.abort(new Interrupted(exitCode));
    };
    process.on(name, listener);
    return [name, listener] as const;
  });
  const end = () => {
    for (const [name, listener] of listeners) process.off(name, listener);
  };
  return { signal: controller.signal, end };
}
