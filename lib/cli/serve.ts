import { serveFields, UsageError, type Values } from '../config/index.js';
import { originsOf } from '../http/origins.js';
import { createServer, listen } from '../http/server.js';
import { Engine } from '../runtime/engine.js';
import type { LanguageModel } from '../runtime/model.js';
import { type Serving, serving } from '../serve/index.js';
import { isLoopback } from '../serve/keys.js';
import { type Command, type Context, machineOf } from './command.js';
import { Loader } from './load.js';
import { namesOf, namingFolder, readModelFolder, requireSameTokens, templateFor } from './models.js';

export const serve: Command<typeof serveFields> = {
  name: 'serve',
  summary: "OpenAI's API for a model; keeps feedback and learns from it",
  about: `Serves /v1/chat/completions, /v1/completions, /v1/models, /score and /feedback; requests that come together are decoded together.
With --feedback every answer is kept with its tokens and log-probabilities, and what people say of it; with --train an adapter learns from
thumbs, rankings and edits (rewards are kept, and not learnt from), and is served once it beats the version before it on held-out feedback.
Without --train the version is served that was served last. docs/service.md has the details.`,
  fields: serveFields,
  required: ['model'],
  positional: 'model',
  examples: [
    ['on this machine', 'heed serve --model runs/sft/model'],
    [
      'for others, keeping feedback and learning from it at night',
      'HEED_API_KEYS=secret heed serve --model runs/sft/model --host 0.0.0.0 --feedback feedback.db --train nightly',
    ],
    [
      'with two adapters, which requests choose by their model',
      'heed serve --model llama --adapter polite=runs/polite/model --adapter brief=runs/brief/model',
    ],
    ['with scores of a reward model', 'heed serve --model runs/sft/model --reward-model runs/reward/model'],
  ],
  trains: false,
  stopping: 'no new requests are taken',
  run,
};

async function run(values: Values<typeof serveFields>, { signal, log }: Context): Promise<void> {
  const apiKeys = [...(values.apiKey ?? []), ...(process.env.HEED_API_KEYS ?? '').split(',')].filter(
    (key) => key !== '',
  );
  const adminKey = values.adminKey ?? (process.env.HEED_ADMIN_KEY || undefined);
  if (apiKeys.length === 0 && !isLoopback(values.host))
    throw new UsageError(`--host ${values.host} lets other machines in, which needs --api-key or HEED_API_KEYS`);
  const allowOrigins = values.allowOrigin ?? [];
  try {
    originsOf(allowOrigins);
  } catch (cause) {
    throw new UsageError(`--allow-origin: ${(cause as Error).message}`);
  }
  if (allowOrigins.includes('*') && apiKeys.length === 0)
    throw new UsageError('--allow-origin * lets every page call the service, which needs --api-key or HEED_API_KEYS');
  if (values.train !== 'off' && values.feedback === undefined)
    throw new UsageError('--train needs --feedback: the file that it learns from');
  if (values.objective === 'ppo' && values.rewardModel === undefined)
    throw new UsageError('--objective ppo needs --reward-model');
  const { own, beside } = adaptersOf(values.adapter ?? []);
  if (values.train !== 'off' && beside.size > 0)
    throw new UsageError('--train learns from the answers of one model: leave out --adapter NAME=DIR');
  const folder = await readModelFolder(values.model!, 'language', own);
  const name = values.name ?? namesOf([namingFolder(folder)])[0]!;
  if (beside.has(name)) throw new UsageError(`--adapter ${name}=… has the name of the model: give another, or --name`);
  for (const dir of beside.values()) requireSameTokens(folder, await readModelFolder(folder.dir, 'language', dir));
  const reward = values.rewardModel === undefined ? undefined : await readModelFolder(values.rewardModel, 'scalar');
  if (reward) requireSameTokens(folder, reward);
  const engine = await Engine.create({ ...machineOf(values), signal });
  try {
    const loader = new Loader(engine, signal);
    const { slots, queue, perMinute, atOnce, timeout, maxNewTokens, feedback } = values;
    const model = await loader.language(folder);
    const base = (model.base ?? model) as LanguageModel;
    const adapters: [string, LanguageModel][] = [];
    for (const [each, from] of beside) adapters.push([each, await base.adapter({ from, signal })]);
    const service = serving({
      name,
      model,
      adapters: Object.fromEntries(adapters),
      tokenizer: folder.tokenizer,
      template: await templateFor(values.template, folder.tokenizer),
      rewardModel: reward && (await loader.scalar(reward, 0)),
      ...{ feedback, apiKeys, adminKey, allowOrigins, slots, queue, perMinute, atOnce, timeout, maxNewTokens },
      training:
        values.train === 'off' && values.versions === undefined
          ? undefined
          : {
              when: values.train === 'off' ? 'never' : values.train,
              at: values.trainAt,
              folder: values.versions,
              objective: values.objective,
              every: values.trainEvery,
              leastHeldOut: values.leastHeldOut,
              loraR: values.loraR,
              learningRate: values.learningRate,
              epochs: values.epochs,
              batchSize: values.batchSize,
            },
    });
    const app = createServer({ logTo: values.log ? process.stdout : undefined });
    try {
      await app.register(service);
      log.line(`${await listen(app, values)} serves ${folder.dir}; Ctrl-C ends`);
      await aborted(signal);
      log.line(`stopping: requests under way have ${values.grace} s`);
    } finally {
      await closeWithin(app, service, values.grace);
    }
  } finally {
    await engine.dispose();
  }
}

/** The adapter in the model's place, and those beside it by their names. @throws UsageError */
function adaptersOf(given: readonly string[]): { own: string | undefined; beside: Map<string, string> } {
  const beside = new Map<string, string>();
  let own: string | undefined;
  for (const each of given) {
    const [, name, dir] = /^([^/\\=]+)=(.+)$/s.exec(each) ?? [];
    if (name === undefined || dir === undefined) {
      if (own !== undefined)
        throw new UsageError(
          `--adapter is ${own} and ${each}: give those that are served beside the model as NAME=DIR`,
        );
      own = each;
    } else {
      if (beside.has(name)) throw new UsageError(`--adapter ${name}=… is given twice`);
      beside.set(name, dir);
    }
  }
  return { own, beside };
}

/** Takes no more requests, and ends those under way when their time is over. */
async function closeWithin(app: ReturnType<typeof createServer>, service: Serving, seconds: number): Promise<void> {
  const timer = setTimeout(() => service.abort(), 1000 * seconds);
  try {
    await app.close();
  } finally {
    clearTimeout(timer);
  }
}

const aborted = (signal: AbortSignal) =>
  new Promise<void>((done) => {
    if (signal.aborted) done();
    else signal.addEventListener('abort', () => done(), { once: true });
  });
