/** Ends of responses: token ids, and stop strings from the caller. */
import type { ModelConfig, SpecialTokens } from '../huggingface/modelconfig.js';
import type { Tokenizer } from '../tokenizer/tokenizer.js';

/** The ids that end a response: the tokenizer's end-of-text, and the end-of-sequence ids of the model's config that its vocabulary has. */
export function stopTokensOf({
  tokenizer,
  specialTokens,
  config,
}: {
  readonly tokenizer: Tokenizer;
  readonly specialTokens: SpecialTokens;
  readonly config: ModelConfig;
}): number[] {
  const named = specialTokens.eos;
  const ids = named === undefined ? [] : typeof named === 'number' ? [named] : named;
  return [...new Set([tokenizer.endOfText, ...ids])].filter((id) => id < config.vocabSize);
}

/** A `stopWhen` for generation: true once the response contains one of the stop strings. */
export function stopWhen(
  stop: readonly string[] | undefined,
  tokenizer: Tokenizer,
): ((tokens: Int32Array) => boolean) | undefined {
  if (!stop || stop.length === 0) return undefined;
  // A stop string ends within the newest token, and each token has at least one byte, so only the last tokens need be checked.
  const reach = Math.max(...stop.map((text) => Buffer.byteLength(text))) + 4;
  return (tokens) => {
    const end = tokenizer.decode(tokens.subarray(Math.max(0, tokens.length - reach)));
    return stop.some((text) => end.includes(text));
  };
}

/** The text before the first stop string. */
export function upToStop(text: string, stop: readonly string[] = []): string {
  const ends = stop.map((wanted) => text.indexOf(wanted)).filter((at) => at >= 0);
  return ends.length === 0 ? text : text.slice(0, Math.min(...ends));
}
