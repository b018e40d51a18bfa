/** Win rates: who is preferred to whom, by which judge, with which certainty, and whether judges agree. */
import {
  type BootstrapOptions,
  type BradleyTerry,
  bootstrapRatio,
  bradleyTerry,
  type Comparison,
  clusteredMean,
  type Estimate,
  notCertain,
  type WinRate,
} from '../statistics/index.js';
import type { Judged } from './judges.js';

/** How often two judges have the same verdict on the same pair of outputs: the same texts, but for white space around them. */
export interface JudgeAgreement {
  readonly judge: string;
  readonly other: string;
  /** A tie agrees with a tie only. */
  readonly withTies: Estimate;
  /** Over pairs that neither calls a tie; undefined if there are none. */
  readonly withoutTies: Estimate | undefined;
}

/** A win rate with what stands beside it. */
export interface JudgedWinRate extends WinRate {
  readonly judge: string;
  /** Prompts of the comparisons. */
  readonly prompts: number;
  /** Labelers of the comparisons; undefined for a judge that is no group of people. */
  readonly labelers: number | undefined;
  /** The category of the prompts; undefined for all. */
  readonly category?: string | undefined;
  /** How far other judges agree on these pairs of outputs, and the labelers among themselves. */
  readonly agreement: readonly JudgeAgreement[];
}

export interface WinReport {
  readonly rates: readonly JudgedWinRate[];
  readonly byCategory: readonly JudgedWinRate[];
  /** The table of each judge; of more than two models. */
  readonly tables: readonly ({ readonly judge: string } & BradleyTerry)[];
  /** Over all pairs of outputs. */
  readonly agreement: readonly JudgeAgreement[];
  /** Judges that judged no pair of outputs in common, of whose agreement nothing is known. */
  readonly apart: readonly (readonly [judge: string, other: string])[];
  readonly judges: readonly {
    readonly judge: string;
    readonly comparisons: number;
    readonly labelers: number | undefined;
    readonly failed: number;
    readonly lastError?: string | undefined;
  }[];
}

export interface WinOptions extends BootstrapOptions {
  /** Models in the order of their rows; each is compared with all before it. Default: in order of appearance. */
  readonly models?: readonly string[] | undefined;
  /** The category of a prompt. */
  readonly categoryOf?: ((prompt: string | number) => string | undefined) | undefined;
}

/**
 * Win rates of every two models by every judge, with intervals by bootstrap over prompts, and over labelers too where several judged.
 *
 * @throws RangeError if no judge compared anything
 */
export function winReport(judged: readonly Judged[], o: WinOptions = {}): WinReport {
  const models = [
    ...new Set([...(o.models ?? []), ...judged.flatMap((j) => j.comparisons.flatMap(({ a, b }) => [a, b]))]),
  ];
  const sets = judged.map((one) => ({ ...one, comparisons: one.comparisons.map((c) => inOrder(c, models)) }));
  const categories = o.categoryOf
    ? [...new Set(sets.flatMap(({ comparisons }) => comparisons.map(({ prompt }) => o.categoryOf!(prompt))))]
    : [];
  const ratesOf = (keep: (c: Comparison) => boolean, category?: string): JudgedWinRate[] => {
    const kept = sets.map((set) => ({ ...set, comparisons: set.comparisons.filter(keep) }));
    return pairs(models).flatMap(([a, b]) => {
      const some = kept.map((set) => ({ ...set, comparisons: set.comparisons.filter((c) => c.a === a && c.b === b) }));
      return some.flatMap((set) => {
        if (set.comparisons.length === 0) return [];
        const agreement = agreementsOf(some, o).filter(
          ({ judge, other }) => judge === set.judge || other === set.judge,
        );
        return [{ ...rateOf(set, b, a, o), agreement, ...(category === undefined ? {} : { category }) }];
      });
    });
  };
  const rates = ratesOf(() => true);
  if (rates.length === 0)
    throw new RangeError(
      'no judge compared two models: the outputs have no prompt in common, or every judgement failed',
    );
  const agreement = agreementsOf(sets, o);
  return {
    rates,
    byCategory: categories.flatMap((category) =>
      category === undefined ? [] : ratesOf(({ prompt }) => o.categoryOf!(prompt) === category, category),
    ),
    tables: sets.flatMap(({ judge, comparisons }) =>
      new Set(comparisons.flatMap(({ a, b }) => [a, b])).size > 2
        ? [{ judge, ...bradleyTerry(comparisons, { seed: o.seed }) }]
        : [],
    ),
    agreement,
    apart: pairs(sets.filter(({ comparisons }) => comparisons.length > 0).map(({ judge }) => judge)).filter(
      ([judge, other]) => !agreement.some((one) => one.judge === judge && one.other === other),
    ),
    judges: sets.map(({ judge, comparisons, failed, lastError }) => ({
      judge,
      comparisons: comparisons.length,
      labelers: labelersOf(comparisons),
      failed,
      ...(lastError === undefined ? {} : { lastError }),
    })),
  };
}

