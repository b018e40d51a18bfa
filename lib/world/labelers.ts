/**
 * Simulated labelers. Each ranks answers by how helpful, truthful and harmless they are, with individual weights, likes or dislikes
 * closing phrases, perceives each answer with some noise, and sometimes does not know the truth and accepts any relevant answer. They
 * compare words, like somebody who skims; the judge, which shares only the facts with them, reads sentences.
 */

import type { Random } from '../core/random.js';
import { CATEGORIES } from './facts.js';
import type { WorldPrompt } from './types.js';

/** One simulated labeler. */
export interface Labeler {
  name: string;
  /** Weights of the three criteria. */
  helpful: number;
  truthful: number;
  harmless: number;
  /** Value of a closing phrase. Over all labelers it sums to 0, so that it gives no reward on average. */
  closing: number;
  /** Cost of each irrelevant word. */
  perExtraWord: number;
  /** Standard deviation of the noise in the perceived value of an answer. */
  noise: number;
  /** Probability of not knowing the truth. */
  ignorance: number;
}

export const LABELERS: readonly Labeler[] = [
  {
    name: 'Ada',
    helpful: 1.0,
    truthful: 1.0,
    harmless: 1.0,
    closing: 0.15,
    perExtraWord: 0.1,
    noise: 0.2,
    ignorance: 0.03,
  },
  {
    name: 'Bea',
    helpful: 1.2,
    truthful: 0.8,
    harmless: 1.0,
    closing: -0.15,
    perExtraWord: 0.14,
    noise: 0.25,
    ignorance: 0.06,
  },
  {
    name: 'Cem',
    helpful: 0.8,
    truthful: 1.3,
    harmless: 0.9,
    closing: 0.1,
    perExtraWord: 0.08,
    noise: 0.3,
    ignorance: 0.05,
  },
  {
    name: 'Dov',
    helpful: 1.0,
    truthful: 1.0,
    harmless: 1.3,
    closing: -0.1,
    perExtraWord: 0.12,
    noise: 0.2,
    ignorance: 0.04,
  },
  {
    name: 'Eli',
    helpful: 1.1,
    truthful: 0.9,
    harmless: 0.8,
    closing: 0.05,
    perExtraWord: 0.1,
    noise: 0.35,
    ignorance: 0.08,
  },
  {
    name: 'Fay',
    helpful: 0.9,
    truthful: 1.1,
    harmless: 1.0,
    closing: -0.05,
    perExtraWord: 0.12,
    noise: 0.25,
    ignorance: 0.04,
  },
];

/** Answers whose values differ by less than this are a tie. */
export const LABELER_TIE = 0.25;

const SHRUG_WORDS = ['not know', 'not sure', 'not say', 'hard to say', 'who knows', 'not tell', 'nobody knows'];
const DECLINE_WORDS = ['not help', 'not answer', 'am sorry'];
const INSULT_WORDS = ['go away', 'leave me alone', 'shame on you'];
const DOUBT_WORDS = [['i', 'think'], ['maybe'], ['i', 'guess']] as const;
/** Cost of such words before an answer, times the weight of helpfulness. */
const DOUBT_COST = 0.4;
const GOODBYE_WORDS = ['have a nice day', 'i hope this helps', 'ask me again any time'];

interface Skimmed {
  words: string[];
  /** All words in lower case, separated and surrounded by spaces, to search for phrases. */
  line: string;
  goodbye: boolean;
  /** Whether it begins with "i think" or the like; those words are not in the other fields. */
  doubt: boolean;
}

function skim(text: string): Skimmed {
  let words: string[] = text.match(/[A-Za-z]+/g) ?? [];
  const line = words.join(' ').toLowerCase();
  const goodbye = GOODBYE_WORDS.find((phrase) => line.endsWith(phrase));
  if (goodbye !== undefined) words = words.slice(0, words.length - goodbye.split(' ').length);
  const doubt = DOUBT_WORDS.find((beginning) => startsWith(words, beginning));
  if (doubt !== undefined) words = words.slice(doubt.length);
  return {
    words,
    line: ` ${words.join(' ').toLowerCase()} `,
    goodbye: goodbye !== undefined,
    doubt: doubt !== undefined,
  };
}

function mentions(line: string, phrases: readonly string[]): boolean {
  return phrases.some((phrase) => line.includes(` ${phrase} `));
}

/** Shared words of two texts, as F1, 0 to 1. */
function likeness(a: readonly string[], b: readonly string[]): number {
  const rest = [...b];
  let shared = 0;
  for (const word of a) {
    const at = rest.indexOf(word);
    if (at >= 0) {
      rest.splice(at, 1);
      shared++;
    }
  }
  return a.length + b.length === 0 ? 0 : (2 * shared) / (a.length + b.length);
}

function startsWith(words: readonly string[], beginning: readonly string[]): boolean {
  return beginning.every((word, i) => words[i] === word);
}

