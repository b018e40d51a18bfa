/**
 * Training beside serving: an adapter learns from the feedback, and is served only after it beats the version before it on feedback that
 * is held out, by an interval that allows for repeated attempts. Everything runs in the engine's queue, between the jobs of answers.
 */
import { mkdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { FastifyBaseLogger } from 'fastify';
import type { Frame } from '../../data/index.js';
import { RequestError } from '../../http/server.js';
import type { LanguageModel, ScalarModel } from '../../runtime/model.js';
import type { Store } from '../store.js';
import { alphaOf, improvement } from './gate.js';
import { HistoryFile } from './history.js';
import { countFeedback, countPrompts, type LeftOut, readLearnable } from './learnable.js';
import { nextAt, type TimeOfDay, timeOfDay } from './nightly.js';
import { learn } from './objectives.js';
import { OwnAnswers } from './own.js';
import type { Version, VersionInfo, Versions } from './versions.js';

export interface TrainingOptions {
  /** After every `every` thumbs, rankings and edits, or at night if there are as many new ones; 'never' serves what was learnt before. */
  readonly when: 'continuous' | 'nightly' | 'never';
  /** The time of night, `HH:MM` or `HH:MM:SS`, in this machine's time zone. Default '03:00'. */
  readonly at?: string | undefined;
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
  readonly frame: Frame;
  readonly rewardModel?: ScalarModel | undefined;
  readonly feedback?: string | undefined;
  /** Of an answer that PPO samples. */
  readonly maxNewTokens: number;
  readonly versions: Versions;
  /** undefined: nothing is learnt. */
  readonly store: Store | undefined;
  readonly log: FastifyBaseLogger;
}

/** An attempt and its test. */
type Tested = {
  readonly from: number;
  readonly thumbs: number;
  readonly rankings: number;
  /** Judged answers of other models, by their names. */
  readonly leftOut: LeftOut;
  readonly heldOut: number;
  readonly heldOutPrompts: number;
  readonly attempt: number;
  readonly alpha: number;
  readonly gained: number | undefined;
  readonly low: number | undefined;
  readonly high: number | undefined;
};

/** A sleeping machine's timers stand still, its clock is set, and `heed label` writes into the same file: so it is looked often. */
const kLook = 60_000;

export class Trainer {
  readonly #context: TrainerContext;
  readonly #o: Complete;
  readonly #at: TimeOfDay;
  readonly #file: HistoryFile;
  readonly #abort = new AbortController();
  readonly #own = new OwnAnswers();
  #running: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #due = 0;
  #learnt: number; // also of a training that failed
  #attempts = 0;

  private constructor(context: TrainerContext, options: Complete, file: HistoryFile) {
    this.#context = context;
    this.#o = options;
    this.#at = timeOfDay(options.at);
    this.#file = file;
    this.#learnt = file.record.learnt;
  }

  /** Continues with the version that was served last. @throws DataError for a damaged `versions.json`; RangeError */
  static async open(context: TrainerContext, options: TrainingOptions): Promise<Trainer> {
    const o = {
      at: '03:00',
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
    const learns = o.when !== 'never';
    if (learns) await mkdir(o.folder, { recursive: true });
    const file = await HistoryFile.open(join(o.folder, 'versions.json'), context.model, learns);
    const trainer = new Trainer(context, o, file);
    const { serving } = file.record;
    if (serving !== 0) context.versions.serve(await trainer.#load(serving), trainer.#find(serving)!);
    if (o.when === 'nightly') {
      if (file.record.looked === undefined) await file.write({ looked: Date.now() });
      // What was missed while nothing ran is due at once.
      trainer.#due = nextAt(trainer.#at, file.record.looked!);
    }
    return trainer;
  }

  get versions(): readonly VersionInfo[] {
    return this.#file.record.versions;
  }

  get state(): 'training' | 'waiting' | 'off' {
    return this.#o.when === 'never' ? 'off' : this.#running ? 'training' : 'waiting';
  }

  /** Begins to look for feedback to learn from, now and then, until it is closed. */
  start(): void {
    if (this.#o.when === 'never' || this.#abort.signal.aborted) return;
    const now = Date.now();
    if (this.#o.when === 'continuous') this.#begin();
    else if (now >= this.#due) {
      this.#begin();
      this.#file.write({ looked: now }).catch((error: unknown) => this.#context.log.error(error, 'versions.json'));
    }
    this.#due = nextAt(this.#at, now);
    const wait = this.#o.when === 'nightly' ? Math.min(kLook, this.#due - now) : kLook;
    this.#timer = setTimeout(() => this.start(), wait);
    this.#timer.unref();
  }

  /** There is new feedback. */
  wake(): void {
    if (this.#o.when === 'continuous') this.#begin();
  }

  /** Resolves when no training runs. */
  async settled(): Promise<void> {
    await this.#running;
  }

  /** Serves a version that was served before. @throws RequestError 404 */
  async serve(version: number): Promise<void> {
    const { versions, log } = this.#context;
    const info = this.#find(version);
    if (!info) throw new RequestError(404, `there is no version ${version}`, 'not_found', 'version');
    await this.#file.alone(async (write) => {
      if (version === versions.current.info.version) return;
      const model = await this.#load(version);
      try {
        await write({ serving: version });
      } catch (error) {
        if (model !== this.#context.model) await model.dispose();
        throw error;
      }
      versions.serve(model, info, model !== this.#context.model);
      log.info({ event: 'version', version }, 'version served by request');
    });
  }

  async close(): Promise<void> {
    clearTimeout(this.#timer);
    this.#abort.abort();
    await this.#running;
    await this.#file.alone(async () => undefined);
  }

  #begin(): void {
    const { store, log } = this.#context;
    if (!store || this.#running || this.#abort.signal.aborted) return;
    const count = countFeedback(store.database);
    if (count - this.#learnt < this.#o.every) return;
    this.#learnt = count;
    this.#running = this.#round(store, count)
      .catch((error: unknown) => {
        if (!this.#abort.signal.aborted) log.error(error, 'training failed');
      })
      .finally(() => {
        this.#running = undefined;
        this.wake(); // feedback that came meanwhile
      });
  }

  /** One training and its test. */
  async #round({ database }: Store, learnt: number): Promise<void> {
    const { model, frame, versions, log } = this.#context;
    const { signal } = this.#abort;
    await this.#file.write({ learnt });
    const most = Math.min(model.config.maxPositions, model.engine.info.maxTokens);
    const before = versions.use();
    let policy: LanguageModel | undefined;
    try {
      const current = before.version.model;
      const isOwn = this.#own.of(this.#trained(current), signal);
      const feedback = await readLearnable(database, { frame, maxTokens: most, isOwn, signal });
      const { train, held, leftOut } = feedback;
      const tooLittle = () =>
        log.info(
          { event: 'training', heldOutPrompts: countPrompts(held), leftOut },
          'too little feedback to train and to test',
        );
      if (countPrompts(held) < this.#o.leastHeldOut) return tooLittle();
      const { objective: wanted, learningRate, epochs, batchSize } = this.#o;
      const { rewardModel, maxNewTokens } = this.#context;
      const seed = ++this.#attempts;
      policy = current.lora
        ? await current.clone({ signal })
        : await current.adapter({ rank: this.#o.loraR, seed, signal });
      const how = { objective: wanted, learningRate, epochs, batchSize, maxNewTokens, seed, signal };
      const objective = await learn(policy, train, how, { database, frame, rewardModel });
      if (!objective) return tooLittle();
      const training = { objective, ...(await this.#test(before.version, policy, feedback)) };
      if (await this.#promote(before.version, policy, training)) policy = undefined;
      else log.info({ event: 'training', ...training }, 'a version was not better, and is not served');
    } finally {
      before.done();
      await policy?.dispose();
    }
  }

  #trained(served: LanguageModel) {
    const { model: given, versions } = this.#context;
    const learnt = this.versions.filter(({ version }) => version !== 0);
    return {
      name: versions.name,
      given,
      served,
      versions: new Set(learnt.map((each) => versions.nameOf(each.version))),
    };
  }

  async #test(
    before: Version,
    policy: LanguageModel,
    { train, held, leftOut }: Awaited<ReturnType<typeof readLearnable>>,
  ): Promise<Tested> {
    const attempt = (this.#file.record.attempts ?? 0) + 1;
    await this.#file.write({ attempts: attempt });
    const alpha = alphaOf(attempt);
    const gained = await improvement(before.model, policy, held, this.#abort.signal, alpha);
    return {
      from: before.info.version,
      thumbs: train.thumbs.length,
      rankings: train.rankings.length,
      leftOut,
      heldOut: gained?.count ?? 0,
      heldOutPrompts: countPrompts(held),
      attempt,
      alpha,
      gained: gained?.value,
      low: gained?.low,
      high: gained?.high,
    };
  }

  /** Serves a policy that passed its test. @returns whether it did */
  async #promote(before: Version, policy: LanguageModel, training: Tested): Promise<boolean> {
    if (!(training.low !== undefined && training.low > 0)) return false;
    const { versions, log } = this.#context;
    return await this.#file.alone(async (write) => {
      // Somebody may have chosen another version meanwhile, which this one was not tested against.
      if (versions.current.info !== before.info) return false;
      const version = Math.max(...this.versions.map((each) => each.version)) + 1;
      const folder = String(version);
      await policy.save(join(this.#o.folder, folder), { signal: this.#abort.signal });
      const info = { version, created: Date.now(), folder, training };
      await write({ serving: version, attempts: 0, versions: [...this.versions, info] });
      versions.serve(policy, info);
      log.info({ event: 'version', version, ...training }, 'a better version is served');
      return true;
    });
  }

  #find(version: number): VersionInfo | undefined {
    return this.versions.find((each) => each.version === version);
  }

  /** A version's model: what was given, or its own, which the caller disposes of. */
  async #load(version: number): Promise<LanguageModel> {
    const { model } = this.#context;
    const { folder } = this.#find(version)!;
    if (folder === undefined) return model;
    return await ((model.base as LanguageModel | undefined) ?? model).adapter({
      from: resolve(this.#o.folder, folder),
    });
  }
}
