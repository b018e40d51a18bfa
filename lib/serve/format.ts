/** Answers in the shapes of OpenAI's API. */
import type { Tokenizer } from '../tokenizer/tokenizer.js';
import type { Answer, Gain, Likely } from './answer.js';

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
  whole(header: Header, answers: readonly Answer[], shown: Shown | undefined, tokenizer: Tokenizer): object;
  /** What a stream begins with. */
  opening(choices: number): object[];
  /** The choice of a chunk. */
  chunk(gain: Gain, withLogprobs: boolean, tokenizer: Tokenizer): object;
  /** The last chunk of a choice. */
  closing(choice: number, finish: string): object;
  readonly chunkObject: string;
}

/** Log-probabilities that were asked for: the likeliest tokens of each place of each answer. */
export interface Shown {
  readonly likeliest: readonly (readonly (readonly Likely[])[])[];
}

const textIn = (tokenizer: Tokenizer, token: number) => tokenizer.decode([token], false);

/** A token's bytes; null where it is part of a character. */
function bytesOf(text: string): number[] | null {
  return text.includes('\ufffd') ? null : [...Buffer.from(text)];
}

function tokenOf(tokenizer: Tokenizer, { token, logprob }: Likely) {
  const text = textIn(tokenizer, token);
  return { token: text, logprob, bytes: bytesOf(text) };
}

/** The places of an answer that are part of it: not the token that ended it. */
const placesOf = ({ tokens, finish }: Answer, tokenizer: Tokenizer) =>
  tokens.length - (finish === 'stop' && tokens.at(-1) === tokenizer.endOfText ? 1 : 0);

export const chat: Format = {
  prefix: 'chatcmpl-',
  chunkObject: 'chat.completion.chunk',
  whole: (header, answers, shown, tokenizer) => ({
    ...header,
    object: 'chat.completion',
    choices: answers.map((answer, index) => ({
      index,
      message: { role: 'assistant', content: answer.text, refusal: null },
      logprobs: shown
        ? {
            content: Array.from({ length: placesOf(answer, tokenizer) }, (_, i) => ({
              ...tokenOf(tokenizer, { token: answer.tokens[i]!, logprob: answer.logprobs[i]! }),
              top_logprobs: (shown.likeliest[index]?.[i] ?? []).map((each) => tokenOf(tokenizer, each)),
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
  chunk: ({ choice, text, token, logprob }, withLogprobs, tokenizer) => ({
    index: choice,
    delta: { content: text },
    logprobs: withLogprobs
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
      text: answer.text,
      logprobs: shown ? textLogprobs(answer, shown.likeliest[index] ?? [], tokenizer) : null,
      finish_reason: answer.finish,
    })),
    usage: usageOf(answers),
  }),
  opening: () => [],
  chunk: ({ choice, text, token, logprob }, withLogprobs, tokenizer) => ({
    index: choice,
    text,
    logprobs: withLogprobs
      ? { tokens: [textIn(tokenizer, token)], token_logprobs: [logprob], top_logprobs: null, text_offset: [] }
      : null,
    finish_reason: null,
  }),
  closing: (index, finish) => ({ index, text: '', logprobs: null, finish_reason: finish }),
};

function textLogprobs(answer: Answer, likeliest: readonly (readonly Likely[])[], tokenizer: Tokenizer) {
  const places = placesOf(answer, tokenizer);
  const tokens = answer.tokens.slice(0, places).map((token) => textIn(tokenizer, token));
  let at = 0;
  return {
    tokens,
    token_logprobs: answer.logprobs.slice(0, places),
    top_logprobs:
      likeliest.length === 0
        ? null
        : likeliest
            .slice(0, places)
            .map((each) => Object.fromEntries(each.map(({ token, logprob }) => [textIn(tokenizer, token), logprob]))),
    text_offset: tokens.map((token) => {
      const offset = at;
      at += token.length;
      return offset;
    }),
  };
}
