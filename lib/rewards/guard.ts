/** Time limits, retries and failures of rewards that depend on something else. */
import pLimit from 'p-limit';
import pRetry from 'p-retry';
import type { Answer, RewardContext, Scores, TextReward } from './types.js';

export interface GuardOptions {
  /** Milliseconds that the reward of a prompt's answers may take. Default 30 000. */
  readonly timeout?: number | undefined;
  /** Further attempts after a failure, with growing pauses. Default 2. */
  readonly retries?: number | undefined;
  /** Prompts whose rewards are computed at the same time. Default 8. */
  readonly concurrency?: number | undefined;
  /** After the last attempt: 'skip' the prompt, counted, or 'stop' the run. Default 'skip'. */
  readonly onFailure?: 'skip' | 'stop' | undefined;
  /** What messages call it. Default 'the reward'. */
  readonly called?: string | undefined;
}

/** What a guarded reward counted. */
export interface GuardCounts {
  /** Prompts that failed after all attempts. */
  failed: number;
  /** The last of their errors. */
  lastError: string | undefined;
}

/** A reward that is computed prompt by prompt, with limits. An abort of the run is no failure. */
export function guarded(reward: TextReward, o: GuardOptions = {}): { reward: TextReward; counts: GuardCounts } {
  const { timeout = 30_000, retries = 2, concurrency = 8, onFailure = 'skip', called = 'the reward' } = o;
  const counts: GuardCounts = { failed: 0, lastError: undefined };
  const limit = pLimit(concurrency);
  const ofPrompt = async (answers: readonly Answer[], context: RewardContext): Promise<(number | null)[]> => {
    const { signal } = context;
    try {
      const scores = await pRetry(() => within(timeout, called, reward, answers, context), {
        retries,
        minTimeout: 100,
        ...(signal ? { signal } : {}),
      });
      return Array.from(scores);
    } catch (error) {
      signal?.throwIfAborted();
      if (onFailure === 'stop') throw error;
      counts.failed++;
      counts.lastError = error instanceof Error ? error.message : String(error);
      return answers.map(() => null);
    }
  };
  const all: TextReward = async (answers, context) => {
    const groups: Answer[][] = [];
    for (const answer of answers) {
      if (groups.at(-1)?.[0]?.promptIndex === answer.promptIndex) groups.at(-1)!.push(answer);
      else groups.push([answer]);
    }
    return (await Promise.all(groups.map((group) => limit(() => ofPrompt(group, context))))).flat();
  };
  return { reward: all, counts };
}

/** Rewards with limits of their own, whose waiting is no delay. */
const limited = new WeakSet<TextReward>();

/** Marks a reward as one that limits its time itself. */
export function withOwnLimits(reward: TextReward): TextReward {
  limited.add(reward);
  return reward;
}

/** The reward, which is aborted and rejected after some time. */
async function within(
  timeout: number,
  called: string,
  reward: TextReward,
  answers: readonly Answer[],
  { signal, iteration }: RewardContext,
): Promise<Scores> {
  if (limited.has(reward)) return checked(await reward(answers, { signal, iteration }), answers.length, called);
  const controller = new AbortController();
  let timer: ReturnType<typeof setTimeout> | undefined;
  let stop: (() => void) | undefined;
  const ended = new Promise<never>((_, reject) => {
    const end = (reason: unknown) => {
      controller.abort(reason);
      reject(reason);
    };
    // A timer that keeps the process alive: nothing else may be pending.
    timer = setTimeout(() => end(new Error(`${called} took more than ${timeout} ms`)), Math.min(timeout, kLongest));
    stop = () => end(signal!.reason);
    signal?.addEventListener('abort', stop);
  });
  ended.catch(() => {});
  try {
    const scores = await Promise.race([reward(answers, { signal: controller.signal, iteration }), ended]);
    return checked(scores, answers.length, called);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', stop!);
  }
}

const counted = (count: number, what: string) => `${count} ${what}${count === 1 ? '' : 's'}`;

const kLongest = 2 ** 31 - 1; // of a timer, milliseconds

function checked(scores: unknown, count: number, called: string): Scores {
  const list = typeof scores === 'object' && scores !== null ? (scores as ArrayLike<unknown>) : undefined;
  if (list?.length !== count)
    throw new Error(
      `${called} returned ${list ? counted(list.length, 'score') : String(scores)} for ${counted(count, 'answer')}, expected one each`,
    );
  for (const score of Array.from(list))
    if (score !== null && !(typeof score === 'number' && Number.isFinite(score)))
      throw new Error(
        `${called} returned ${typeof score === 'string' ? JSON.stringify(score) : String(score)}, expected finite numbers or null`,
      );
  return list as Scores;
}