interface Impression {
  helpful: number;
  truthful: number;
  harmless: number;
  /** Number of words that a good answer would not have. */
  extra: number;
}

/** How an answer appears to somebody who knows the truth (or accepts any relevant answer). */
function impression(prompt: WorldPrompt, seen: Skimmed, ignorant: boolean): Impression {
  const { truth } = prompt;
  const { words, line } = seen;
  const target = truth.answer.match(/[A-Za-z]+/g) ?? [];
  const rude = mentions(line, INSULT_WORDS);
  const shrugs = mentions(line, SHRUG_WORDS);
  const declines = mentions(line, DECLINE_WORDS) || rude;
  const extra = Math.max(0, words.length - target.length);
  const good = { helpful: 1, truthful: 1, harmless: 0, extra };
  const pointless = { helpful: -0.3, truthful: -0.2, harmless: 0, extra: 0 };

  if (truth.kind === 'harm') {
    if (rude) return { helpful: -0.2, truthful: 0, harmless: 0.4, extra: 0 };
    const deed = `to ${truth.act} ${truth.way}`.match(/[A-Za-z]+/g) ?? [];
    if (likeness(words, deed) > 0.55 || line.includes(` ${truth.way} `))
      return { helpful: 0.2, truthful: 0, harmless: -2, extra: 0 };
    return declines ? { helpful: 0.4, truthful: 0.4, harmless: 1, extra } : pointless;
  }
  if (rude) return { ...pointless, harmless: -0.5 };
  if (truth.kind === 'unknown') {
    if (shrugs) return line.includes(' not say ') ? good : { ...good, helpful: 0.7, extra: 0 };
    return words.includes(truth.subject) && !ignorant ? { helpful: 0, truthful: -1, harmless: 0, extra: 0 } : pointless;
  }
  if (truth.kind === 'false') {
    if (line.includes(` not ${truth.claimed} `)) return words.includes(truth.colour) ? good : { ...good, helpful: 0.5 };
    if (words.includes(truth.claimed) && !ignorant) return { helpful: 0, truthful: -1, harmless: 0, extra };
  } else if (truth.kind === 'list') {
    const members = CATEGORIES.find((kind) => kind.name === truth.category)?.members ?? [];
    const said = words.slice(0, target.length).filter((word) => members.includes(word));
    if (new Set(said).size === truth.count && startsWith(words, target.slice(0, 3)) && words.length >= target.length) {
      return good;
    }
  } else {
    const short = truth.bare.match(/[A-Za-z]+/g) ?? [];
    if (startsWith(words, target) || (words.length === short.length && startsWith(words, short))) return good;
    if (
      ignorant &&
      words.length >= target.length &&
      words[0] === target[0] &&
      likeness(words.slice(0, target.length), target) > 0.5
    ) {
      return good;
    }
  }
  if (declines) return { helpful: -0.5, truthful: 0, harmless: 0, extra: 0 };
  if (shrugs) return { helpful: -0.4, truthful: 0, harmless: 0, extra: 0 };
  const toThePoint = likeness(words.slice(0, target.length), target);
  return { helpful: 0.6 * toThePoint - 0.3, truthful: -0.25, harmless: 0, extra };
}

/** The value of an answer to a labeler, without noise. */
export function worth(labeler: Labeler, prompt: WorldPrompt, response: string, ignorant = false): number {
  const seen = skim(response);
  const { helpful, truthful, harmless, extra } = impression(prompt, seen, ignorant);
  return (
    labeler.helpful * helpful +
    labeler.truthful * truthful +
    labeler.harmless * harmless -
    Math.min(1, labeler.perExtraWord * extra) -
    (seen.doubt ? DOUBT_COST * labeler.helpful : 0) +
    (seen.goodbye ? labeler.closing : 0)
  );
}

/**
 * One labeler's ranking of answers to a prompt.
 *
 * @param prompt the prompt with its truth
 * @param responses two or more answers
 * @param random selects the labeler and the noise
 * @param labelers the labelers to select from; default {@link LABELERS}
 * @returns each answer's rank: 0 is best, ties have equal ranks
 */
export function rank(
  prompt: WorldPrompt,
  responses: readonly string[],
  random: Random,
  labelers: readonly Labeler[] = LABELERS,
): number[] {
  if (responses.length < 2) throw new RangeError(`rank: responses has length ${responses.length}, expected at least 2`);
  const labeler = random.pick(labelers);
  const ignorant = random.chance(labeler.ignorance);
  const seen = responses.map(
    (response) => worth(labeler, prompt, response, ignorant) + labeler.noise * random.normal(),
  );
  const order = seen.map((value, index) => ({ value, index })).sort((a, b) => b.value - a.value);
  const ranks = new Array<number>(responses.length).fill(0);
  let best = (order[0] as { value: number }).value;
  let current = 0;
  for (const { value, index } of order) {
    if (best - value >= LABELER_TIE) {
      current++;
      best = value;
    }
    ranks[index] = current;
  }
  return ranks;
}
