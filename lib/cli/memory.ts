/**
 * The memory that a run will need, as computed by the engine: each phase's models, trainers and largest passes are created in
 * Engine.plan, which runs all checks but allocates nothing.
 */
import { HeedError } from '../core/errors.js';
import type { ModelConfig, ModelKind } from '../huggingface/modelconfig.js';
import type { LoraOptions } from '../runtime/adapter.js';
import { packDocuments, packResponses, packScores, packValues, type Tree } from '../runtime/batch.js';
import type { Engine, EngineUsage } from '../runtime/engine.js';
import { LanguageModel, ScalarModel } from '../runtime/model.js';
import { stepTogether } from '../runtime/trainer.js';

/** The work of a run, for {@link Engine.plan}. */
export type PlannedWork = (engine: Engine) => Promise<void>;

/** The largest batch: sequences of `length` tokens with `tokens` in total, or as many as fit into a pass. */
function fullPass(engine: Engine, tokens: number, length: number): Int32Array[] {
  const sequences: Int32Array[] = [];
  let left = Math.min(tokens, engine.info.maxTokens);
  for (; left > 1; left -= sequences.at(-1)!.length) sequences.push(new Int32Array(Math.min(length, left)));
  return sequences;
}

const asTree = (sequence: Int32Array): Tree => ({
  prompt: sequence.subarray(0, 1),
  responses: [sequence.subarray(1)],
});

const language = (engine: Engine, config: ModelConfig, int8 = false) =>
  LanguageModel.init(engine, config, { seed: 0, int8 });
const scalar = (engine: Engine, config: ModelConfig, int8 = false) =>
  ScalarModel.init(engine, config, { seed: 0, int8 });

/** A model, or an adapter to it. */
async function adapted(model: LanguageModel, lora: LoraOptions | undefined): Promise<LanguageModel> {
  return lora ? await model.adapter({ ...lora, seed: 0 }) : model;
}

interface Sampling {
  readonly promptLength: number;
  readonly maxNewTokens: number;
  readonly count: number;
  readonly slots?: number | undefined;
}

/** Generation with all slots in use. */
async function sample(model: LanguageModel, { promptLength, maxNewTokens, count, slots }: Sampling): Promise<void> {
  const room = Math.min(maxNewTokens, model.config.maxPositions - promptLength);
  const requests = Array.from({ length: Math.min(count, slots ?? count) }, () => ({
    prompt: new Int32Array(promptLength),
    seed: 0,
  }));
  await model.generate(requests, { maxNewTokens: room, stopTokens: [], ...(slots === undefined ? {} : { slots }) });
}

/** Of every phase. */
interface Training {
  readonly gradientCheckpointing?: boolean | undefined;
  /** The adapter that is trained, instead of all weights. */
  readonly lora?: LoraOptions | undefined;
  /** Frozen weights are in 8 bits. */
  readonly int8?: boolean | undefined;
}

export interface SupervisedWork extends Training {
  readonly config: ModelConfig;
  readonly dropout: number;
  /** Tokens per step and maximum tokens per sequence. */
  readonly stepTokens: number;
  readonly maxLength: number;
  /** Tokens of documents mixed in. */
  readonly pretrainTokens?: number | undefined;
  /** Whether there is a validation, whose best weights are kept. */
  readonly keepsBest: boolean;
  /** The reward model that selects the checkpoint. */
  readonly chooser?: { readonly config: ModelConfig } & Sampling;
}

export function supervisedWork(o: SupervisedWork): PlannedWork {
  const { dropout, gradientCheckpointing } = o;
  return async (engine) => {
    const model = await adapted(await language(engine, o.config, o.int8), o.lora);
    const chooser = o.chooser && (await scalar(engine, o.chooser.config, o.int8));
    const trainer = await model.trainer({ dropout, gradientCheckpointing });
    for (const tokens of [o.stepTokens, o.pretrainTokens ?? 0]) {
      const pass = fullPass(engine, tokens, o.maxLength);
      if (pass.length > 0) await trainer.sft(packDocuments(pass), { scale: 1, dropoutSeed: 0 });
    }
    await trainer.step({ learningRate: 0 });
    if (!o.keepsBest) return;
    await model.clone();
    const held = fullPass(engine, engine.info.maxTokens, o.maxLength);
    await model.logprobs(packDocuments(held));
    if (!chooser) return;
    await sample(model, o.chooser!);
    await chooser.scores(packScores(held.map(asTree)));
  };
}

