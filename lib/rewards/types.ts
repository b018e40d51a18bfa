/** Rewards of responses as text. */

/** A sampled response with what it answers. */
export interface Answer {
  /** Index into the prompts. */
  readonly promptIndex: number;
  readonly prompt: string;
  readonly response: string;
  /** false if it was cut off. */
  readonly finished: boolean;
  /** The fields of the prompt's row: `answer`, `tests`, … */
  readonly row: Readonly<Record<string, unknown>>;
}

export interface RewardContext {
  readonly signal: AbortSignal | undefined;
  /** Counted from 0. */
  readonly iteration: number;
}

/** One score per answer, in order. null: it could not be scored, and the prompt is skipped. */
export type Scores = ArrayLike<number | null>;

/** Scores answers, synchronously or as a promise. The answers to a prompt are neighbours, and always in one call. */
export type TextReward = (answers: readonly Answer[], context: RewardContext) => Scores | Promise<Scores>;
