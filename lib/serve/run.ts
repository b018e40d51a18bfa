/** A request's answers: waits for slots, samples, shows them whole or as a stream, and keeps them. */
import { randomBytes, randomInt } from 'node:crypto';
import { Readable } from 'node:stream';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { failureOf, RequestError } from '../http/server.js';
import { stopTokensOf } from '../text/stop.js';
import { Answer, type AskedAnswers, type AskedPrompt, type Gain, type Place, placesOf, sample } from './answer.js';
import { type Answered, type Format, usageOf } from './format.js';
import type { Version } from './learning/versions.js';
import { countRequest, lifeOf, requireModel, type Service } from './service.js';
import { nameOf } from './store.js';

/** What the endpoints have in common. */
export interface Asked {
  readonly model?: string | null | undefined;
  readonly n?: number | null | undefined;
  readonly stream?: boolean | null | undefined;
  readonly temperature?: number | null | undefined;
  readonly top_p?: number | null | undefined;
  readonly top_k?: number | null | undefined;
  readonly seed?: number | null | undefined;
  readonly stop?: string | string[] | null | undefined;
}

/** A request that was read. */
export interface Wanted {
  readonly format: Format;
  readonly prompts: readonly AskedPrompt[];
  readonly maxTokens: number | null | undefined;
  /** undefined: no log-probabilities; otherwise how many of the likeliest tokens too. */
  readonly logprobs: number | undefined;
  /** The prompt is part of the text. */
  readonly echo: boolean;
  /** Whether a stream ends with the numbers of tokens. */
  readonly usage: boolean;
  /** What is kept with the answer beside how it was sampled; undefined: it is not kept. */
  readonly note: object | undefined;
}

/** Answers a request that is read by `read`, which is given the version that would answer it now. */
export async function answer(
  service: Service,
  request: FastifyRequest,
  reply: FastifyReply,
  asked: Asked,
  read: (signal: AbortSignal, version: Version) => Promise<Wanted>,
) {
  const versions = requireModel(service, asked.model);
  countRequest(service, request, reply);
  const life = lifeOf(service, reply);
  const arrived = performance.now();
  const ends: (() => void)[] = [life.end];
  const end = () => {
    for (const each of ends.splice(0)) each();
  };
  try {
    // A prompt is checked before it waits.
    const early = await read(life.signal, versions.current);
    if (asked.stream && early.echo)
      throw new RequestError(400, 'echo is true, expected false in a stream', undefined, 'echo');
    const n = asked.n ?? 1;
    const param = n > 1 ? 'n' : 'prompt';
    ends.push(await service.admission.enter(n * early.prompts.length, life.signal, param));
    const { version, done } = versions.use();
    ends.push(done);
    const run = new Run(service, version, asked, early, arrived, request, life.signal);
    if (!asked.stream) {
      const whole = await run.whole();
      end();
      return whole;
    }
    reply.headers({
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-cache',
      'x-accel-buffering': 'no',
    });
    // Events that nobody has begun to read do not end by themselves.
    life.signal.addEventListener('abort', end, { once: true });
    // It is read as fast as the client reads, and destroyed when the client leaves.
    const events = Readable.from(run.events(end), { objectMode: true, highWaterMark: 1 });
    return await reply.send(events);
  } catch (error) {
    end();
    throw error;
  }
}

/** One request's answers. */
class Run {
  readonly #service: Service;
  readonly #version: Version;
  readonly #wanted: Wanted;
  readonly #asked: AskedAnswers;
  readonly #answered: Answered;
  readonly #signal: AbortSignal;
  readonly #arrived: number;
  readonly #request: FastifyRequest;
  readonly #placed: number[]; // tokens of each answer whose log-probabilities a stream has shown
  #hasBegun = false;
  #isKept = false;

  constructor(
    service: Service,
    version: Version,
    asked: Asked,
    wanted: Wanted,
    arrived: number,
    request: FastifyRequest,
    signal: AbortSignal,
  ) {
    const { format, prompts, maxTokens } = wanted;
    const { tokenizer } = service;
    this.#service = service;
    this.#version = version;
    this.#wanted = wanted;
    this.#arrived = arrived;
    this.#request = request;
    this.#signal = signal;
    const stop = [asked.stop ?? []].flat();
    this.#asked = {
      prompts,
      n: asked.n ?? 1,
      seed: seedOf(asked.seed),
      maxNewTokens: maxTokens ?? service.maxNewTokens,
      temperature: asked.temperature ?? 1,
      // No share at all leaves the likeliest token, as in OpenAI's API; vLLM's -1 is off.
      topK: asked.top_p === 0 ? 1 : Math.max(0, asked.top_k ?? 0),
      topP: asked.top_p || 1,
      stop,
    };
    const ends = stopTokensOf({ tokenizer, ...version.model });
    this.#answered = {
      tokenizer,
      answers: prompts.flatMap((prompt) =>
        Array.from({ length: this.#asked.n }, (_, s) => new Answer(prompt, s, tokenizer, stop, ends)),
      ),
      header: {
        id: `${format.prefix}${randomBytes(15).toString('base64url')}`,
        created: Math.floor(Date.now() / 1000),
        model: version.name,
      },
    };
    this.#placed = this.#answered.answers.map(() => 0);
  }

