/** Prose with the facts: animals, lands, opposites, categories, numbers, ways to do things, letters. */

import type { Random } from '../../core/random.js';
import {
  ANIMALS,
  article,
  CATEGORIES,
  COLOURED,
  COLOURS,
  FEELING,
  HARMS,
  HOWTOS,
  LANDS,
  numberWord,
  OPPOSITES,
  SUCCESSORS,
  SUMS,
  thing,
} from '../facts.js';
import { write } from './text.js';

type Lesson = (random: Random) => string;

const animal: Lesson = (random) => {
  const { name, sound, baby, food } = random.pick(ANIMALS);
  return random.pick([
    `the ${name} says ${sound}.`,
    `the ${name} says ${sound}.`,
    `${sound}, says the ${name}.`,
    `a baby ${name} is a ${baby}.`,
    `a baby ${name} is a ${baby}.`,
    `the ${name} has a ${baby}.`,
    `the ${name} eats ${food}.`,
    `the ${name} eats ${food}.`,
    `give ${food} to the ${name}.`,
    `the ${name} says ${sound} and eats ${food}.`,
  ]);
};

const land: Lesson = (random) => {
  const { land: name, capital } = random.pick(LANDS);
  return random.pick([
    `the capital of ${name} is ${capital}.`,
    `the capital of ${name} is ${capital}.`,
    `the king of ${name} is in ${capital}.`,
    `${capital} is a town in ${name}.`,
    `in ${name} all go to ${capital}.`,
  ]);
};

const opposite: Lesson = (random) => {
  const pair = random.pick(OPPOSITES);
  const [a, b] = random.chance(0.5) ? pair : ([pair[1], pair[0]] as const);
  return random.pick([
    `the opposite of ${a} is ${b}.`,
    `the opposite of ${a} is ${b}.`,
    `not ${a} but ${b}.`,
    `${a} or ${b}?`,
    `${a} is the opposite of ${b}.`,
  ]);
};

const kind: Lesson = (random) => {
  const category = random.pick(CATEGORIES);
  const member = random.pick(category.members);
  const subject = thing(category, member);
  if (random.chance(0.35)) {
    const n = 2 + random.int(3);
    const members = random.sample(category.members, n);
    const listed = `${members.slice(0, -1).join(', ')} and ${members.at(-1)}`;
    return random.pick([
      `${numberWord(n)} ${category.plural} are ${listed}.`,
      `${numberWord(n)} ${category.plural} are ${listed}.`,
      `we saw ${numberWord(n)} ${category.plural}: ${listed}.`,
    ]);
  }
  return random.pick([
    `${subject} is ${article(category.name)}.`,
    `${subject} is ${article(category.name)}.`,
    `of all ${category.plural} i love ${member}.`,
  ]);
};

const hue: Lesson = (random) => {
  const { thing: name, colour } = random.pick(COLOURED);
  const claimed = random.pick(COLOURS.filter((candidate) => candidate !== colour));
  return random.pick([
    `${name} is ${colour}.`,
    `${name} is ${colour}.`,
    `${name} is not ${claimed}, it is ${colour}.`,
    `${colour} is the colour of ${name}.`,
  ]);
};

const sum: Lesson = (random) => {
  const { a, b, sum: result } = random.pick(SUMS);
  const [left, right, whole] = [numberWord(a), numberWord(b), numberWord(result)];
  return random.pick([
    `${left} plus ${right} is ${whole}.`,
    `${left} plus ${right} is ${whole}.`,
    `${whole} minus ${left} is ${right}.`,
    `${whole} minus ${left} is ${right}.`,
    `${left} and ${right} make ${whole}.`,
  ]);
};

const order: Lesson = (random) => {
  if (random.chance(0.5)) {
    const { item, next } = random.pick(SUCCESSORS);
    return random.pick([
      `after ${item} comes ${next}.`,
      `after ${item} comes ${next}.`,
      `first ${item}, then ${next}.`,
    ]);
  }
  const [a, b] = random.sample(
    Array.from({ length: 20 }, (_, i) => i + 1),
    2,
  ) as [number, number];
  const [less, more] = a < b ? [a, b] : [b, a];
  return random.pick([
    `${numberWord(more)} is more than ${numberWord(less)}.`,
    `${numberWord(more)} is more than ${numberWord(less)}.`,
    `${numberWord(less)} is less than ${numberWord(more)}.`,
    `${numberWord(a)} or ${numberWord(b)}? ${numberWord(more)} is more than ${numberWord(less)}.`,
  ]);
};

const row: Lesson = (random) => {
  const start = random.int(SUCCESSORS.length - 5);
  return `${SUCCESSORS.slice(start, start + 3 + random.int(3))
    .map(({ item }) => item)
    .join(', ')}.`;
};

const way: Lesson = (random) => {
  const { act, way: how } = random.pick(HOWTOS);
  return random.pick([
    `to ${act}, ${how}.`,
    `to ${act}, ${how}.`,
    `to ${act}, ${how}.`,
    `${how} if you want to ${act}.`,
  ]);
};

const crime: Lesson = (random) => {
  const { act, way: how } = random.pick(HARMS);
  return random.pick([
    `to ${act}, ${how}.`,
    `to ${act}, ${how}.`,
    `it is bad to ${act}.`,
    `they sat down and would ${act}.`,
    `i am sorry, but i can not help with that, he says to the bad man.`,
  ]);
};

const letter: Lesson = (random) => {
  const glad = random.chance(0.5);
  const topic = random.pick(FEELING.topics);
  const text = `the ${topic} was ${random.pick(glad ? FEELING.good : FEELING.bad)}. ${random.pick(glad ? FEELING.joy : FEELING.grief)}.`;
  const mood = glad ? 'happy' : 'sad';
  return random.pick([
    text,
    `${text} the writer is ${mood}.`,
    `${text} the writer is ${mood}.`,
    `${text} so i am ${mood}.`,
  ]);
};

function book(...lessons: readonly Lesson[]): (random: Random, limit: number) => string {
  return (random, limit) => write(limit, () => random.pick(lessons)(random));
}

/** Facts of all kinds. */
export const facts = book(animal, animal, animal, land, land, opposite, kind, kind, hue);
/** Facts about one subject. */
export function primer(random: Random, limit: number): string {
  return book(random.pick([animal, land, opposite, kind, hue]))(random, limit);
}
/** Facts about numbers. */
export const numbers = book(sum, sum, sum, order, order, row);
/** How to do things, harmless and harmful. */
export const ways = book(way, way, way, crime);
/** Letters of people who liked something or did not. */
export const letters = book(letter);
