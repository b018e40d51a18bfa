/** Generation: checks of requests, and the two ways to read responses. Decoding itself is in scheduler.ts. */
import type * as addon from '../../bindings/addon.js';
import { type Abortable, link, translate } from '../core/native.js';
import type { ModelConfig } from '../huggingface/modelconfig.js';
import { type Asked, Call, type Growth, JobFailure } from './call.js';
import { type Place, schedulerOf } from './scheduler.js';

export interface GenerateRequest {
  /** At least one token id. Computed once for all its samples that start at the same time. */
  readonly prompt: Int32Array;
  /** Default 1. */
  readonly samples?: number | undefined;
  /** A whole number from 0 to 2^53 - 1. The same prompt, seed and sample index always give the same response. */
  readonly seed: number;
  /** Default: `maxNewTokens` of the options. */
  readonly maxNewTokens?: number | undefined;
}

export interface GenerateOptions extends Abortable {
  /** A response is cut off after this many tokens. Prompt and response must fit into the model's positions. */
  readonly maxNewTokens: number;
  /** Logits are divided by it, at least 1e-4; 0 takes the likeliest token. Default 1. */
  readonly temperature?: number | undefined;
  /** Samples from the k likeliest tokens. Default 0: off. */
  readonly topK?: number | undefined;
  /** Samples from the smallest set of likeliest tokens with at least this total probability. Default 1: off. */
  readonly topP?: number | undefined;
  /** Ids that end a response. The id is kept as its last token. */
  readonly stopTokens: readonly number[];
  /** Responses decoded at the same time. Default 64. Changes speed and memory, not the responses. */
  readonly slots?: number | undefined;
  /** Called after each token with the response so far; returning true ends the response. For stop strings. */
  readonly stopWhen?: ((tokens: Int32Array) => boolean) | undefined;
  /** Called with the number of finished samples. */
  readonly onProgress?: ((progress: { readonly done: number; readonly total: number }) => void) | undefined;
}

/** One response. */
export interface Completion {
  /** Index into the requests. */
  readonly request: number;
  /** Index of the sample within the request. */
  readonly sample: number;
  /** The sampled ids, including a stop token. */
  readonly tokens: Int32Array;
  /** Log-probability of each token in nats, under the distribution it was sampled from before top-k and top-p. */
  readonly logprobs: Float32Array;
  /** Whether it ended with a stop token or `stopWhen`; false if it was cut off. */
  readonly finished: boolean;
}

/** One token of a stream. */
export interface StreamedToken {
  readonly request: number;
  readonly sample: number;
  readonly token: number;
  /** Nats. */
  readonly logprob: number;
  /** Set on a response's last token: 'stop' for a stop token or `stopWhen`, 'length' when it was cut off. */
  readonly finished: '' | 'stop' | 'length';
  /** Whether the next token of the stream is known already: it comes without another one being sampled. */
  readonly isFollowed: boolean;
}

/** What is sampled from. */
interface Sampled extends Place {
  readonly config: ModelConfig;
}

/** @internal */
export async function generate(
  model: Sampled,
  requests: readonly GenerateRequest[],
  options: GenerateOptions,
): Promise<Completion[]> {
  const completions: Completion[] = [];
  const asked = checkRequests(requests, options, model.config);
  const total = samplesIn(asked);
  await decode(model, asked, options, (growths) => {
    for (const { sample: s, finished } of growths) {
      if (finished === '') continue;
      completions.push({
        request: s.request,
        sample: s.sample,
        tokens: s.tokens.slice(0, s.length),
        logprobs: s.logprobs.slice(0, s.length),
        finished: finished === 'stop',
      });
      options.onProgress?.({ done: completions.length, total });
    }
  });
  return completions.sort((a, b) => a.request - b.request || a.sample - b.sample);
}

/** @internal */
export async function* stream(
  model: Sampled,
  requests: readonly GenerateRequest[],
  options: GenerateOptions,
): AsyncGenerator<StreamedToken, void, void> {
  const asked = checkRequests(requests, options, model.config);
  const total = samplesIn(asked);
  let done = 0;
  let arrived: readonly Growth[] = [];
  let isAsked = true;
  let arrive = () => {};
  const scheduler = schedulerOf(model, model.config.maxPositions);
  const leave = new AbortController();
  let ended: { readonly error?: unknown } | undefined;
  const take = (growths: readonly Growth[]) => {
    arrived = [...arrived, ...growths];
    isAsked = false;
    arrive();
  };
  const whole = decode(model, asked, options, take, { wants: () => isAsked, left: leave.signal }).then(
    () => {
      ended = {};
      arrive();
    },
    (error: unknown) => {
      ended = { error };
      arrive();
    },
  );
  try {
    for (;;) {
      while (arrived.length === 0 && !ended) {
        await new Promise<void>((resolve) => {
          arrive = resolve;
          isAsked = true;
          scheduler.wake();
        });
      }
      if (ended && 'error' in ended) throw ended.error;
      if (arrived.length === 0) return;
      const growths = arrived;
      arrived = [];
      for (const [g, { sample: s, from, finished }] of growths.entries()) {
        const to = s.length;
        for (let i = from; i < to; i++) {
          yield {
            request: s.request,
            sample: s.sample,
            token: s.tokens[i]!,
            logprob: s.logprobs[i]!,
            finished: i === to - 1 ? finished : '',
            isFollowed: i < to - 1 || g < growths.length - 1 || arrived.length > 0,
          };
        }
        if (finished !== '') options.onProgress?.({ done: ++done, total });
      }
    }
  } finally {
    leave.abort();
    await whole;
  }
}

