/** Training text of the world's tokenizer: its prose, and demonstrations with their prompts. */

import { demonstrations } from './demonstrations.js';
import { pretrainDocuments } from './prose/index.js';

/**
 * Texts to train a vocabulary on. A fifth are demonstrations in their prompt format, so that "User:" and the first words of
 * instructions are single tokens.
 *
 * @param options.seed any seed
 * @param options.count number of texts (20000 suffice for 1536 tokens)
 */
export function tokenizerText(options: { seed: number | string; count: number }): string[] {
  const numDemonstrations = Math.ceil(options.count / 5);
  return [
    ...pretrainDocuments({ seed: options.seed, count: options.count - numDemonstrations }),
    ...demonstrations({ seed: options.seed, count: numDemonstrations }).map(
      ({ prompt, response }) => prompt + response,
    ),
  ];
}
