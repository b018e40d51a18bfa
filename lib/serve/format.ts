/** Answers in the shapes of OpenAI's API: what its endpoints have in common. */
import type { RequestError } from '../http/server.js';
import type { Tokenizer } from '../tokenizer/tokenizer.js';
import type { Answer, Gain, Likely, Place } from './answer.js';
import type { PlaceShape, Usage } from './shapes.js';

export interface Header {
  readonly id: string;
  /** Seconds since 1970. */
  readonly created: number;
  readonly model: string;
}

/** A request's answers, under their header. */
export interface Answered {
  readonly header: Header;
  readonly answers: readonly Answer[];
  readonly tokenizer: Tokenizer;
}

/** What was asked for beside the texts. */
export interface Shown {
  /** The prompt comes before each text. */
  readonly echo: boolean;
  /** Each answer's tokens with log-probabilities. */
  readonly places: readonly (readonly Place[])[] | undefined;
}

/** How an endpoint shows answers. */
export interface Format {
  /** Begins an answer's id. */
  readonly prefix: string;
  whole(answered: Answered, shown: Shown): object;
  /** @param hasUsage whether it ends with the numbers of tokens */
  stream(answered: Answered, hasUsage: boolean): Events;
}

/** A stream as server-sent events, which are made as the answers grow. */
export interface Events {
  opening(): string[];
  /** @param place the token's log-probability, if it is shown */
  gain(gain: Gain, place: Place | undefined): string[];
  /** The end of one of the answers. */
  closing(choice: number): string[];
  /** The end of all. */
  complete(): string[];
  /** The end before it. */
  failure(error: RequestError): string[];
}

/** A server-sent event. @param name none for most */
export const sent = (data: unknown, name?: string) =>
  `${name === undefined ? '' : `event: ${name}\n`}data: ${typeof data === 'string' ? data : JSON.stringify(data)}\n\n`;

export function usageOf(answers: readonly Answer[]): Usage {
  const prompts = new Set(answers.map(({ prompt }) => prompt));
  const prompt_tokens = [...prompts].reduce((sum, { ids }) => sum + ids.length, 0);
  const completion_tokens = answers.reduce((sum, { tokens }) => sum + tokens.length, 0);
  return { prompt_tokens, completion_tokens, total_tokens: prompt_tokens + completion_tokens };
}

/** A token's text. */
export const textIn = (tokenizer: Tokenizer, token: number) => tokenizer.decode([token], false);

/** A token's bytes; null where it is part of a character. */
function bytesOf(text: string): number[] | null {
  return text.includes('\ufffd') ? null : [...Buffer.from(text)];
}

function tokenOf(tokenizer: Tokenizer, { token, logprob }: Likely) {
  const text = textIn(tokenizer, token);
  return { token: text, logprob, bytes: bytesOf(text) };
}

/** A token with its log-probability, as chats and responses have it. */
export const placeOf = (tokenizer: Tokenizer, place: Place): PlaceShape => ({
  ...tokenOf(tokenizer, place),
  top_logprobs: place.likeliest.map((each) => tokenOf(tokenizer, each)),
});
