/**
 * Training beside serving: an adapter learns from the feedback, and is served only after it beats the version before it on feedback that
 * is held out, by an interval that allows for repeated attempts. Everything runs in the engine's queue, between the jobs of answers.
 */
import { mkdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { FastifyBaseLogger } from 'fastify';
import type { Frame } from '../data/index.js';
import { RequestError } from '../http/server.js';
import { trainDpo } from '../phases/dpo.js';
import { trainKto } from '../phases/kto.js';
import { finish } from '../phases/loop.js';
import { trainPpo } from '../phases/ppo/index.js';
import { writeFileAtomic } from '../runs/files.js';
import type { LanguageModel, ScalarModel } from '../runtime/model.js';
import { stopTokensOf } from '../text/stop.js';
import type { Tokenizer } from '../tokenizer/tokenizer.js';
import { type History, openHistory } from './history.js';
import {
  alphaOf,
  countFeedback,
  countPrompts,
  improvement,
  type Learnable,
  readLearnable,
  readPrompts,
} from './learnable.js';
import type { Store } from './store.js';
import type { VersionInfo, Versions } from './versions.js';

export interface TrainingOptions {
  /**
   * After every `every` thumbs, rankings and edits, or at 3 o'clock at night if there are as many new ones; 'never' serves what was
   * learnt before.
   */
  readonly when: 'continuous' | 'nightly' | 'never';
  /** Folder of the adapters and of `versions.json`. Default: the file of feedback with `.versions` after it. */
  readonly folder?: string | undefined;
  /** Default 'auto': DPO if there are more rankings and edits than thumbs, else KTO. 'ppo' needs a reward model. */
  readonly objective?: 'auto' | 'dpo' | 'kto' | 'ppo' | undefined;
  /** Default 32. */
  readonly every?: number | undefined;
  /** Prompts with feedback that have to be held out before a version can be served. Default 16. */
  readonly leastHeldOut?: number | undefined;
  /** Rank of the adapter. Default 16. */
  readonly loraR?: number | undefined;
  /** Default 1e-4. */
  readonly learningRate?: number | undefined;
  /** Passes over the feedback, or iterations of PPO. Default 1. */
  readonly epochs?: number | undefined;
  /** Default 16. */
  readonly batchSize?: number | undefined;
}

type Complete = { readonly [K in keyof TrainingOptions]-?: NonNullable<TrainingOptions[K]> };

export interface TrainerContext {
  readonly model: LanguageModel;
  readonly tokenizer: Tokenizer;
  readonly frame: Frame;
  readonly rewardModel?: ScalarModel | undefined;
  readonly feedback?: string | undefined;
  readonly versions: Versions;
  readonly store: Store;
  readonly log: FastifyBaseLogger;
}

export class Trainer {
  readonly #context: TrainerContext;
  readonly #o: Complete;
  readonly #abort = new AbortController();
  #record: History;
  #running: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #attempts = 0;

  private constructor(context: TrainerContext, options: Complete, record: History) {
    this.#context = context;
    this.#o = options;
    this.#record = record;
    if (options.when === 'nightly') this.#sleep();
  }

  /** Continues with the version that was served last. @throws DataError for a damaged `versions.json`; RangeError */
  static async open(context: TrainerContext, options: TrainingOptions): Promise<Trainer> {
    const o = {
      folder: `${context.feedback}.versions`,
      objective: 'auto' as const,
      every: 32,
      leastHeldOut: 16,
      loraR: 16,
      learningRate: 1e-4,
      epochs: 1,
      batchSize: 16,
      ...Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)),
    } as Complete;
    if (o.objective === 'ppo' && !context.rewardModel)
      throw new RangeError('objective is ppo, which needs a reward model');
    await mkdir(o.folder, { recursive: true });
    const file = join(o.folder, 'versions.json');
    const record = await openHistory(file, context.model);
    const trainer = new Trainer(context, o, record);
    if (record.serving !== 0) await trainer.#load(record.serving);
    return trainer;
  }

  get versions(): readonly VersionInfo[] {
    return this.#record.versions;
  }

  get state(): 'training' | 'waiting' | 'off' {
    return this.#o.when === 'never' ? 'off' : this.#running ? 'training' : 'waiting';
  }

  /** Trains if it is to train continuously and there is enough new feedback. */
  wake(): void {
    if (this.#o.when === 'continuous') this.#begin();
  }

  /** Resolves when no training runs. */
  async settled(): Promise<void> {
    await this.#running;
  }

  /** Serves a version that was served before. @throws RequestError 404 */
  async serve(version: number): Promise<void> {
    if (!this.#record.versions.some((each) => each.version === version))
      throw new RequestError(404, `there is no version ${version}`, 'not_found', 'version');
    if (version === this.#context.versions.current.info.version) return;
    await this.#load(version);
    await this.#write({ ...this.#record, serving: version });
    this.#context.log.info({ event: 'version', version }, 'version served by request');
  }

  async close(): Promise<void> {
    clearTimeout(this.#timer);
    this.#abort.abort();
    await this.#running;
  }

  #sleep(): void {
    const next = new Date();
    next.setHours(3, 0, 0, 0);
    if (next.getTime() <= Date.now()) next.setDate(next.getDate() + 1);
    this.#timer = setTimeout(() => {
      this.#begin();
      this.#sleep();
    }, next.getTime() - Date.now());
    this.#timer.unref();
  }

  #begin(): void {
    if (this.#running || this.#abort.signal.aborted) return;
    const { database } = this.#context.store;
    const count = countFeedback(database);
    if (count - this.#record.learnt < this.#o.every) return;
    this.#running = this.#round(count)
      .catch((error: unknown) => {
        if (!this.#abort.signal.aborted) this.#context.log.error(error, 'training failed');
      })
      .finally(() => {
        this.#running = undefined;
        this.wake(); // feedback that came meanwhile
      });
  }

  /** One training and its test. */
  async #round(count: number): Promise<void> {
    const { model, store, versions, log } = this.#context;
    const { signal } = this.#abort;
    await this.#write({ ...this.#record, learnt: count }); // also of a training that fails
    const { train, held } = await readLearnable(
      store.database,
      this.#context.frame,
      Math.min(model.config.maxPositions, model.engine.info.maxTokens),
    );
    if (countPrompts(held) < this.#o.leastHeldOut || train.thumbs.length + train.rankings.length < 2) {
      log.info({ event: 'training', heldOutPrompts: countPrompts(held) }, 'too little feedback to train and to test');
      return;
    }
    const before = versions.use();
    let policy: LanguageModel | undefined;
    try {
      const current = before.version.model;
      const seed = ++this.#attempts;
      policy = current.lora
        ? await current.clone({ signal })
        : await current.adapter({ rank: this.#o.loraR, seed, signal });
      const objective = await this.#train(policy, train, seed);
      const attempt = (this.#record.attempts ?? 0) + 1;
      await this.#write({ ...this.#record, attempts: attempt });
      const alpha = alphaOf(attempt);
      const gained = await improvement(current, policy, held, signal, alpha);
      const training = {
        objective,
        from: before.version.info.version,
        thumbs: train.thumbs.length,
        rankings: train.rankings.length,
        heldOut: gained?.count ?? 0,
        heldOutPrompts: countPrompts(held),
        attempt,
        alpha,
        gained: gained?.value,
        low: gained?.low,
        high: gained?.high,
      };
      // Somebody may have chosen another version meanwhile, which this one was not tested against.
      if (!gained || !(gained.low > 0) || versions.current.info !== before.version.info) {
        log.info({ event: 'training', ...training }, 'a version was not better, and is not served');
        return;
      }
      const version = Math.max(...this.#record.versions.map((each) => each.version)) + 1;
      const folder = join(this.#o.folder, String(version));
      await policy.save(folder, { signal });
      const info = { version, created: Date.now(), folder: String(version), training };
      await this.#write({
        ...this.#record,
        serving: version,
        learnt: count,
        attempts: 0,
        versions: [...this.#record.versions, info],
      });
      versions.serve(policy, info);
      policy = undefined;
      log.info({ event: 'version', version, ...training }, 'a better version is served');
    } finally {
      before.done();
      await policy?.dispose();
    }
  }

  async #train(policy: LanguageModel, { thumbs, rankings }: Learnable, seed: number): Promise<string> {
    const { learningRate, epochs, batchSize } = this.#o;
    const { tokenizer, rewardModel, store } = this.#context;
    const { signal } = this.#abort;
    const common = { model: policy, learningRate, epochs, batchSize, seed, signal };
    const objective =
      this.#o.objective === 'auto'
        ? rankings.length > thumbs.length || thumbs.length < 2
          ? 'dpo'
          : 'kto'
        : this.#o.objective;
    if (objective === 'dpo') await finish(trainDpo({ ...common, rankings: rankings.map(({ item }) => item) }));
    else if (objective === 'kto') await finish(trainKto({ ...common, feedback: thumbs.map(({ item }) => item) }));
    else {
      const { config, specialTokens } = policy;
      const most = Math.floor(config.maxPositions / 2);
      const prompts = readPrompts(store.database).filter(({ length }) => length <= most);
      await finish(
        trainPpo({
          policy,
          reward: rewardModel!,
          prompts,
          iterations: Math.ceil(epochs),
          batchSize: Math.min(batchSize, prompts.length),
          minibatches: 1,
          learningRate,
          maxNewTokens: Math.min(128, most),
          stopTokens: stopTokensOf({ tokenizer, specialTokens, config }),
          seed,
          signal,
        }),
      );
    }
    return objective;
  }

  async #load(version: number): Promise<void> {
    const { model, versions } = this.#context;
    const info = this.#record.versions.find((each) => each.version === version)!;
    if (info.folder === undefined) return versions.serve(model, info, false);
    versions.serve(
      await (model.base ? (model.base as LanguageModel) : model).adapter({
        from: resolve(this.#o.folder, info.folder),
      }),
      info,
    );
  }

  async #write(record: History): Promise<void> {
    this.#record = record;
    await writeFileAtomic(join(this.#o.folder, 'versions.json'), `${JSON.stringify(record, undefined, 2)}\n`);
  }
}
