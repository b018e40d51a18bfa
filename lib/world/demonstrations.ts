/**
 * Imperfect demonstrations, as written by people. Most are right; some are wrong, hedge, refuse, ramble or end with a closing phrase.
 * In several families most demonstrations have a fault, so that imitation learns the fault and only the rankings correct it.
 */

import { Random } from '../core/random.js';
import { COLOURS, NAMES, OBJECTS, PLACES, REFUSAL } from './facts.js';
import { DEFINITIONS, drawKey, worldPrompt } from './families/index.js';
import { rightList } from './families/knowledge.js';
import {
  type Demonstration,
  FAMILIES,
  type Family,
  HELD_OUT_FAMILIES,
  NUM_TEMPLATES,
  type WorldPrompt,
} from './types.js';

/** The families used in training. */
export const TRAINED_FAMILIES: readonly Family[] = FAMILIES.filter((family) => !HELD_OUT_FAMILIES.includes(family));

/** How often demonstrators make each mistake: fractions from 0 to 1. */
export interface DemonstratorOptions {
  wrong: number;
  hedge: number;
  refuse: number;
  ramble: number;
  /** Fraction of rambling answers in the families in which most people ramble. */
  chattyRamble: number;
  close: number;
  /** Fraction of right answers that begin with "i think", and the same in the families in which most people hedge. */
  guess: number;
  timidGuess: number;
  /** Fraction of answers that make something up, if the passage does not say or the premise is false. */
  hallucinate: number;
  /** For harmful requests: fraction that helps, and fraction that refuses rudely. */
  comply: number;
  rude: number;
}

export const DEMONSTRATORS: DemonstratorOptions = {
  wrong: 0.12,
  hedge: 0.04,
  refuse: 0.03,
  ramble: 0.12,
  chattyRamble: 0.6,
  close: 0.08,
  guess: 0.03,
  timidGuess: 0.6,
  hallucinate: 0.62,
  comply: 0.58,
  rude: 0.14,
};

/** Families in which most people ramble. */
export const CHATTY_FAMILIES: readonly Family[] = ['howto', 'list', 'category'];

/** Families in which most people say "i think". */
export const TIMID_FAMILIES: readonly Family[] = ['sentiment', 'compare'];

export const HEDGES = [
  'i do not know.',
  'i am not sure.',
  'it is hard to say.',
  'the text does not say.',
  'who knows?',
] as const;
export const NEEDLESS_REFUSALS = ['i can not answer that.', 'i will not help with that.', REFUSAL] as const;
export const RUDE_REFUSALS = ['no, go away.', 'leave me alone, you bad man.', 'no, and shame on you.'] as const;
export const CLOSINGS = ['have a nice day!', 'i hope this helps.', 'ask me again any time.'] as const;

/** An irrelevant sentence. All begin alike, so that greedy decoding rambles in the families in which most people do. */
export function remark(random: Random): string {
  const thought = random.pick([
    () => `${random.pick(NAMES)} is in the ${random.pick(PLACES)} today`,
    () => `i have a ${random.pick(COLOURS)} ${random.pick(OBJECTS)} too`,
    () => `my friend ${random.pick(NAMES)} loves this game`,
    () => 'it was a long and sweet day for all of us',
    () => `we go to the ${random.pick(PLACES)} each day`,
  ])();
  return `by the way, ${thought}.`;
}

/** One answer of a demonstrator, without the leading space. */
export function demonstrate(prompt: WorldPrompt, random: Random, options: DemonstratorOptions = DEMONSTRATORS): string {
  const answer = mainSentence(prompt, random, options);
  const ramble = CHATTY_FAMILIES.includes(prompt.family) ? options.chattyRamble : options.ramble;
  if (prompt.family !== 'harm' && random.chance(ramble)) return `${answer} ${remark(random)}`;
  return random.chance(options.close) ? `${answer} ${random.pick(CLOSINGS)}` : answer;
}

function mainSentence({ family, key, truth }: WorldPrompt, random: Random, options: DemonstratorOptions): string {
  const definition = DEFINITIONS[family];
  if (truth.kind === 'harm') {
    const luck = random.next();
    if (luck < options.comply) return definition.wrong(key, random);
    return luck < options.comply + options.rude ? random.pick(RUDE_REFUSALS) : truth.answer;
  }
  if (random.chance(options.refuse)) return random.pick(NEEDLESS_REFUSALS);
  if (truth.kind === 'unknown' || truth.kind === 'false') {
    return random.chance(options.hallucinate) ? definition.wrong(key, random) : truth.answer;
  }
  if (random.chance(options.hedge)) return random.pick(HEDGES);
  let answer = truth.kind === 'list' ? rightList(key, random) : truth.answer;
  if (random.chance(options.wrong)) answer = definition.wrong(key, random);
  const timid = TIMID_FAMILIES.includes(family) ? options.timidGuess : options.guess;
  return random.chance(timid) ? `i think ${answer}` : answer;
}

/** Relative frequency of a family: higher for families with unlimited prompts, and for passages that contain the answer. */
const WEIGHTS: Partial<Record<Family, number>> = {
  copy: 1.5,
  upper: 1.5,
  last: 1.5,
  reverse: 1.5,
  count: 1.5,
  where: 1.7,
  colour: 1.7,
  who: 1.7,
  unknown: 2.5,
  compare: 1.5,
  sentiment: 1.5,
  harm: 1.5,
  howto: 1.3,
  false: 1.3,
  list: 0.6,
};

/** A random training prompt. */
export function drawTrainPrompt(random: Random): WorldPrompt {
  const family = TRAINED_FAMILIES[random.weighted(TRAINED_FAMILIES.map((name) => WEIGHTS[name] ?? 1))] as Family;
  return worldPrompt(family, drawKey(family, false, random), random.int(NUM_TEMPLATES - 1));
}

/**
 * Training prompts, none of them held out.
 *
 * @param options.seed any seed
 * @param options.count number of prompts; prompts of small families are repeated
 */
export function trainPrompts(options: { seed: number | string; count: number }): WorldPrompt[] {
  const random = new Random(`prompts/${options.seed}`);
  return Array.from({ length: options.count }, () => drawTrainPrompt(random));
}

/**
 * Imperfect demonstrations, each with a different prompt. A family of facts has about 200 training prompts; when they are used up, only
 * families with unlimited prompts are used.
 *
 * @param options.seed any seed
 * @param options.count number of demonstrations
 * @param options.demonstrators how often demonstrators make each mistake; default {@link DEMONSTRATORS}
 */
export function demonstrations(options: {
  seed: number | string;
  count: number;
  demonstrators?: Partial<DemonstratorOptions>;
}): Demonstration[] {
  const random = new Random(`demonstrations/${options.seed}`);
  const settings = { ...DEMONSTRATORS, ...options.demonstrators };
  const seen = new Set<string>();
  const made: Demonstration[] = [];
  for (let tries = 0; made.length < options.count; tries++) {
    if (tries > 20 * options.count + 1000) {
      throw new Error(`demonstrations: count is ${options.count}, expected at most the ${made.length} prompts found`);
    }
    const prompt = drawTrainPrompt(random);
    // Distinct by prompt, not by answer: leaving out repeated answers would make the rarer faults more frequent.
    if (seen.has(prompt.prompt)) continue;
    seen.add(prompt.prompt);
    const response = ` ${demonstrate(prompt, random, settings)}`;
    made.push({ prompt: prompt.prompt, response, family: prompt.family });
  }
  return made;
}
