/**
 * The items of each step: a function of (seed, step) alone, so that a resumed run continues with the same items as an uninterrupted
 * one. No generator state is carried from step to step.
 */
import { Random } from '../core/random.js';

export { keyedSeed } from '../core/random.js';

/** The batches of a run, by optimizer step. */
export interface Batches {
  /** The items of step `step` (from 0), as indices into the data. */
  at(step: number): readonly number[];
  /** Steps that take `epochs` passes over the data. */
  steps(epochs: number): number;
}

interface OrderOptions {
  readonly count: number;
  readonly seed: number;
  /** false keeps the data's own order in every epoch. */
  readonly shuffle: boolean;
  /** Name of the data stream: 'sft', 'prompts', 'pretraining'. Streams of one run are shuffled independently. */
  readonly stream: string;
}

/** The indices 0 … count - 1 in the order of an epoch. */
export function epochOrder(o: OrderOptions, epoch: number): readonly number[] {
  const indices = Array.from({ length: o.count }, (_, i) => i);
  return o.shuffle ? new Random(`${o.seed}/${o.stream}/${epoch}`).shuffle(indices) : indices;
}

/** Batches of `batchSize` items; the last one of an epoch has the rest. */
export function batchesOf(o: OrderOptions & { readonly batchSize: number }): Batches {
  requireItems(o);
  requirePositive('batchSize', o.batchSize);
  const perEpoch = Math.ceil(o.count / o.batchSize);
  let epoch = -1;
  let order: readonly number[] = [];
  return {
    at(step) {
      const wanted = Math.floor(step / perEpoch);
      if (wanted !== epoch) order = epochOrder(o, wanted);
      epoch = wanted;
      const start = (step % perEpoch) * o.batchSize;
      return order.slice(start, start + o.batchSize);
    },
    steps: (epochs) => Math.ceil(epochs * perEpoch),
  };
}

/**
 * Batches of exactly `batchSize` items from consecutive epochs: a batch may contain the end of one epoch and the start of the next,
 * or several epochs.
 */
export function promptsOf(o: OrderOptions & { readonly batchSize: number }): Pick<Batches, 'at'> {
  requireItems(o);
  requirePositive('batchSize', o.batchSize);
  return {
    at(step) {
      const items: number[] = [];
      while (items.length < o.batchSize) {
        const place = step * o.batchSize + items.length;
        const order = epochOrder(o, Math.floor(place / o.count));
        const start = place % o.count;
        items.push(...order.slice(start, start + o.batchSize - items.length));
      }
      return items;
    },
  };
}

/** Batches of at least one item, with at most `tokens` tokens in total if there are several. */
export function batchesOfTokens(
  o: OrderOptions & { readonly tokens: number; readonly lengthOf: (item: number) => number },
): Batches {
  requireItems(o);
  requirePositive('tokens of a batch', o.tokens);
  // The number of batches of an epoch depends on its order, so epochs are split one after the other.
  const starts = [0]; // the first step of each epoch split so far
  let epoch = -1;
  let batches: readonly (readonly number[])[] = [];
  const cut = (wanted: number) => {
    if (wanted === epoch) return;
    batches = cutByTokens(epochOrder(o, wanted), o.lengthOf, o.tokens);
    epoch = wanted;
    starts[wanted + 1] = starts[wanted]! + batches.length;
  };
  return {
    at(step) {
      while (starts.at(-1)! <= step) cut(starts.length - 1);
      let wanted = starts.length - 2;
      while (starts[wanted]! > step) wanted--;
      cut(wanted);
      return batches[step - starts[wanted]!]!;
    },
    steps(epochs) {
      const whole = Math.floor(epochs);
      while (starts.length <= Math.ceil(epochs)) cut(starts.length - 1);
      if (whole === epochs) return starts[whole]!;
      return starts[whole]! + Math.ceil((epochs - whole) * (starts[whole + 1]! - starts[whole]!));
    },
  };
}

function cutByTokens(order: readonly number[], lengthOf: (item: number) => number, tokens: number): number[][] {
  const batches: number[][] = [];
  let batch: number[] = [];
  let filled = 0;
  for (const item of order) {
    const length = lengthOf(item);
    if (batch.length > 0 && filled + length > tokens) {
      batches.push(batch);
      batch = [];
      filled = 0;
    }
    batch.push(item);
    filled += length;
  }
  if (batch.length > 0) batches.push(batch);
  return batches;
}

/** Splits the items into `parts` groups whose sizes differ by at most one. */
export function deal<T>(items: readonly T[], parts: number): T[][] {
  return Array.from({ length: parts }, (_, p) =>
    items.slice(Math.floor((p * items.length) / parts), Math.floor(((p + 1) * items.length) / parts)),
  );
}

/** Group `index` of {@link deal}, which takes an item again if there are fewer items than groups. */
export function minibatchOf<T>(items: readonly T[], parts: number, index: number): readonly T[] {
  const dealt = deal(items, parts)[index]!;
  return dealt.length > 0 ? dealt : [items[index % items.length]!];
}

function requireItems(o: OrderOptions): void {
  if (o.count < 1) throw new RangeError(`the ${o.stream} data is empty, expected at least one item`);
}

function requirePositive(name: string, value: number): void {
  if (!(Number.isInteger(value) && value > 0)) throw new RangeError(`${name} is ${value}, expected a positive integer`);
}
