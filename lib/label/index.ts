/**
 * The labelling page as a library: `heed label` for a server of one's own.
 *
 *     import { labelling } from 'heed/label';
 *     app.register(labelling({ out: 'labels.db', prompts, models }), { prefix: '/label' });   // Fastify
 *     server.use('/label', await labelling(options).handler());                              // Express, node:http
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { FastifyInstance, FastifyPluginAsync } from 'fastify';
import { DataError } from '../core/errors.js';
import { openFeedback } from '../feedback/database.js';
import { type Lock, lockFile } from '../feedback/lock.js';
import { createServer } from '../http/server.js';
import { kMostResponses } from './check.js';
import { Learner, type LearningOptions } from './learning.js';
import { Overviewer } from './overviewer.js';
import { Queue } from './queue.js';
import { labelRoutes } from './routes.js';
import { type SampledModel, Sampler } from './sampling.js';
import { type NewItem, Store } from './store.js';
import type { Mode, Overview } from './types.js';

export type { SampledColumns } from '../feedback/rows.js';
export type { LearningOptions } from './learning.js';
export type { SampledModel } from './sampling.js';
export type { NewItem } from './store.js';
export type {
  Disagreement,
  LabelerRow,
  Learnt,
  Measured,
  Mode,
  Overview,
  ShownPrompt,
} from './types.js';

export interface LabellingOptions {
  /** The file of feedback, made if it is not there. */
  readonly out: string;
  /** Prompts that are added to those in the file; known ones are ignored. With `ranks` an attention item. */
  readonly prompts?: Iterable<NewItem> | undefined;
  /** Models that answer; the first is also what the reward model starts from. Default none: prompts need their own responses. */
  readonly models?: readonly SampledModel[] | undefined;
  /** Default 'rank'. */
  readonly mode?: Mode | undefined;
  /** Responses of a prompt. Default: 4 to rank, 2 to choose from, 1 for a thumb, none to write. */
  readonly k?: number | undefined;
  /** In mode 'rank': rate each output alone before all are ranked. Default true. */
  readonly rates?: boolean | undefined;
  /** Markdown. Default ''. */
  readonly guidelines?: string | undefined;
  /** Who sees the overview. Default 'owner'. */
  readonly owner?: string | undefined;
  /** Share of the items that several people label; 1 is all. Default 0. */
  readonly double?: number | undefined;
  /** How many people label each of them. Default 2. */
  readonly labelersPerItem?: number | undefined;
  /** Share of a person's tasks that are an earlier one again. Default 0. */
  readonly repeats?: number | undefined;
  /** Share of a person's tasks that are attention items. Default 0.05, if there are any. */
  readonly attention?: number | undefined;
  /** Default 'random'. */
  readonly order?: 'random' | 'uncertain' | undefined;
  /** A reward model that learns while people label. Default: none. */
  readonly learning?: Omit<LearningOptions, 'seed'> | undefined;
  /** Share of the items that the reward model is tested on. Default 0.2 with `learning`, else 0. */
  readonly heldOut?: number | undefined;
  /** Default 0. */
  readonly seed?: number | undefined;
  /** Tokens per response, at most. Default 256. */
  readonly maxNewTokens?: number | undefined;
  /** Default 1. */
  readonly temperature?: number | undefined;
  /** Default 0: off. */
  readonly topK?: number | undefined;
  /** Default 1: off. */
  readonly topP?: number | undefined;
  /** Texts that end a response. */
  readonly stop?: readonly string[] | undefined;
  /** Prompts whose responses are sampled ahead. Default 64. */
  readonly ahead?: number | undefined;
  /** Who a request is from, for a server that knows; undefined refuses it. Default: by invitation, {@link Labelling.invite}. */
  readonly labelerOf?: ((request: IncomingMessage) => string | undefined) | undefined;
  /** Gets what went wrong in the background. Default: it is printed. */
  readonly onFailure?: ((error: unknown) => void) | undefined;
}

