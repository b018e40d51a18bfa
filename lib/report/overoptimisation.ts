/** Over-optimisation of a reward model: best-of-n, and the functional forms of Gao et al. 2023 (arXiv 2210.10760). */
import type { BestOfN, GaoFit } from './types.js';

/** KL of best-of-n from the sampled policy, nats: an upper bound, exact where scores have no ties (Stiennon et al. 2020). */
export function bestOfNKl(n: number): number {
  return Math.log(n) - (n - 1) / n;
}

/** Scores of N samples of one prompt, by the reward model (proxy) and the judge (gold). */
export interface ScoredSamples {
  readonly proxy: readonly number[];
  readonly gold: readonly number[];
}

/**
 * Unbiased estimates of the scores of best-of-n by the proxy, for every n from the same N ≥ n samples (Nakano et al. 2021, app. I):
 * Σ over i = n..N of C(i-1, n-1) / C(N, n) · gold(i), samples sorted by proxy, ascending. Samples with equal proxies have their mean gold.
 *
 * @param prompts the samples of each prompt
 * @param sizes the values of n, each at most the N of every prompt
 * @returns one point per n, its scores minus those of n = 1
 */
export function bestOfN(prompts: readonly ScoredSamples[], sizes: readonly number[]): BestOfN[] {
  if (prompts.length === 0) throw new RangeError('bestOfN: prompts is empty, expected at least one');
  const sorted = prompts.map(sortByProxy);
  const mean = (n: number, of: keyof ScoredSamples) =>
    sorted.reduce((sum, samples, p) => sum + expectedMaximum(samples[of], n, p), 0) / sorted.length;
  const proxyOfOne = mean(1, 'proxy');
  const goldOfOne = mean(1, 'gold');
  return sizes.map((n) => ({
    n,
    kl: bestOfNKl(n),
    proxy: mean(n, 'proxy') - proxyOfOne,
    gold: mean(n, 'gold') - goldOfOne,
  }));
}

function sortByProxy({ proxy, gold }: ScoredSamples, prompt: number): ScoredSamples {
  if (proxy.length !== gold.length) {
    throw new RangeError(
      `bestOfN: prompt ${prompt} has ${proxy.length} proxies and ${gold.length} golds, expected the same number`,
    );
  }
  const order = proxy.map((_, i) => i).sort((a, b) => proxy[a]! - proxy[b]!);
  const sortedProxy = order.map((i) => proxy[i]!);
  const sortedGold = order.map((i) => gold[i]!);
  // Ties between equal proxies are broken at random: each of them counts as their mean.
  for (let start = 0, end = 0; start < order.length; start = end) {
    while (end < order.length && sortedProxy[end] === sortedProxy[start]) end++;
    const mean = sortedGold.slice(start, end).reduce((sum, value) => sum + value, 0) / (end - start);
    sortedGold.fill(mean, start, end);
  }
  return { proxy: sortedProxy, gold: sortedGold };
}

function expectedMaximum(values: readonly number[], n: number, prompt: number): number {
  const N = values.length;
  if (!Number.isInteger(n) || n < 1 || n > N) {
    throw new RangeError(`bestOfN: n is ${n}, expected an integer from 1 to the ${N} samples of prompt ${prompt}`);
  }
  const all = logBinomial(N, n);
  let sum = 0;
  for (let i = n; i <= N; i++) sum += Math.exp(logBinomial(i - 1, n - 1) - all) * values[i - 1]!;
  return sum;
}

// In logarithms, since C(1024, 512) overflows a double.
function logBinomial(n: number, k: number): number {
  return logFactorial(n) - logFactorial(k) - logFactorial(n - k);
}

const logFactorials = [0];
function logFactorial(n: number): number {
  for (let i = logFactorials.length; i <= n; i++) logFactorials.push(logFactorials[i - 1]! + Math.log(i));
  return logFactorials[n]!;
}

/** The value of a fit at d = √KL. */
export function gaoValue({ form, alpha, beta }: Pick<GaoFit, 'form' | 'alpha' | 'beta'>, d: number): number {
  return d * (alpha - beta * (form === 'rl' ? Math.log(d) : d));
}

/**
 * Least squares of gold = d (α - β d), best-of-n, or d (α - β ln d), RL, with d = √KL.
 *
 * @param points gold scores relative to those at KL 0; points without a positive KL carry no information and are left out
 * @returns undefined if fewer than three points are left, or all have the same KL
 */
export function fitGao(
  of: string,
  form: GaoFit['form'],
  points: readonly { readonly kl: number; readonly gold: number }[],
): GaoFit | undefined {
  const used = points.filter(({ kl, gold }) => kl > 0 && Number.isFinite(gold));
  // gold = α x - β y with x = d and y = d² or d ln d: normal equations of two unknowns.
  let [xx, xy, yy, xg, yg, gg] = [0, 0, 0, 0, 0, 0];
  for (const { kl, gold } of used) {
    const x = Math.sqrt(kl);
    const y = x * (form === 'rl' ? Math.log(x) : x);
    xx += x * x;
    xy += x * y;
    yy += y * y;
    xg += x * gold;
    yg += y * gold;
    gg += gold * gold;
  }
  const determinant = xx * yy - xy * xy;
  if (used.length < 3 || determinant <= 1e-12 * xx * yy) return undefined;
  const alpha = (xg * yy - yg * xy) / determinant;
  const beta = (xg * xy - yg * xx) / determinant;
  const residual = used.reduce(
    (sum, { kl, gold }) => sum + (gold - gaoValue({ form, alpha, beta }, Math.sqrt(kl))) ** 2,
    0,
  );
  return { of, form, alpha, beta, r2: gg > 0 ? 1 - residual / gg : 1, points: used.length };
}
