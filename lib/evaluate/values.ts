/** Whose preferences a reward model learnt: its accuracy for each labeler and each group, beside how far the labelers agree. */
import type { Frame } from '../data/index.js';
import type { Tree } from '../runtime/batch.js';
import type { ScalarModel } from '../runtime/model.js';
import {
  type Agreement,
  type BootstrapOptions,
  clusteredMean,
  type Estimate,
  krippendorffAlpha,
  type LabeledRanking,
  labelerAgreement,
  notCertain,
  pairwiseAgreement,
  rankUnits,
  selfAgreement,
} from '../statistics/index.js';
import type { Label } from './labels.js';
import { scoresOf } from './trees.js';

/** A reward model's scores of a label's responses; undefined if one is too long. */
export type LabelScores = readonly (ArrayLike<number> | undefined)[];

/** A pair of responses that a labeler ordered. */
interface OrderedPair {
  readonly label: Label;
  /** 1 if the scores order it alike, 0.5 if they are equal. */
  readonly correct: number;
}

export interface Accuracy {
  readonly model: string;
  /** Share of pairs that the labeler did not call a tie and that the model orders alike. `count` is their number. */
  readonly accuracy: Estimate;
}

export interface LabelerReport {
  readonly labeler: string;
  readonly group: string | undefined;
  readonly labels: number;
  /** Of pairs. */
  readonly ties: number;
  /** With all others who ranked the same responses. */
  readonly agreement: Agreement | undefined;
  readonly accuracies: readonly Accuracy[];
}

/** What the page shows of labelers. */
export interface ValuesReport {
  readonly labelers: readonly LabelerReport[];
  readonly groups: readonly {
    readonly group: string;
    readonly labelers: number;
    readonly labels: number;
    readonly agreement: Agreement | undefined;
    readonly accuracies: readonly Accuracy[];
  }[];
  readonly prompts: number;
  readonly labels: number;
  readonly agreement: Agreement | undefined;
  readonly selfAgreement: Agreement | undefined;
  /** Krippendorff's alpha of the ranks, ordinal. */
  readonly alpha: Estimate | undefined;
  readonly accuracies: readonly Accuracy[];
  /** Where labelers disagree most: the first have the lowest agreement and the most labelers. */
  readonly disagreements: readonly {
    readonly prompt: string;
    readonly responses: readonly string[];
    readonly votes: readonly { readonly labeler: string; readonly ranks: readonly number[] }[];
  }[];
}

/**
 * The same rankings of the same responses, whatever the order in which they were shown: what agreement is over. Where rows name models,
 * equal texts of different models are different responses.
 */
export function rankingsOf(labels: readonly Label[]): LabeledRanking[] {
  return labels.map((label) => {
    const keys = keysOf(label);
    const order = inOrder(keys);
    const item = JSON.stringify([label.item, ...order.map((k) => keys[k])]);
    return { item, labeler: label.labeler, ranks: order.map((k) => label.ranks[k]!) };
  });
}

const keysOf = ({ responses, models }: Label) => responses.map((text, k) => JSON.stringify([text, models?.[k]]));
const inOrder = (keys: readonly string[]) =>
  keys.map((_, k) => k).sort((a, b) => (keys[a]! < keys[b]! ? -1 : keys[a]! > keys[b]! ? 1 : a - b));

/** Scores of all labelled responses by a reward model. */
export async function scoreLabels(
  model: ScalarModel,
  frame: Frame,
  labels: readonly Label[],
  signal?: AbortSignal,
): Promise<LabelScores> {
  const trees: Tree[] = [];
  const places: number[] = [];
  for (const [i, { source, responses }] of labels.entries()) {
    const prompt = frame.prompt(source);
    const tree = await frame.comparedIds({ prompt, texts: responses }, { signal });
    const longest = Math.max(...tree.responses.map(({ length }) => length));
    if (tree.prompt.length + longest > model.config.maxPositions) continue;
    trees.push(tree);
    places.push(i);
  }
  const found = trees.length === 0 ? [] : await scoresOf(model, trees, signal);
  const scores: (ArrayLike<number> | undefined)[] = labels.map(() => undefined);
  places.forEach((i, t) => {
    scores[i] = found[t]!;
  });
  return scores;
}

/** Every pair of responses that a label orders and that the model scored. */
export function orderedPairs(labels: readonly Label[], scores: LabelScores): OrderedPair[] {
  return labels.flatMap((label, l) => {
    const of = scores[l];
    if (!of) return [];
    const pairs: OrderedPair[] = [];
    for (let i = 0; i < label.ranks.length; i++)
      for (let j = i + 1; j < label.ranks.length; j++) {
        const wanted = Math.sign(label.ranks[j]! - label.ranks[i]!);
        if (wanted === 0) continue;
        pairs.push({ label, correct: (wanted * Math.sign(of[i]! - of[j]!) + 1) / 2 });
      }
    return pairs;
  });
}

