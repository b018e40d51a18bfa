import { hash } from '../core/random.js';
import type { DataReport, Loaded } from './read.js';

/**
 * Keeps a part of the data back for validation. All items of one prompt stay on one side, and which side depends on the prompt and the
 * seed alone, not on the order of the data or on what else is in it (but for the last few that make up the share).
 *
 * @param fraction of the prompts, in [0, 1); at least one prompt is kept back when it is above 0 and there are two
 */
export function splitByPrompt<T>(
  { items, keys }: Pick<Loaded<T>, 'items' | 'keys'>,
  fraction: number,
  seed: number,
): { train: T[]; validation: T[] } {
  if (!(fraction >= 0 && fraction < 1))
    throw new RangeError(`the validation fraction is ${fraction}, expected from 0 to below 1`);
  const prompts = [...new Set(keys)];
  const wanted = fraction === 0 ? 0 : Math.min(prompts.length - 1, Math.max(1, Math.round(fraction * prompts.length)));
  const places = new Map(prompts.map((key) => [key, hash(`${seed}/validation/${key}`)]));
  const order = prompts.sort((a, b) => places.get(a)! - places.get(b)! || (a < b ? -1 : 1));
  const back = new Set(order.slice(0, Math.max(0, wanted)));
  return {
    train: items.filter((_, i) => !back.has(keys[i]!)),
    validation: items.filter((_, i) => back.has(keys[i]!)),
  };
}

/** The report in a sentence: `1200 rows, 1185 kept (34512 tokens, 12001 learnt); dropped: 3 empty, 12 longer than 256 tokens`. */
export function describeReport(report: DataReport, maxLength: number): string {
  const { rows, kept, empty, overlong, cut, tokens, lossTokens } = report;
  const learnt = lossTokens > 0 ? `, ${lossTokens} learnt` : '';
  const dropped = [empty > 0 && `${empty} empty`, overlong > 0 && `${overlong} longer than ${maxLength} tokens`].filter(
    Boolean,
  );
  return [
    `${rows} rows, ${kept} kept (${tokens} tokens${learnt})`,
    dropped.length > 0 && `dropped: ${dropped.join(', ')}`,
    cut > 0 && `cut at ${maxLength} tokens: ${cut}`,
  ]
    .filter(Boolean)
    .join('; ');
}
