/** Strengths of many models from comparisons of two, with ties: Davidson's extension of the Bradley–Terry model. */
import { type BootstrapOptions, placesOf, resampled } from './bootstrap.js';
import { quantile } from './estimates.js';

/** One judgement of two responses to one prompt. */
export interface Comparison {
  /** The prompt, or what else is resampled as a whole. */
  readonly prompt: string | number;
  readonly a: string;
  readonly b: string;
  /** 1 if `a` is preferred, 0 if `b` is, 0.5 for a tie. */
  readonly outcome: number;
  /** What was compared, in the order a, b: two judgements can agree only if they are of the same outputs. */
  readonly outputs?: readonly [string, string] | undefined;
  /** Who judged, if there are several: resampled too. */
  readonly labeler?: string | undefined;
}

export interface Strength {
  readonly model: string;
  /** Log-odds of being preferred where neither ties; 0 is the mean of all models. 95 % interval. */
  readonly strength: number;
  readonly low: number;
  readonly high: number;
  /** Comparisons of the model. */
  readonly count: number;
}

export interface BradleyTerry {
  /** Strongest first. */
  readonly models: readonly Strength[];
  /** Log-odds of a tie against a win between models of equal strength; undefined if there are no ties. */
  readonly tie: number | undefined;
  /**
   * How the intervals were made: by bootstrap over prompts and labelers; or, where resampling would show no uncertainty because some models
   * never lose to the others, or nothing differs between prompts, by profile likelihood, with each prompt counted once per pair of models.
   */
  readonly intervals: 'bootstrap' | 'profile';
}

/** How often each ordered pair of models won or tied: (M, M) row-major, `wins[i * M + j]` of i over j, `ties` with i < j. */
interface Tallies {
  readonly M: number;
  readonly wins: Float64Array;
  readonly ties: Float64Array;
}

export interface BradleyTerryOptions extends BootstrapOptions {
  /** Precision of a normal prior of each strength, which keeps the strength of a model that always wins finite. Default 0.01. */
  readonly prior?: number | undefined;
}

/**
 * Fits P(i beats j) ∝ exp θᵢ, P(tie) ∝ exp(δ + (θᵢ + θⱼ) / 2) by maximum likelihood (Davidson 1970).
 *
 * @param comparisons of at least two models
 * @throws RangeError for no comparisons, or of a model with itself
 */
export function bradleyTerry(
  comparisons: readonly Comparison[],
  { prior = 0.01, resamples = 500, seed }: BradleyTerryOptions = {},
): BradleyTerry {
  if (comparisons.length === 0) throw new RangeError('bradleyTerry: there are no comparisons, expected at least one');
  const names = [...new Set(comparisons.flatMap(({ a, b }) => [a, b]))];
  const M = names.length;
  const index = new Map(names.map((name, i) => [name, i]));
  const prompts = placesOf(comparisons.map(({ prompt }) => prompt));
  const labelers = placesOf(comparisons.map(({ labeler }) => labeler ?? ''));
  const sides = comparisons.map(({ a, b }) => [index.get(a)!, index.get(b)!] as const);
  const counts = new Float64Array(M);
  sides.forEach(([i, j], c) => {
    if (i === j) throw new RangeError(`bradleyTerry: comparison ${c} is of ${names[i]} with itself`);
    counts[i]! += 1;
    counts[j]! += 1;
  });

  const tally = (drawn?: readonly Float64Array[]): Tallies => {
    const wins = new Float64Array(M * M);
    const ties = new Float64Array(M * M);
    comparisons.forEach(({ outcome }, c) => {
      const weight = drawn ? drawn[0]![prompts.at[c]!]! * drawn[1]![labelers.at[c]!]! : 1;
      const [i, j] = sides[c]!;
      if (outcome === 0.5) ties[Math.min(i, j) * M + Math.max(i, j)]! += weight;
      else if (outcome > 0.5) wins[i * M + j]! += weight;
      else wins[j * M + i]! += weight;
    });
    return { M, wins, ties };
  };

  const fitted = maximum(tally(), prior);
  const samples: number[][] = names.map(() => []);
  resampled(
    [prompts.size, labelers.size],
    (drawn) => {
      const { strengths } = maximum(tally(drawn), prior, fitted);
      strengths.forEach((strength, i) => {
        samples[i]!.push(strength);
      });
      return 0;
    },
    { seed, resamples },
  );
  const percentiles = samples.map((values) => {
    const sorted = Float64Array.from(values).sort();
    return { low: quantile(sorted, 0.025), high: quantile(sorted, 0.975) };
  });
  const isCertain = isSeparated(tally()) || percentiles.some(({ low, high }) => !(low < high));
  const bounds = isCertain ? profiles(once(comparisons, sides, M), prior || kWeakest, fitted.strengths) : percentiles;
  const models = names.map((model, i): Strength => {
    return { model, strength: fitted.strengths[i]!, ...bounds[i]!, count: counts[i]! };
  });
  const intervals = isCertain ? 'profile' : 'bootstrap';
  return { models: models.sort((x, y) => y.strength - x.strength), tie: fitted.tie, intervals };
}