/** Accuracy over pairs, with its interval over prompts and labelers. @returns undefined if there are none */
export function accuracyOf(pairs: readonly OrderedPair[], o: BootstrapOptions = {}): Estimate | undefined {
  if (pairs.length === 0) return undefined;
  const prompts = pairs.map(({ label }) => label.item);
  return notCertain(
    clusteredMean(
      pairs.map(({ correct }) => correct),
      [prompts, pairs.map(({ label }) => label.labeler)],
      o,
    ),
    new Set(prompts).size,
  );
}

/**
 * Accuracies of reward models by labeler and by group, and what the labels themselves say of their labelers.
 *
 * @param scored (models) each model's scores of the labels
 * @param o `withRepeats`: the labels and those that were asked again, which agreement with oneself is over. Default: the labels
 */
export function valuesReport(
  labels: readonly Label[],
  scored: readonly { readonly model: string; readonly scores: LabelScores }[],
  o: BootstrapOptions & { readonly withRepeats?: readonly Label[] | undefined } = {},
): ValuesReport {
  const rankings = rankingsOf(labels);
  const pairs = scored.map(({ model, scores }) => ({ model, pairs: orderedPairs(labels, scores) }));
  const accuraciesOf = (keep: (label: Label) => boolean): Accuracy[] =>
    pairs.flatMap((one) => {
      const accuracy = accuracyOf(
        one.pairs.filter(({ label }) => keep(label)),
        o,
      );
      return accuracy ? [{ model: one.model, accuracy }] : [];
    });
  const agreements = labelerAgreement(rankings, o);
  const names = [...new Set(labels.map(({ labeler }) => labeler))];
  const groups = [...new Set(labels.flatMap(({ group }) => group ?? []))].sort();
  const labelers = names.map((labeler): LabelerReport => {
    const own = labels.filter((label) => label.labeler === labeler);
    return {
      labeler,
      group: own[0]!.group,
      labels: own.length,
      ties: tiesOf(own),
      agreement: agreements.get(labeler),
      accuracies: accuraciesOf((label) => label.labeler === labeler),
    };
  });
  const { units, clusters } = rankUnits(rankings);
  return {
    labelers: labelers.sort((a, b) => b.labels - a.labels),
    groups: groups.map((group) => ({
      group,
      labelers: new Set(labels.filter((label) => label.group === group).map(({ labeler }) => labeler)).size,
      labels: labels.filter((label) => label.group === group).length,
      agreement: pairwiseAgreement(
        rankings.filter((_, i) => labels[i]!.group === group),
        o,
      ),
      accuracies: accuraciesOf((label) => label.group === group),
    })),
    prompts: new Set(labels.map(({ item }) => item)).size,
    labels: labels.length,
    agreement: pairwiseAgreement(rankings, o),
    selfAgreement: selfAgreement(o.withRepeats ? rankingsOf(o.withRepeats) : rankings, o),
    alpha: krippendorffAlpha(units, { metric: 'ordinal', clusters, ...o }),
    accuracies: accuraciesOf(() => true),
    disagreements: disagreementsOf(labels, rankings),
  };
}

function tiesOf(labels: readonly Label[]): number {
  let [pairs, ties] = [0, 0];
  for (const { ranks } of labels)
    for (let i = 0; i < ranks.length; i++)
      for (let j = i + 1; j < ranks.length; j++) {
        pairs++;
        ties += Number(ranks[i] === ranks[j]);
      }
  return pairs === 0 ? 0 : ties / pairs;
}

const kShown = 10;

function disagreementsOf(labels: readonly Label[], rankings: readonly LabeledRanking[]): ValuesReport['disagreements'] {
  const items = new Map<string | number, number[]>();
  rankings.forEach(({ item }, i) => {
    items.set(item, [...(items.get(item) ?? []), i]);
  });
  return [...items.values()]
    .flatMap((of) => {
      const own = of.map((i) => rankings[i]!);
      const agreement = pairwiseAgreement(own, { resamples: 0 });
      return agreement ? [{ of, share: agreement.withTies.value }] : [];
    })
    .filter(({ share }) => share < 1)
    .sort((a, b) => a.share - b.share || b.of.length - a.of.length)
    .slice(0, kShown)
    .map(({ of }) => {
      const { item: prompt, responses } = labels[of[0]!]!;
      const order = inOrder(keysOf(labels[of[0]!]!));
      return {
        prompt,
        responses: order.map((k) => responses[k]!),
        votes: of.map((i) => ({ labeler: labels[i]!.labeler, ranks: rankings[i]!.ranks as number[] })),
      };
    });
}
