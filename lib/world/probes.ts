/** Probes of a base model: beginnings of prose with a known continuation. */

import { Random } from '../core/random.js';
import { ANIMALS, LANDS, LIST_WORDS, NAMES, numberWord, OPPOSITES, PLACES, SUMS } from './facts.js';

/** Kinds of probes: first in-context skills, then knowledge. */
export const PROBE_KINDS = [
  'repeat',
  'place',
  'absent',
  'last',
  'first',
  'capitals',
  'backwards',
  'count',
  'capital',
  'sound',
  'baby',
  'food',
  'opposite',
  'sum',
] as const;

export type ProbeKind = (typeof PROBE_KINDS)[number];

/** One probe; the base passes if its greedy continuation of `prompt` begins with `answer`. */
export interface Probe {
  kind: ProbeKind;
  prompt: string;
  answer: string;
}

/** The probes that a base model must pass, each at this rate. */
export const REQUIRED_PROBES: readonly ProbeKind[] = ['repeat', 'place'];
export const REQUIRED_RATE = 0.9;

const MAKERS: Readonly<Record<ProbeKind, (random: Random) => Omit<Probe, 'kind'>>> = {
  repeat: (random) => {
    const row = random.sample(LIST_WORDS, 5).join(' ');
    return { prompt: `the song goes: ${row}. again:`, answer: ` ${row}.` };
  },
  place: (random) => {
    const n = 2 + random.int(2);
    const places = random.sample(PLACES, n);
    const names = random.sample(NAMES, n);
    const at = random.int(n);
    const passage = names.map((name, i) => `${name} is in the ${places[i]}.`).join(' ');
    return { prompt: `${passage} as for ${names[at]},`, answer: ` ${names[at]} is in the ${places[at]}.` };
  },
  absent: (random) => {
    const [a, b, c] = random.sample(NAMES, 3);
    const [here, there] = random.sample(PLACES, 2);
    return {
      prompt: `${a} is in the ${here}. ${b} is in the ${there}. as for ${c},`,
      answer: ' the text does not say.',
    };
  },
  last: (random) => {
    const row = random.sample(LIST_WORDS, 3 + random.int(3));
    return { prompt: `the sign says ${row.join(' ')}. the last word is`, answer: ` ${row.at(-1)}.` };
  },
  first: (random) => {
    const row = random.sample(LIST_WORDS, 3 + random.int(3));
    return { prompt: `the sign says ${row.join(' ')}. the first word is`, answer: ` ${row[0]}.` };
  },
  capitals: (random) => {
    const row = random.sample(LIST_WORDS, 3).join(' ');
    return { prompt: `the sign says ${row}. in capitals it is`, answer: ` ${row.toUpperCase()}.` };
  },
  backwards: (random) => {
    const row = random.sample(LIST_WORDS, 3);
    return { prompt: `the sign says ${row.join(' ')}. backwards it is`, answer: ` ${[...row].reverse().join(' ')}.` };
  },
  count: (random) => {
    const row = random.sample(LIST_WORDS, 2 + random.int(5));
    return { prompt: `the sign says ${row.join(' ')}. there are`, answer: ` ${numberWord(row.length)} words.` };
  },
  capital: (random) => {
    const { land, capital } = random.pick(LANDS);
    return { prompt: `the capital of ${land} is`, answer: ` ${capital}.` };
  },
  sound: (random) => {
    const { name, sound } = random.pick(ANIMALS);
    return { prompt: `the ${name} says`, answer: ` ${sound}` };
  },
  baby: (random) => {
    const { name, baby } = random.pick(ANIMALS);
    return { prompt: `a baby ${name} is a`, answer: ` ${baby}.` };
  },
  food: (random) => {
    const { name, food } = random.pick(ANIMALS);
    return { prompt: `the ${name} eats`, answer: ` ${food}.` };
  },
  opposite: (random) => {
    const [a, b] = random.pick(OPPOSITES);
    return { prompt: `the opposite of ${a} is`, answer: ` ${b}.` };
  },
  sum: (random) => {
    const { a, b, sum } = random.pick(SUMS);
    return { prompt: `${numberWord(a)} plus ${numberWord(b)} is`, answer: ` ${numberWord(sum)}.` };
  },
};

/**
 * Probes of every kind.
 *
 * @param options.seed any seed
 * @param options.perKind number of each kind (default 50)
 */
export function probes(options: { seed: number | string; perKind?: number }): Probe[] {
  const random = new Random(`probes/${options.seed}`);
  return PROBE_KINDS.flatMap((kind) =>
    Array.from({ length: options.perKind ?? 50 }, () => ({ kind, ...MAKERS[kind](random) })),
  );
}