const kWeakest = 1e-4; // without a prior the strength of a model that always wins has no upper end

/** Tallies in which each prompt counts once per pair of models: several judgements of it are not independent. */
function once(comparisons: readonly Comparison[], sides: readonly (readonly [number, number])[], M: number): Tallies {
  const keys = comparisons.map(({ prompt }, c) => JSON.stringify([prompt, ...[...sides[c]!].sort((a, b) => a - b)]));
  const times = new Map<string, number>();
  for (const key of keys) times.set(key, (times.get(key) ?? 0) + 1);
  const wins = new Float64Array(M * M);
  const ties = new Float64Array(M * M);
  comparisons.forEach(({ outcome }, c) => {
    const [i, j] = sides[c]!;
    const weight = 1 / times.get(keys[c]!)!;
    if (outcome === 0.5) ties[Math.min(i, j) * M + Math.max(i, j)]! += weight;
    else wins[outcome > 0.5 ? i * M + j : j * M + i]! += weight;
  });
  return { M, wins, ties };
}

/** Whether some models never lose to the others, nor tie: the likelihood then has no maximum (Ford 1957). */
function isSeparated({ M, wins, ties }: Tallies): boolean {
  const beat = (i: number, j: number) => wins[i * M + j]! + ties[Math.min(i, j) * M + Math.max(i, j)]! > 0;
  const reached = (edge: (i: number, j: number) => boolean) => {
    const found = new Set([0]);
    for (const i of found) for (let j = 0; j < M; j++) if (edge(i, j)) found.add(j);
    return found.size;
  };
  return reached(beat) < M || reached((i, j) => beat(j, i)) < M;
}

/** Where twice the log-posterior is within the 95 % point of χ² of its maximum, for each strength less the mean, the others refitted. */
function profiles(tallies: Tallies, prior: number, strengths: Float64Array): { low: number; high: number }[] {
  const kDrop = 3.841458820694124 / 2;
  return Array.from(strengths, (strength, model) => {
    const best = maximum(tallies, prior);
    const start = best.strengths[model]!;
    const isInside = (value: number) =>
      maximum(tallies, prior, best, { model, value }).logPosterior >= best.logPosterior - kDrop;
    const end = (direction: 1 | -1) => {
      let step = 0.5;
      while (step < 1e3 && isInside(start + direction * step)) step *= 2;
      let [inside, outside] = [0, step];
      for (let k = 0; k < 30; k++) {
        const middle = (inside + outside) / 2;
        if (isInside(start + direction * middle)) inside = middle;
        else outside = middle;
      }
      return start + direction * inside;
    };
    return { low: Math.min(strength, end(-1)), high: Math.max(strength, end(1)) };
  });
}

interface Fit {
  readonly logPosterior: number;
  readonly strengths: Float64Array;
  readonly tie: number | undefined;
}

/**
 * Newton's method on the concave log-likelihood of a multinomial logit.
 *
 * @param pinned a strength less the mean that is held at a value
 */
