/** The ids that a model sampled, of rows that have them: training on these is training on what was judged. */
import type { Tokenizer } from '../tokenizer/tokenizer.js';
import type { Counts } from './counts.js';
import { promptOf, transcriptTurns } from './dialogue.js';
import type { Row } from './rows.js';

export interface SampledIds {
  readonly prompt: Int32Array;
  /** As they were sampled: without an end-of-text token where an answer was cut off. */
  readonly responses: readonly Int32Array[];
}

/**
 * A row's `prompt_tokens` and `tokens`, of a file of feedback: `tokens` is one list for a `response`, and one per response of a ranking.
 *
 * @returns undefined, and counts it, if they are another tokenizer's, which shows in that they do not decode to the row's text; undefined
 *   too for a row without them
 */
export function sampledIds(
  row: Row,
  tokenizer: Tokenizer,
  counts: Pick<Counts, 'otherTokens'>,
): SampledIds | undefined {
  const { prompt_tokens: before, tokens, response, responses: several } = row.value;
  if (!isIds(before) || !Array.isArray(tokens)) return undefined;
  const texts = (several ?? [response]) as unknown[];
  const lists = (several ? tokens : [tokens]) as unknown[];
  if (!Array.isArray(texts) || lists.length !== texts.length || !lists.every(isIds)) return undefined;
  const isOurs =
    lists.every((ids, k) => areIdsOf(texts[k], before, ids, tokenizer)) &&
    hasPrompt(tokenizer.decode(before, false), row);
  if (!isOurs) {
    counts.otherTokens++;
    return undefined;
  }
  return { prompt: Int32Array.from(before), responses: lists.map((ids) => Int32Array.from(ids)) };
}

/** Whether a response's ids, and those before it, are the tokenizer's own: they decode to its text. */
export function areIdsOf(
  text: unknown,
  before: ArrayLike<number>,
  ids: ArrayLike<number>,
  tokenizer: Tokenizer,
): boolean {
  const isKnown = (id: number) => id < tokenizer.vocabSize;
  if (!Array.from(before).every(isKnown) || !Array.from(ids).every(isKnown)) return false;
  // The text may end before the tokens do, at a stop string, and a chat's answer is kept without the space before it.
  const decoded = tokenizer.decodeAfter(before, ids).trimStart();
  return typeof text === 'string' && decoded.startsWith(text.trimStart());
}

/** Which of a row's responses were cut off, by their `finish`: these have no end. */
export function cutOffIn({ value: { finish } }: Row): boolean[] {
  return [finish].flat().map((each) => each === 'length' || each === 'abort');
}

const isIds = (value: unknown): value is number[] =>
  Array.isArray(value) && value.length > 0 && value.every((id) => Number.isInteger(id) && id >= 0);

/** A template may write earlier turns of the assistant differently, the others it repeats. */
function hasPrompt(decoded: string, row: Row): boolean {
  const { text, isTranscript, dialogue } = promptOf(row) as ReturnType<typeof promptOf> & { isTranscript?: boolean };
  if (text !== undefined && decoded.includes(text)) return true;
  const turns = dialogue?.messages ?? (isTranscript ? transcriptTurns(text!) : [{ role: 'user', content: text! }]);
  return turns.every(({ role, content }) => role === 'assistant' || decoded.includes(content.trim()));
}