/** A Fastify plugin, and what else the page can be mounted by. */
export interface Labelling extends FastifyPluginAsync {
  /** For `http.createServer` and Express's `use`. Resolves when the file is open. */
  handler(): Promise<(request: IncomingMessage, response: ServerResponse) => void>;
  /** A new invitation for a name: the end of the page's address, `?key=…`. Earlier ones stay valid. */
  invite(name: string): Promise<string>;
  /** Makes all invitations of a name invalid. @returns how many there were */
  revoke(name: string): Promise<number>;
  /** How many prompts the file has, as it counts them: {@link Labelling.overview} takes long with many labels. */
  items(): Promise<Omit<Overview['items'], 'finished'>>;
  /** Of this moment. It is computed in a thread of its own; with 100 000 labels that takes seconds. */
  overview(): Promise<Overview>;
  /** Ends sampling and learning and closes the file. Fastify does it when it closes. */
  close(): Promise<void>;
}

/** Responses of a prompt, unless another number is given. */
export const kResponses: Readonly<Record<Mode, number>> = { rank: 4, pair: 2, thumb: 1, demonstrate: 0 };
const kFewest: Readonly<Record<Mode, number>> = { rank: 2, pair: 2, thumb: 1, demonstrate: 0 };

/** @throws RangeError for an option that is out of range */
export function labelling(options: LabellingOptions): Labelling {
  const o = complete(options);
  let opening: Promise<Desk> | undefined;
  const desk = () => {
    opening ??= openDesk(o);
    return opening;
  };
  const close = async () => {
    await (await opening?.catch(() => undefined))?.close();
  };
  const plugin = async (app: FastifyInstance) => {
    const { routes } = await desk();
    app.addHook('onClose', close);
    await app.register(async (scope) => labelRoutes(scope, routes));
  };
  return Object.assign(plugin, {
    async handler() {
      const app = createServer();
      await app.register(plugin);
      await app.ready();
      return (request: IncomingMessage, response: ServerResponse) => app.routing(request, response);
    },
    invite: async (name: string) => `?key=${(await desk()).store.invite(name)}`,
    revoke: async (name: string) => (await desk()).store.revoke(name),
    items: async () => (await desk()).store.items(),
    overview: async () => (await desk()).overview(),
    close,
  });
}

type Filled = 'mode' | 'k' | 'rates' | 'owner' | 'seed' | 'order' | 'heldOut' | 'double' | 'labelersPerItem';
type Complete = Omit<LabellingOptions, Filled | 'learning'> & {
  readonly [K in Filled]: NonNullable<LabellingOptions[K]>;
} & { readonly learning: LearningOptions | undefined };

function complete(o: LabellingOptions): Complete {
  const { mode = 'rank', learning, seed = 0 } = o;
  const { k = kResponses[mode], double = 0, repeats = 0, attention = 0, heldOut = learning ? 0.2 : 0 } = o;
  const fewest = kFewest[mode];
  const most = mode === 'pair' ? 2 : kMostResponses;
  if (!(Number.isInteger(k) && k >= fewest && k <= most))
    throw new RangeError(`k is ${k}, expected an integer from ${fewest} to ${most} in mode ${mode}`);
  for (const [name, share] of Object.entries({ repeats, attention, heldOut }))
    if (!(share >= 0 && share < 1)) throw new RangeError(`${name} is ${share}, expected from 0 to below 1`);
  if (!(double >= 0 && double <= 1)) throw new RangeError(`double is ${double}, expected from 0 to 1`);
  if (repeats + attention > 1)
    throw new RangeError(`repeats is ${repeats} and attention ${attention}, expected at most 1 together`);
  const { labelersPerItem = 2 } = o;
  if (!(Number.isInteger(labelersPerItem) && labelersPerItem >= 1))
    throw new RangeError(`labelersPerItem is ${labelersPerItem}, expected an integer of at least 1`);
  if (learning && !o.models?.length) throw new RangeError('learning needs a model to start from: models is empty');
  if (learning && mode !== 'rank' && mode !== 'pair')
    throw new RangeError(`mode is ${mode}, expected rank or pair for a reward model to learn from`);
  return {
    ...o,
    mode,
    k,
    seed,
    double,
    labelersPerItem,
    heldOut,
    rates: o.rates ?? true,
    owner: o.owner ?? 'owner',
    order: o.order ?? 'random',
    learning: learning && { ...learning, seed },
  };
}

