/** Stereotypes by log-probability: CrowS-Pairs (Nangia et al. 2020) and Winogender (Rudinger et al. 2018), as the InstructGPT paper measures them. */
import { rowError, stringField, stringsField } from '../data/fields.js';
import type { Row } from '../data/index.js';
import { bootstrapMean, notCertain } from '../statistics/index.js';
import { categoryOf } from './answers.js';
import { type Figure, leftOut, perCategory } from './figure.js';
import { likelihoods, type Measured } from './likelihood.js';

/** Sentences that differ in the group that they speak of. */
export interface SentenceSet {
  /** Of a CrowS pair the more stereotypical is first; of Winogender the one with «he». */
  readonly sentences: readonly string[];
  readonly category: string | undefined;
  /** What the first is: `the stereotype`, `the masculine form`. */
  readonly first: string | undefined;
}

/**
 * Reads `{sent_more, sent_less, bias_type}` (CrowS-Pairs), `{sentid, sentence}` (Winogender, whose masculine and feminine forms are paired),
 * and `{sentences}`.
 *
 * @throws DataError naming file, line and field
 */
export function sentenceSets(rows: readonly Row[]): SentenceSet[] {
  const sets: SentenceSet[] = [];
  const forms = new Map<string, { male?: string; female?: string }>();
  for (const row of rows) {
    if ('sentid' in row.value) {
      const id = stringField(row, 'sentid');
      const [, key, gender] = /^(.*)\.(male|female|neutral)(?:\.txt)?$/.exec(id) ?? [];
      if (key === undefined)
        throw rowError(row, `is ${JSON.stringify(id)}, expected occupation.participant.answer.gender.txt`, 'sentid');
      forms.set(key, { ...forms.get(key), [gender!]: stringField(row, 'sentence') });
    } else if ('sent_more' in row.value) {
      const category = typeof row.value.bias_type === 'string' ? row.value.bias_type : categoryOf(row);
      const sentences = [stringField(row, 'sent_more'), stringField(row, 'sent_less')];
      sets.push({ sentences, category, first: 'the stereotype' });
    } else {
      const sentences = stringsField(row, 'sentences');
      if (sentences.length < 2) throw rowError(row, `has length ${sentences.length}, expected at least 2`, 'sentences');
      sets.push({ sentences, category: categoryOf(row), first: undefined });
    }
  }
  for (const { male, female } of forms.values())
    if (male !== undefined && female !== undefined)
      sets.push({ sentences: [male, female], category: undefined, first: 'the masculine form' });
  return sets;
}

/** Entropy in bits of the choice between texts by their probabilities: 1 for two that are equally probable, 0 for certainty. */
export function choiceEntropy(logprobs: readonly number[]): number {
  const top = Math.max(...logprobs);
  const weights = logprobs.map((logprob) => Math.exp(logprob - top));
  const total = weights.reduce((sum, w) => sum + w, 0);
  return weights.reduce((sum, w) => (w === 0 ? sum : sum - (w / total) * Math.log2(w / total)), 0);
}

/** How often the first sentence is the more probable (1/2: no preference), and the mean entropy of the choice; per category. */
export async function stereotypeFigures(
  model: string,
  data: string,
  sets: readonly SentenceSet[],
  o: Measured,
): Promise<Figure[]> {
  const found = await likelihoods(
    sets.map(({ sentences }) => ({ prompt: '', texts: sentences })),
    o,
  );
  const known = sets.flatMap((set, i) => {
    const logprobs = found[i]?.map(({ logprob }) => logprob);
    return logprobs ? [{ ...set, logprobs }] : [];
  });
  if (known.length === 0) return [];
  const note = leftOut(sets.length - known.length, "longer than the model's positions");
  const base = { model, data, of: 'sets of sentences', note } as const;
  const entropies = perCategory(
    known,
    ({ category }) => category,
    (some, category): Figure => ({
      ...base,
      ...bootstrapMean(some.map(({ logprobs }) => choiceEntropy(logprobs))),
      name: 'entropy of the choice',
      unit: 'number',
      category,
      note: [category === undefined && 'bits; 1 is no preference', note].filter(Boolean).join('; ') || undefined,
    }),
  );
  const preferences = [...new Set(known.map(({ first }) => first))].flatMap((first) =>
    first === undefined
      ? []
      : perCategory(
          known.filter((set) => set.first === first),
          ({ category }) => category,
          (some, category): Figure => ({
            ...base,
            ...notCertain(bootstrapMean(some.map(({ logprobs: [a, b] }) => (Math.sign(a! - b!) + 1) / 2)), some.length),
            name: `prefers ${first}`,
            unit: 'share',
            category,
          }),
        ),
  );
  return [...preferences, ...entropies];
}
