/**
 * A service as a library: `heed serve` in a Fastify server of one's own.
 *
 *     import { serving } from 'heed/serve';
 *     app.register(serving({ name: 'mine', model, tokenizer, feedback: 'feedback.db' }), { prefix: '/llm' });
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { FastifyInstance, FastifyPluginAsync } from 'fastify';
import { ChatTemplate, Frame } from '../data/index.js';
import { openFeedback } from '../feedback/database.js';
import { allowOrigins, originsOf } from '../http/origins.js';
import { guard, RequestError } from '../http/server.js';
import type { LanguageModel, ScalarModel } from '../runtime/model.js';
import type { Tokenizer } from '../tokenizer/tokenizer.js';
import { Admission } from './admission.js';
import { completionRoutes } from './completions.js';
import { Keys } from './keys.js';
import { timeOfDay } from './learning/nightly.js';
import { Trainer, type TrainingOptions } from './learning/training.js';
import { Versions } from './learning/versions.js';
import { Metrics } from './metrics.js';
import { responseRoutes } from './responses.js';
import { otherRoutes } from './routes.js';
import type { Service } from './service.js';
import { Store } from './store.js';
import { toolFormOf } from './tools.js';

export type { TrainingOptions } from './learning/training.js';
export type { VersionInfo } from './learning/versions.js';

export interface ServingOptions {
  /** What clients call the model. */
  readonly name: string;
  /** It is not changed, and stays the caller's. */
  readonly model: LanguageModel;
  /**
   * Adapters to the same base that are served beside it, by what clients call them: requests of all share one batch. They stay the
   * caller's. Not beside `training`. Default: none.
   */
  readonly adapters?: Readonly<Record<string, LanguageModel>> | undefined;
  readonly tokenizer: Tokenizer;
  /** For messages. Default: the tokenizer's own, else `plain`. */
  readonly template?: ChatTemplate | undefined;
  /** What /score uses. Default: log-probabilities under the model. */
  readonly rewardModel?: ScalarModel | undefined;
  /** The file of answers and feedback, made if it is not there. Default: nothing is kept. */
  readonly feedback?: string | undefined;
  /** Default none: then requests of this machine only are answered. */
  readonly apiKeys?: readonly string[] | undefined;
  /** Who has it may do everything, also see and change versions and name labelers. Default none: then only this machine may. */
  readonly adminKey?: string | undefined;
  /**
   * Origins whose pages may call the service from a browser, such as `https://chat.example.com`; `['*']` is every page, which needs
   * `apiKeys`. Default none. Pages never get at versions and names of labelers without an admin key.
   */
  readonly allowOrigins?: readonly string[] | undefined;
  /** Answers decoded at the same time. Default 16. */
  readonly slots?: number | undefined;
  /** Requests that wait; more are refused with 429. Default 64. */
  readonly queue?: number | undefined;
  /** Requests of a key in a minute. Default 0: any number. */
  readonly perMinute?: number | undefined;
  /** Requests of a key at the same time. Default 0: any number. */
  readonly atOnce?: number | undefined;
  /** Tokens of an answer whose request does not say. Default 256. */
  readonly maxNewTokens?: number | undefined;
  /** Seconds until a request is ended. Default 600. */
  readonly timeout?: number | undefined;
  /** Learns from the feedback beside serving. Needs `feedback`, or, to learn nothing, a `folder`. Default: it does not, but what was learnt before is served. */
  readonly training?: TrainingOptions | undefined;
}

/** A Fastify plugin, and how to end it. */
export interface Serving extends FastifyPluginAsync {
  /** Ends all requests under way: streams with an error as their last event. */
  abort(): void;
}

