/**
 * A reward model that learns while people label: an ensemble is trained again whenever there are enough new rankings, tested on items
 * that it never sees, and asked where its members disagree. Everything runs in the engine's queue, between the jobs of sampling.
 */
import { Counts } from '../data/counts.js';
import type { RankedResponses } from '../data/index.js';
import { rankingReader } from '../data/readers.js';
import { feedbackRows } from '../feedback/rows.js';
import { finish } from '../phases/loop.js';
import { comparePairs, hasPair, pairAccuracy } from '../phases/pairs.js';
import { scoreTrees, trainReward } from '../phases/reward.js';
import type { Tree } from '../runtime/batch.js';
import { ScalarModel } from '../runtime/model.js';
import { notCertain } from '../statistics/index.js';
import type { SampledModel } from './sampling.js';
import type { Store } from './store.js';
import type { Learnt } from './types.js';

export interface LearningOptions {
  /** Reward models that are trained: their disagreement is the uncertainty. */
  readonly ensemble: number;
  readonly learningRate: number;
  /** Prompts per optimizer step. */
  readonly batchSize: number;
  readonly epochs: number;
  /** Train a low-rank adapter of this rank instead of all weights. */
  readonly loraR?: number | undefined;
  readonly seed: number;
  /** Where the first member is saved after each training. */
  readonly saveTo?: string | undefined;
  /** A model folder whose tokenizer files are copied there. */
  readonly tokenizerFrom?: string | undefined;
}

/** Rankings of the first training; afterwards it is repeated when there are a quarter more. */
const kFirst = 8;
const kGrowth = 1.25;
/** Items whose uncertainty is computed, in the order of labelling. */
const kCandidates = 512;

export class Learner {
  readonly #store: Store;
  readonly #base: SampledModel;
  readonly #o: LearningOptions;
  readonly #abort = new AbortController();
  #running: Promise<void> | undefined;
  #due = kFirst;
  failure: string | undefined;

  /** @param base the language model from which the reward models start; it is not changed */
  constructor(store: Store, base: SampledModel, options: LearningOptions) {
    this.#store = store;
    this.#base = base;
    this.#o = options;
    const last = this.curve().at(-1);
    if (last) this.#due = Math.ceil(last.labels * kGrowth);
  }

  get isTraining(): boolean {
    return this.#running !== undefined;
  }

  curve(): Learnt[] {
    return this.#store.database
      .prepare('SELECT labels, accuracy, low, high, pairs FROM learning ORDER BY id')
      .all() as Learnt[];
  }

  /** Trains if there are enough new rankings. Safe to call at any time. */
  wake(): void {
    if (this.#running || this.#abort.signal.aborted || this.#count() < this.#due) return;
    this.#running = this.learn()
      .then(
        () => {
          this.failure = undefined;
        },
        (error: unknown) => {
          if (!this.#abort.signal.aborted) this.failure = error instanceof Error ? error.message : String(error);
        },
      )
      .finally(() => {
        this.#running = undefined;
        if (this.failure === undefined) this.wake(); // labels that came meanwhile
      });
  }

  async stop(): Promise<void> {
    this.#abort.abort();
    await this.#running;
  }

  /** Trains, tests and asks once. */
  async learn(): Promise<void> {
    const { train, held } = this.#rankings();
    this.#due = Math.max(kFirst, Math.ceil(this.#count() * kGrowth));
    const [rankings, tests] = [await this.#encode(train), await this.#encode(held)];
    const candidates = await this.#candidates();
    const scores: { held: Float32Array[]; candidates: Float32Array[] }[] = [];
    const { signal } = this.#abort;
    for (let member = 0; member < this.#o.ensemble; member++) {
      const model = await this.#fresh(member);
      try {
        const { learningRate, batchSize, epochs, seed } = this.#o;
        const options = { learningRate, batchSize, epochs, seed: seed + member, signal };
        await finish(trainReward({ model, rankings, ...options }));
        scores.push({
          held: await scoreTrees(model, tests, { signal }),
          candidates: await scoreTrees(
            model,
            candidates.map(({ tree }) => tree),
            { signal },
          ),
        });
        if (member === 0 && this.#o.saveTo !== undefined)
          await model.save(this.#o.saveTo, this.#o.tokenizerFrom ? { tokenizerFrom: this.#o.tokenizerFrom } : {});
      } finally {
        await model.dispose();
      }
    }
    this.#keep(train.length, tests, candidates, scores);
  }

  async #fresh(member: number): Promise<ScalarModel> {
    const { signal } = this.#abort;
    const { loraR, seed } = this.#o;
    const { model } = this.#base;
    const options = { seed: seed + member, signal };
    return loraR === undefined
      ? await ScalarModel.from(model, options)
      : await model.scalarAdapter({ ...options, rank: loraR });
  }

  /** Rankings to train on, with those that are all ties. */
  #count(): number {
    return this.#store.database
      .prepare(
        "SELECT count(*) FROM rankings JOIN items ON items.prompt = rankings.prompt WHERE purpose = 'label' AND held = 0",
      )
      .pluck()
      .get() as number;
  }

  /** One ranking per label that has a pair: those of held-out items apart. */
  #rankings() {
    const { database } = this.#store;
    const held = new Set(
      database
        .prepare('SELECT prompts.prompt FROM items JOIN prompts ON prompts.id = items.prompt WHERE held = 1')
        .pluck()
        .all() as string[],
    );
    const rows = [...feedbackRows(database, 'rankings', { forTraining: true })].filter(({ ranks }) =>
      hasPair(ranks as number[]),
    );
    const isHeld = ({ prompt }: (typeof rows)[number]) => held.has(JSON.stringify(prompt));
    return { train: rows.filter((row) => !isHeld(row)), held: rows.filter(isHeld) };
  }

  async #encode(rows: readonly Readonly<Record<string, unknown>>[]): Promise<RankedResponses[]> {
    const { model, tokenizer, template } = this.#base;
    const { signal } = this.#abort;
    const maxLength = model.config.maxPositions;
    const read = rankingReader({ tokenizer, template, maxLength, overlong: 'cut', signal });
    const counts = new Counts();
    const found: RankedResponses[] = [];
    for (const [i, value] of rows.entries()) {
      const item = (await read({ file: 'labels', line: i + 1, value }, counts))?.item;
      if (item && sizeOf(item) <= model.engine.info.maxTokens) found.push(item);
    }
    return found;
  }

  /** Items that nobody has labelled and that are to be trained on. */
  async #candidates(): Promise<{ item: number; tree: Tree }[]> {
    const rows = this.#store.database
      .prepare(
        `SELECT items.id, prompts.prompt, responses FROM items JOIN prompts ON prompts.id = items.prompt
         WHERE state = 'ready' AND ranks IS NULL AND held = 0 AND NOT EXISTS (SELECT 1 FROM tasks WHERE item = items.id)
         ORDER BY place LIMIT ${kCandidates}`,
      )
      .all() as { id: number; prompt: string; responses: string }[];
    const found: { item: number; tree: Tree }[] = [];
    for (const { id, prompt, responses } of rows) {
      const texts = this.#store.texts(JSON.parse(responses));
      if (texts.length < 2) continue;
      const ranks = texts.map((_, k) => k);
      const [tree] = await this.#encode([{ prompt: JSON.parse(prompt), responses: texts, ranks }]);
      if (tree) found.push({ item: id, tree });
    }
    return found;
  }

