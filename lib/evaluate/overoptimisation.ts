/**
 * Over-optimisation of reward models (Gao et al. 2023, arXiv 2210.10760): a held-out gold reward while a proxy is optimised, by best-of-n and
 * by training, against d = √KL from the initial policy; and ensembles of proxies as a defence (Coste et al. 2023).
 */
import { bestOfN, bestOfNKl, fitGao } from '../report/overoptimisation.js';
import type { GaoFit } from '../report/types.js';
import { together } from '../rewards/index.js';
import { type Estimate, quantile, resampled } from '../statistics/index.js';

/** A point of a curve; scores in standard deviations of single samples of the initial policy, from their mean. */
export interface CurvePoint {
  /** Best of so many samples; undefined for a trained policy. */
  readonly n?: number | undefined;
  /** A trained policy's name. */
  readonly model?: string | undefined;
  /** Nats per response; of best-of-n an upper bound, log n − (n − 1) / n, exact where scores have no ties. */
  readonly kl: number;
  readonly proxy: Estimate;
  readonly gold: Estimate;
}

/** A curve with its fit. */
export interface OverCurve {
  /** What is optimised: a proxy's name, or `mean`, `worst`, `uncertainty` of all. */
  readonly of: string;
  readonly points: readonly CurvePoint[];
  /** gold = d (α − β d) for best-of-n, d (α − β ln d) for training; undefined where three points with different KL are missing. */
  readonly fit:
    | (GaoFit & {
        readonly alphaInterval?: Pick<Estimate, 'low' | 'high'> | undefined;
        readonly betaInterval?: Pick<Estimate, 'low' | 'high'> | undefined;
      })
    | undefined;
  /** d at which the fit is highest: gold falls beyond. undefined if it does not turn; without an interval where most resamples do not. */
  readonly turn: (Partial<Pick<Estimate, 'low' | 'high'>> & { readonly value: number }) | undefined;
  /** The point with the highest gold among those measured. */
  readonly best: CurvePoint;
}

/** Scores of single samples: (prompts) (samples). */
export type SampleScores = readonly (readonly number[])[];

const kEnsembles = ['mean', 'worst', 'uncertainty'] as const;

/** Scores in units of the standard deviation of `from`, from its mean. */
export function standardised(scores: SampleScores, from: SampleScores = scores): number[][] {
  const all = from.flat();
  const mean = all.reduce((sum, x) => sum + x, 0) / all.length;
  const spread = Math.sqrt(all.reduce((sum, x) => sum + (x - mean) ** 2, 0) / all.length) || 1;
  return scores.map((of) => of.map((x) => (x - mean) / spread));
}

/** The proxies, and with several of them their ensembles, each in its own standard deviations over `from`. */
export function proxiesWithEnsembles(
  proxies: readonly { readonly name: string; readonly scores: SampleScores }[],
  from: readonly { readonly name: string; readonly scores: SampleScores }[] = proxies,
): { name: string; scores: number[][] }[] {
  const own = proxies.map(({ name, scores }, i) => ({ name, scores: standardised(scores, from[i]!.scores) }));
  if (own.length < 2) return own;
  return [
    ...own,
    ...kEnsembles.map((by) => ({
      name: by,
      scores: own[0]!.scores.map((of, p) =>
        of.map((_, s) =>
          together(
            { by },
            own.map(({ scores }) => scores[p]![s]!),
          ),
        ),
      ),
    })),
  ];
}

/** 1, 2, 4, … up to the number of samples, and that itself. */
export function sizesUpTo(samples: number): number[] {
  const sizes = Array.from({ length: Math.floor(Math.log2(samples)) + 1 }, (_, i) => 2 ** i);
  return sizes.at(-1) === samples ? sizes : [...sizes, samples];
}

/**
 * Best-of-n by each proxy and by their ensembles, for n up to the number of samples: unbiased estimates from all samples of a prompt
 * (Nakano et al. 2021). Intervals and those of the fit are by bootstrap over prompts.
 *
 * @param gold the held-out reward of the same samples
 */
export function bestOfNCurves(
  proxies: readonly { readonly name: string; readonly scores: SampleScores }[],
  gold: SampleScores,
  seed = 0,
): OverCurve[] {
  const samples = Math.min(...gold.map(({ length }) => length));
  const sizes = sizesUpTo(samples);
  const goldUnits = standardised(gold);
  return proxiesWithEnsembles(proxies).map(({ name, scores }) => {
    const each = scores.map((proxy, p) => bestOfN([{ proxy, gold: goldUnits[p]! }], sizes));
    const measured = sizes.map((n, k) => ({
      n,
      kl: bestOfNKl(n),
      proxy: each.map((of) => of[k]!.proxy),
      gold: each.map((of) => of[k]!.gold),
    }));
    return curveOf(name, 'best-of-n', measured, seed);
  });
}

