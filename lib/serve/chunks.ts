/** /v1/chat/completions and /v1/completions: choices, and streams of chunks with the same header. */
import { errorBody, type RequestError } from '../http/server.js';
import type { Tokenizer } from '../tokenizer/tokenizer.js';
import type { Answer, Gain, Place } from './answer.js';
import { type Call, CallReader, type Part, partsOf } from './calls.js';
import { type Answered, type Events, type Format, type Header, placeOf, sent, textIn, usageOf } from './format.js';
import type { Chat, ChatChunk, Completion, CompletionChunk } from './shapes.js';

type Chunk = ChatChunk | CompletionChunk;
type Choice<C extends Chunk> = C['choices'][number];

/** What a stream's choices look like. */
interface Choices<C extends Chunk> {
  readonly object: C['object'];
  opening(count: number): Choice<C>[];
  part(gain: Gain, place: Place | undefined): Choice<C>[];
  closing(choice: number, finish: 'stop' | 'length'): Choice<C>[];
}

class Chunks<C extends Chunk> implements Events {
  readonly #answered: Answered;
  readonly #choices: Choices<C>;
  readonly #hasUsage: boolean;

  constructor(answered: Answered, choices: Choices<C>, hasUsage: boolean) {
    this.#answered = answered;
    this.#choices = choices;
    this.#hasUsage = hasUsage;
  }

  opening(): string[] {
    return this.#chunks(this.#choices.opening(this.#answered.answers.length));
  }

  gain(gain: Gain, place: Place | undefined): string[] {
    return gain.text === '' && place === undefined ? [] : this.#chunks(this.#choices.part(gain, place));
  }

  closing(choice: number): string[] {
    return this.#chunks(this.#choices.closing(choice, this.#answered.answers[choice]!.finish || 'stop'));
  }

  complete(): string[] {
    const { answers } = this.#answered;
    const usage = this.#hasUsage ? [this.#chunk({ choices: [], usage: usageOf(answers) })] : [];
    return [...usage, sent('[DONE]')];
  }

  failure({ message, type, param, code }: RequestError): string[] {
    return [sent(errorBody(message, type, param, code))];
  }

  #chunks(choices: readonly Choice<C>[]): string[] {
    return choices.map((choice) => this.#chunk({ choices: [choice] }));
  }

  #chunk(rest: Pick<Chunk, 'usage'> & { readonly choices: readonly Choice<C>[] }): string {
    return sent({ ...this.#answered.header, object: this.#choices.object, ...rest });
  }
}

/** @param readsCalls whether texts may have calls of tools */
export const chat = (readsCalls: boolean): Format => ({
  prefix: 'chatcmpl-',
  whole: ({ header, answers, tokenizer }, { places }): Chat => ({
    ...header,
    object: 'chat.completion',
    choices: answers.map((answer, index) => {
      const { content, calls } = readsCalls ? saidIn(header, index, answer.text) : { content: answer.text, calls: [] };
      return {
        index,
        message: { role: 'assistant', content, refusal: null, ...(calls.length > 0 ? { tool_calls: calls } : {}) },
        logprobs: places ? { content: places[index]!.map((each) => placeOf(tokenizer, each)), refusal: null } : null,
        finish_reason: finishOf(answer.finish || 'stop', calls.length),
      };
    }),
    usage: usageOf(answers),
  }),
  stream: (answered, hasUsage) => new Chunks(answered, new ChatChoices(answered, readsCalls), hasUsage),
});

const finishOf = (finish: 'stop' | 'length', calls: number): 'stop' | 'length' | 'tool_calls' =>
  finish === 'stop' && calls > 0 ? 'tool_calls' : finish;

const callOf = ({ id }: Header, choice: number, count: number, call: Call) => ({
  id: `call_${id.slice('chatcmpl-'.length)}.${choice}.${count}`,
  type: 'function' as const,
  function: call,
});

function saidIn(header: Header, choice: number, text: string) {
  const parts = partsOf(text);
  const calls = parts
    .flatMap((part) => ('call' in part ? [part.call] : []))
    .map((call, i) => callOf(header, choice, i, call));
  const content = parts.map((part) => ('text' in part ? part.text : '')).join('');
  return { content: content === '' && calls.length > 0 ? null : content, calls };
}

class ChatChoices implements Choices<ChatChunk> {
  readonly object = 'chat.completion.chunk';
  readonly #answered: Answered;
  readonly #readers: readonly CallReader[] | undefined;
  readonly #calls: number[];

  constructor(answered: Answered, readsCalls: boolean) {
    this.#answered = answered;
    this.#readers = readsCalls ? answered.answers.map(() => new CallReader()) : undefined;
    this.#calls = answered.answers.map(() => 0);
  }

  opening(count: number) {
    return Array.from({ length: count }, (_, index) => choiceOf(index, { role: 'assistant', content: '' }));
  }

  part({ choice, text }: Gain, place: Place | undefined) {
    const reader = this.#readers?.[choice];
    const deltas = reader ? reader.push(text).map((part) => this.#delta(choice, part)) : [{ content: text }];
    if (deltas.length === 0 && place) deltas.push({ content: '' });
    const { tokenizer } = this.#answered;
    const logprobs = place ? { content: [placeOf(tokenizer, place)], refusal: null } : null;
    return deltas.map((delta, i) => choiceOf(choice, delta, i === 0 ? logprobs : null));
  }

  closing(index: number, finish: 'stop' | 'length'): Choice<ChatChunk>[] {
    const rest = (this.#readers?.[index]?.end() ?? []).map((part) => choiceOf(index, this.#delta(index, part)));
    return [...rest, { ...choiceOf(index, {}), finish_reason: finishOf(finish, this.#calls[index]!) }];
  }

  #delta(choice: number, part: Part): Choice<ChatChunk>['delta'] {
    if ('text' in part) return { content: part.text };
    const index = this.#calls[choice]!++;
    return { tool_calls: [{ index, ...callOf(this.#answered.header, choice, index, part.call) }] };
  }
}

const choiceOf = (
  index: number,
  delta: Choice<ChatChunk>['delta'],
  logprobs: Choice<ChatChunk>['logprobs'] = null,
): Choice<ChatChunk> => ({ index, delta, logprobs, finish_reason: null });

export const text: Format = {
  prefix: 'cmpl-',
  whole: ({ header, answers, tokenizer }, { places, echo }): Completion => ({
    ...header,
    object: 'text_completion',
    choices: answers.map((answer, index) => ({
      index,
      text: (echo ? echoed(answer, tokenizer) : '') + answer.text,
      logprobs: places ? textLogprobs(places[index]!, tokenizer) : null,
      finish_reason: answer.finish || 'stop',
    })),
    usage: usageOf(answers),
  }),
  stream(answered, hasUsage) {
    const { tokenizer, answers } = answered;
    const offsets = answers.map(() => 0);
    const choices: Choices<CompletionChunk> = {
      object: 'text_completion',
      opening: () => [],
      part({ choice, text, token }, place) {
        const logprobs = place ? textLogprobs([place], tokenizer, offsets[choice]) : null;
        offsets[choice]! += textIn(tokenizer, token).length;
        return [{ index: choice, text, logprobs, finish_reason: null }];
      },
      closing: (index, finish) => [{ index, text: '', logprobs: null, finish_reason: finish }],
    };
    return new Chunks(answered, choices, hasUsage);
  },
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
