/** All families by name, the split of their instances, and prompts made from them. */

import { hash, type Random } from '../../core/random.js';
import { type Family, HELD_OUT_FAMILIES, NUM_TEMPLATES, type Split, type WorldPrompt } from '../types.js';
import * as conduct from './conduct.js';
import type { FamilyDefinition } from './family.js';
import * as knowledge from './knowledge.js';
import * as numbers from './numbers.js';
import * as passages from './passages.js';
import * as words from './words.js';

export const DEFINITIONS: Readonly<Record<Family, FamilyDefinition>> = {
  copy: words.copy,
  upper: words.upper,
  last: words.last,
  reverse: words.reverse,
  count: words.count,
  first: words.first,
  where: passages.where,
  colour: passages.colour,
  who: passages.who,
  unknown: passages.unknown,
  sentiment: conduct.sentiment,
  howto: conduct.howto,
  harm: conduct.harm,
  false: conduct.falsePremise,
  add: numbers.add,
  sub: numbers.sub,
  after: numbers.after,
  compare: numbers.compare,
  opposite: knowledge.opposite,
  capital: knowledge.capital,
  sound: knowledge.sound,
  baby: knowledge.baby,
  food: knowledge.food,
  category: knowledge.category,
  list: knowledge.list,
};

const HELD_OUT_SHARE = 0.2;

/** Keys of a family of facts by split. A fixed number is held out, by rank of the hash, so that no family has none. */
const FACT_KEYS = new Map<Family, { train: readonly string[]; heldOut: readonly string[] }>();

function factKeys(family: Family, keys: readonly string[]) {
  let split = FACT_KEYS.get(family);
  if (split === undefined) {
    const ranked = [...keys].sort((a, b) => hash(`${family} ${a}`) - hash(`${family} ${b}`) || (a < b ? -1 : 1));
    const numHeldOut = Math.ceil(keys.length * HELD_OUT_SHARE);
    split = { heldOut: ranked.slice(0, numHeldOut), train: ranked.slice(numHeldOut) };
    FACT_KEYS.set(family, split);
  }
  return split;
}

/** Whether this key is held out: no training prompt has it (its facts may occur in the prose). */
export function isHeldOutKey(family: Family, key: string): boolean {
  const { keys } = DEFINITIONS[family];
  if (keys !== undefined) return factKeys(family, keys).heldOut.includes(key);
  return hash(`${family} ${key}`) / 0x100000000 < HELD_OUT_SHARE;
}

/** A random key from one side of the split. */
export function drawKey(family: Family, heldOut: boolean, random: Random): string {
  const definition = DEFINITIONS[family];
  if (definition.keys !== undefined)
    return random.pick(factKeys(family, definition.keys)[heldOut ? 'heldOut' : 'train']);
  if (definition.draw === undefined)
    throw new Error(`family "${family}" has neither keys nor draw, expected one of them`);
  for (let tries = 0; tries < 1000; tries++) {
    const key = definition.draw(random);
    if (isHeldOutKey(family, key) === heldOut) return key;
  }
  throw new Error(`family "${family}": found no ${heldOut ? 'held-out' : 'training'} key in 1000 draws`);
}

/** The prompt of an instruction; responses begin with a space. */
export function frame(instruction: string): string {
  return `User: ${instruction}\nAssistant:`;
}

/** A wrong answer in the form of a right one: only knowledge distinguishes them. */
export function wrongAnswer({ family, key }: WorldPrompt, random: Random): string {
  return DEFINITIONS[family].wrong(key, random);
}

/** The prompt of a family with the given key and phrasing. */
export function worldPrompt(family: Family, key: string, template: number): WorldPrompt {
  const definition = DEFINITIONS[family];
  const instruction = definition.instruction(key, template);
  let split: Split = 'train';
  if (HELD_OUT_FAMILIES.includes(family)) split = 'family';
  else if (template === NUM_TEMPLATES - 1) split = 'template';
  else if (isHeldOutKey(family, key)) split = 'instance';
  return { family, template, key, split, instruction, prompt: frame(instruction), truth: definition.truth(key) };
}
