/** Ctrl-C: the first one asks the command to save and end, the second ends it at once. */

/** Why a command ended before its end. */
export class Interrupted extends Error {
  override readonly name = 'Interrupted';
  /** What to do next, where there is something. */
  advice: string | undefined;
  constructor(readonly exitCode: number) {
    super('interrupted');
  }
}

const kSignals = { SIGINT: 130, SIGTERM: 143 } as const;

/**
 * @param say is told what happens
 * @returns the signal, and how to stop listening
 */
export function onInterrupt(say: (text: string) => void): { signal: AbortSignal; end(): void } {
  const controller = new AbortController();
  const listeners = Object.entries(kSignals).map(([name, exitCode]) => {
    const listener = () => {
      if (controller.signal.aborted) process.exit(exitCode);
      say('stopping; a run is saved first (again: end at once)');
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
