/** Which rankings count as a person's judgement, where heed label asked twice or tested attention, or a file has a row again. */
import type { Label } from './labels.js';
import { rankingsOf } from './values.js';

export interface CountedLabels {
  /** One judgement of each labeler of the same responses: the last; without repeats and attention items. */
  readonly labels: readonly Label[];
  /** Of people, with their repeats: what agreement with themselves is over. */
  readonly withRepeats: readonly Label[];
  /** What was not counted, in words. */
  readonly notes: readonly string[];
}

/**
 * Leaves out rows of the purposes `repeat` and `attention`, and all but the last judgement of a labeler of the same responses. Rows without
 * a labeler may be of different people and are all counted.
 */
export function countedLabels(all: readonly Label[]): CountedLabels {
  const withRepeats = all.filter(({ purpose }) => purpose !== 'attention');
  const first = withRepeats.filter(({ purpose }) => purpose !== 'repeat');
  const keys = rankingsOf(first).map(({ item, labeler }) => JSON.stringify([item, labeler]));
  const last = new Map(keys.map((key, i) => [key, i]));
  const labels = first.filter(({ labeler }, i) => labeler === 'unknown' || last.get(keys[i]!) === i);
  const notes = [
    [all.length - withRepeats.length, 'of attention items'],
    [withRepeats.length - first.length, 'given a second time to measure agreement with oneself'],
    [first.length - labels.length, 'of responses that the same labeler judged again later'],
  ] as const;
  return {
    labels,
    withRepeats,
    notes: notes.flatMap(([count, what]) =>
      count === 0
        ? []
        : [`${count} ${count === 1 ? 'ranking' : 'rankings'} ${what} ${count === 1 ? 'is' : 'are'} not counted`],
    ),
  };
}
