/** Ends of responses: token ids, and stop strings from the caller. */
import { endsOf, type ModelConfig, type SpecialTokens } from '../huggingface/modelconfig.js';
import type { Tokenizer } from '../tokenizer/tokenizer.js';

/** The ids that end a response: the tokenizer's end-of-text, and the model's own that its vocabulary has. */
export function stopTokensOf({
  tokenizer,
  specialTokens,
  config,
}: {
  readonly tokenizer: Tokenizer;
  readonly specialTokens: SpecialTokens;
  readonly config: ModelConfig;
}): number[] {
  return [...new Set([tokenizer.endOfText, ...endsOf(specialTokens)])].filter((id) => id < config.vocabSize);
}

/** A `stopWhen` for generation: true once the response contains one of the stop strings, which may be special tokens. */
export function stopWhen(
  stop: readonly string[] | undefined,
  tokenizer: Tokenizer,
): ((tokens: Int32Array) => boolean) | undefined {
  if (!stop || stop.length === 0) return undefined;
  // A stop string ends within the newest token, and each token has at least one byte, so only the last tokens need be checked.
  const reach = Math.max(...stop.map((text) => Buffer.byteLength(text))) + 4;
  return (tokens) => {
    const end = tokenizer.decode(tokens.subarray(Math.max(0, tokens.length - reach)), false);
    return stop.some((text) => end.includes(text));
  };
}

/** @returns how much of a text is certain while its last `held` code units may be part of a stop string; no character is cut in two */
export function certainLength(text: string, held: number): number {
  const end = Math.max(0, text.length - held);
  const isHigh = end > 0 && end < text.length && (text.charCodeAt(end - 1) & 0xfc00) === 0xd800;
  return isHigh ? end - 1 : end;
}

/**
 * The text of a response before its first stop string, without special tokens.
 *
 * @param prompt the ids that it follows
 */
export function textOf(
  { prompt, tokens }: { readonly prompt: ArrayLike<number>; readonly tokens: Int32Array },
  tokenizer: Tokenizer,
  stop: readonly string[] = [],
): string {
  const decode = (ids: Int32Array, skipSpecial: boolean) => tokenizer.decodeAfter(prompt, ids, skipSpecial);
  const end = stop.length === 0 ? -1 : firstOf(decode(tokens, false), stop);
  if (end < 0) return decode(tokens, true);
  let count = 0; // tokens before the stop string
  while (decode(tokens.subarray(0, count + 1), false).length <= end) count++;
  const before = tokens.subarray(0, count);
  return decode(before, true) + decode(tokens, false).slice(decode(before, false).length, end);
}

/** Where the first of the strings begins; -1 if the text has none. */
function firstOf(text: string, strings: readonly string[]): number {
  const found = strings.map((wanted) => text.indexOf(wanted)).filter((at) => at >= 0);
  return found.length === 0 ? -1 : Math.min(...found);
}