  async whole(): Promise<object> {
    const { format, logprobs: count, echo } = this.#wanted;
    const { temperature } = this.#asked;
    const { answers } = this.#answered;
    try {
      for await (const _ of this.#sample());
      const { model } = this.#version;
      const places =
        count === undefined
          ? undefined
          : await Promise.all(answers.map((each) => placesOf(model, each, { count, temperature, echo }, this.#signal)));
      return format.whole(this.#answered, { echo, places });
    } finally {
      await this.#keep();
    }
  }

  /** Server-sent events. */
  async *events(end: () => void): AsyncGenerator<string, void, void> {
    const { format, usage } = this.#wanted;
    const { answers } = this.#answered;
    const events = format.stream(this.#answered, usage);
    try {
      yield* events.opening();
      let known: Gain[] = [];
      for await (const gain of this.#sample()) {
        known.push(gain);
        if (gain.isFollowed) continue;
        const places = await this.#placesOf(known);
        for (const each of known) {
          yield* events.gain(each, places.get(each));
          if (each.isLast) yield* events.closing(each.choice);
        }
        known = [];
      }
      if (this.#asked.maxNewTokens === 0) for (const choice of answers.keys()) yield* events.closing(choice);
      await this.#keep(); // what was answered can be spoken of
      yield* events.complete();
    } catch (error) {
      yield* events.failure(failureOf(error, this.#request));
    } finally {
      end();
      await this.#keep().catch((error: unknown) => failureOf(error, this.#request)); // nobody reads any more
    }
  }

  /** The log-probabilities of tokens that a stream shows, if they are asked for. */
  async #placesOf(gains: readonly Gain[]): Promise<Map<Gain, Place>> {
    const { logprobs: count } = this.#wanted;
    const found = new Map<Gain, Place>();
    if (count === undefined) return found;
    const { temperature } = this.#asked;
    const choices = [...new Set(gains.map(({ choice }) => choice))];
    await Promise.all(
      choices.map(async (choice) => {
        const own = gains.filter((gain) => gain.choice === choice && !gain.isEnd);
        const from = this.#placed[choice]!;
        this.#placed[choice]! += own.length;
        const o = { count, temperature, echo: false, from };
        const places = await placesOf(this.#version.model, this.#answered.answers[choice]!, o, this.#signal);
        own.forEach((gain, i) => {
          found.set(gain, places[i]!);
        });
      }),
    );
    return found;
  }

  async *#sample() {
    const { metrics, tokenizer, slots } = this.#service;
    const { answers } = this.#answered;
    if (this.#asked.maxNewTokens === 0) {
      for (const each of answers) each.finish = 'length';
      return;
    }
    const { model } = this.#version;
    for await (const gain of sample(model, tokenizer, this.#asked, answers, slots, this.#signal)) {
      if (!this.#hasBegun) metrics.firstToken.observe((performance.now() - this.#arrived) / 1000);
      this.#hasBegun = true;
      yield gain;
    }
  }

  /** Counts and keeps what was sampled, complete or not. Of an answer without tokens there is nothing to keep. */
  async #keep(): Promise<void> {
    if (this.#isKept) return;
    this.#isKept = true;
    const { metrics, store } = this.#service;
    const { answers, header } = this.#answered;
    const sampled = [...answers.entries()].filter(([, { tokens }]) => tokens.length > 0);
    const { prompt_tokens, completion_tokens } = usageOf(answers);
    const { family: model } = this.#version;
    metrics.tokens.inc({ kind: 'prompt', model }, prompt_tokens);
    metrics.tokens.inc({ kind: 'completion', model }, completion_tokens);
    metrics.seconds.observe((performance.now() - this.#arrived) / 1000);
    this.#request.log.info(
      {
        id: header.id,
        model: this.#version.name,
        version: this.#version.info.version,
        promptTokens: prompt_tokens,
        completionTokens: completion_tokens,
        finish: answers.map(({ finish }) => finish || 'abort'),
      },
      'answered',
    );
    for (const [, { finish }] of sampled) metrics.finished.inc({ finish: finish || 'abort', model });
    const { note } = this.#wanted;
    if (!store || !note) return;
    const { seed, temperature, topK, topP, stop } = this.#asked;
    await Promise.all(
      sampled.map(([index, { prompt, sample: s, text, tokens, logprobs, finish }]) =>
        store.keep({
          name: nameOf(header.id, index),
          prompt: prompt.prompt,
          model: this.#version.name,
          text,
          promptTokens: prompt.ids,
          tokens: Int32Array.from(tokens),
          logprobs: Float32Array.from(logprobs),
          sampling: { seed, sample: s, temperature, topK, topP, stop, ...note },
          finish: finish || 'abort',
        }),
      ),
    );
  }
}

const seedOf = (seed: number | null | undefined) => {
  if (seed === null || seed === undefined) return randomInt(2 ** 48 - 1);
  return seed < 0 ? seed + 2 ** 53 : seed;
};
