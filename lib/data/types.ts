/**
 * Training data of the phases: token ids, already cut to the model's length. lib/data reads them from files; a program may also make
 * them itself.
 */

/**
 * A sequence in which some tokens carry loss: a prompt and its response, a dialogue with several responses, a document. A response
 * is one span; a document's span is everything but its first token.
 */
export interface TrainSequence {
  /** (N) the whole sequence. */
  readonly tokens: Int32Array;
  /** (2 · spans) start and end (exclusive) of each span with loss, as indices into `tokens`; start ≥ 1, ascending, not overlapping. */
  readonly spans: Int32Array;
}

/** A prompt with ranked responses. */
export interface RankedResponses {
  /** At least one token. */
  readonly prompt: Int32Array;
  /** (K ≥ 2) each at least one token, including its end-of-text token if it ended. */
  readonly responses: readonly Int32Array[];
  /** (K) 0 is best, equal ranks are ties. */
  readonly ranks: Int32Array;
}

/** A response that was called good or bad. */
export interface Feedback {
  /** At least one token. */
  readonly prompt: Int32Array;
  /** At least one token, including its end-of-text token if it ended. */
  readonly response: Int32Array;
  readonly desirable: boolean;
}

/** A prompt to sample responses for: at least one token. */
export type Prompt = Int32Array;

/** Tokens of a sequence that carry loss. */
export function lossTokens(sequence: TrainSequence): number {
  const { spans } = sequence;
  let sum = 0;
  for (let i = 0; i < spans.length; i += 2) sum += spans[i + 1]! - spans[i]!;
  return sum;
}

/** A prompt and its one response as a sequence to train on. @throws RangeError if either is empty */
export function demonstration(prompt: ArrayLike<number>, response: ArrayLike<number>): TrainSequence {
  if (prompt.length === 0) throw new RangeError('the prompt is empty, expected at least one token');
  if (response.length === 0) throw new RangeError('the response is empty, expected at least one token');
  const tokens = new Int32Array(prompt.length + response.length);
  tokens.set(prompt);
  tokens.set(response, prompt.length);
  return { tokens, spans: Int32Array.of(prompt.length, tokens.length) };
}

/** A document as a sequence to train on: every token but the first. @throws RangeError below two tokens */
export function document(tokens: Int32Array): TrainSequence {
  if (tokens.length < 2)
    throw new RangeError(`a document of ${tokens.length} tokens has no token to predict, expected at least 2`);
  return { tokens, spans: Int32Array.of(1, tokens.length) };
}
