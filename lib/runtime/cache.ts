/** What each slot of a native generator's cache holds, and which slot a prompt begins in. */
import type * as addon from '../../bindings/addon.js';
import { type Sample, sequenceOf } from './call.js';

interface Slot {
  /** undefined: it is free. */
  sample: Sample | undefined;
  /** The sample of whose sequence the cache has the first `filled` ids. */
  last: Sample | undefined;
  filled: number;
  /** When it was last used. */
  used: number;
}

/** A sample, or several of one prompt, that begin together. */
export interface Beginning {
  readonly sequence: Int32Array;
  readonly samples: readonly Sample[];
  /** Of each sample. */
  readonly slots: readonly number[];
  /** The first so many ids are in the slot `cachedIn`. */
  readonly cached: number;
  readonly cachedIn: number;
}

// Fewer are computed sooner than copied.
const kLeastPrefix = 8;

/** The slots of one native generator. */
export class Cache {
  readonly #slots: Slot[];
  #clock = 0;

  constructor(
    readonly size: number,
    readonly length: number,
  ) {
    this.#slots = Array.from({ length: size }, () => ({ sample: undefined, last: undefined, filled: 0, used: 0 }));
  }

  get free(): number {
    return this.#slots.reduce((n, { sample }) => n + (sample ? 0 : 1), 0);
  }

  sampleIn(slot: number): Sample | undefined {
    return this.#slots[slot]!.sample;
  }

  /** The slots are free and hold nothing any more. */
  empty(slots: Iterable<number>): void {
    for (const slot of slots) this.#slots[slot] = { sample: undefined, last: undefined, filled: 0, used: 0 };
  }

  /** Slots with samples that `include`. */
  slotsOf(include: (sample: Sample) => boolean): number[] {
    return this.#slots.flatMap(({ sample }, slot) => (sample && include(sample) ? [slot] : []));
  }

  /**
   * Places samples into free slots, of which there must be enough. A prompt goes where its beginning is; others go to the slots that
   * were not used for the longest time.
   */
  place(samples: readonly Sample[]): Beginning[] {
    const groups = new Map<unknown, Sample[]>();
    for (const sample of samples) {
      const key = sample.length > 0 ? sample : sample.prompt;
      groups.set(key, [...(groups.get(key) ?? []), sample]);
    }
    const taken = new Set<number>();
    const found = [...groups.values()].map((members) => {
      const sequence = sequenceOf(members[0]!);
      const matches = this.#matches(sequence, members[0]!.call.options.adapter);
      const own = matches.find(({ slot }) => !this.#slots[slot]!.sample && !taken.has(slot))?.slot;
      if (own !== undefined) taken.add(own);
      return { members, sequence, matches, own };
    });
    const free = this.#slots
      .map((_, slot) => slot)
      .filter((slot) => !this.#slots[slot]!.sample && !taken.has(slot))
      .sort((a, b) => this.#slots[b]!.used - this.#slots[a]!.used || b - a);
    const placed = found.map(({ members, own, ...rest }) => {
      const slots = members.map((_, m) => (m === 0 ? own : undefined) ?? free.pop()!);
      for (const slot of slots) taken.add(slot);
      return { ...rest, samples: members, slots };
    });
    const beginnings = placed.map(({ matches, sequence, samples: members, slots }): Beginning => {
      const source = matches.find(({ slot }) => slot === slots[0] || !taken.has(slot));
      return { sequence, samples: members, slots, cached: source?.length ?? 0, cachedIn: source?.slot ?? 0 };
    });
    for (const { samples: members, slots } of beginnings)
      members.forEach((sample, m) => {
        this.#slots[slots[m]!] = { sample, last: sample, filled: 0, used: ++this.#clock };
      });
    return beginnings;
  }

  /** So many ids of the slot's sample are in the cache now. */
  fill(slot: number, filled: number): void {
    this.#slots[slot]!.filled = filled;
  }

  /** The slot is free again; what it holds stays until another sample takes it. */
  leave(slot: number): void {
    this.#slots[slot]!.sample = undefined;
    this.#slots[slot]!.used = ++this.#clock;
  }

  /**
   * The slots with enough of a sequence's beginning, computed under the same adapter, most first. The last token is always computed, for
   * its logits.
   */
  #matches(
    sequence: Int32Array,
    adapter: addon.Model | undefined,
  ): { readonly slot: number; readonly length: number }[] {
    const worthwhile = Math.max(kLeastPrefix, sequence.length / 5);
    return this.#slots
      .map(({ last, filled }, slot) => {
        const most = Math.min(filled, sequence.length - 1);
        let length = 0;
        if (!last || most < worthwhile || last.call.options.adapter !== adapter) return { slot, length };
        const { prompt, tokens } = last;
        while (length < most && sequence[length] === (prompt[length] ?? tokens[length - prompt.length])) length++;
        return { slot, length };
      })
      .filter(({ length }) => length >= worthwhile)
      .sort((a, b) => b.length - a.length);
  }
}

/** What a native generator is given to begin. */
export function startOptions(beginnings: readonly Beginning[]): addon.StartOptions {
  const samples = beginnings.flatMap((each) => each.samples);
  const cuSeqlens = new Int32Array(beginnings.length + 1);
  beginnings.forEach(({ sequence }, p) => {
    cuSeqlens[p + 1] = cuSeqlens[p]! + sequence.length;
  });
  const tokens = new Int32Array(cuSeqlens.at(-1)!);
  beginnings.forEach(({ sequence }, p) => {
    tokens.set(sequence, cuSeqlens[p]);
  });
  const seeds = new Int32Array(2 * samples.length);
  samples.forEach(({ call, request }, i) => {
    const { seed } = call.options.asked[request]!;
    seeds[2 * i] = (seed % 2 ** 32) | 0;
    seeds[2 * i + 1] = Math.floor(seed / 2 ** 32);
  });
  const calls = [...new Set(samples.map(({ call }) => call))];
  const callAt = new Map(calls.map((each, i) => [each, i]));
  const adapters = [...new Set(calls.flatMap(({ options }) => options.adapter ?? []))];
  const adapterOf = ({ call }: Sample) => (call.options.adapter ? adapters.indexOf(call.options.adapter) : -1);
  return {
    tokens,
    cuSeqlens,
    cached: Int32Array.from(beginnings, (each) => each.cached),
    cachedIn: Int32Array.from(beginnings, (each) => each.cachedIn),
    adapters,
    adapterOf: Int32Array.from(beginnings, (each) => adapterOf(each.samples[0]!)),
    promptOf: Int32Array.from(beginnings.flatMap((each, p) => each.samples.map(() => p))),
    slots: Int32Array.from(beginnings.flatMap((each) => each.slots)),
    seeds,
    sampleIndex: Int32Array.from(samples, ({ sample }) => sample),
    maxNewTokens: Int32Array.from(samples, (sample) => sample.tokens.length - sample.length),
    sampling: calls.map(({ options }) => options.sampling),
    samplingOf: Int32Array.from(samples, ({ call }) => callAt.get(call)!),
  };
}
