/** Sums and differences up to ten, successors, and comparisons. */

import { numberWord, SUCCESSORS, SUMS } from '../facts.js';
import type { Truth } from '../types.js';
import { type FamilyDefinition, fill, find, other } from './family.js';

const UP_TO_TEN = Array.from({ length: 11 }, (_, n) => n);

interface Calculation {
  a: number;
  b: number;
  result: number;
}

function arithmetic(
  table: ReadonlyMap<string, Calculation>,
  sign: 'plus' | 'minus',
  templates: readonly [string, string, string, string, string],
  pages: readonly [string, string],
): FamilyDefinition {
  const say = (a: number, b: number, result: number) =>
    `${numberWord(a)} ${sign} ${numberWord(b)} is ${numberWord(result)}.`;
  const slots = (key: string) => {
    const { a, b } = find(table, key);
    return { a: numberWord(a), b: numberWord(b) };
  };
  return {
    keys: [...table.keys()],
    instruction: (key, template) => fill(templates, template, slots(key)),
    page: (key, phrase) => fill(pages, phrase, slots(key)),
    truth: (key): Truth => {
      const { a, b, result } = find(table, key);
      return { kind: 'answer', answer: say(a, b, result), bare: numberWord(result) };
    },
    wrong: (key, random) => {
      const { a, b, result } = find(table, key);
      const near = UP_TO_TEN.filter((n) => Math.abs(n - result) <= 3);
      return say(a, b, other(random, near, result));
    },
  };
}

export const add = arithmetic(
  new Map(SUMS.map(({ a, b, sum }) => [`${a}+${b}`, { a, b, result: sum }])),
  'plus',
  [
    'What is {a} plus {b}?',
    'Add {a} and {b}.',
    'How much is {a} plus {b}?',
    'Tell me the sum of {a} and {b}.',
    'Work out {a} plus {b}.',
  ],
  ['What does {a} plus {b} make?', 'Is {a} plus {b} a lot?'],
);

export const sub = arithmetic(
  new Map(SUMS.map(({ a, b, sum }) => [`${sum}-${a}`, { a: sum, b: a, result: b }])),
  'minus',
  [
    'What is {a} minus {b}?',
    'Take {b} from {a}.',
    'How much is {a} minus {b}?',
    'Tell me what is left of {a} without {b}.',
    'Work out {a} minus {b}.',
  ],
  ['What does {a} minus {b} make?', 'Is {a} minus {b} a lot?'],
);

const NEXT = new Map(SUCCESSORS.map((row) => [row.item, row.next]));
const comes = (item: string, next: string) => `after ${item} comes ${next}.`;
const AFTER_TEMPLATES = [
  'What comes after {item}?',
  'Tell me what comes after {item}.',
  'After {item} comes what?',
  'Say what is next after {item}.',
  'What is next after {item}?',
];
const AFTER_PAGES = ['What follows {item}?', 'And after {item}?'];

export const after: FamilyDefinition = {
  keys: [...NEXT.keys()],
  instruction: (item, template) => fill(AFTER_TEMPLATES, template, { item }),
  page: (item, phrase) => fill(AFTER_PAGES, phrase, { item }),
  truth: (item) => {
    const next = find(NEXT, item);
    return { kind: 'answer', answer: comes(item, next), bare: next };
  },
  wrong: (item, random) => {
    const items = [...NEXT.keys()];
    const at = items.indexOf(item);
    const near = items.slice(Math.max(0, at - 4), at + 6);
    return comes(item, other(random, near, find(NEXT, item)));
  },
};

const COMPARE_TEMPLATES = [
  'Which is more, {a} or {b}?',
  'What is more, {a} or {b}?',
  'Tell me which is more: {a} or {b}.',
  'Is {a} more or is {b}?',
  'Say which one is more, {a} or {b}.',
];
const COMPARE_PAGES = ['Is {a} or {b} more?', 'Do you want {a} or {b}?'];
const isMore = (more: number, less: number) => `${numberWord(more)} is more than ${numberWord(less)}.`;

/** Keys are "4 9". */
export const compare: FamilyDefinition = {
  draw: (random) => {
    const a = 1 + random.int(20);
    return `${a} ${1 + ((a + random.int(19)) % 20)}`; // never a itself
  },
  instruction: (key, template) => {
    const [a, b] = key.split(' ').map((n) => numberWord(Number(n))) as [string, string];
    return fill(COMPARE_TEMPLATES, template, { a, b });
  },
  page: (key, phrase) => {
    const [a, b] = key.split(' ').map((n) => numberWord(Number(n))) as [string, string];
    return fill(COMPARE_PAGES, phrase, { a, b });
  },
  truth: (key) => {
    const [a, b] = key.split(' ').map(Number) as [number, number];
    return { kind: 'answer', answer: isMore(Math.max(a, b), Math.min(a, b)), bare: numberWord(Math.max(a, b)) };
  },
  wrong: (key) => {
    const [a, b] = key.split(' ').map(Number) as [number, number];
    return isMore(Math.min(a, b), Math.max(a, b));
  },
};
