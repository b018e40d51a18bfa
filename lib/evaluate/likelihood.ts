/** Log-probabilities of texts that follow a prompt: what perplexity, multiple choice and stereotypes are measured by. */
import { concat, Frame } from '../data/frame.js';
import type { Tree } from '../runtime/batch.js';
import type { LanguageModel } from '../runtime/model.js';
import type { Tokenizer } from '../tokenizer/tokenizer.js';
import { logprobsOf } from './trees.js';

export interface Likelihood {
  /** Σ log-probability of the text's tokens, nats. */
  readonly logprob: number;
  readonly tokens: number;
  /** UTF-8 bytes of the text. */
  readonly bytes: number;
}

export interface Continued {
  /** Empty: the texts begin after the end of another text. */
  readonly prompt: string;
  readonly texts: readonly string[];
}

export interface Measured {
  readonly model: LanguageModel;
  readonly tokenizer: Tokenizer;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((done: number) => void) | undefined;
}

/** What stands before a text's first token, so that it is predicted too: the tokenizer's own prefix, or the end of another text. */
export const startOf = ({ prefix, endOfText }: Tokenizer): Int32Array =>
  prefix.length > 0 ? Int32Array.from(prefix) : Int32Array.of(endOfText);

/**
 * Log-probabilities of texts after their prompts, without an end-of-text token.
 *
 * @returns (items) (texts); undefined for an item that is longer than the model's positions
 */
export async function likelihoods(
  items: readonly Continued[],
  { model, tokenizer, signal, onProgress }: Measured,
): Promise<(Likelihood[] | undefined)[]> {
  const frame = new Frame(tokenizer);
  const found: (Likelihood[] | undefined)[] = [];
  const kAtOnce = 64;
  for (let begin = 0; begin < items.length; begin += kAtOnce) {
    const some = items.slice(begin, begin + kAtOnce);
    const trees = await Promise.all(
      some.map(async ({ prompt, texts }): Promise<Tree & { responses: readonly Int32Array[] }> => {
        const ids = await tokenizer.encode(prompt, { signal });
        const before = { text: prompt, ids };
        const after = await Promise.all(texts.map((text) => tokenizer.encodeAfter(before, text, { signal })));
        const start = prompt === '' ? startOf(tokenizer) : await frame.promptIds(prompt, { signal });
        // A tokenizer puts its prefix before a text of its own, which has one here already.
        const { prefix } = tokenizer;
        const bare = (tokens: Int32Array) =>
          prompt === '' && prefix.length > 0 && prefix.every((id, i) => tokens[i] === id)
            ? tokens.slice(prefix.length)
            : tokens;
        return { prompt: start, responses: after.map((one) => bare(one.ids)) };
      }),
    );
    const fits = trees.map(({ prompt, responses }) =>
      responses.every((ids) => ids.length > 0 && prompt.length + ids.length <= model.config.maxPositions),
    );
    const kept = trees.filter((_, i) => fits[i]);
    const sums = await logprobsOf(model, kept, signal);
    let at = 0;
    some.forEach(({ texts }, i) => {
      const of = fits[i] ? sums[at++]! : undefined;
      const { responses } = trees[i]!;
      found.push(
        of?.map((logprob, k) => ({ logprob, tokens: responses[k]!.length, bytes: Buffer.byteLength(texts[k]!) })),
      );
    });
    onProgress?.(Math.min(items.length, begin + kAtOnce));
  }
  return found;
}

/** Ids of a text in windows of a model's positions, which overlap by one token: every token is predicted once. */
export function windowsOf(ids: Int32Array, tokenizer: Tokenizer, maxLength: number): Int32Array[] {
  const { prefix } = tokenizer;
  const starts = prefix.length > 0 && prefix.every((id, i) => ids[i] === id);
  const all = starts ? ids : concat([startOf(tokenizer), ids]);
  const windows: Int32Array[] = [];
  for (let begin = 0; begin < all.length - 1; begin += maxLength - 1) windows.push(all.slice(begin, begin + maxLength));
  return windows;
}
