/**
 * Prose in which lists of words are repeated: songs, signs, reversed and capitalised words. It teaches a model to copy from its
 * context, the skill on which everything else in the world depends.
 */

import type { Random } from '../../core/random.js';
import { LIST_WORDS, numberWord } from '../facts.js';
import { write } from './text.js';

function row(random: Random, shortest: number, longest: number): string[] {
  return random.sample(LIST_WORDS, shortest + random.int(longest - shortest + 1));
}

const SONG_CUES = ['again', 'once more', 'and again', 'they sing', 'we sing', 'now all', 'she sings'];

/** Lists of words repeated in songs: "the song goes: red cow bell. again: red cow bell." */
export function song(random: Random, limit: number): string {
  const verses = Array.from({ length: 1 + random.int(3) }, () => row(random, 3, 7).join(' '));
  const order: string[] = [];
  return write(limit, (written) => {
    const fresh = verses[order.length < verses.length && (written < 1 || random.chance(0.5)) ? order.length : -1];
    if (fresh !== undefined) {
      order.push(fresh);
      return written === 0 ? `the song goes: ${fresh}.` : `then: ${fresh}.`;
    }
    const verse = random.chance(0.6) ? (order.at(-1) as string) : random.pick(order);
    return `${random.pick(SONG_CUES)}: ${verse}.`;
  });
}

type Turn = (words: readonly string[]) => string;

const TURNS: readonly Turn[] = [
  (words) => `in capitals it is ${words.join(' ').toUpperCase()}.`,
  (words) => `in capitals: ${words.join(' ').toUpperCase()}.`,
  (words) => `backwards it is ${[...words].reverse().join(' ')}.`,
  (words) => `from the end: ${[...words].reverse().join(' ')}.`,
  (words) => `the first word is ${words[0]}.`,
  (words) => `the last word is ${words.at(-1)}.`,
  (words) => `it has ${numberWord(words.length)} words.`,
  (words) => `there are ${numberWord(words.length)} words.`,
  (words) => `copy: ${words.join(' ')}.`,
  (words) => `yes, ${words.join(' ')}.`,
];

const SIGN_CUES = ['the sign says', 'the wall says', 'the book says', 'he writes', 'she reads'];

/** Signs and statements about their words. */
export function signs(random: Random, limit: number): string {
  let words: string[] = [];
  let left = 0;
  return write(limit, () => {
    if (left-- > 0) return random.pick(TURNS)(words);
    words = row(random, 2, 6);
    left = 1 + random.int(3);
    return `${random.pick(SIGN_CUES)} ${words.join(' ')}.`;
  });
}

/** One transformation applied repeatedly, the same within a document. */
export function drill(random: Random, limit: number): string {
  const turn = random.pick(TURNS);
  return write(limit, () => {
    const words = row(random, 2, 5);
    return `${words.join(' ')}. ${turn(words)}`;
  });
}
