/** Instructions about a list of words: repeat, capitalise, reverse, first word, last word, count. */

import type { Random } from '../../core/random.js';
import { LIST_WORDS, numberWord } from '../facts.js';
import type { Truth } from '../types.js';
import { type FamilyDefinition, fill, other } from './family.js';

interface WordTask {
  lengths: readonly [number, number];
  templates: readonly [string, string, string, string, string];
  pages: readonly [string, string];
  /** The right answer, and its essential part. */
  answer(words: string[]): { answer: string; bare: string };
  wrong(words: string[], random: Random): string;
}

function wordFamily(task: WordTask): FamilyDefinition {
  const [shortest, longest] = task.lengths;
  return {
    draw: (random) => random.sample(LIST_WORDS, shortest + random.int(longest - shortest + 1)).join(' '),
    instruction: (key, template) => fill(task.templates, template, { words: key }),
    page: (key, phrase) => fill(task.pages, phrase, { words: key }),
    truth: (key): Truth => ({ kind: 'answer', ...task.answer(key.split(' ')) }),
    wrong: (key, random) => task.wrong(key.split(' '), random),
  };
}

function answerOf(words: readonly string[]) {
  const bare = words.join(' ');
  return { answer: `${bare}.`, bare };
}

/** The words with one of them replaced or left out. */
function damaged(words: readonly string[], random: Random): string[] {
  const at = random.int(words.length);
  if (words.length > 2 && random.chance(0.4)) return words.filter((_, i) => i !== at);
  const stranger = random.pick(LIST_WORDS.filter((word) => !words.includes(word)));
  return words.map((word, i) => (i === at ? stranger : word));
}

/** A wrong answer in the form of the right one, with one of the words other than `not`. */
function anotherOf(words: readonly string[], not: string, say: (word: string) => string, random: Random): string {
  return say(other(random, words, not));
}

const lastIs = (word: string) => `the last word is ${word}.`;
const firstIs = (word: string) => `the first word is ${word}.`;
const thereAre = (n: number) => `there are ${numberWord(n)} words.`;

export const copy = wordFamily({
  lengths: [3, 5],
  templates: [
    'Say this again: {words}.',
    'Copy this: {words}.',
    'Repeat these words: {words}.',
    'Write the same words: {words}.',
    'Give me these words again: {words}.',
  ],
  pages: ['Can you say {words}?', 'Please copy {words}.'],
  answer: answerOf,
  wrong: (words, random) => `${damaged(words, random).join(' ')}.`,
});

export const upper = wordFamily({
  lengths: [2, 4],
  templates: [
    'Write in capitals: {words}.',
    'Put this in capitals: {words}.',
    'Use capitals for: {words}.',
    'Say it in capitals: {words}.',
    'Make these words capitals: {words}.',
  ],
  pages: ['Can you put {words} in capitals?', 'How do capitals look for {words}?'],
  answer: (words) => answerOf(words.map((word) => word.toUpperCase())),
  wrong: (words, random) =>
    random.chance(0.3) ? `${words.join(' ')}.` : `${damaged(words, random).join(' ').toUpperCase()}.`,
});

export const reverse = wordFamily({
  lengths: [2, 4],
  templates: [
    'Say this backwards: {words}.',
    'Write these words backwards: {words}.',
    'Turn these words around: {words}.',
    'Start from the end: {words}.',
    'Put these words backwards: {words}.',
  ],
  pages: ['Can you say {words} backwards?', 'What is {words} from the end?'],
  answer: (words) => answerOf([...words].reverse()),
  wrong: (words, random) =>
    random.chance(0.4) ? `${words.join(' ')}.` : `${damaged([...words].reverse(), random).join(' ')}.`,
});

export const last = wordFamily({
  lengths: [3, 5],
  templates: [
    'What is the last word here: {words}?',
    'Which word is last: {words}?',
    'Tell me the last word of: {words}.',
    'Find the last word: {words}.',
    'Say the last word of this: {words}.',
  ],
  pages: ['What word ends {words}?', 'In {words}, which word is last?'],
  answer: (words) => ({ answer: lastIs(words.at(-1) as string), bare: words.at(-1) as string }),
  wrong: (words, random) => anotherOf(words, words.at(-1) as string, lastIs, random),
});

export const first = wordFamily({
  lengths: [3, 5],
  templates: [
    'What is the first word here: {words}?',
    'Which word is first: {words}?',
    'Tell me the first word of: {words}.',
    'Find the first word: {words}.',
    'Say the first word of this: {words}.',
  ],
  pages: ['What word starts {words}?', 'In {words}, which word is first?'],
  answer: (words) => ({ answer: firstIs(words[0] as string), bare: words[0] as string }),
  wrong: (words, random) => anotherOf(words, words[0] as string, firstIs, random),
});

export const count = wordFamily({
  lengths: [2, 6],
  templates: [
    'Count the words: {words}.',
    'How many words are here: {words}?',
    'Tell me the number of words: {words}.',
    'How many words do you see: {words}?',
    'Say how many words this has: {words}.',
  ],
  pages: ['How many words are in {words}?', 'Is it long? {words}'],
  answer: (words) => ({ answer: thereAre(words.length), bare: numberWord(words.length) }),
  wrong: (words, random) => thereAre(other(random, [2, 3, 4, 5, 6], words.length)),
});
