/** /v1/chat/completions and /v1/completions. */
import { randomBytes, randomInt } from 'node:crypto';
import { Readable } from 'node:stream';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { errorBody, failureOf, RequestError } from '../http/server.js';
import type { TextPrompt } from '../text/index.js';
import { stopTokensOf } from '../text/stop.js';
import { Answer, type AskedAnswers, type AskedPrompt, placesOf, sample } from './answer.js';
import { type ChatBody, type CompletionBody, chatBody, completionBody, messagesOf, parse } from './bodies.js';
import { chat, type Format, type Header, text, textIn, usageOf } from './format.js';
import { checked, countRequest, encode, lifeOf, requireModel, type Service } from './service.js';
import { nameOf } from './store.js';
import type { Version } from './versions.js';

/** What both endpoints ask for. */
interface Wanted {
  readonly format: Format;
  readonly body: ChatBody | CompletionBody;
  readonly prompts: readonly AskedPrompt[];
  readonly maxTokens: number | null | undefined;
  /** undefined: no log-probabilities; otherwise how many of the likeliest tokens too. */
  readonly logprobs: number | undefined;
  /** The prompt is part of the text. */
  readonly echo: boolean;
}

export function completionRoutes(app: FastifyInstance, service: Service): void {
  app.post('/v1/chat/completions', async (request, reply) => {
    const body = parse(chatBody, request.body);
    if (body.top_logprobs && !body.logprobs)
      throw new RequestError(400, 'top_logprobs needs logprobs: true', undefined, 'top_logprobs');
    return await handle(service, request, reply, body, async (signal, { model }) => ({
      format: chat,
      body,
      prompts: [await encode(service, messagesOf(body.messages) as TextPrompt, signal, model)],
      maxTokens: body.max_completion_tokens ?? body.max_tokens,
      logprobs: body.logprobs ? (body.top_logprobs ?? 0) : undefined,
      echo: false,
    }));
  });
  app.post('/v1/completions', async (request, reply) => {
    const body = parse(completionBody, request.body);
    return await handle(service, request, reply, body, async (signal, version) => ({
      format: text,
      body,
      prompts: await promptsOf(service, body.prompt, signal, version),
      maxTokens: body.max_tokens,
      logprobs: body.logprobs ?? undefined,
      echo: body.echo ?? false,
    }));
  });
}

async function promptsOf(service: Service, prompt: CompletionBody['prompt'], signal: AbortSignal, { model }: Version) {
  const several: (string | number[])[] =
    typeof prompt === 'string'
      ? [prompt]
      : typeof prompt[0] === 'number'
        ? [prompt as number[]]
        : (prompt as string[] | number[][]);
  return await Promise.all(
    several.map(async (each) => {
      if (typeof each === 'string') return await encode(service, each, signal, model);
      const wrong = each.find((id) => id >= model.config.vocabSize);
      if (wrong !== undefined)
        throw new RequestError(
          400,
          `the prompt has the token ${wrong}, expected ids below ${model.config.vocabSize}`,
          undefined,
          'prompt',
        );
      const ids = Int32Array.from(each);
      return checked({ ids, prompt: service.tokenizer.decode(ids, false) }, model);
    }),
  );
}

