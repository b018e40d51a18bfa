/**
 * Questions about a passage of two or three sentences: where somebody is, what colour a thing has, who has a thing;
 * and `unknown`: the same questions about a person or thing that the passage does not mention.
 * A key is "Rosa=park,Sam=bank?Rosa".
 */

import type { Random } from '../../core/random.js';
import { COLOURS, NAMES, NOT_TOLD, OBJECTS, PLACES } from '../facts.js';
import type { Truth } from '../types.js';
import { type FamilyDefinition, fill, other } from './family.js';

interface PassageTask {
  subjects: readonly string[];
  values: readonly string[];
  sentence(subject: string, value: string): string;
  /** What the question is about: the subject (where, colour) or, for `who`, the value. */
  asked: 'subject' | 'value';
  templates: readonly [string, string, string, string, string];
  pages: readonly [string, string];
}

interface Passage {
  pairs: [string, string][];
  asked: string;
}

function read(key: string): Passage {
  const [facts, asked] = key.split('?') as [string, string];
  return { pairs: facts.split(',').map((fact) => fact.split('=') as [string, string]), asked };
}

function drawPairs(task: PassageTask, random: Random): [string, string][] {
  const n = random.chance(0.6) ? 2 : 3;
  const values = random.sample(task.values, n);
  return random.sample(task.subjects, n).map((subject, i) => [subject, values[i] as string]);
}

function writeKey(pairs: readonly (readonly [string, string])[], asked: string): string {
  return `${pairs.map((pair) => pair.join('=')).join(',')}?${asked}`;
}

function say(task: PassageTask, phrasings: readonly string[], index: number, passage: Passage): string {
  const text = passage.pairs.map(([subject, value]) => task.sentence(subject, value)).join(' ');
  return fill(phrasings, index, { passage: text, asked: passage.asked });
}

const WHERE: PassageTask = {
  subjects: NAMES,
  values: PLACES,
  sentence: (name, place) => `${name} is in the ${place}.`,
  asked: 'subject',
  templates: [
    '{passage} Where is {asked}?',
    'Where is {asked}? {passage}',
    '{passage} Tell me where {asked} is.',
    'Read this: {passage} In which place is {asked}?',
    '{passage} Say where {asked} is.',
  ],
  pages: ['{passage} Where can I find {asked}?', '{passage} And where is {asked}?'],
};

const COLOUR: PassageTask = {
  subjects: OBJECTS,
  values: COLOURS,
  sentence: (object, colour) => `the ${object} is ${colour}.`,
  asked: 'subject',
  templates: [
    '{passage} What colour is the {asked}?',
    'What colour is the {asked}? {passage}',
    '{passage} Tell me the colour of the {asked}.',
    'Read this: {passage} Which colour has the {asked}?',
    '{passage} Say which colour the {asked} has.',
  ],
  pages: ['{passage} And what colour is the {asked}?', '{passage} Which colour is the {asked}?'],
};

const WHO: PassageTask = {
  subjects: NAMES,
  values: OBJECTS,
  sentence: (name, object) => `${name} has the ${object}.`,
  asked: 'value',
  templates: [
    '{passage} Who has the {asked}?',
    'Who has the {asked}? {passage}',
    '{passage} Tell me who has the {asked}.',
    'Read this: {passage} Which one has the {asked}?',
    '{passage} Say who has the {asked}.',
  ],
  pages: ['{passage} And who has the {asked}?', '{passage} Where is the {asked} now?'],
};

const TASKS: Readonly<Record<string, PassageTask>> = { where: WHERE, colour: COLOUR, who: WHO };

function told(task: PassageTask): FamilyDefinition {
  const at = task.asked === 'subject' ? 0 : 1;
  const pairOf = (key: string) => {
    const { pairs, asked } = read(key);
    const pair = pairs.find((candidate) => candidate[at] === asked);
    if (pair === undefined) throw new Error(`the passage "${key}" does not contain the answer`);
    return { pairs, pair };
  };
  return {
    draw: (random) => {
      const pairs = drawPairs(task, random);
      return writeKey(pairs, random.pick(pairs)[at]);
    },
    instruction: (key, template) => say(task, task.templates, template, read(key)),
    page: (key, phrase) => say(task, task.pages, phrase, read(key)),
    truth: (key): Truth => {
      const { pair } = pairOf(key);
      return { kind: 'answer', answer: task.sentence(...pair), bare: pair[1 - at] as string };
    },
    wrong: (key, random) => {
      const { pairs, pair } = pairOf(key);
      const pool = random.chance(0.7)
        ? pairs.map((candidate) => candidate[1 - at] as string)
        : at === 0
          ? task.values
          : task.subjects;
      const value = other(random, pool, pair[1 - at] as string);
      return at === 0 ? task.sentence(pair[0], value) : task.sentence(value, pair[1]);
    },
  };
}

export const where = told(WHERE);
export const colour = told(COLOUR);
export const who = told(WHO);

function taskOf(key: string): { task: PassageTask; passage: Passage } {
  const colon = key.indexOf(':');
  const task = TASKS[key.slice(0, colon)];
  if (task === undefined) throw new Error(`"${key}" expected a key that begins with a kind of passage`);
  return { task, passage: read(key.slice(colon + 1)) };
}

/** Keys are "where:Rosa=park,Sam=bank?Mia": the phrasings are those of the three families above. */
export const unknown: FamilyDefinition = {
  draw: (random) => {
    const kind = random.pick(Object.keys(TASKS));
    const task = TASKS[kind] as PassageTask;
    const pairs = drawPairs(task, random);
    const at = task.asked === 'subject' ? 0 : 1;
    const there = pairs.map((pair) => pair[at]);
    const pool = at === 0 ? task.subjects : task.values;
    return `${kind}:${writeKey(pairs, random.pick(pool.filter((item) => !there.includes(item))))}`;
  },
  instruction: (key, template) => {
    const { task, passage } = taskOf(key);
    return say(task, task.templates, template, passage);
  },
  page: (key, phrase) => {
    const { task, passage } = taskOf(key);
    return say(task, task.pages, phrase, passage);
  },
  truth: (key) => ({ kind: 'unknown', answer: NOT_TOLD, subject: taskOf(key).passage.asked }),
  // A careless answer: what the passage says of somebody else.
  wrong: (key, random) => {
    const { task, passage } = taskOf(key);
    const [subject, value] = random.pick(passage.pairs);
    return task.asked === 'subject' ? task.sentence(passage.asked, value) : task.sentence(subject, passage.asked);
  },
};
