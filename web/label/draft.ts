/** What a labeler has answered so far: kept on the server, so that it survives a reload. */
import { useEffect, useRef, useState } from 'preact/hooks';
import type { Draft, Task } from '../../lib/label/types.js';
import { call } from '../api.js';

const kDelay = 300;
const kRetry = 3000;
/** Seconds without a key or a movement after which somebody is away. */
const kAway = 60;

export interface DraftState {
  readonly draft: Draft;
  readonly change: (change: Draft) => void;
  /** Why it is not saved. */
  readonly problem: string | undefined;
  /** No more saving: the answer is on its way. */
  readonly stop: () => void;
  readonly seconds: () => number;
}

export function useDraft(task: Task): DraftState {
  const [draft, setDraft] = useState<Draft>(task.draft ?? {});
  const [problem, setProblem] = useState<string>();
  const saver = useRef<Saver>(undefined);
  const seconds = useActiveSeconds(task.draft?.seconds ?? 0);
  useEffect(() => {
    const own = new Saver(`api/tasks/${task.id}/draft`, setProblem);
    saver.current = own;
    const onHide = () => own.flush();
    addEventListener('pagehide', onHide);
    return () => {
      removeEventListener('pagehide', onHide);
      own.flush();
      own.stop();
    };
  }, [task.id]);
  return {
    draft,
    problem,
    seconds,
    change(change) {
      setDraft((before) => {
        const after = { ...before, ...change };
        saver.current?.save({ ...after, seconds: seconds() });
        return after;
      });
    },
    stop: () => saver.current?.stop(),
  };
}

/** One request at a time; the last draft wins. */
class Saver {
  readonly #path: string;
  readonly #report: (problem: string | undefined) => void;
  #waiting: Draft | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isBusy = false;
  #isStopped = false;

  constructor(path: string, report: (problem: string | undefined) => void) {
    this.#path = path;
    this.#report = report;
  }

  save(draft: Draft, delay = kDelay): void {
    if (this.#isStopped) return;
    this.#waiting = draft;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#send(), delay);
  }

  stop(): void {
    this.#isStopped = true;
    clearTimeout(this.#timer);
  }

  /** The page is going away, or shows something else: a request that outlives it. */
  flush(): void {
    if (this.#isStopped || !this.#waiting) return;
    const body = JSON.stringify(this.#waiting);
    this.#waiting = undefined;
    void fetch(this.#path, { method: 'POST', headers: { 'content-type': 'application/json' }, body, keepalive: true });
  }

  async #send(): Promise<void> {
    const draft = this.#waiting;
    if (this.#isBusy || !draft) return;
    this.#waiting = undefined;
    this.#isBusy = true;
    try {
      await call(this.#path, draft);
      this.#report(undefined);
    } catch (error) {
      if (!this.#isStopped) {
        this.#report((error as Error).message);
        this.save(this.#waiting ?? draft, kRetry);
      }
    } finally {
      this.#isBusy = false;
    }
    if (this.#waiting) this.save(this.#waiting, 0);
  }
}

/** Seconds for which the page was visible and used. */
function useActiveSeconds(before: number): () => number {
  const total = useRef(before);
  useEffect(() => {
    total.current = before;
    let used = performance.now();
    const onUse = () => {
      used = performance.now();
    };
    const timer = setInterval(() => {
      const isThere = document.visibilityState === 'visible' && performance.now() - used < kAway * 1000;
      if (isThere) total.current = Math.min(86_400, total.current + 0.25);
    }, 250);
    const events = ['keydown', 'pointermove', 'pointerdown', 'scroll'] as const;
    for (const name of events) addEventListener(name, onUse, { passive: true });
    return () => {
      clearInterval(timer);
      for (const name of events) removeEventListener(name, onUse);
    };
  }, [before]);
  return () => total.current;
}