  #keep(
    labels: number,
    tests: readonly RankedResponses[],
    candidates: readonly { readonly item: number }[],
    members: readonly { readonly held: Float32Array[]; readonly candidates: Float32Array[] }[],
  ): void {
    const { database } = this.#store;
    const tested = heldOutAccuracy(
      tests.map(({ ranks }) => ranks),
      members.map(({ held }) => held),
    );
    const update = database.prepare('UPDATE items SET uncertainty = ? WHERE id = ?');
    database
      .transaction(() => {
        if (tested.pairs > 0)
          database
            .prepare('INSERT INTO learning (labels, accuracy, low, high, pairs, created) VALUES (?, ?, ?, ?, ?, ?)')
            .run(labels, tested.accuracy, tested.low, tested.high, tested.pairs, Date.now());
        candidates.forEach(({ item }, i) => {
          update.run(disagreement(members.map((member) => member.candidates[i]!)), item);
        });
      })
      .immediate();
  }
}

/**
 * The share of held-out pairs that an ensemble's mean scores order as people did, with its interval over prompts.
 *
 * @param ranks (N) each (K), 0 is best
 * @param members (M) each (N) each (K) scores
 */
export function heldOutAccuracy(
  ranks: readonly ArrayLike<number>[],
  members: readonly (readonly ArrayLike<number>[])[],
): Pick<Learnt, 'accuracy' | 'low' | 'high' | 'pairs'> {
  const { prompts, pairs, accuracy, ...interval } = pairAccuracy(
    ranks.map((own, i) =>
      comparePairs(
        Float64Array.from(own, (_, k) => members.reduce((sum, held) => sum + held[i]![k]!, 0)),
        own,
      ),
    ),
  );
  // Few prompts may all have the same share, and then resampling them finds no spread.
  const { low, high } = prompts === 0 ? interval : notCertain({ value: accuracy, ...interval, count: pairs }, prompts);
  return { accuracy, low, high, pairs };
}

/**
 * How far the members of an ensemble disagree on the order of responses: the standard deviation of σ(r_i - r_j) over the members, on
 * average over the pairs of responses. Offsets of the members do not matter.
 *
 * @param members (M) each (K) scores
 */
export function disagreement(members: readonly ArrayLike<number>[]): number {
  const K = members[0]?.length ?? 0;
  let sum = 0;
  for (let i = 0; i < K; i++) {
    for (let j = i + 1; j < K; j++) {
      const chances = members.map((scores) => 1 / (1 + Math.exp(scores[j]! - scores[i]!)));
      const mean = chances.reduce((total, p) => total + p, 0) / chances.length;
      sum += Math.sqrt(chances.reduce((total, p) => total + (p - mean) ** 2, 0) / chances.length);
    }
  }
  return K < 2 ? 0 : sum / ((K * (K - 1)) / 2);
}

const sizeOf = ({ prompt, responses }: RankedResponses) =>
  responses.reduce((sum, ids) => sum + ids.length, prompt.length);
