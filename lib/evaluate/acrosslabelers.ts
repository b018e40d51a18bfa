/**
 * Whether a reward model generalises to people whose labels it has not seen (Ouyang et al. 2022, section 4.1 and app. E.2): trained on some
 * labelers, tested on the labels of others, beside new labels of its own labelers. Prompts are held out from both.
 */
import { hash } from '../core/random.js';
import { Frame, type RankedResponses } from '../data/index.js';
import type { ChatTemplate } from '../data/template.js';
import { finish } from '../phases/loop.js';
import { type RewardOptions, trainReward } from '../phases/reward.js';
import type { LanguageModel } from '../runtime/model.js';
import { ScalarModel } from '../runtime/model.js';
import { type BootstrapOptions, type Estimate, resampled } from '../statistics/index.js';
import type { Tokenizer } from '../tokenizer/tokenizer.js';
import type { Label } from './labels.js';
import { accuracyOf, type LabelScores, orderedPairs, scoreLabels } from './values.js';

/** One fold: who is held out, and which prompts. */
export interface Fold {
  readonly heldOut: readonly string[];
  readonly train: readonly Label[];
  /** Labels of the labelers of `train` on held-out prompts. */
  readonly own: readonly Label[];
  /** Labels of the held-out labelers on the same held-out prompts, or others of them. */
  readonly others: readonly Label[];
}

export interface AcrossLabelers {
  readonly folds: readonly {
    readonly heldOut: readonly string[];
    readonly trained: number;
    readonly own?: Estimate;
    readonly others?: Estimate;
  }[];
  /** Accuracy for labelers whose other labels were trained on. */
  readonly own: Estimate | undefined;
  /** Accuracy for labelers of whom nothing was trained on. */
  readonly others: Estimate | undefined;
  /** own − others, with its interval over prompts and labelers. */
  readonly difference: { readonly value: number; readonly low: number; readonly high: number } | undefined;
  /** Whether whole groups were held out. */
  readonly by: 'labeler' | 'group';
}

/**
 * Deals labelers (or their groups) and prompts into folds: labelers with the most labels first, each to the fold with the fewest labels;
 * prompts by a hash.
 *
 * @throws RangeError if there are fewer labelers than folds
 */
export function labelerFolds(labels: readonly Label[], folds: number, by: 'labeler' | 'group', seed = 0): Fold[] {
  const keyOf = (label: Label) => (by === 'group' ? (label.group ?? 'none') : label.labeler);
  const sizes = new Map<string, number>();
  for (const label of labels) sizes.set(keyOf(label), (sizes.get(keyOf(label)) ?? 0) + 1);
  if (sizes.size < folds)
    throw new RangeError(
      `there ${sizes.size === 1 ? `is 1 ${by}` : `are ${sizes.size} ${by}s`}, expected at least ${folds} for as many folds`,
    );
  const dealt = Array.from({ length: folds }, () => ({ names: [] as string[], size: 0 }));
  const order = [...sizes].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
  for (const [name, size] of order) {
    const least = dealt.reduce((best, one) => (one.size < best.size ? one : best));
    least.names.push(name);
    least.size += size;
  }
  const promptFold = (prompt: string) => hash(`${seed}/fold/${prompt}`) % folds;
  return dealt.map(({ names }, fold) => {
    const isOut = (label: Label) => names.includes(keyOf(label));
    const held = labels.filter(({ item }) => promptFold(item) === fold);
    return {
      heldOut: names,
      train: labels.filter((label) => !isOut(label) && promptFold(label.item) !== fold),
      own: held.filter((label) => !isOut(label)),
      others: held.filter(isOut),
    };
  });
}

export interface AcrossOptions
  extends Pick<RewardOptions, 'epochs' | 'learningRate' | 'batchSize' | 'signal' | 'seed'> {
  /** A new reward model is begun from it for every fold. */
  readonly model: LanguageModel;
  readonly tokenizer: Tokenizer;
  /** For prompts. */
  readonly template?: ChatTemplate | undefined;
  /** Default 5. */
  readonly folds?: number | undefined;
  /** Holds out whole groups. Default 'labeler'. */
  readonly by?: 'labeler' | 'group' | undefined;
  readonly onProgress?: ((fold: number) => void) | undefined;
}

