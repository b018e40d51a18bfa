/** Answers in the shapes of OpenAI's API. */
import type { Tokenizer } from '../tokenizer/tokenizer.js';
import type { Answer, Gain, Likely, Place } from './answer.js';

export interface Header {
  readonly id: string;
  readonly created: number;
  readonly model: string;
}

export interface Usage {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly total_tokens: number;
}

export function usageOf(answers: readonly Answer[]): Usage {
  const prompts = new Set(answers.map(({ prompt }) => prompt));
  const prompt_tokens = [...prompts].reduce((sum, { ids }) => sum + ids.length, 0);
  const completion_tokens = answers.reduce((sum, { tokens }) => sum + tokens.length, 0);
  return { prompt_tokens, completion_tokens, total_tokens: prompt_tokens + completion_tokens };
}

/** One of the two endpoints. */
export interface Format {
  /** Begins a completion's id. */
  readonly prefix: string;
  whole(header: Header, answers: readonly Answer[], shown: Shown, tokenizer: Tokenizer): object;
  /** What a stream begins with. */
  opening(choices: number): object[];
  /** The choice of a chunk. @param offset where its token begins, if its log-probability is shown */
  chunk(gain: Gain, offset: number | undefined, tokenizer: Tokenizer): object;
  /** The last chunk of a choice. */
  closing(choice: number, finish: string): object;
  readonly chunkObject: string;
}

/** What was asked for beside the texts. */
export interface Shown {
  /** The prompt comes before each text. */
  readonly echo: boolean;
  /** Each answer's tokens with log-probabilities. */
  readonly places: readonly (readonly Place[])[] | undefined;
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

export const chat: Format = {
  prefix: 'chatcmpl-',
  chunkObject: 'chat.completion.chunk',
  whole: (header, answers, shown, tokenizer) => ({
    ...header,
    object: 'chat.completion',
    choices: answers.map((answer, index) => ({
      index,
      message: { role: 'assistant', content: answer.text, refusal: null },
      logprobs: shown.places
        ? {
            content: shown.places[index]!.map((place) => ({
              ...tokenOf(tokenizer, place),
              top_logprobs: place.likeliest.map((each) => tokenOf(tokenizer, each)),
            })),
            refusal: null,
          }
        : null,
      finish_reason: answer.finish,
    })),
    usage: usageOf(answers),
  }),
  opening: (choices) =>
    Array.from({ length: choices }, (_, index) => ({
      index,
      delta: { role: 'assistant', content: '' },
      logprobs: null,
      finish_reason: null,
    })),
  chunk: ({ choice, text, token, logprob }, offset, tokenizer) => ({
    index: choice,
    delta: { content: text },
    logprobs:
      offset !== undefined
        ? { content: [{ ...tokenOf(tokenizer, { token, logprob }), top_logprobs: [] }], refusal: null }
        : null,
    finish_reason: null,
  }),
  closing: (index, finish) => ({ index, delta: {}, logprobs: null, finish_reason: finish }),
};

export const text: Format = {
  prefix: 'cmpl-',
  chunkObject: 'text_completion',
  whole: (header, answers, shown, tokenizer) => ({
    ...header,
    object: 'text_completion',
    choices: answers.map((answer, index) => ({
      index,
      text: (shown.echo ? echoed(answer, tokenizer) : '') + answer.text,
      logprobs: shown.places ? textLogprobs(shown.places[index]!, tokenizer) : null,
      finish_reason: answer.finish,
    })),
    usage: usageOf(answers),
  }),
  opening: () => [],
  chunk: ({ choice, text, token, logprob }, offset, tokenizer) => ({
    index: choice,
    text,
    logprobs: offset === undefined ? null : textLogprobs([{ token, logprob, likeliest: [] }], tokenizer, offset),
    finish_reason: null,
  }),
  closing: (index, finish) => ({ index, text: '', logprobs: null, finish_reason: finish }),
};

/** @param at where the first token begins */
function textLogprobs(places: readonly Place[], tokenizer: Tokenizer, at = 0) {
  const tokens = places.map(({ token }) => textIn(tokenizer, token));
  let end = at;
  return {
    tokens,
    token_logprobs: places.map(({ logprob }) => (Number.isNaN(logprob) ? null : logprob)),
    top_logprobs: places.every(({ likeliest }) => likeliest.length === 0)
      ? null
      : places.map(({ likeliest, logprob }) =>
          Number.isNaN(logprob)
            ? null
            : Object.fromEntries(likeliest.map((each) => [textIn(tokenizer, each.token), each.logprob])),
        ),
    text_offset: tokens.map((token) => {
      end += token.length;
      return end - token.length;
    }),
  };
}

const echoed = ({ prompt: { ids, prompt } }: Answer, tokenizer: Tokenizer) =>
  typeof prompt === 'string' ? prompt : tokenizer.decode(ids, false);
