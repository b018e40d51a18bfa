/**
 * Few-shot prompts for the base model. They look like the question-and-answer pages of its prose, with right answers in the examples,
 * which is the best prompt for a base model. An answer ends at the first newline.
 */

import { Random } from '../core/random.js';
import { DEFINITIONS, drawKey } from './families/index.js';
import { PAGE_SPEAKERS, pageFamilies } from './prose/pages.js';
import { type Family, HELD_OUT_FAMILIES, type WorldPrompt } from './types.js';

/** The end of an answer to a few-shot prompt. */
export const FEW_SHOT_STOP = '\n';

/** Settings of {@link fewShot}. */
export interface FewShotOptions {
  /** Number of examples (default 3). */
  shots?: number;
  /** Examples from other families (default) or, for training families, from the same one. */
  kind?: 'mixed' | 'same';
  seed?: number | string;
}

/**
 * The prompt for a base model: a page of examples, the instruction, and the place for the answer.
 * Examples are never held-out instances.
 */
export function fewShot(prompt: WorldPrompt, options: FewShotOptions = {}): string {
  const { shots = 3, kind = 'mixed', seed = 0 } = options;
  const random = new Random(`few-shot/${seed}/${prompt.prompt}`);
  const [asks, answers] = PAGE_SPEAKERS;
  const same = kind === 'same' && !HELD_OUT_FAMILIES.includes(prompt.family);
  const mixed = random.sample(
    pageFamilies(1).filter((family) => family !== 'unknown' && family !== 'harm'),
    same ? 0 : shots,
  );
  const lines = Array.from({ length: shots }, (_, i) => {
    const family = same ? prompt.family : (mixed[i] as Family);
    const key = drawKey(family, false, random);
    const definition = DEFINITIONS[family];
    const instruction = same ? definition.instruction(key, random.int(4)) : definition.page(key, random.int(2));
    return `${asks}: ${instruction}\n${answers}: ${definition.truth(key).answer}\n`;
  });
  return `${lines.join('')}${asks}: ${prompt.instruction}\n${answers}:`;
}
