/**
 * Seeded random numbers for everything random in TypeScript: data order, the instruction world, bootstrap intervals. The generator is
 * xoshiro128**; its four words of state are 32-bit hashes of the seed's text, so that seeds 1 and 2, or the labels of two forks, give
 * unrelated streams.
 */

/** A state that {@link Random.from} takes back: four unsigned 32-bit words. */
export type RandomState = readonly [number, number, number, number];

// Bound once: a lookup of the global costs more than the multiplication where modules run in a context of their own.
const { floor, imul } = Math;

/** Avalanche of one 32-bit word (the finaliser of MurmurHash3). */
function mix(word: number): number {
  let h = word | 0;
  h = imul(h ^ (h >>> 16), 0x85ebca6b);
  h = imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

/**
 * A 32-bit hash of a text (FNV-1a, then an avalanche): the same on every machine, for splits that must stay the same.
 *
 * @param text any string
 * @returns an integer in [0, 2^32)
 */
export function hash(text: string): number {
  let h = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) h = imul(h ^ text.charCodeAt(i), 0x01000193);
  return mix(h);
}

/** A seeded stream of random numbers, which depends on the seed alone. */
export class Random {
  #a: number;
  #b: number;
  #c: number;
  #d: number;

  /** @param seed any number or text; 1 and '1' are the same seed */
  constructor(seed: number | string) {
    const text = String(seed);
    this.#a = hash(`${text}/a`);
    this.#b = hash(`${text}/b`);
    this.#c = hash(`${text}/c`);
    this.#d = hash(`${text}/d`) | 1; // never the all-zero state
  }

  /** Continues from a {@link Random.state} taken earlier. */
  static from(state: RandomState): Random {
    const random = new Random(0);
    [random.#a, random.#b, random.#c, random.#d] = state;
    return random;
  }

  /** The state, from which {@link Random.from} continues. */
  get state(): RandomState {
    return [this.#a, this.#b, this.#c, this.#d];
  }

  /** An independent stream for `label`; does not advance this one. */
  fork(label: string | number): Random {
    return new Random(`${this.state.join(' ')}/${label}`);
  }

  /** The next 32 random bits. */
  bits(): number {
    const product = imul(this.#b, 5);
    const result = imul((product << 7) | (product >>> 25), 9) >>> 0;
    const shifted = (this.#b << 9) >>> 0;
    this.#c = (this.#c ^ this.#a) >>> 0;
    this.#d = (this.#d ^ this.#b) >>> 0;
    this.#b = (this.#b ^ this.#c) >>> 0;
    this.#a = (this.#a ^ this.#d) >>> 0;
    this.#c = (this.#c ^ shifted) >>> 0;
    this.#d = ((this.#d << 11) | (this.#d >>> 21)) >>> 0;
    return result;
  }

  /** A number in [0, 1), with 32 random bits. */
  next(): number {
    return this.bits() / 0x100000000;
  }

  /** An integer in [0, n). @throws RangeError if n is not a positive integer */
  int(n: number): number {
    if (!Number.isInteger(n) || n <= 0) throw new RangeError(`Random.int: n is ${n}, expected a positive integer`);
    return floor(this.next() * n);
  }

  /** True with probability `probability`. */
  chance(probability: number): boolean {
    return this.next() < probability;
  }

  /** One of `items`. @throws RangeError if there are none */
  pick<T>(items: readonly T[]): T {
    if (items.length === 0) throw new RangeError('Random.pick: no items to pick from');
    return items[this.int(items.length)] as T;
  }

  /** An index into `weights`, with probability proportional to its weight. @throws RangeError if their sum is not positive */
  weighted(weights: readonly number[]): number {
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    if (!(total > 0)) throw new RangeError(`Random.weighted: weights sum to ${total}, expected more than 0`);
    let rest = this.next() * total;
    for (let i = 0; i < weights.length; i++) {
      rest -= weights[i] as number;
      if (rest < 0) return i;
    }
    return weights.length - 1;
  }

  /** A shuffled copy of `items`. */
  shuffle<T>(items: readonly T[]): T[] {
    const copy = [...items];
    for (let i = copy.length - 1; i > 0; i--) {
      const j = this.int(i + 1);
      [copy[i], copy[j]] = [copy[j] as T, copy[i] as T];
    }
    return copy;
  }

  /** `n` distinct `items`, in random order. @throws RangeError if there are fewer */
  sample<T>(items: readonly T[], n: number): T[] {
    if (n > items.length) throw new RangeError(`Random.sample: n is ${n}, expected at most the ${items.length} items`);
    const copy = [...items];
    for (let i = 0; i < n; i++) {
      const j = i + this.int(copy.length - i);
      [copy[i], copy[j]] = [copy[j] as T, copy[i] as T];
    }
    return copy.slice(0, n);
  }

  /** A standard normal number (Box-Muller). */
  normal(): number {
    return Math.sqrt(-2 * Math.log(1 - this.next())) * Math.cos(2 * Math.PI * this.next());
  }
}

/** A seed below 2^53, derived from `seed` and `keys`. */
export function keyedSeed(seed: number, ...keys: readonly (string | number)[]): number {
  const random = new Random([seed, ...keys].join('/'));
  return random.bits() * 0x20_0000 + (random.bits() >>> 11);
}
