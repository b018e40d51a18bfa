/** Loads the models of a command: adapters to one base share it. */
import { realpathSync } from 'node:fs';
import { flagOf, UsageError } from '../config/index.js';
import type { LoraOptions } from '../runtime/adapter.js';
import type { Engine } from '../runtime/engine.js';
import { LanguageModel, ScalarModel } from '../runtime/model.js';
import type { ModelFolder } from './models.js';

/** A new adapter, as asked for on the command line. */
export type NewAdapter = LoraOptions & { readonly seed: number };

/** @throws UsageError for an option of adapters without `--lora-r` */
export function newAdapter(values: {
  readonly seed: number;
  readonly loraR: number | undefined;
  readonly loraAlpha: number | undefined;
  readonly loraDropout: number;
  readonly loraTargets: readonly string[] | undefined;
  readonly rslora: boolean;
}): NewAdapter | undefined {
  const { seed, loraR: rank, loraAlpha: alpha, loraDropout: dropout, loraTargets, rslora } = values;
  if (rank !== undefined) {
    const targets = loraTargets?.join() === 'all-linear' ? 'all-linear' : loraTargets;
    return { rank, alpha, dropout, targets, rslora, seed };
  }
  const given = { loraAlpha: alpha !== undefined, loraDropout: dropout > 0, loraTargets, rslora };
  const wrong = Object.entries(given).find(([, isGiven]) => isGiven);
  if (wrong) throw new UsageError(`${flagOf(wrong[0])} needs --lora-r: the rank of the new adapter`);
  return undefined;
}

/** @throws UsageError when weights of 8 bits, which are frozen, would be trained */
export function requireFrozen(int8: boolean, { adapter }: ModelFolder, lora: NewAdapter | undefined): void {
  if (!int8 || adapter || lora) return;
  throw new UsageError(
    '--int8 keeps weights of 8 bits, which are frozen: give --lora-r to train an adapter beside them, or an adapter',
  );
}

/** @throws UsageError when a new adapter is asked for beside one that exists */
export function requireOneAdapter({ adapter }: ModelFolder, lora: NewAdapter | undefined): void {
  if (!adapter || !lora) return;
  throw new UsageError(
    `--lora-r makes a new adapter, but ${adapter.dir} is one: leave it out to train that one further, or merge it with heed merge`,
  );
}

/** Whether two models are, or are adapters to, the same base in one copy. */
export function sharesBase(policy: ModelFolder, reward: ModelFolder): boolean {
  return reward.adapter !== undefined && realpathSync(policy.dir) === realpathSync(reward.dir);
}

export class Loader {
  readonly #engine: Engine;
  readonly #signal: AbortSignal | undefined;
  readonly #int8: boolean;
  readonly #bases = new Map<string, Promise<LanguageModel | ScalarModel>>();

  /** @param int8 keeps frozen weights in 8 bits */
  constructor(engine: Engine, signal?: AbortSignal, int8 = false) {
    this.#engine = engine;
    this.#signal = signal;
    this.#int8 = int8;
  }

  /** A language model, or the adapter of the folder to it, or a new one. */
  async language(folder: ModelFolder, lora?: NewAdapter): Promise<LanguageModel> {
    const signal = this.#signal;
    if (!folder.adapter && !lora)
      return await LanguageModel.load(this.#engine, folder.dir, { signal, int8: this.#int8 });
    const base = (await this.#base(folder)) as LanguageModel;
    return await base.adapter(lora ? { ...lora, signal } : { from: folder.adapter!.dir, signal });
  }

  /** What a language model was before it was trained: its base, or another copy of the adapter in the folder. */
  async before(folder: ModelFolder, lora?: NewAdapter): Promise<LanguageModel> {
    return lora ? ((await this.#base(folder)) as LanguageModel) : await this.language(folder);
  }

  /**
   * A scalar model: that of the folder, or the trunk of a language model with a fresh head.
   * @param isFrozen nobody trains the folder's weights or a copy of them
   */
  async scalar(folder: ModelFolder, seed: number, lora?: NewAdapter, isFrozen = false): Promise<ScalarModel> {
    const signal = this.#signal;
    if (!folder.adapter && !lora)
      return await ScalarModel.loadOrFrom(this.#engine, folder.dir, { seed, signal, int8: isFrozen && this.#int8 });
    const base = await this.#base(folder);
    const adapt = base instanceof ScalarModel ? base.adapter.bind(base) : base.scalarAdapter.bind(base);
    if (lora) return await adapt({ ...lora, signal });
    const { kind, dir } = folder.adapter!;
    if (kind === 'scalar') return await adapt({ from: dir, signal });
    const policy = await (base as LanguageModel).adapter({ from: dir, signal });
    try {
      return await ScalarModel.from(policy, { seed, signal });
    } finally {
      await policy.dispose();
    }
  }

  #base({ dir, baseKind }: ModelFolder): Promise<LanguageModel | ScalarModel> {
    const path = realpathSync(dir);
    const kind = baseKind === 'language' ? LanguageModel : ScalarModel;
    const loading = this.#bases.get(path) ?? kind.load(this.#engine, dir, { signal: this.#signal, int8: this.#int8 });
    this.#bases.set(path, loading);
    return loading;
  }
}
