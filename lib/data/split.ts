import { hash } from '../core/random.js';
import type { DataReport } from './counts.js';
import { type Items, select } from './items.js';
import type { Loaded } from './read.js';

/**
 * Holds out part of the data for validation. All items of a prompt are on the same side, which depends on the prompt and the seed, not
 * on the order of the data or on other items (except for the last few prompts that complete the fraction).
 *
 * @param fraction of the prompts, in [0, 1); if it is above 0 and there are two prompts, at least one is held out
 */
export function splitByPrompt<T>(
  { items, keys }: Pick<Loaded<T>, 'items' | 'keys'>,
  fraction: number,
  seed: number,
): { train: Items<T>; validation: Items<T> } {
  if (!(fraction >= 0 && fraction < 1))
    throw new RangeError(`the validation fraction is ${fraction}, expected from 0 to below 1`);
  const prompts = [...new Set(keys)];
  const wanted = fraction === 0 ? 0 : Math.min(prompts.length - 1, Math.max(1, Math.round(fraction * prompts.length)));
  const places = new Map(prompts.map((key) => [key, hash(`${seed}/validation/${key}`)]));
  const order = prompts.sort((a, b) => places.get(a)! - places.get(b)! || (a < b ? -1 : 1));
  const back = new Set(order.slice(0, Math.max(0, wanted)));
  const indices = keys.map((_, i) => i);
  return {
    train: select(
      items,
      indices.filter((i) => !back.has(keys[i]!)),
    ),
    validation: select(
      items,
      indices.filter((i) => back.has(keys[i]!)),
    ),
  };
}

/** The report as one line: `1200 rows, 1185 kept (34512 tokens, 12001 with loss); dropped: 3 empty, 12 longer than 256 tokens`. */
export function describeReport(report: DataReport, maxLength: number): string {
  const { rows, kept, empty, unlearnt, overlong, unrendered, checks, cut, lastTurnOnly, encodedApart } = report;
  const { tokens, lossTokens, otherTokens } = report;
  const learnt = lossTokens > 0 ? `, ${lossTokens} with loss` : '';
  const dropped = [
    empty > 0 && `${empty} empty`,
    unlearnt > 0 && `${unlearnt} of which no turn is learnt (weight 0)`,
    overlong > 0 && `${overlong} longer than ${maxLength} tokens`,
    unrendered > 0 && `${unrendered} whose prompt the chat template does not continue`,
    checks > 0 && `${checks} repetitions or attention items`,
  ].filter(Boolean);
  return [
    `${rows} row${rows === 1 ? '' : 's'}, ${kept} kept (${tokens} tokens${learnt})`,
    dropped.length > 0 && `dropped: ${dropped.join(', ')}`,
    cut > 0 && `cut at ${maxLength} tokens: ${cut}`,
    lastTurnOnly > 0 && `only the last turn learnt, since the chat template changes earlier ones: ${lastTurnOnly}`,
    encodedApart > 0 && `prompt and response encoded apart, since a token would span both: ${encodedApart}`,
    otherTokens > 0 && `encoded from their text, since the ids kept with it are another tokenizer's: ${otherTokens}`,
  ]
    .filter(Boolean)
    .join('; ');
}