function maximum(
  { M, wins, ties }: Tallies,
  prior: number,
  from?: Fit,
  pinned?: { readonly model: number; readonly value: number },
): Fit {
  const hasTies = ties.some((count) => count > 0);
  const P = M + (hasTies ? 1 : 0);
  const x = new Float64Array(P);
  if (from) x.set(from.strengths);
  if (hasTies) x[M] = from?.tie ?? 0;
  let logPosterior = 0;
  for (let iteration = 0; iteration < 100; iteration++) {
    logPosterior = 0;
    const gradient = new Float64Array(P);
    const hessian = new Float64Array(P * P); // of the negative log-likelihood
    for (let i = 0; i < M; i++) {
      logPosterior -= (prior / 2) * x[i]! ** 2;
      gradient[i] = -prior * x[i]!;
      hessian[i * P + i] = prior;
    }
    if (hasTies) hessian[M * P + M] = 1e-9;
    for (let i = 0; i < M; i++) {
      for (let j = i + 1; j < M; j++) {
        const observed = [wins[i * M + j]!, wins[j * M + i]!, ties[i * M + j]!];
        const n = observed[0]! + observed[1]! + observed[2]!;
        if (n === 0) continue;
        // Utilities are linear in (θᵢ, θⱼ, δ), with these coefficients.
        const features = [
          [1, 0, 0],
          [0, 1, 0],
          [0.5, 0.5, 1],
        ].slice(0, hasTies ? 3 : 2);
        const at = [i, j, M].slice(0, hasTies ? 3 : 2);
        const utilities = features.map((f) => at.reduce((sum, p, k) => sum + f[k]! * x[p]!, 0));
        const top = Math.max(...utilities);
        const weights = utilities.map((u) => Math.exp(u - top));
        const total = weights.reduce((sum, w) => sum + w, 0);
        const shares = weights.map((w) => w / total);
        for (const [k, u] of utilities.entries()) logPosterior += observed[k]! * (u - top - Math.log(total));
        const mean = at.map((_, k) => features.reduce((sum, f, o) => sum + shares[o]! * f[k]!, 0));
        at.forEach((p, k) => {
          gradient[p]! += features.reduce((sum, f, o) => sum + observed[o]! * f[k]!, 0) - n * mean[k]!;
          at.forEach((q, l) => {
            const second = features.reduce((sum, f, o) => sum + shares[o]! * f[k]! * f[l]!, 0);
            hessian[p * P + q]! += n * (second - mean[k]! * mean[l]!);
          });
        });
      }
    }
    if (pinned) {
      // As a stiff spring: its energy is left out of the log-posterior.
      const kSpring = 1e7;
      const of = (p: number) => (p === pinned.model ? 1 : 0) - 1 / M;
      const mean = x.subarray(0, M).reduce((sum, value) => sum + value, 0) / M;
      const off = x[pinned.model]! - mean - pinned.value;
      for (let p = 0; p < M; p++) {
        gradient[p]! -= kSpring * off * of(p);
        for (let q = 0; q < M; q++) hessian[p * P + q]! += kSpring * of(p) * of(q);
      }
    }
    const step = solve(hessian, gradient);
    // A long step can leave the region where the quadratic model holds.
    const longest = Math.max(...step.map(Math.abs));
    const scale = Math.min(1, 2 / longest);
    for (let p = 0; p < P; p++) x[p]! += scale * step[p]!;
    if (longest < 1e-10) break;
  }
  const mean = x.subarray(0, M).reduce((sum, value) => sum + value, 0) / M;
  return {
    logPosterior,
    strengths: Float64Array.from(x.subarray(0, M), (value) => value - mean),
    tie: hasTies ? x[M]! : undefined,
  };
}

/** A x = b for a symmetric positive (semi)definite matrix, by Gaussian elimination with pivots. */
function solve(matrix: Float64Array, right: Float64Array): Float64Array {
  const n = right.length;
  const A = Float64Array.from(matrix);
  const b = Float64Array.from(right);
  for (let c = 0; c < n; c++) {
    let pivot = c;
    for (let r = c + 1; r < n; r++) if (Math.abs(A[r * n + c]!) > Math.abs(A[pivot * n + c]!)) pivot = r;
    if (Math.abs(A[pivot * n + c]!) < 1e-14) continue;
    for (let k = 0; k < n && pivot !== c; k++) [A[c * n + k], A[pivot * n + k]] = [A[pivot * n + k]!, A[c * n + k]!];
    if (pivot !== c) [b[c], b[pivot]] = [b[pivot]!, b[c]!];
    for (let r = c + 1; r < n; r++) {
      const factor = A[r * n + c]! / A[c * n + c]!;
      for (let k = c; k < n; k++) A[r * n + k]! -= factor * A[c * n + k]!;
      b[r]! -= factor * b[c]!;
    }
  }
  const x = new Float64Array(n);
  for (let c = n - 1; c >= 0; c--) {
    if (Math.abs(A[c * n + c]!) < 1e-14) continue;
    let rest = b[c]!;
    for (let k = c + 1; k < n; k++) rest -= A[c * n + k]! * x[k]!;
    x[c] = rest / A[c * n + c]!;
  }
  return x;
}
