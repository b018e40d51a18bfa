/** The prompts for evaluation: neither they nor prompts with the same subject were used in training. */

import { Random } from '../core/random.js';
import { DEFINITIONS, drawKey, worldPrompt } from './families/index.js';
import { FAMILIES, HELD_OUT_FAMILIES, NUM_TEMPLATES, type WorldPrompt } from './types.js';

/**
 * Distinct held-out prompts of every family. The instance is always held out; one phrasing in five never occurs in training, and the
 * held-out families are entirely new.
 *
 * @param options.seed any seed
 * @param options.perFamily number per family; a small family gives all it has (a list has 30)
 */
export function heldOutPrompts(options: { seed: number | string; perFamily: number }): WorldPrompt[] {
  const random = new Random(`held out/${options.seed}`);
  return FAMILIES.flatMap((family) => {
    const chosen = new Map<string, WorldPrompt>();
    const start = random.int(NUM_TEMPLATES);
    for (let tries = 0; chosen.size < options.perFamily && tries < 50 * options.perFamily; tries++) {
      const anyKey = HELD_OUT_FAMILIES.includes(family) && DEFINITIONS[family].keys !== undefined;
      const key = drawKey(family, anyKey ? random.chance(0.2) : true, random);
      const prompt = worldPrompt(family, key, (start + tries) % NUM_TEMPLATES);
      chosen.set(prompt.prompt, prompt);
    }
    return [...chosen.values()];
  });
}