/** @throws RangeError for an option that is out of range */
export function serving(options: ServingOptions): Serving {
  const { slots = 16, queue = 64, perMinute = 0, atOnce = 0, maxNewTokens = 256, timeout = 600 } = options;
  for (const [name, value, least] of [
    ['slots', slots, 1],
    ['queue', queue, 0],
    ['perMinute', perMinute, 0],
    ['atOnce', atOnce, 0],
    ['maxNewTokens', maxNewTokens, 1],
  ] as const)
    if (!Number.isSafeInteger(value) || value < least)
      throw new RangeError(`${name} is ${value}, expected a whole number of at least ${least}`);
  const origins = originsOf(options.allowOrigins ?? []);
  if (origins.has('*') && (options.apiKeys ?? []).length === 0)
    throw new RangeError(
      'allowOrigins is *, which needs apiKeys: otherwise any page that is open on this machine could use the service',
    );
  if (options.adminKey === '') throw new RangeError('adminKey is empty, expected a key or none');
  for (const key of options.apiKeys ?? [])
    if (key === '') throw new RangeError('a key of apiKeys is empty, expected a text');
  if (!(timeout > 0 && timeout <= 86_400)) throw new RangeError(`timeout is ${timeout}, expected seconds up to 86400`);
  const { training: wanted } = options;
  if (wanted && options.feedback === undefined && (wanted.when !== 'never' || wanted.folder === undefined))
    throw new RangeError('training needs feedback: the file that it learns from');
  if (wanted?.at !== undefined) timeOfDay(wanted.at);
  const adapters = Object.entries(options.adapters ?? {});
  for (const [name, adapter] of adapters) {
    const what = `the adapter ${JSON.stringify(name)}`;
    if (name === '' || name === options.name || name.startsWith(`${options.name}@`))
      throw new RangeError(`${what} has the name of the model or of its versions, or none, expected another`);
    if ((adapter.base ?? adapter) !== (options.model.base ?? options.model))
      throw new RangeError(`${what} has another base than the model, expected the same`);
  }
  if (adapters.length > 0 && options.training && options.training.when !== 'never')
    throw new RangeError('training learns from the answers of one model, expected no adapters beside it');
  const running = new Set<AbortController>();
  const plugin = async (app: FastifyInstance) => {
    const template = options.template ?? (await templateOf(options.tokenizer));
    const store = options.feedback === undefined ? undefined : new Store(await openFeedback(options.feedback));
    const admission = new Admission(slots, queue);
    const versions = new Versions(options.name, options.model, slots);
    const beside = new Map(adapters.map(([name, adapter]) => [name, new Versions(name, adapter, slots)]));
    const metrics = new Metrics(admission, () => versions.current.info.version);
    const frame = new Frame(options.tokenizer, template);
    const known = options.feedback !== undefined && existsSync(join(`${options.feedback}.versions`, 'versions.json'));
    const training = wanted ?? (known ? { when: 'never' as const } : undefined);
    const trainer =
      training && (await Trainer.open({ ...options, maxNewTokens, frame, versions, store, log: app.log }, training));
    const service: Service = {
      tokenizer: options.tokenizer,
      frame,
      toolForm: toolFormOf(frame),
      versions,
      adapters: beside,
      rewardModel: options.rewardModel,
      admission,
      keys: new Keys(options.apiKeys ?? [], { perMinute, atOnce, admin: options.adminKey }),
      metrics,
      store,
      trainer,
      maxNewTokens,
      timeout,
      slots,
      running,
    };
    let isClosing = false;
    app.addHook('preClose', async () => {
      isClosing = true;
    });
    app.addHook('onClose', async () => {
      await trainer?.close();
      for (const each of [versions, ...beside.values()]) each.close();
      await store?.close();
    });
    if (app.hasDecorator('heedNotFound')) app.heedNotFound.push((request, { raw }) => metrics.count(request, raw));
    await app.register(async (scope) => {
      guard(scope);
      allowOrigins(scope, origins);
      scope.addHook('onRequest', async (request, { raw }) => {
        metrics.count(request, raw);
        if (!request.routeOptions.config.needsNoKey) service.keys.check(request);
      });
      scope.addHook('onResponse', async ({ raw }) => {
        if (isClosing) raw.socket.destroySoon(); // a client may have sent its request before, and would keep the connection
      });
      completionRoutes(scope, service);
      responseRoutes(scope, service);
      otherRoutes(scope, service, () => isClosing);
    });
    trainer?.start();
  };
  return Object.assign(plugin, {
    abort() {
      for (const each of [...running]) each.abort(new RequestError(503, 'the server stops', 'unavailable'));
    },
  });
}

async function templateOf(tokenizer: Tokenizer): Promise<ChatTemplate> {
  return await ChatTemplate.load(tokenizer.chatTemplate === undefined ? 'plain' : 'tokenizer', tokenizer);
}