export interface RewardWork extends Training {
  readonly config: ModelConfig;
  readonly stepTokens: number;
  readonly maxLength: number;
}

export function rewardWork({
  config,
  stepTokens,
  maxLength,
  lora,
  int8,
  gradientCheckpointing,
}: RewardWork): PlannedWork {
  return async (engine) => {
    const model = lora
      ? await (await language(engine, config, int8)).scalarAdapter({ ...lora, seed: 0 })
      : await scalar(engine, config);
    const trainer = await model.trainer({ gradientCheckpointing });
    const batch = packScores(fullPass(engine, stepTokens, maxLength).map(asTree));
    const rows = batch.rows.length;
    const ranks = new Int32Array(rows);
    await trainer.reward(batch, { ranks, cuGroups: Int32Array.of(0, rows), scale: 1 });
    await trainer.step({ learningRate: 0 });
    await model.scores(packScores(fullPass(engine, engine.info.maxTokens, maxLength).map(asTree)));
  };
}

/** Of objectives on given responses. */
export function offlineWork({
  config,
  lora,
  int8,
  stepTokens,
  maxLength,
  gradientCheckpointing,
}: RewardWork): PlannedWork {
  return async (engine) => {
    const model = await adapted(await language(engine, config, int8), lora);
    const trainer = await model.trainer({ gradientCheckpointing });
    const batch = packResponses(fullPass(engine, stepTokens, maxLength).map(asTree));
    const zeros = new Float32Array(batch.rows.length);
    await trainer.ppo(batch, { oldLogprobs: zeros, advantages: zeros, scale: 1 });
    await trainer.step({ learningRate: 0 });
    await model.logprobs(packResponses(fullPass(engine, engine.info.maxTokens, maxLength).map(asTree)));
  };
}

export interface PpoWork extends Training {
  readonly config: ModelConfig;
  /** Whether the policy's adapter is new: its base is the reference. */
  readonly isNew?: boolean;
  readonly reward: {
    readonly config: ModelConfig;
    readonly lora?: LoraOptions | undefined;
    readonly valueLora?: LoraOptions | undefined;
    /** Whether policy and reward model are adapters to one base. */
    readonly sharesBase?: boolean;
  };
  readonly minibatchTokens: number;
  /** Maximum tokens of a prompt and its response. */
  readonly maxLength: number;
  readonly sampling: Sampling;
  readonly ema: boolean;
  /** PPO-ptx: document tokens per step and maximum tokens per document. */
  readonly pretrain?: { readonly tokens: number; readonly maxLength: number } | undefined;
}

export function ppoWork(o: PpoWork): PlannedWork {
  const { gradientCheckpointing } = o;
  return async (engine) => {
    const base = await language(engine, o.config, o.int8);
    const policy = await adapted(base, o.lora);
    const reference = o.lora && o.isNew ? base : await policy.clone();
    const average = o.ema ? await policy.clone() : undefined;
    const { config, lora, valueLora, sharesBase } = o.reward;
    const rewardBase = lora && !sharesBase ? await language(engine, config, o.int8) : base;
    const reward = lora
      ? await rewardBase.scalarAdapter({ ...lora, seed: 0 })
      : await scalar(engine, config, o.int8 && valueLora !== undefined);
    const value = valueLora && !lora ? await reward.adapter({ ...valueLora, seed: 0 }) : await reward.clone();
    const trainer = await policy.trainer({ gradientCheckpointing });
    const valueTrainer = await value.trainer({ gradientCheckpointing });

    await sample(policy, o.sampling);
    const rollout = fullPass(engine, engine.info.maxTokens, o.maxLength).map(asTree);
    await reference.logprobs(packResponses(rollout));
    await value.scores(packValues(rollout));
    await reward.scores(packScores(rollout));

    const trees = fullPass(engine, o.minibatchTokens, o.maxLength).map(asTree);
    const batch = packResponses(trees);
    const zeros = new Float32Array(batch.rows.length);
    await trainer.ppo(batch, { oldLogprobs: zeros, advantages: zeros, scale: 1 });
    await valueTrainer.value(packValues(trees), { oldValues: zeros, returns: zeros, scale: 1 });
    if (o.pretrain) {
      await trainer.setAside();
      await trainer.sft(packDocuments(fullPass(engine, o.pretrain.tokens, o.pretrain.maxLength)), { scale: 1 });
    }
    await stepTogether([
      { trainer, learningRate: 0, ...(average ? { average: { model: average, weight: 0 } } : {}) },
      { trainer: valueTrainer, learningRate: 0 },
    ]);
  };
}