/** The same judgement with the earlier model first. */
function inOrder(c: Comparison, models: readonly string[]): Comparison {
  if (models.indexOf(c.a) <= models.indexOf(c.b)) return c;
  const outputs = c.outputs && ([c.outputs[1], c.outputs[0]] as const);
  return { ...c, a: c.b, b: c.a, outcome: 1 - c.outcome, outputs };
}

const pairs = (models: readonly string[]) => models.flatMap((a, i) => models.slice(i + 1).map((b) => [a, b] as const));

function labelersOf(comparisons: readonly Comparison[]): number | undefined {
  const named = new Set(comparisons.map(({ labeler }) => labeler));
  return named.has(undefined) ? undefined : named.size;
}

/** The rate of `model`, the second of each comparison. */
function rateOf(
  { judge, comparisons }: Judged,
  model: string,
  against: string,
  o: BootstrapOptions,
): Omit<JudgedWinRate, 'agreement'> {
  const tally = { wins: 0, ties: 0, losses: 0 };
  for (const { outcome } of comparisons) tally[outcome === 0.5 ? 'ties' : outcome < 0.5 ? 'wins' : 'losses']++;
  const prompts = comparisons.map(({ prompt }) => prompt);
  const labelers = labelersOf(comparisons);
  const count = new Set(prompts).size;
  const { value, low, high } = notCertain(
    clusteredMean(
      comparisons.map(({ outcome }) => 1 - outcome),
      [prompts, ...(labelers === undefined ? [] : [comparisons.map(({ labeler }) => labeler!)])],
      o,
    ),
    count,
  );
  return { judge, model, against, rate: value, low, high, ...tally, prompts: count, labelers };
}

/** Agreement of every two judges, and of people among themselves. */
export function agreementsOf(judged: readonly Judged[], o: BootstrapOptions = {}): JudgeAgreement[] {
  return judged.flatMap((first, i) =>
    judged.slice(i).flatMap((second) => {
      const found = agreementOf(first, second, o);
      return found ? [found] : [];
    }),
  );
}

function agreementOf(first: Judged, second: Judged, o: BootstrapOptions): JudgeAgreement | undefined {
  const isSame = first === second;
  const keyOf = ({ prompt, a, b, outputs }: Comparison) =>
    JSON.stringify([prompt, a, b, ...(outputs ?? []).map((text) => text.trim())]);
  const theirs = new Map<string, Comparison[]>();
  for (const c of second.comparisons) theirs.set(keyOf(c), [...(theirs.get(keyOf(c)) ?? []), c]);
  const byPrompt = new Map<string | number, { pairs: number; alike: number; strict: number; strictAlike: number }>();
  const place = new Map<Comparison, number>(second.comparisons.map((c, i) => [c, i]));
  first.comparisons.forEach((ours, i) => {
    for (const other of theirs.get(keyOf(ours)) ?? []) {
      // Among themselves each two labelers are compared once, and nobody with himself.
      if (isSame && (place.get(other)! <= i || other.labeler === ours.labeler)) continue;
      const counts = byPrompt.get(ours.prompt) ?? { pairs: 0, alike: 0, strict: 0, strictAlike: 0 };
      byPrompt.set(ours.prompt, counts);
      const alike = Number(ours.outcome === other.outcome);
      const strict = Number(ours.outcome !== 0.5 && other.outcome !== 0.5);
      counts.pairs++;
      counts.alike += alike;
      counts.strict += strict;
      counts.strictAlike += alike * strict;
    }
  });
  const counts = [...byPrompt.values()];
  const ratio = (part: 'alike' | 'strictAlike', whole: 'pairs' | 'strict') => {
    const some = counts.filter((one) => one[whole] > 0);
    const found = bootstrapRatio(
      some.map((one) => one[part]),
      some.map((one) => one[whole]),
      o,
    );
    return found && notCertain(found, some.length);
  };
  const withTies = ratio('alike', 'pairs');
  return withTies && { judge: first.judge, other: second.judge, withTies, withoutTies: ratio('strictAlike', 'strict') };
}
