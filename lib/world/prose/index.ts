/** The prose a base model is trained on: knowledge occurs in it, instructions are not followed in it. */

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
  /** Number of documents; without it, and without `chars`, they never end. */
  count?: number;
  /** Characters to write: stops after the document that reaches them. */
  chars?: number;
  /** Longest document in words and marks; a trained vocabulary needs about 1.1 tokens for each. Default 88. */
  maxPieces?: number;
  /** How often passages speak of somebody they do not tell of. Default 'rare'. */
  absence?: Absence;
  /** Question-and-answer pages: share of the documents (default 0.09), coverage of the families (0.8), share of wrong answers (0.25). */
  pages?: Partial<PageOptions & { share: number }>;
}

const WRITERS = { song, signs, drill, people, search, retold, facts, primer, numbers, ways, letters } as const;

/** Shares of the kinds of documents, pages aside. Sequences that come back (the first six) are three quarters. */
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

/** Documents of the world's prose, one after the other; the same for the same options. */
export function* pretrainDocuments(options: ProseOptions): Generator<string> {
  const { seed, count = Number.POSITIVE_INFINITY, chars = Number.POSITIVE_INFINITY } = options;
  const { maxPieces = 88, absence = 'rare' } = options;
  const { share = 0.09, coverage = 0.8, wrong = 0.25 } = options.pages ?? {};
  const random = new Random(`prose/${seed}`);
  const kinds = Object.keys(WRITERS) as (keyof typeof WRITERS)[];
  const weights = kinds.map((kind) => SHARES[kind]);
  let written = 0;
  for (let i = 0; i < count && written < chars; i++) {
    // Short and long documents: a model must not learn that a text ends only when its window does.
    const limit = Math.min(maxPieces, 40 + random.int(Math.max(1, maxPieces - 39)));
    const text = random.chance(share)
      ? page(random, maxPieces, { coverage, wrong })
      : WRITERS[kinds[random.weighted(weights)] as keyof typeof WRITERS](random, limit, absence);
    if (pieces(text) === 0) continue;
    written += text.length;
    yield text;
  }
}