/** What was made for one mode may be impossible to answer in another. @throws DataError */
function requireMode(store: Store, mode: Mode, file: string): void {
  const wrong = store.itemsBelow(kFewest[mode]);
  if (!wrong) return;
  throw new DataError(
    `has ${wrong.items} prompts with ${wrong.responses} responses, expected at least ${kFewest[mode]} in mode ${mode}: give the mode that it was begun with, or another file`,
    { file },
  );
}

interface Desk {
  readonly store: Store;
  readonly routes: Parameters<typeof labelRoutes>[1];
  overview(): Promise<Overview>;
  close(): Promise<void>;
}

async function openDesk(o: Complete): Promise<Desk> {
  const database = await openFeedback(o.out); // says what is wrong with the file before a lock is made beside it
  let lock: Lock | undefined;
  try {
    lock = await lockFile(o.out, 'heed label');
    return startDesk(o, new Store(database), lock);
  } catch (error) {
    database.close();
    lock?.release();
    throw error;
  }
}

function startDesk(o: Complete, store: Store, lock: Lock): Desk {
  const { mode, seed, k, models = [] } = o;
  requireMode(store, mode, o.out);
  const queue = new Queue(store, {
    seed,
    mode,
    order: o.order,
    repeats: o.repeats ?? 0,
    attention: o.attention ?? 0.05,
  });
  const fewest = Math.min(k, 2);
  if (o.prompts)
    store.add(o.prompts, {
      seed,
      heldOut: o.heldOut,
      needed: models.length > 0 ? k : fewest,
      most: mode === 'pair' ? 2 : kMostResponses,
    });
  store.share(o.double, o.labelersPerItem);
  if (models.length > 0) store.retry();
  else store.giveUpAll('no model is there to sample responses');
  const sampler = new Sampler(store, models, {
    k,
    seed,
    maxNewTokens: o.maxNewTokens ?? 256,
    temperature: o.temperature ?? 1,
    topK: o.topK ?? 0,
    topP: o.topP ?? 1,
    stop: o.stop ?? [],
    ahead: o.ahead ?? 64,
  });
  const learner = o.learning && new Learner(store, models[0]!, o.learning);
  const onFailure = o.onFailure ?? ((error) => process.emitWarning(String(error)));
  const work = () => {
    if (models.length > 0) sampler.wake(onFailure);
    learner?.wake();
  };
  queue.onChange = work;
  work();
  const overviewer = new Overviewer(store.database, mode, onFailure);
  const learning = (): Overview['learning'] => ({
    isOn: learner !== undefined,
    isTraining: learner?.isTraining ?? false,
    curve: learner?.curve() ?? [],
    ...(learner?.failure === undefined ? {} : { failure: learner.failure }),
  });
  return {
    store,
    overview: async () => ({ ...(await overviewer.measure()), learning: learning() }),
    routes: {
      store,
      queue,
      mode,
      rates: mode === 'rank' && o.rates,
      guidelines: o.guidelines ?? '',
      owner: o.owner,
      labelerOf: o.labelerOf,
      onDemand: work,
      overview: async () => ({ ...(await overviewer.read()), learning: learning() }),
    },
    async close() {
      await Promise.all([sampler.stop(), learner?.stop(), overviewer.close()]);
      if (store.database.open) store.database.close();
      lock.release();
    },
  };
}
