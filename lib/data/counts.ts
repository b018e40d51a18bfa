/** Counts of rows: what became of them when they were read. */

/** Counts of rows read, kept and dropped; by weight a row may count several times. */
export interface DataReport {
  readonly rows: number;
  readonly kept: number;
  /** Dropped: a prompt or response that is empty or only white space. */
  readonly empty: number;
  /** Dropped: no turn is learnt, as the weight of each is 0. */
  readonly unlearnt: number;
  /** Dropped: longer than `maxLength`. */
  readonly overlong: number;
  /** Dropped: the chat template does not let the assistant's turn follow its prompt. */
  readonly unrendered: number;
  /** Dropped: a ranking whose `purpose` is `repeat` or `attention`, which checks the labelers. */
  readonly checks: number;
  /** Kept with the response cut at `maxLength`. */
  readonly cut: number;
  /** Kept with only the last turn learnt, because the chat template renders earlier turns differently once later ones follow. */
  readonly lastTurnOnly: number;
  /** Kept with prompt and response encoded by themselves, because a token of their joined text would span both. */
  readonly encodedApart: number;
  /** Kept by their text, because the ids that are kept with it are not this tokenizer's. */
  readonly otherTokens: number;
  /** Tokens of the kept rows; a ranking's prompt counts once. */
  readonly tokens: number;
  /** Of these, tokens with loss; 0 for prompts and rankings. */
  readonly lossTokens: number;
}

/** A report that is being counted. */
export class Counts implements DataReport {
  rows = 0;
  kept = 0;
  empty = 0;
  unlearnt = 0;
  overlong = 0;
  unrendered = 0;
  checks = 0;
  cut = 0;
  lastTurnOnly = 0;
  encodedApart = 0;
  otherTokens = 0;
  tokens = 0;
  lossTokens = 0;

  drop(why: 'empty' | 'unlearnt' | 'overlong' | 'unrendered' | 'checks'): undefined {
    this[why]++;
    return undefined;
  }

  keep(tokens: number, learnt: number): void {
    this.kept++;
    this.tokens += tokens;
    this.lossTokens += learnt;
  }

  add(other: Counts, times: number): void {
    for (const name of Object.keys(other) as (keyof DataReport)[]) this[name] += times * other[name];
  }

  report(): DataReport {
    return { ...this };
  }
}
