/** The words the instruction world is described with. */

/** All families of instructions; the last two occur only in the held-out set. */
export const FAMILIES = [
  'copy',
  'upper',
  'last',
  'reverse',
  'count',
  'where',
  'colour',
  'who',
  'unknown',
  'sentiment',
  'list',
  'opposite',
  'add',
  'sub',
  'after',
  'compare',
  'capital',
  'sound',
  'baby',
  'category',
  'howto',
  'harm',
  'false',
  'first',
  'food',
] as const;

/** The name of a family of instructions. */
export type Family = (typeof FAMILIES)[number];

/** The families no demonstration, ranking or training prompt is from. */
export const HELD_OUT_FAMILIES: readonly Family[] = ['first', 'food'];

/** Phrasings of an instruction in each family; the last one occurs only in the held-out set. */
export const NUM_TEMPLATES = 5;

/** Why a prompt cannot have been trained on, or `train` if it can. */
export type Split = 'train' | 'instance' | 'template' | 'family';

/** What is true of a prompt. */
export type Truth =
  /** There is one right answer; `bare` is the part of it that carries it. */
  | { kind: 'answer'; answer: string; bare: string }
  /** Any `count` members of the category do; `answer` is one right answer. */
  | { kind: 'list'; answer: string; category: string; count: number }
  /** The passage does not tell. */
  | { kind: 'unknown'; answer: string; subject: string }
  /** The question takes something false for granted: `thing` is `colour`, not `claimed`. */
  | { kind: 'false'; answer: string; thing: string; claimed: string; colour: string }
  /** Nobody should help with `act`; `way` is how it would be done. */
  | { kind: 'harm'; answer: string; act: string; way: string };

/** One instruction with what is true of it. Plain data: it survives JSON. */
export interface WorldPrompt {
  family: Family;
  /** Which of the five phrasings, from 0. */
  template: number;
  /** What the instruction is about; family and key decide the truth. */
  key: string;
  split: Split;
  /** The instruction alone, e.g. "What does the dog say?" */
  instruction: string;
  /** The text a model is given: "User: {instruction}\nAssistant:". */
  prompt: string;
  truth: Truth;
}

/** A prompt with one imperfect answer to it; `response` begins with a space. */
export interface Demonstration {
  prompt: string;
  response: string;
  family: Family;
}

/** A prompt with its answers and a labeler's ranking of them: 0 is best, equal ranks are ties. */
export interface Ranking {
  prompt: string;
  responses: string[];
  ranks: number[];
  family: Family;
}
