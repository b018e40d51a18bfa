/** What the routes share. */
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Frame } from '../data/index.js';
import { RequestError } from '../http/server.js';
import type { LanguageModel, ScalarModel } from '../runtime/model.js';
import type { TextPrompt } from '../text/index.js';
import type { Tokenizer } from '../tokenizer/tokenizer.js';
import type { Admission } from './admission.js';
import type { AskedPrompt } from './answer.js';
import type { Keys } from './keys.js';
import type { Trainer } from './learning/training.js';
import type { Versions } from './learning/versions.js';
import type { Metrics } from './metrics.js';
import type { Store } from './store.js';
import type { Tool, ToolForm } from './tools.js';

export interface Service {
  readonly tokenizer: Tokenizer;
  readonly frame: Frame;
  readonly toolForm: ToolForm;
  readonly versions: Versions;
  /** Adapters that are served beside the model, in its batch, by their names. */
  readonly adapters: ReadonlyMap<string, Versions>;
  readonly rewardModel: ScalarModel | undefined;
  readonly admission: Admission;
  readonly keys: Keys;
  readonly metrics: Metrics;
  readonly store: Store | undefined;
  readonly trainer: Trainer | undefined;
  /** Tokens of an answer whose request does not say. */
  readonly maxNewTokens: number;
  /** Seconds until a request is ended. */
  readonly timeout: number;
  /** Answers decoded at the same time. */
  readonly slots: number;
  readonly running: Set<AbortController>;
}

/** Ends a request's work when its client leaves, its time is over or the server stops. */
export function lifeOf(
  { running, timeout }: Service,
  reply: FastifyReply,
): { readonly signal: AbortSignal; readonly end: () => void } {
  const controller = new AbortController();
  const { raw } = reply;
  const leave = () => {
    if (!raw.writableFinished) controller.abort(new RequestError(499, 'the client has left', 'aborted'));
  };
  const timer = setTimeout(
    () => controller.abort(new RequestError(503, `the request has taken ${timeout} s, which is its limit`, 'timeout')),
    1000 * timeout,
  );
  timer.unref();
  raw.on('close', leave);
  running.add(controller);
  return {
    signal: controller.signal,
    end() {
      clearTimeout(timer);
      raw.off('close', leave);
      running.delete(controller);
    },
  };
}

/** What a request's `model` names. @throws RequestError 404 for a model that is not served */
export function requireModel({ versions, adapters, trainer }: Service, name: string | null | undefined): Versions {
  if (name === null || name === undefined || name === versions.name || name === versions.current.name) return versions;
  const adapter = adapters.get(name);
  if (adapter) return adapter;
  // An earlier answer's name, from before a rollback: what is served now answers, and says its own.
  if (trainer?.versions.some(({ version }) => name === versions.nameOf(version))) return versions;
  const served = [versions.name, ...adapters.keys()].map((each) => JSON.stringify(each));
  throw new RequestError(
    404,
    `the model ${JSON.stringify(name.slice(0, 100))} is not served, expected ${served.join(' or ')}`,
    'invalid_request_error',
    'model',
    {},
    'model_not_found',
  );
}

/**
 * A prompt's ids. A text is used unchanged, messages are rendered.
 *
 * @param o param: which parameter it is, for messages; tools: that the template describes
 * @throws RequestError 400 when they are none or leave no room */
export async function encode(
  service: Service,
  prompt: TextPrompt,
  signal: AbortSignal,
  model: LanguageModel,
  { param = 'prompt', tools }: { readonly param?: string; readonly tools?: readonly Tool[] | undefined } = {},
): Promise<AskedPrompt> {
  const variables = tools && { tools };
  const text = typeof prompt === 'string' ? prompt : service.frame.promptText(prompt, variables);
  const ids = await service.frame.promptIds(text, { signal });
  return checked({ ids, prompt, lead: service.frame.lead(prompt, variables) }, model, param);
}

/** @throws RequestError 400 */
export function checked(asked: AskedPrompt, { config }: LanguageModel, param = 'prompt'): AskedPrompt {
  const { length } = asked.ids;
  if (length === 0)
    throw new RequestError(400, 'the prompt is empty, expected at least one token', undefined, 'prompt');
  if (length >= config.maxPositions)
    throw new RequestError(
      400,
      `the prompt has ${length} tokens, expected fewer than the model's ${config.maxPositions} positions`,
      'invalid_request_error',
      param,
      {},
      'context_length_exceeded',
    );
  return asked;
}

/** Counts a request of its key until the reply is complete. */
export function countRequest(service: Service, request: FastifyRequest, reply: FastifyReply): void {
  const end = service.keys.begin(request);
  reply.raw.once('close', end);
}
