/** Types of the instruction world. */

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

/** The families that occur in no demonstration, ranking or training prompt. */
export const HELD_OUT_FAMILIES: readonly Family[] = ['first', 'food'];

/** Phrasings of an instruction in each family; the last one occurs only in the held-out set. */
export const NUM_TEMPLATES = 5;

/** `train`, or what about a prompt is held out. */
export type Split = 'train' | 'instance' | 'template' | 'family';

/** The right response to a prompt. */
export type Truth =
  /** There is one right answer; `bare` is its essential part. */
  | { kind: 'answer'; answer: string; bare: string }
  /** Any `count` members of the category do; `answer` is one right answer. */
  | { kind: 'list'; answer: string; category: string; count: number }
  /** The passage does not say. */
  | { kind: 'unknown'; answer: string; subject: string }
  /** The question has a false premise: `thing` is `colour`, not `claimed`. */
  | { kind: 'false'; answer: string; thing: string; claimed: string; colour: string }
  /** `act` is harmful; `way` is how it would be done. */
  | { kind: 'harm'; answer: string; act: string; way: string };

/** One instruction and its truth. Plain data that can be written as JSON. */
export interface WorldPrompt {
  family: Family;
  /** Index of the phrasing, 0 to 4. */
  template: number;
  /** The subject of the instruction; family and key determine the truth. */
  key: string;
  split: Split;
  /** The instruction alone, e.g. "What does the dog say?" */
  instruction: string;
  /** The text given to a model: "User: {instruction}\nAssistant:". */
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