export interface OnlineWork extends Omit<PpoWork, 'reward' | 'ema' | 'pretrain'> {
  /** The reward models. */
  readonly rewards: readonly ModelConfig[];
}

/** Of objectives on sampled groups of responses. */
export function onlineWork(o: OnlineWork): PlannedWork {
  const { gradientCheckpointing } = o;
  return async (engine) => {
    const base = await language(engine, o.config, o.int8);
    const policy = await adapted(base, o.lora);
    const reference = o.lora && o.isNew ? base : await policy.clone();
    const trainer = await policy.trainer({ gradientCheckpointing });
    await sample(policy, o.sampling);
    const rollout = fullPass(engine, engine.info.maxTokens, o.maxLength).map(asTree);
    await reference.logprobs(packResponses(rollout));
    for (const config of o.rewards) await (await scalar(engine, config, o.int8)).scores(packScores(rollout));
    const batch = packResponses(fullPass(engine, o.minibatchTokens, o.maxLength).map(asTree));
    const zeros = new Float32Array(batch.rows.length);
    await trainer.ppo(batch, { oldLogprobs: zeros, advantages: zeros, scale: 1 });
    await trainer.step({ learningRate: 0 });
  };
}

/** Sampling one response, or scoring sequences. */
export function inferenceWork(config: ModelConfig, kind: ModelKind, length: number): PlannedWork {
  return async (engine) => {
    const pass = fullPass(engine, engine.info.maxTokens, length);
    if (kind === 'scalar') {
      await (await scalar(engine, config)).scores(packScores(pass.map(asTree)));
      return;
    }
    const model = await language(engine, config);
    await model.logprobs(packDocuments(pass));
    await sample(model, { promptLength: Math.ceil(length / 2), maxNewTokens: Math.floor(length / 2), count: 1 });
  };
}

/** Number of parameters of a new model of these sizes. */
export async function parameterCount(engine: Engine, config: ModelConfig): Promise<number> {
  const model = await language(engine, config);
  return model.parameters().reduce((sum, { shape }) => sum + shape.reduce((n, d) => n * d, 1), 0);
}

const partsOf = (usage: EngineUsage) => ({
  weights: usage.parameterBytes + usage.packedBytes, // including the copies in the layout of the matrix kernels
  optimizer: usage.optimizerBytes,
  activations: usage.arenaBytes,
  cache: usage.cacheBytes,
});

const totalOf = (parts: object) => Object.values(parts).reduce((sum: number, bytes: number) => sum + bytes, 0);

/** What to lower, by the part of the memory. */
const kAdvice = {
  weights: 'use --dtype bf16 or a smaller model',
  optimizer: 'use a smaller model',
  activations: 'lower --max-tokens, or give --gradient-checkpointing',
  cache: 'lower --slots or --max-new-tokens',
} as const;

/**
 * Refuses work that does not fit on the device.
 * @param free bytes of the device's memory; undefined where the system grants it
 * @throws HeedError ERR_OUT_OF_MEMORY that says what is needed, what there is and what to lower: the largest part
 */
export function requireMemory(usage: EngineUsage, free: number | undefined): void {
  const parts = partsOf(usage);
  const total = totalOf(parts);
  if (free === undefined || total <= free) return;
  const sorted = Object.entries(parts).sort(([, a], [, b]) => b - a);
  const largest = sorted[0]![0] as keyof typeof kAdvice;
  throw new HeedError(
    'ERR_OUT_OF_MEMORY',
    `this needs ${describeMemory(usage)}, but ${(free / 1e9).toFixed(1)} GB of the device's memory are free: ${kAdvice[largest]}`,
  );
}

/** `1.2 GB: weights 0.4, optimizer 0.5, activations 0.3 GB`. */
export function describeMemory(usage: EngineUsage): string {
  const parts = partsOf(usage);
  const total = totalOf(parts);
  const [unit, size] = total < 1e9 ? ['MB', 1e6] : ['GB', 1e9];
  const shown = (bytes: number) => (bytes / size).toFixed(bytes < 9.95 * size ? 1 : 0);
  const described = Object.entries(parts)
    .filter(([, bytes]) => bytes > 0)
    .map(([name, bytes]) => `${name} ${shown(bytes)}`);
  return `${shown(total)} ${unit}: ${described.join(', ')} ${unit}`;
}