/** Joins the batch of the model's base until all samples are finished. @throws what ended it before: the signal's reason, an error of a job, of `stopWhen` or `take` */
async function decode(
  model: Sampled,
  asked: readonly Asked[],
  options: GenerateOptions,
  take: (growths: readonly Growth[]) => void,
  reader?: { readonly wants: () => boolean; readonly left: AbortSignal },
): Promise<void> {
  const { signal, stopWhen } = options;
  signal?.throwIfAborted();
  const sampling = samplingOf(options, model.config.vocabSize);
  const total = samplesIn(asked);
  const slots = Math.min(positive('slots', options.slots ?? 64), total);
  if (slots === 0) return;
  const scheduler = schedulerOf(model, model.config.maxPositions);
  let unlink: (() => void) | undefined;
  let failure: { readonly reason: unknown } | undefined;
  await new Promise<void>((resolve) => {
    let left = total;
    const fail = (reason: unknown) => {
      failure ??= { reason };
      resolve();
    };
    const call = new Call({
      adapter: model.adapter,
      asked,
      sampling,
      slots,
      stopWhen,
      wants: reader?.wants ?? (() => true),
      fail,
      take(growths) {
        take(growths);
        left -= growths.filter(({ finished }) => finished !== '').length;
        if (left === 0) resolve();
      },
    });
    const end = (reason: unknown) => {
      scheduler.leave(call);
      fail(reason);
    };
    if (signal) unlink = link(signal, { cancel: () => end(signal.reason) });
    reader?.left.addEventListener('abort', () => end(undefined), { once: true });
    scheduler.join(call);
  });
  unlink?.();
  if (!failure || reader?.left.aborted) return;
  const { reason } = failure;
  // Made here, so that its stack names the caller and not the batch.
  throw reason instanceof JobFailure ? translate(reason.cause) : reason;
}

/** @throws RangeError or TypeError that names the option */
function samplingOf(options: GenerateOptions, vocabSize: number): addon.Sampling {
  const { temperature = 1, topK = 0, topP = 1 } = options;
  if (temperature !== 0 && !(temperature >= 1e-4 && Number.isFinite(temperature)))
    throw new RangeError(`temperature is ${temperature}, expected 0 or at least 0.0001`);
  if (!Number.isSafeInteger(topK) || topK < 0)
    throw new RangeError(`topK is ${topK}, expected 0 (off) or a whole number above it`);
  if (!(topP > 0 && topP <= 1)) throw new RangeError(`topP is ${topP}, expected more than 0 and at most 1`);
  const stopTokens = tokenIds('stopTokens', options.stopTokens);
  for (const id of stopTokens)
    if (id < 0 || id >= vocabSize)
      throw new RangeError(`a stop token is ${id}, expected an id below the vocabulary's ${vocabSize}`);
  return { temperature, topK, topP, stopTokens };
}

function checkRequests(
  requests: readonly GenerateRequest[],
  options: GenerateOptions,
  config: ModelConfig,
): readonly Asked[] {
  return requests.map(({ prompt, samples = 1, seed, maxNewTokens = options.maxNewTokens }, request) => {
    const where = `request ${request}: `;
    if (Object.prototype.toString.call(prompt) !== '[object Int32Array]')
      throw new TypeError(`${where}prompt is not an Int32Array`);
    if (prompt.length === 0) throw new RangeError(`${where}the prompt is empty, expected at least one token`);
    const wrong = prompt.findIndex((id) => id < 0 || id >= config.vocabSize);
    if (wrong >= 0)
      throw new RangeError(
        `${where}token ${wrong} is ${prompt[wrong]}, expected an id below the vocabulary's ${config.vocabSize}`,
      );
    positive(`${where}samples`, samples, maxSamples);
    positive(`${where}maxNewTokens`, maxNewTokens);
    if (!Number.isSafeInteger(seed) || seed < 0) {
      throw new RangeError(`${where}seed is ${seed}, expected a whole number from 0 to 2^53 - 1`);
    }
    if (prompt.length + maxNewTokens > config.maxPositions) {
      throw new RangeError(
        `${where}the prompt has ${prompt.length} tokens and maxNewTokens is ${maxNewTokens}, expected at most the model's ${config.maxPositions} positions together`,
      );
    }
    return { prompt: prompt.slice(), samples, seed, maxNewTokens };
  });
}

const maxSamples = 2 ** 31 - 1; // the sample's index is part of the random number generator's counter

const samplesIn = (asked: readonly Asked[]) => asked.reduce((n, { samples }) => n + samples, 0);

function positive(name: string, value: number, most = Number.MAX_SAFE_INTEGER): number {
  if (!Number.isSafeInteger(value) || value < 1)
    throw new RangeError(`${name} is ${value}, expected a whole number above 0`);
  if (value > most) throw new RangeError(`${name} is ${value}, expected at most ${most}`);
  return value;
}

// Int32Array.from would turn anything else into zeros, which are valid ids.
function tokenIds(name: string, ids: readonly number[]): Int32Array {
  if (typeof (ids as Partial<Iterable<number>> | undefined)?.[Symbol.iterator] !== 'function')
    throw new TypeError(`${name} is ${ids}, expected an array of token ids`);
  return Int32Array.from(ids, (id, i) => {
    if (!Number.isInteger(id)) throw new RangeError(`${name}[${i}] is ${id}, expected a token id`);
    return id;
  });
}
