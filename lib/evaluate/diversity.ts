/** How varied a model's outputs are, and how long. */
import { Random } from '../core/random.js';
import { bootstrapMean, type Estimate, notCertain } from '../statistics/index.js';
import type { Figure } from './figure.js';

/** Lower-cased words and marks: what n-grams are made of. */
export function wordsOf(text: string): string[] {
  return text.toLowerCase().match(/[\p{L}\p{N}_]+|[^\p{L}\p{N}_\s]/gu) ?? [];
}

const gramsOf = (words: readonly string[], n: number): string[] =>
  Array.from({ length: Math.max(0, words.length - n + 1) }, (_, i) => words.slice(i, i + n).join(' '));

/**
 * Different n-grams / n-grams of all texts together (Li et al. 2016). It falls as there are more or longer texts: compare equal numbers.
 *
 * @returns NaN if no text has n words
 */
export function distinctN(texts: readonly (readonly string[])[], n: number): number {
  const seen = new Set<string>();
  let total = 0;
  for (const words of texts) {
    const grams = gramsOf(words, n);
    total += grams.length;
    for (const gram of grams) seen.add(gram);
  }
  return seen.size / total;
}

/**
 * The BLEU of each text with all others as its references (Zhu et al. 2018): n-grams of 1 to 4 words with equal weights, brevity penalty
 * with the closest length. Where no n-gram of a length is found in a reference, its count is 0.1, as in NLTK's `method1`. Higher is less
 * varied.
 *
 * @param texts at least two, as words; texts without words have 0
 */
export function selfBleu(texts: readonly (readonly string[])[]): number[] {
  const orders = [1, 2, 3, 4];
  const counts = orders.map((n) => texts.map((words) => countsOf(gramsOf(words, n))));
  // The two highest counts of each n-gram over texts: the highest of the others is one of them.
  const highest = counts.map((of) => {
    const top = new Map<string, { first: number; at: number; second: number }>();
    of.forEach((grams, t) => {
      for (const [gram, count] of grams) {
        const found = top.get(gram);
        if (!found) top.set(gram, { first: count, at: t, second: 0 });
        else if (count > found.first) top.set(gram, { first: count, at: t, second: found.first });
        else if (count > found.second) found.second = count;
      }
    });
    return top;
  });
  return texts.map((words, t) => {
    if (words.length === 0) return 0;
    let logs = 0;
    for (const [k, n] of orders.entries()) {
      let matched = 0;
      for (const [gram, count] of counts[k]![t]!) {
        const { first, at, second } = highest[k]!.get(gram)!;
        matched += Math.min(count, at === t ? second : first);
      }
      const total = Math.max(1, words.length - n + 1);
      if (n === 1 && matched === 0) return 0;
      logs += Math.log((matched === 0 ? 0.1 : matched) / total) / orders.length;
    }
    const nearest = texts.reduce(
      (best, other, o) =>
        o === t ||
        Math.abs(other.length - words.length) > Math.abs(best - words.length) ||
        (Math.abs(other.length - words.length) === Math.abs(best - words.length) && other.length > best)
          ? best
          : other.length,
      Number.POSITIVE_INFINITY,
    );
    return Math.exp(logs + Math.min(0, 1 - nearest / words.length));
  });
}

function countsOf(grams: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const gram of grams) counts.set(gram, (counts.get(gram) ?? 0) + 1);
  return counts;
}

/** Texts of self-BLEU and distinct-n, at most: both depend on the number. */
const kTexts = 500;

/** Distinct-1 to -3, self-BLEU and the length in words of one model's outputs. */
export function diversityFigures(model: string, data: string, outputs: readonly string[]): Figure[] {
  if (outputs.length === 0) return [];
  const every = outputs.map(wordsOf);
  const texts = every.length > kTexts ? new Random('diversity').sample(every, kTexts) : every;
  const base = { model, data, of: 'outputs' } as const;
  const figures: Figure[] = [
    { ...base, name: 'length', unit: 'number', ...bootstrapMean(every.map(({ length }) => length)), note: 'words' },
  ];
  for (const n of [1, 2, 3]) {
    // Shorter texts have no n-grams: without the others there would be nothing to divide by.
    const some = texts.filter(({ length }) => length >= n);
    if (some.length === 0) continue;
    figures.push({
      ...base,
      name: `distinct-${n}`,
      unit: 'share',
      ...jackknife(some, (part) => distinctN(part, n)),
    });
  }
  if (texts.length > 1)
    figures.push({
      ...base,
      name: 'self-BLEU',
      unit: 'share',
      ...notCertain(bootstrapMean(selfBleu(texts)), texts.length),
    });
  return figures;
}

/**
 * The interval of a statistic of a whole collection by leaving out a twentieth at a time (delete-a-group jackknife): resampling with
 * replacement would repeat texts, and repeated texts are not distinct. Where that changes nothing, Wilson's interval for as many texts.
 */
function jackknife(
  texts: readonly (readonly string[])[],
  statistic: (texts: readonly (readonly string[])[]) => number,
): Estimate {
  const value = statistic(texts);
  const groups = Math.min(20, texts.length);
  const count = texts.length;
  if (groups < 2) return { value, low: 0, high: 1, count };
  const without = Array.from({ length: groups }, (_, g) => statistic(texts.filter((_, t) => t % groups !== g)));
  const mean = without.reduce((sum, x) => sum + x, 0) / groups;
  const variance = ((groups - 1) / groups) * without.reduce((sum, x) => sum + (x - mean) ** 2, 0);
  const half = 1.96 * Math.sqrt(variance);
  return notCertain({ value, low: Math.max(0, value - half), high: Math.min(1, value + half), count }, count);
}
