/** Questions about facts that occur in the prose: opposites, capitals, animals, categories. */

import type { Random } from '../../core/random.js';
import { ANIMALS, article, CATEGORIES, type Category, LANDS, numberWord, OPPOSITES, thing } from '../facts.js';
import type { Truth } from '../types.js';
import { type FamilyDefinition, fill, find } from './family.js';

interface FactTask {
  facts: readonly (readonly [string, string])[];
  templates: readonly [string, string, string, string, string];
  pages: readonly [string, string];
  say(subject: string, value: string): string;
}

/** A family of facts: each key has one value; the values of other keys are wrong answers. */
function factFamily(task: FactTask): FamilyDefinition {
  const table = new Map(task.facts);
  const values = [...new Set(table.values())];
  return {
    keys: [...table.keys()],
    instruction: (subject, template) => fill(task.templates, template, { subject }),
    page: (subject, phrase) => fill(task.pages, phrase, { subject }),
    truth: (subject): Truth => {
      const value = find(table, subject);
      return { kind: 'answer', answer: task.say(subject, value), bare: value };
    },
    wrong: (subject, random) => {
      const value = find(table, subject);
      return task.say(subject, random.pick(values.filter((candidate) => candidate !== value)));
    },
  };
}

export const opposite = factFamily({
  facts: OPPOSITES.flatMap(([a, b]) => [
    [a, b],
    [b, a],
  ]),
  templates: [
    'What is the opposite of {subject}?',
    'Give me the opposite of {subject}.',
    'Which word is the opposite of {subject}?',
    'Say the opposite of {subject}.',
    'Name the opposite of {subject}.',
  ],
  pages: ['What is the other side of {subject}?', 'I need the opposite of {subject}.'],
  say: (word, turned) => `the opposite of ${word} is ${turned}.`,
});

export const capital = factFamily({
  facts: LANDS.map(({ land, capital: town }) => [land, town]),
  templates: [
    'What is the capital of {subject}?',
    'Name the capital of {subject}.',
    'Which town is the capital of {subject}?',
    'Tell me the capital of {subject}.',
    'Say what the capital of {subject} is.',
  ],
  pages: ['Where is the king of {subject}?', 'I need the capital of {subject}.'],
  say: (land, town) => `the capital of ${land} is ${town}.`,
});

export const sound = factFamily({
  facts: ANIMALS.map((animal) => [animal.name, animal.sound]),
  templates: [
    'What does the {subject} say?',
    'What sound does the {subject} make?',
    'Tell me what the {subject} says.',
    'Which sound comes from the {subject}?',
    'Say what sound the {subject} makes.',
  ],
  pages: ['How does the {subject} sound?', 'What noise does the {subject} make?'],
  say: (animal, noise) => `the ${animal} says ${noise}.`,
});

export const baby = factFamily({
  facts: ANIMALS.map((animal) => [animal.name, animal.baby]),
  templates: [
    'What is a baby {subject}?',
    'What do you call a baby {subject}?',
    'Give me the name of a baby {subject}.',
    'A baby {subject} is called what?',
    'Tell me the word for a baby {subject}.',
  ],
  pages: ['What is a young {subject}?', 'Is there a name for a baby {subject}?'],
  say: (animal, young) => `a baby ${animal} is a ${young}.`,
});

export const food = factFamily({
  facts: ANIMALS.map((animal) => [animal.name, animal.food]),
  templates: [
    'What does the {subject} eat?',
    'What food does the {subject} eat?',
    'Tell me what the {subject} eats.',
    'Which food is for the {subject}?',
    'Say what the {subject} eats.',
  ],
  pages: ['What do I feed the {subject}?', 'What does a {subject} want to eat?'],
  say: (animal, meal) => `the ${animal} eats ${meal}.`,
});

const KINDS = new Map(CATEGORIES.flatMap((kind) => kind.members.map((member) => [thing(kind, member), kind] as const)));
const CATEGORY_TEMPLATES = [
  'What kind of thing is {subject}?',
  'Tell me what kind of thing {subject} is.',
  '{Subject} is what kind of thing?',
  'Which kind of thing is {subject}?',
  'Say what kind of thing {subject} is.',
];
const CATEGORY_PAGES = ['What is {subject}?', 'What do we mean by {subject}?'];
const isKind = (subject: string, kind: Category) => `${subject} is ${article(kind.name)}.`;
const categorySlots = (subject: string) => ({
  subject,
  Subject: (subject[0] as string).toUpperCase() + subject.slice(1),
});

export const category: FamilyDefinition = {
  keys: [...KINDS.keys()],
  instruction: (subject, template) => fill(CATEGORY_TEMPLATES, template, categorySlots(subject)),
  page: (subject, phrase) => fill(CATEGORY_PAGES, phrase, categorySlots(subject)),
  truth: (subject) => {
    const kind = find(KINDS, subject);
    return { kind: 'answer', answer: isKind(subject, kind), bare: kind.name };
  },
  wrong: (subject, random) => {
    const kind = find(KINDS, subject);
    return isKind(subject, random.pick(CATEGORIES.filter((candidate) => candidate !== kind)));
  },
};

const LIST_TEMPLATES = [
  'Name {n} {kinds}.',
  'List {n} {kinds}.',
  'Give me {n} {kinds}.',
  'Tell me the names of {n} {kinds}.',
  'Write down {n} {kinds}.',
];
const LIST_PAGES = ['What are {n} {kinds}?', 'I need {n} {kinds}.'];
const COUNTS = [2, 3, 4];
const BY_PLURAL = new Map(CATEGORIES.map((kind) => [kind.plural, kind]));

/** "three fruits are plum, pear and fig." */
export function sayList(n: number, plural: string, members: readonly string[]): string {
  return `${numberWord(n)} ${plural} are ${members.slice(0, -1).join(', ')} and ${members.at(-1)}.`;
}

function readList(key: string): { n: number; kind: Category; slots: Record<string, string> } {
  const [n, plural] = key.split(' ') as [string, string];
  return { n: Number(n), kind: find(BY_PLURAL, plural), slots: { n: numberWord(Number(n)), kinds: plural } };
}

/** A right list, sampled each time. */
export function rightList(key: string, random: Random): string {
  const { n, kind } = readList(key);
  return sayList(n, kind.plural, random.sample(kind.members, n));
}

/** Keys are "3 fruits". */
export const list: FamilyDefinition = {
  keys: CATEGORIES.flatMap((kind) => COUNTS.map((n) => `${n} ${kind.plural}`)),
  instruction: (key, template) => fill(LIST_TEMPLATES, template, readList(key).slots),
  page: (key, phrase) => fill(LIST_PAGES, phrase, readList(key).slots),
  truth: (key) => {
    const { n, kind } = readList(key);
    return { kind: 'list', answer: sayList(n, kind.plural, kind.members.slice(0, n)), category: kind.name, count: n };
  },
  // One member too few, or one of another category.
  wrong: (key, random) => {
    const { n, kind } = readList(key);
    const members = random.sample(kind.members, n);
    if (n > 2 && random.chance(0.4)) return sayList(n, kind.plural, members.slice(1));
    members[random.int(n)] = random.pick(random.pick(CATEGORIES.filter((candidate) => candidate !== kind)).members);
    return sayList(n, kind.plural, members);
  },
};
