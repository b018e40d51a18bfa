/** The prose that a base model is trained on: it contains the facts, but no followed instructions. */

import { Random } from '../../core/random.js';
import { drill, signs, song } from './echoes.js';
import { facts, letters, numbers, primer, ways } from './lessons.js';
import { type PageOptions, page } from './pages.js';
import { type Absence, people, retold, search } from './people.js';
import { pieces } from './text.js';

export type { Absence };

/** Settings of {@link pretrainDocuments}. */
export interface ProseOptions {
  seed: number | string;
  /** Number of documents; without it and `chars` there is no end. */
  count?: number;
  /** Stops after the document that reaches this number of characters. */
  chars?: number;
  /** Longest document in words and marks; a trained vocabulary needs about 1.1 tokens for each. Default 88. */
  maxPieces?: number;
  /** How often documents refer to somebody whom the passage does not mention. Default 'rare'. */
  absence?: Absence;
  /** Question-and-answer pages: fraction of the documents (default 0.09), of the families (0.8) and of wrong answers (0.25). */
  pages?: Partial<PageOptions & { share: number }>;
}

const WRITERS = { song, signs, drill, people, search, retold, facts, primer, numbers, ways, letters } as const;

/** Fractions of the kinds of documents other than pages. Those with repeated sequences (the first six) are three quarters. */
const SHARES: Readonly<Record<keyof typeof WRITERS, number>> = {
  song: 0.16,
  signs: 0.13,
  drill: 0.09,
  people: 0.2,
  search: 0.14,
  retold: 0.03,
  facts: 0.1,
  primer: 0.03,
  numbers: 0.07,
  ways: 0.04,
  letters: 0.01,
};

/** Documents of the world's prose; deterministic for given options. */
export function* pretrainDocuments(options: ProseOptions): Generator<string> {
  const { seed, count = Number.POSITIVE_INFINITY, chars = Number.POSITIVE_INFINITY } = options;
  const { maxPieces = 88, absence = 'rare' } = options;
  const { share = 0.09, coverage = 0.8, wrong = 0.25 } = options.pages ?? {};
  const random = new Random(`prose/${seed}`);
  const kinds = Object.keys(WRITERS) as (keyof typeof WRITERS)[];
  const weights = kinds.map((kind) => SHARES[kind]);
  let written = 0;
  for (let i = 0; i < count && written < chars; i++) {
    // Short and long documents, so that a model does not learn that texts end only at the end of its window.
    const limit = Math.min(maxPieces, 40 + random.int(Math.max(1, maxPieces - 39)));
    const text = random.chance(share)
      ? page(random, maxPieces, { coverage, wrong })
      : WRITERS[kinds[random.weighted(weights)] as keyof typeof WRITERS](random, limit, absence);
    if (pieces(text) === 0) continue;
    written += text.length;
    yield text;
  }
}
