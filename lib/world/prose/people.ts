/**
 * Prose about who is where, who has what and what colour things are: stated once, then repeated many times in another order. Rarely or
 * often a document says that it does not mention somebody, which teaches the model the difference.
 */

import type { Random } from '../../core/random.js';
import { COLOURS, NAMES, NOT_TOLD, OBJECTS, PLACES } from '../facts.js';
import { write } from './text.js';

/** How often a document refers to somebody whom it does not mention. */
export type Absence = 'rare' | 'often';
const ABSENT = { rare: { people: 0.18, search: 0.2 }, often: { people: 0.35, search: 0.35 } } as const;

interface Told {
  subject: string;
  value: string;
  text: string;
}

interface Kind {
  subjects: readonly string[];
  values: readonly string[];
  tell(subject: string, value: string): string;
  /** Ways to repeat a fact. `{text}` is the sentence, `{s}` the subject, `{v}` the value. */
  recalls: readonly string[];
  /** Ways to refer to a subject that the passage does not mention. */
  absent: readonly string[];
}

const PLACE: Kind = {
  subjects: NAMES,
  values: PLACES,
  tell: (name, place) => `${name} is in the ${place}.`,
  recalls: [
    'yes, {text}',
    'as we said, {text}',
    'who looks for {s} goes to the {v}.',
    'as for {s}, {text}',
    'we go to the {v} and there is {s}.',
    'where {s} is, the text says: {text}',
  ],
  absent: [
    'as for {s}, the text does not say.',
    `where {s} is, ${NOT_TOLD}`,
    'who looks for {s} does not know where to go.',
  ],
};

const OWNER: Kind = {
  subjects: NAMES,
  values: OBJECTS,
  tell: (name, object) => `${name} has the ${object}.`,
  recalls: [
    'yes, {text}',
    'as we said, {text}',
    'as for the {v}, {text}',
    'who has the {v}, the text says: {text}',
    'the {v} is with {s}.',
    'ask {s} for the {v}.',
  ],
  absent: ['as for the {v}, the text does not say.', `who has the {v}, ${NOT_TOLD}`],
};

const HUE: Kind = {
  subjects: OBJECTS,
  values: COLOURS,
  tell: (object, colour) => `the ${object} is ${colour}.`,
  recalls: [
    'yes, {text}',
    'as we said, {text}',
    'as for the {s}, {text}',
    'she paints a {s} and makes it {v}.',
    'what colour the {s} has, the text says: {text}',
    'the {v} thing is the {s}.',
  ],
  absent: ['as for the {s}, the text does not say.', `what colour the {s} has, ${NOT_TOLD}`],
};

const KINDS = [PLACE, OWNER, HUE];

function put(phrase: string, subject: string, value: string, text: string): string {
  return phrase.replace('{text}', text).replaceAll('{s}', subject).replaceAll('{v}', value);
}

/** A passage and repetitions of its facts. */
export function people(random: Random, limit: number, absence: Absence): string {
  const kinds = random.chance(0.8) ? [random.pick(KINDS)] : random.sample(KINDS, 2);
  const told: { kind: Kind; fact: Told }[] = [];
  for (const kind of kinds) {
    const n = kinds.length > 1 ? 2 : 2 + random.int(3);
    const values = random.sample(kind.values, n);
    for (const [i, subject] of random.sample(kind.subjects, n).entries()) {
      const value = values[i] as string;
      told.push({ kind, fact: { subject, value, text: kind.tell(subject, value) } });
    }
  }
  const opening = random.shuffle(told);
  return write(limit, (written) => {
    const first = opening[written];
    if (first !== undefined) return first.fact.text;
    if (random.chance(ABSENT[absence].people)) {
      const kind = random.pick(kinds);
      const facts = told.filter((entry) => entry.kind === kind).map((entry) => entry.fact);
      const subject = random.pick(kind.subjects.filter((s) => facts.every((fact) => fact.subject !== s)));
      const value = random.pick(kind.values.filter((v) => facts.every((fact) => fact.value !== v)));
      return put(random.pick(kind.absent), subject, value, '');
    }
    const { kind, fact } = random.pick(told);
    return put(random.pick(kind.recalls), fact.subject, fact.value, fact.text);
  });
}

const SEARCHES = ['we look for {asked}.', 'tell of {asked}.', '{asked}?', 'once more {asked}.'];
const FINDS = ['so {text}', 'we read: {text}', 'there it is: {text}'];

/** Many short passages, each with a question before it and the answer after it, if it is in the passage. */
export function search(random: Random, limit: number, absence: Absence): string {
  const kind = random.pick(KINDS);
  const byValue = kind === OWNER;
  return write(limit, () => {
    const n = 2 + random.int(2);
    const subjects = random.sample(kind.subjects, n + 1);
    const values = random.sample(kind.values, n + 1);
    const texts = subjects.map((subject, i) => kind.tell(subject, values[i] as string));
    const at = random.chance(ABSENT[absence].search) ? n : random.int(n);
    const name = (byValue ? values : subjects)[at] as string;
    const asked = random.pick(SEARCHES).replace('{asked}', kind === PLACE ? name : `the ${name}`);
    const passage = texts.slice(0, n).join(' ');
    const end = at === n ? NOT_TOLD : random.pick(FINDS).replace('{text}', texts[at] as string);
    return random.chance(0.5) ? `${asked} ${passage} ${end}` : `${passage} ${asked} ${end}`;
  });
}

const DEEDS = ['sees', 'finds', 'wants', 'takes', 'holds', 'sells', 'loves'];

/** A short story, repeated word for word. */
export function retold(random: Random, limit: number): string {
  const names = random.sample(NAMES, 3);
  const sentences = Array.from(
    { length: 2 + random.int(2) },
    () =>
      `${random.pick(names)} ${random.pick(DEEDS)} the ${random.pick(COLOURS)} ${random.pick(OBJECTS)} in the ${random.pick(PLACES)}.`,
  );
  const story = sentences.join(' ');
  return write(limit, (written) => {
    if (written === 0) return `${random.pick(NAMES)} tells a story. ${story}`;
    return `${random.pick(NAMES)} tells it again. ${story}`;
  });
}