/** Trains a reward model per fold and measures it on both kinds of labels. */
export async function acrossLabelers(labels: readonly Label[], o: AcrossOptions): Promise<AcrossLabelers> {
  const { folds: count = 5, by = 'labeler', seed = 0 } = o;
  const frame = new Frame(o.tokenizer, o.template);
  const tested = [];
  for (const [f, fold] of labelerFolds(labels, count, by, seed).entries()) {
    const model = await ScalarModel.from(o.model, { seed, signal: o.signal });
    try {
      const rankings = await rankingsFor(fold.train, frame, o.model.config.maxPositions, o.signal);
      const { epochs, learningRate, batchSize, signal } = o;
      await finish(trainReward({ model, rankings, epochs, learningRate, batchSize, seed, normalize: 'none', signal }));
      tested.push({
        fold,
        trained: rankings.length,
        own: await scoreLabels(model, frame, fold.own, o.signal),
        others: await scoreLabels(model, frame, fold.others, o.signal),
      });
    } finally {
      await model.dispose();
    }
    o.onProgress?.(f + 1);
  }
  return summary(tested, by, { seed });
}

async function rankingsFor(
  labels: readonly Label[],
  frame: Frame,
  maxPositions: number,
  signal?: AbortSignal,
): Promise<RankedResponses[]> {
  const rankings: RankedResponses[] = [];
  for (const { source, responses, ranks } of labels) {
    if (new Set(ranks).size < 2) continue;
    const ids = await frame.comparedIds({ prompt: frame.prompt(source), texts: responses }, { signal });
    if (ids.prompt.length === 0 || ids.responses.some(({ length }) => ids.prompt.length + length > maxPositions))
      continue;
    const levels = [...new Set(ranks)].sort((a, b) => a - b);
    rankings.push({
      prompt: ids.prompt,
      responses: ids.responses,
      ranks: Int32Array.from(ranks, (rank) => levels.indexOf(rank)),
    });
  }
  return rankings;
}

/** Accuracies of all folds together: every label is tested at most once on each side. */
export function summary(
  tested: readonly {
    readonly fold: Fold;
    readonly trained: number;
    readonly own: LabelScores;
    readonly others: LabelScores;
  }[],
  by: 'labeler' | 'group',
  o: BootstrapOptions = {},
): AcrossLabelers {
  const own = tested.flatMap(({ fold, own: scores }) => orderedPairs(fold.own, scores));
  const others = tested.flatMap(({ fold, others: scores }) => orderedPairs(fold.others, scores));
  const all = [...own.map((pair) => ({ ...pair, side: 0 })), ...others.map((pair) => ({ ...pair, side: 1 }))];
  const prompts = [...new Set(all.map(({ label }) => label.item))];
  const labelers = [...new Set(all.map(({ label }) => label.labeler))];
  const [promptAt, labelerAt] = [prompts, labelers].map((list) => new Map(list.map((name, i) => [name, i])));
  const places = all.map(({ label, correct, side }) => ({
    p: promptAt!.get(label.item)!,
    l: labelerAt!.get(label.labeler)!,
    correct,
    side,
  }));
  const differenceOf = (drawn?: readonly Float64Array[]) => {
    const sums = [0, 0];
    const counts = [0, 0];
    for (const { p, l, correct, side } of places) {
      const weight = drawn ? drawn[0]![p]! * drawn[1]![l]! : 1;
      sums[side]! += weight * correct;
      counts[side]! += weight;
    }
    return sums[0]! / counts[0]! - sums[1]! / counts[1]!;
  };
  const [seen, unseen] = [accuracyOf(own, o), accuracyOf(others, o)];
  const interval = seen && unseen && resampled([prompts.length, labelers.length], differenceOf, o);
  const difference = interval && { value: differenceOf(), ...interval };
  return {
    by,
    folds: tested.map(({ fold, trained, own: a, others: b }) => {
      const mine = accuracyOf(orderedPairs(fold.own, a), o);
      const theirs = accuracyOf(orderedPairs(fold.others, b), o);
      return { heldOut: fold.heldOut, trained, ...(mine ? { own: mine } : {}), ...(theirs ? { others: theirs } : {}) };
    }),
    own: seen,
    others: unseen,
    difference:
      difference && (difference.low < difference.high ? difference : ofShares(difference.value, seen, unseen)),
  };
}

/** The interval of a difference of two shares from theirs (Newcombe 1998, method 10), where resampling shows no uncertainty. */
function ofShares(value: number, a: Estimate, b: Estimate) {
  return {
    value,
    low: value - Math.hypot(a.value - a.low, b.high - b.value),
    high: value + Math.hypot(a.high - a.value, b.value - b.low),
  };
}