/** A trained policy's samples, scored. */
export interface PolicyScores {
  readonly model: string;
  /** From the initial policy, nats per response. */
  readonly kl: Estimate;
  readonly proxies: readonly { readonly name: string; readonly scores: SampleScores }[];
  readonly gold: SampleScores;
}

/**
 * Checkpoints of a run that optimised the first proxy (or `of`) by training, as points of one curve.
 *
 * @param initial scores of the initial policy on the same prompts, from which all are counted
 */
export function trainingCurve(
  of: string,
  initial: Pick<PolicyScores, 'proxies' | 'gold'>,
  policies: readonly PolicyScores[],
  seed = 0,
): OverCurve {
  const perPrompt = (scores: SampleScores) => scores.map((s) => s.reduce((sum, x) => sum + x, 0) / s.length);
  const units = (scores: SampleScores, from: SampleScores) => {
    const start = perPrompt(standardised(from));
    return perPrompt(standardised(scores, from)).map((x, p) => x - start[p]!);
  };
  const measured = policies.map(({ model, kl, proxies, gold }) => ({
    model,
    kl: kl.value,
    proxy: units(proxies[0]!.scores, initial.proxies[0]!.scores),
    gold: units(gold, initial.gold),
  }));
  return curveOf(of, 'rl', measured, seed);
}

/** A point before its prompts are averaged: scores are (prompts). */
type MeasuredPoint = Pick<CurvePoint, 'n' | 'model' | 'kl'> & {
  readonly proxy: readonly number[];
  readonly gold: readonly number[];
};

const kResamples = 1000;

/** Averages points over prompts and fits them; one bootstrap over prompts gives the intervals of all. */
function curveOf(of: string, form: GaoFit['form'], measured: readonly MeasuredPoint[], seed: number): OverCurve {
  const prompts = measured[0]!.gold.length;
  const meansOf = (times: Float64Array) => {
    const total = times.reduce((sum, n) => sum + n, 0);
    const mean = (values: readonly number[]) => values.reduce((sum, x, p) => sum + times[p]! * x, 0) / total;
    return measured.map(({ kl, proxy, gold }) => ({ kl, proxy: mean(proxy), gold: mean(gold) }));
  };
  const whole = meansOf(new Float64Array(prompts).fill(1));
  const again: { means: typeof whole; fit: GaoFit | undefined }[] = [];
  resampled(
    [prompts],
    ([times]) => {
      const means = meansOf(times!);
      again.push({ means, fit: fitGao(of, form, means) });
      return 0;
    },
    { seed, resamples: kResamples },
  );
  const intervalOf = (
    value: (one: (typeof again)[number]) => number | undefined,
  ): Pick<Estimate, 'low' | 'high'> | undefined => {
    const values = Float64Array.from(again.map(value).filter((x) => x !== undefined)).sort();
    if (values.length < kResamples / 2) return undefined;
    return { low: quantile(values, 0.025), high: quantile(values, 0.975) };
  };
  const estimated = (k: number, score: 'proxy' | 'gold'): Estimate => ({
    value: whole[k]![score],
    ...intervalOf(({ means }) => means[k]![score])!,
    count: prompts,
  });
  const points = measured.map(
    ({ proxy: _, gold: __, ...point }, k): CurvePoint => ({
      ...point,
      proxy: estimated(k, 'proxy'),
      gold: estimated(k, 'gold'),
    }),
  );
  const fit = fitGao(of, form, whole);
  const turn = fit && turnOf(fit);
  return {
    of,
    points,
    fit: fit && {
      ...fit,
      alphaInterval: intervalOf((one) => one.fit?.alpha),
      betaInterval: intervalOf((one) => one.fit?.beta),
    },
    turn: turn === undefined ? undefined : { value: turn, ...intervalOf((one) => one.fit && turnOf(one.fit)) },
    best: points.reduce((best, one) => (one.gold.value > best.gold.value ? one : best)),
  };
}

/** The d with the highest gold: α / 2β for best-of-n, exp(α/β − 1) for training. undefined if the fit only rises or only falls. */
export function turnOf({ form, alpha, beta }: Pick<GaoFit, 'form' | 'alpha' | 'beta'>): number | undefined {
  if (beta <= 0) return undefined;
  if (form === 'rl') return Math.exp(alpha / beta - 1);
  return alpha > 0 ? alpha / (2 * beta) : undefined;
}
