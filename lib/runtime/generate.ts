/** Continuous batching: when a sample ends, the next one takes its slot. */
import type * as addon from '../../bindings/addon.js';
import { type Abortable, call, native, run } from '../core/native.js';
import type { ModelConfig } from '../huggingface/modelconfig.js';

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
}

/** A request with its defaults filled in, and a private copy of the prompt. */
type Asked = { readonly [K in keyof GenerateRequest]-?: NonNullable<GenerateRequest[K]> };

/** An unfinished sample. */
interface Sample {
  readonly request: number;
  readonly sample: number;
  readonly tokens: Int32Array; // room for maxNewTokens
  readonly logprobs: Float32Array;
  length: number;
}

type Finished = StreamedToken['finished'];

// Tokens per slot and native job: the most decoding that other jobs and the reader of a stream wait for.
const stepsPerJob = 8;

interface HasConfig {
  readonly config: ModelConfig;
}

/** @internal */
export async function generate(
  model: HasConfig,
  handle: addon.Model,
  requests: readonly GenerateRequest[],
  options: GenerateOptions,
): Promise<Completion[]> {
  const completions: Completion[] = [];
  const asked = checkRequests(requests, options, model.config);
  const total = samplesIn(asked);
  for await (const { sample: s, finished } of decode(handle, asked, options)) {
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
  return completions.sort((a, b) => a.request - b.request || a.sample - b.sample);
}

/** @internal */
export async function* stream(
  model: HasConfig,
  handle: addon.Model,
  requests: readonly GenerateRequest[],
  options: GenerateOptions,
): AsyncGenerator<StreamedToken, void, void> {
  const asked = checkRequests(requests, options, model.config);
  const total = samplesIn(asked);
  let done = 0;
  for await (const { sample: s, from, finished } of decode(handle, asked, options)) {
    for (let i = from; i < s.length; i++) {
      yield {
        request: s.request,
        sample: s.sample,
        token: s.tokens[i]!,
        logprob: s.logprobs[i]!,
        finished: i === s.length - 1 ? finished : '',
      };
    }
    if (finished !== '') options.onProgress?.({ done: ++done, total });
  }
}

/** The tokens that a job added to a sample: those from index `from` on. */
interface Growth {
  readonly sample: Sample;
  readonly from: number;
  readonly finished: Finished;
}

// Runs a job only when the reader asks for more.
async function* decode(
  handle: addon.Model,
  asked: readonly Asked[],
  options: GenerateOptions,
): AsyncGenerator<Growth, void, void> {
  const { signal, temperature = 1, topK = 0, topP = 1, stopWhen } = options;
  signal?.throwIfAborted();
  const stopTokens = tokenIds('stopTokens', options.stopTokens);
  const slots = Math.min(positive('slots', options.slots ?? 64), samplesIn(asked));
  if (slots === 0) return;
  const maxLength = asked.reduce((n, r) => Math.max(n, r.prompt.length + r.maxNewTokens), 0);
  const generator = call(
    () => new (native().Generator)(handle, { slots, maxLength, temperature, topK, topP, stopTokens }),
  );
  try {
    const live = new Map<number, Sample>(); // by slot
    const free = Array.from({ length: slots }, (_, i) => slots - 1 - i);
    const waiting = samplesOf(asked);
    let next = waiting.next();
    while (live.size > 0 || !next.done) {
      let decoded: addon.Decoded;
      if (!next.done && free.length > 0) {
        const batch: [number, Sample][] = [];
        for (; !next.done && free.length > 0; next = waiting.next()) batch.push([free.pop()!, next.value]);
        for (const [slot, sample] of batch) live.set(slot, sample);
        decoded = await run(signal, () => generator.start(startOptions(batch, asked)));
      } else {
        decoded = await run(signal, () => generator.run(stepsPerJob));
      }
      const { growths, ended, stopped } = accept(decoded, live, stopWhen);
      if (stopped.length > 0) await run(signal, () => generator.release(Int32Array.from(stopped)));
      for (const slot of ended) {
        live.delete(slot);
        free.push(slot);
      }
      yield* growths;
    }
  } finally {
    generator.dispose();
  }
}

// Appends the sampled tokens. `stopped` lists the slots that stopWhen ended, which the native generator does not know yet.
function accept(decoded: addon.Decoded, live: ReadonlyMap<number, Sample>, stopWhen: GenerateOptions['stopWhen']) {
  const growths: Growth[] = [];
  const ended: number[] = [];
  const stopped: number[] = [];
  let t = 0;
  decoded.slots.forEach((slot, i) => {
    const sample = live.get(slot)!;
    const from = sample.length;
    const end = t + decoded.counts[i]!;
    const code = decoded.finished[i]!;
    let finished: Finished = code === 1 ? 'stop' : code === 2 ? 'length' : '';
    for (; t < end; t++) {
      sample.tokens[sample.length] = decoded.tokens[t]!;
      sample.logprobs[sample.length++] = decoded.logprobs[t]!;
      if (stopWhen?.(sample.tokens.subarray(0, sample.length))) {
        if (finished === '') stopped.push(slot);
        finished = 'stop';
        break;
      }
    }
    t = end;
    if (finished !== '') ended.push(slot);
    growths.push({ sample, from, finished });
  });
  return { growths, ended, stopped };
}

function startOptions(batch: readonly [number, Sample][], asked: readonly Asked[]): addon.StartOptions {
  const prompts = [...new Set(batch.map(([, { request }]) => request))];
  const index = new Map(prompts.map((request, i) => [request, i]));
  const cuSeqlens = new Int32Array(prompts.length + 1);
  prompts.forEach((request, i) => {
    cuSeqlens[i + 1] = cuSeqlens[i]! + asked[request]!.prompt.length;
  });
  const tokens = new Int32Array(cuSeqlens.at(-1)!);
  prompts.forEach((request, i) => {
    tokens.set(asked[request]!.prompt, cuSeqlens[i]);
  });
  const seeds = new Int32Array(2 * batch.length);
  batch.forEach(([, { request }], i) => {
    const { seed } = asked[request]!;
    seeds[2 * i] = (seed % 2 ** 32) | 0;
    seeds[2 * i + 1] = Math.floor(seed / 2 ** 32);
  });
  return {
    tokens,
    cuSeqlens,
    promptOf: Int32Array.from(batch, ([, { request }]) => index.get(request)!),
    slots: Int32Array.from(batch, ([slot]) => slot),
    seeds,
    sampleIndex: Int32Array.from(batch, ([, { sample }]) => sample),
    maxNewTokens: Int32Array.from(batch, ([, { tokens }]) => tokens.length),
  };
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

// Made one at a time, when a slot is free: a request may ask for more samples than memory could hold.
function* samplesOf(asked: readonly Asked[]): Generator<Sample, void, void> {
  for (const [request, { samples, maxNewTokens }] of asked.entries()) {
    for (let sample = 0; sample < samples; sample++) {
      const tokens = new Int32Array(maxNewTokens);
      yield { request, sample, tokens, logprobs: new Float32Array(maxNewTokens), length: 0 };
    }
  }
}

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
