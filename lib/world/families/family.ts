/** What a family of instructions is made of. */

import type { Random } from '../../core/random.js';
import type { Truth } from '../types.js';

/** One family. A key says what an instruction is about; everything else follows from it. */
export interface FamilyDefinition {
  /** All keys of a family of facts; absent where keys are drawn. */
  readonly keys?: readonly string[];
  /** A random key of a family without end. */
  draw?(random: Random): string;
  /** The instruction in phrasing `template` (0 to 4; 4 is never trained on). */
  instruction(key: string, template: number): string;
  /** The same as a question-and-answer page of the web would ask it, in one of two ways that are no phrasing above. */
  page(key: string, phrase: number): string;
  truth(key: string): Truth;
  /** A false answer in the form of a right one; for `unknown`, `false` and `harm`, what a careless answer would be. */
  wrong(key: string, random: Random): string;
}

/** Puts `slots` into the places `{name}` of a phrasing. */
export function fill(phrasings: readonly string[], index: number, slots: Readonly<Record<string, string>>): string {
  const phrasing = phrasings[index];
  if (phrasing === undefined) throw new RangeError(`phrasing ${index} of ${phrasings.length}`);
  return phrasing.replace(/\{(\w+)\}/g, (place, name: string) => slots[name] ?? place);
}

/** One of `items` that is not `not`. */
export function other<T>(random: Random, items: readonly T[], not: T): T {
  return random.pick(items.filter((item) => item !== not));
}

/** The row of a table of facts with this key. @throws Error if there is none */
export function find<T>(table: ReadonlyMap<string, T>, key: string): T {
  const row = table.get(key);
  if (row === undefined) throw new Error(`no fact has the key "${key}"`);
  return row;
}