async function handle(
  service: Service,
  request: FastifyRequest,
  reply: FastifyReply,
  body: ChatBody | CompletionBody,
  read: (signal: AbortSignal, version: Version) => Promise<Wanted>,
) {
  requireModel(service, body.model);
  countRequest(service, request, reply);
  const life = lifeOf(service, reply);
  const arrived = performance.now();
  const ends: (() => void)[] = [life.end];
  const end = () => {
    for (const each of ends.splice(0)) each();
  };
  try {
    // A prompt is checked before it waits.
    const early = await read(life.signal, service.versions.current);
    if (body.stream) requireStreamable(early);
    const n = body.n ?? 1;
    const param = n > 1 ? 'n' : 'prompt';
    ends.push(await service.admission.enter(n * early.prompts.length, life.signal, param));
    const { version, done } = service.versions.use();
    ends.push(done);
    const run = new Run(service, version, early, arrived, request, life.signal);
    if (!body.stream) {
      const answer = await run.whole();
      end();
      return answer;
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

/** @throws RequestError 400 for what needs the whole answer */
function requireStreamable({ format, logprobs, echo }: Wanted): void {
  if (echo) throw new RequestError(400, 'echo is true, expected false in a stream', undefined, 'echo');
  if (logprobs !== undefined && logprobs > 0)
    throw new RequestError(
      400,
      `${logprobs} likeliest tokens are asked for, expected none in a stream`,
      undefined,
      format === chat ? 'top_logprobs' : 'logprobs',
    );
}

/** One request's answers. */
class Run {
  readonly #service: Service;
  readonly #version: Version;
  readonly #wanted: Wanted;
  readonly #asked: AskedAnswers;
  readonly #answers: Answer[];
  readonly #header: Header;
  readonly #signal: AbortSignal;
  readonly #arrived: number;
  readonly #request: FastifyRequest;
  #hasBegun = false;
  #isKept = false;

  constructor(
    service: Service,
    version: Version,
    wanted: Wanted,
    arrived: number,
    request: FastifyRequest,
    signal: AbortSignal,
  ) {
    const { body, format, prompts, maxTokens } = wanted;
    this.#service = service;
    this.#version = version;
    this.#wanted = wanted;
    this.#arrived = arrived;
    this.#request = request;
    this.#signal = signal;
    const stop = [body.stop ?? []].flat();
    this.#asked = {
      prompts,
      n: body.n ?? 1,
      seed: seedOf(body.seed),
      maxNewTokens: maxTokens ?? service.maxNewTokens,
      temperature: body.temperature ?? 1,
      // No share at all leaves the likeliest token, as in OpenAI's API; vLLM's -1 is off.
      topK: body.top_p === 0 ? 1 : Math.max(0, body.top_k ?? 0),
      topP: body.top_p || 1,
      stop,
    };
    const ends = stopTokensOf({ tokenizer: service.tokenizer, ...version.model });
    this.#answers = prompts.flatMap((prompt) =>
      Array.from({ length: this.#asked.n }, (_, s) => new Answer(prompt, s, service.tokenizer, stop, ends)),
    );
    this.#header = {
      id: `${format.prefix}${randomBytes(15).toString('base64url')}`,
      created: Math.floor(Date.now() / 1000),
      model: version.name,
    };
  }

  async whole(): Promise<object> {
    const { format, logprobs: count, echo } = this.#wanted;
    const { temperature } = this.#asked;
    try {
      for await (const _ of this.#sample());
      const { model } = this.#version;
      const places =
        count === undefined
          ? undefined
          : await Promise.all(
              this.#answers.map((each) => placesOf(model, each, { count, temperature, echo }, this.#signal)),
            );
      return format.whole(this.#header, this.#answers, { echo, places }, this.#service.tokenizer);
    } finally {
      await this.#keep();
    }
  }

  /** Server-sent events. */
  async *events(end: () => void): AsyncGenerator<string, void, void> {
    const { format, body, logprobs } = this.#wanted;
    const { tokenizer } = this.#service;
    const chunk = (choices: object[], more: object = {}) =>
      `data: ${JSON.stringify({ ...this.#header, object: format.chunkObject, choices, ...more })}\n\n`;
    const offsets = this.#answers.map(() => 0);
    try {
      for (const choice of format.opening(this.#answers.length)) yield chunk([choice]);
      for await (const gain of this.#sample()) {
        const answer = this.#answers[gain.choice]!;
        const offset = logprobs === undefined || answer.hasEndToken ? undefined : offsets[gain.choice]!;
        if (gain.text !== '' || offset !== undefined) yield chunk([format.chunk(gain, offset, tokenizer)]);
        if (offset !== undefined) offsets[gain.choice] = offset + textIn(tokenizer, gain.token).length;
        if (answer.finish !== '') yield chunk([format.closing(gain.choice, answer.finish)]);
      }
      if (this.#asked.maxNewTokens === 0)
        for (const [index, { finish }] of this.#answers.entries()) yield chunk([format.closing(index, finish)]);
      await this.#keep(); // what was answered can be spoken of
      if (body.stream_options?.include_usage) yield chunk([], { usage: usageOf(this.#answers) });
      yield 'data: [DONE]\n\n';
    } catch (error) {
      const { message, type, param, code } = failureOf(error, this.#request);
      yield `data: ${JSON.stringify(errorBody(message, type, param, code))}\n\n`;
    } finally {
      end();
      await this.#keep().catch((error: unknown) => failureOf(error, this.#request)); // nobody reads any more
    }
  }

  async *#sample() {
    const { metrics, tokenizer, slots } = this.#service;
    if (this.#asked.maxNewTokens === 0) {
      for (const answer of this.#answers) answer.finish = 'length';
      return;
    }
    const { model } = this.#version;
    for await (const gain of sample(model, tokenizer, this.#asked, this.#answers, slots, this.#signal)) {
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
    const answers = [...this.#answers.entries()].filter(([, { tokens }]) => tokens.length > 0);
    const { prompt_tokens, completion_tokens } = usageOf(this.#answers);
    metrics.tokens.inc({ kind: 'prompt' }, prompt_tokens);
    metrics.tokens.inc({ kind: 'completion' }, completion_tokens);
    metrics.seconds.observe((performance.now() - this.#arrived) / 1000);
    this.#request.log.info(
      {
        id: this.#header.id,
        model: this.#version.name,
        version: this.#version.info.version,
        promptTokens: prompt_tokens,
        completionTokens: completion_tokens,
        finish: this.#answers.map(({ finish }) => finish || 'abort'),
      },
      'answered',
    );
    for (const [, { finish }] of answers) metrics.finished.inc({ finish: finish || 'abort' });
    if (!store) return;
    const { seed, temperature, topK, topP, stop } = this.#asked;
    await Promise.all(
      answers.map(([index, { prompt, sample: s, text, tokens, logprobs, finish }]) =>
        store.keep({
          name: nameOf(this.#header.id, index),
          prompt: prompt.prompt,
          model: this.#version.name,
          text,
          promptTokens: prompt.ids,
          tokens: Int32Array.from(tokens),
          logprobs: Float32Array.from(logprobs),
          sampling: { seed, sample: s, temperature, topK, topP, stop },
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
