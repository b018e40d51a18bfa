/** The text a tokenizer for the world is trained on: its prose, and instructions in their frame. */

import { demonstrations } from './demonstrations.js';
import { pretrainDocuments } from './prose/index.js';

/**
 * Texts to train a vocabulary on. A fifth are framed demonstrations, so that "User:" and the words instructions begin
 * with are whole tokens.
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
