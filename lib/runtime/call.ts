/** One call of generate() or stream(): its samples, and what has been sampled of each. */
import type * as addon from '../../bindings/addon.js';

/** A request with its defaults filled in, and a private copy of the prompt. */
export interface Asked {
  readonly prompt: Int32Array;
  readonly samples: number;
  readonly seed: number;
  readonly maxNewTokens: number;
}

/** An unfinished sample. */
export interface Sample {
  readonly call: Call;
  readonly request: number;
  readonly sample: number;
  readonly prompt: Int32Array;
  readonly tokens: Int32Array; // room for maxNewTokens
  readonly logprobs: Float32Array;
  length: number;
}

/** Positions of the cache that a sample takes at most. */
export const roomOf = ({ prompt, tokens }: Sample): number => prompt.length + tokens.length;

/** The prompt with what was sampled so far: what the cache has to hold before the next token. */
export function sequenceOf({ prompt, tokens, length }: Sample): Int32Array {
  if (length === 0) return prompt;
  const all = new Int32Array(prompt.length + length);
  all.set(prompt);
  all.set(tokens.subarray(0, length), prompt.length);
  return all;
}

/** The tokens that a job added to a sample: those from index `from` on. */
export interface Growth {
  readonly sample: Sample;
  readonly from: number;
  readonly finished: '' | 'stop' | 'length';
}

/** An error of a native job, which several calls shared. */
export class JobFailure {
  constructor(readonly cause: unknown) {}
}

export interface CallOptions {
  /** The adapter that it is sampled under; undefined: the base itself. */
  readonly adapter: addon.Model | undefined;
  readonly asked: readonly Asked[];
  readonly sampling: addon.Sampling;
  /** Samples decoded at the same time. */
  readonly slots: number;
  readonly stopWhen: ((tokens: Int32Array) => boolean) | undefined;
  /** Called after each job with what it added; what it throws ends the call. */
  readonly take: (growths: readonly Growth[]) => void;
  /** Whether it may decode: false while its reader has not asked for more. */
  readonly wants: () => boolean;
  /** Called once, with the reason; not for a call that has left. */
  readonly fail: (reason: unknown) => void;
}

/** A call in a batch. */
export class Call {
  readonly options: CallOptions;
  readonly live = new Set<Sample>();
  /** Samples that lost their slot, to be continued. */
  readonly interrupted: Sample[] = [];
  readonly #fresh: Generator<Sample, void, void>;
  #next: IteratorResult<Sample, void>;

  constructor(options: CallOptions) {
    this.options = options;
    this.#fresh = this.#samples();
    this.#next = this.#fresh.next();
  }

  /** Whether nothing is left to do. */
  get isDone(): boolean {
    return this.live.size === 0 && this.peek() === undefined;
  }

  /** The sample that begins next, if there is one. */
  peek(): Sample | undefined {
    return this.interrupted[0] ?? (this.#next.done ? undefined : this.#next.value);
  }

  /** Removes and returns it. */
  pull(): Sample | undefined {
    const sample = this.peek();
    if (this.interrupted.length > 0) this.interrupted.shift();
    else if (sample) this.#next = this.#fresh.next();
    return sample;
  }

  /** Slots that it can use now: those it has, and those for waiting samples. */
  get demand(): number {
    const { asked, slots } = this.options;
    let most = this.live.size + this.interrupted.length;
    if (!this.#next.done) {
      const { request, sample } = this.#next.value;
      for (let r = request; r < asked.length && most < slots; r++)
        most += asked[r]!.samples - (r === request ? sample : 0);
    }
    return Math.min(slots, most);
  }

  /** Positions of the cache that any of its samples takes at most. */
  get room(): number {
    return this.options.asked.reduce((n, r) => Math.max(n, r.prompt.length + r.maxNewTokens), 0);
  }

  // Made one at a time, when a slot is free: a request may ask for more samples than memory could hold.
  *#samples(): Generator<Sample, void, void> {
    for (const [request, { prompt, samples, maxNewTokens }] of this.options.asked.entries()) {
      for (let sample = 0; sample < samples; sample++) {
        const tokens = new Int32Array(maxNewTokens);
        const logprobs = new Float32Array(maxNewTokens);
        yield { call: this, request, sample, prompt, tokens, logprobs, length: 0 };
      }
    }
  }
}

/** Appends a job's tokens to a sample. @returns the growth, and whether `stopWhen` ended it, which the native generator does not know */
export function grow(
  sample: Sample,
  { tokens, logprobs }: addon.Decoded,
  begin: number,
  count: number,
  code: number,
): { readonly growth: Growth; readonly stopped: boolean } {
  const { stopWhen } = sample.call.options;
  const from = sample.length;
  let finished: Growth['finished'] = code === 1 ? 'stop' : code === 2 ? 'length' : '';
  for (let t = begin; t < begin + count; t++) {
    sample.tokens[sample.length] = tokens[t]!;
    sample.logprobs[sample.length++] = logprobs[t]!;
    if (stopWhen?.(sample.tokens.subarray(0, sample.length))) {
      const stopped = finished === '';
      finished = 'stop';
      return { growth: { sample, from, finished }, stopped };
    }
  }
  return { growth: { sample, from, finished }, stopped: false };
}
