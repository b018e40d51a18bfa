/**
 * Question-and-answer pages of the quality of web pages: speakers other than those of prompts, phrasings other than those of
 * instructions, only some families, some wrong answers. They make the few-shot base a fair baseline.
 */

import { hash, type Random } from '../../core/random.js';
import { DEFINITIONS, drawKey } from '../families/index.js';
import { rightList } from '../families/knowledge.js';
import { FAMILIES, type Family, HELD_OUT_FAMILIES } from '../types.js';
import { write } from './text.js';

/** The quality of the pages. */
export interface PageOptions {
  /** Fraction of the families in the pages, 0 to 1. */
  coverage: number;
  /** Fraction of answers that are wrong or missing. */
  wrong: number;
}

/** The speakers that few-shot prompts use; half of the pages have them. */
export const PAGE_SPEAKERS = ['Q', 'A'] as const;
const SPEAKERS = [PAGE_SPEAKERS, PAGE_SPEAKERS, ['Guest', 'Host'], ['Ann', 'Ben']] as const;

const SHRUGS = ['i do not know.', 'who knows?', 'ask the king.', 'i want to know that too.', 'good morning!'];

/** The families in the pages: a fixed selection for each coverage, without the held-out ones. */
export function pageFamilies(coverage: number): Family[] {
  const trained = FAMILIES.filter((family) => !HELD_OUT_FAMILIES.includes(family));
  const ranked = [...trained].sort((a, b) => hash(`page ${a}`) - hash(`page ${b}`));
  return ranked.slice(0, Math.round(coverage * trained.length));
}

/** A right answer as on the web: complies with every request and accepts every premise. */
function webAnswer(family: Family, key: string, random: Random): string {
  const definition = DEFINITIONS[family];
  if (family === 'harm') return definition.wrong(key, random);
  if (family === 'list') return rightList(key, random);
  return definition.truth(key).answer;
}

/** One page: a few questions, each with an answer. */
export function page(random: Random, limit: number, options: PageOptions): string {
  const families = pageFamilies(options.coverage);
  const [asks, answers] = random.pick(SPEAKERS);
  const topics = random.chance(0.5) ? [random.pick(families)] : families;
  return write(
    limit,
    () => {
      const family = random.pick(topics);
      const definition = DEFINITIONS[family];
      const key = drawKey(family, false, random);
      let answer = webAnswer(family, key, random);
      if (random.chance(options.wrong)) {
        answer = random.chance(0.7) ? definition.wrong(key, random) : random.pick(SHRUGS);
      }
      return `${asks}: ${definition.page(key, random.int(2))}\n${answers}: ${answer}`;
    },
    '\n',
  );
}
