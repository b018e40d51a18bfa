import type { Estimate } from '../statistics/index.js';

/** One measured number of one model, with its 95 % interval. */
export interface Figure extends Estimate {
  /** What was measured: `perplexity`, `MC1`, `F1`. */
  readonly name: string;
  readonly model: string;
  /** The file, or the set of prompts. */
  readonly data: string;
  /** How to write it: a share is shown in percent. */
  readonly unit: 'share' | 'number';
  /** What `count` counts: questions, documents. */
  readonly of: string;
  /** One of the kinds of the data: a category, a kind of bias. */
  readonly category?: string | undefined;
  /** What a reader needs beside it: rows left out, the accuracy of the scorer. */
  readonly note?: string | undefined;
}

/** The figure of all, then of each category if there are several. */
export function perCategory<T>(
  items: readonly T[],
  categoryOf: (item: T) => string | undefined,
  figureOf: (some: readonly T[], category: string | undefined) => Figure,
): Figure[] {
  const categories = [...new Set(items.map(categoryOf))].filter((one) => one !== undefined).sort();
  const each = categories.length < 2 ? [] : categories;
  return [
    figureOf(items, undefined),
    ...each.map((category) =>
      figureOf(
        items.filter((item) => categoryOf(item) === category),
        category,
      ),
    ),
  ];
}

/** `3 rows were left out: …`, or undefined. */
export function leftOut(count: number, why: string): string | undefined {
  return count === 0 ? undefined : `${count} ${count === 1 ? 'row was' : 'rows were'} left out: ${why}`;
}
