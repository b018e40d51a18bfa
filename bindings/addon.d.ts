// The types of the native module, written by hand beside the C++ that implements it.
// Only lib/ imports it: applications use lib/'s types.
//
//   N tokens of the packed batch   S segments   R rows that carry loss   G groups   V vocabulary

/** A job on the engine's compute thread. Rejections are Errors with a `code` (native/core/error.h). */
export interface Job<T> {
  readonly promise: Promise<T>;
  cancel(): void;
}

export interface EngineOptions {
  readonly device: string; // 'cpu', 'cuda' or 'auto'
  readonly dtype: string; // 'f32' or 'bf16'
  readonly threads: number; // 0: all CPUs that the process may use
  readonly level: string; // '' : the best instruction-set level
  readonly cudaModule: string; // the file of the package @heed/cuda-linux-x64, or ''
  readonly maxTokens: number; // tokens of one pass
  readonly plan?: boolean; // allocates and computes nothing: usage() is the memory that would be needed
}

export interface EngineInfo {
  readonly device: string; // 'cpu avx512'
  readonly dtype: 'f32' | 'bf16';
  readonly threads: number;
  readonly maxTokens: number;
  readonly fallback?: string; // why device 'auto' is the CPU
  readonly freeBytes?: number; // of a GPU's memory, now
}

export interface EngineUsage {
  readonly tokensComputed: number; // tokens of all forward passes since the engine was created
  readonly multiplyAdds: number; // that the work since then needed
  readonly parameterBytes: number;
  readonly optimizerBytes: number;
  readonly cacheBytes: number;
  readonly arenaBytes: number;
  readonly packedBytes: number;
}

export declare class Engine {
  constructor(options: EngineOptions);
  info(): EngineInfo;
  usage(): EngineUsage;
  /** FLOP/s that the device can do at most in the engine's number format. */
  peakFlops(): Job<number>;
  /** Cancels queued and running jobs and refuses new ones. Does not block; resolves when all memory is freed. */
  dispose(): Promise<void>;
}

/** Module names of the parameters in files; '{}' stands for the layer's index. */
export interface ParameterNames {
  readonly embedding: string;
  readonly positions: string; // ignored if positions are rotary
  readonly attentionNorm: string;
  readonly qkv: readonly string[]; // one, or queries, keys and values
  readonly qkvByHead: boolean; // one matrix has the query, key and value of the first head, then of the second, …
  readonly qNorm: string;
  readonly kNorm: string;
  readonly attentionOut: string;
  readonly attentionPostNorm: string;
  readonly mlpNorm: string;
  readonly up: readonly string[]; // one, or gate and up
  readonly down: string;
  readonly mlpPostNorm: string;
  readonly finalNorm: string;
  readonly languageHead: string;
  readonly scalarHead: string;
}

export interface ModelConfig {
  readonly head: 'language' | 'scalar';
  readonly numLayers: number;
  readonly numHeads: number;
  readonly numKvHeads: number;
  readonly headDim: number;
  readonly channels: number;
  readonly mlpChannels: number;
  readonly vocabSize: number;
  readonly maxPositions: number;
  readonly norm: 'layer' | 'rms'; // a LayerNorm has a bias
  readonly normEps: number;
  readonly normOffset: number; // added to the weights of RMSNorms
  readonly preNorm: boolean; // norms before attention and MLP
  readonly postNorm: boolean; // norms of what they add to the residual stream
  readonly parallelResidual: boolean; // attention and MLP both read the block's input
  readonly qkNorm: 'none' | 'head' | 'all'; // RMSNorm of the queries and keys of each head, or of all heads
  readonly embeddingScale: number;
  readonly ropeFrequencies: Float64Array; // (R / 2) radians per position, R ≤ D; empty: learned positions
  readonly windowRopeFrequencies: Float64Array; // in layers with the window; empty: as in the others
  readonly ropeFactor: number; // of rotated queries and keys
  readonly windowRopeFactor: number;
  readonly noRopeLayers: Int32Array; // layers without positions
  readonly positionOffset: number; // rows of learned positions before that of position 0
  readonly slidingWindow: number; // positions that a token attends to; 0: all
  readonly fullLayers: Int32Array; // layers without the window
  readonly attentionScale: number; // of scores; 0: 1 / √D
  readonly attentionSoftcap: number; // 0: none
  readonly logitSoftcap: number; // 0: none
  readonly activation: 'gelu_tanh' | 'gelu' | 'silu' | 'relu';
  readonly gatedMlp: boolean; // with silu or gelu_tanh; a plain one has any but silu
  readonly qkvBias: boolean;
  readonly attentionOutBias: boolean;
  readonly mlpBias: boolean;
  readonly weightLayout: 'in,out' | 'out,in'; // of the weights in blocks
  readonly tiedHead: boolean;
  readonly int8: boolean; // the weights of linear layers in blocks are frozen, of 8 bits
  readonly names: ParameterNames;
}

export interface ParameterInfo {
  readonly name: string; // its name in transformers
  readonly shape: readonly number[];
}

/** A tensor's place in a file. offset counts from the start of the file, in bytes. */
export interface FileTensor {
  readonly name: string;
  readonly dtype: 'F32' | 'BF16' | 'F16';
  readonly offset: number;
}

export interface PackedBatch {
  readonly tokens: Int32Array; // (N)
  readonly cuSeqlens: Int32Array; // (S + 1)
  readonly parent: Int32Array; // (S) an earlier segment, or -1
  readonly rows: Int32Array; // (R) in [0, N); rows of one tree are contiguous
  readonly targets: Int32Array; // (R) the token each row predicts; empty for a scalar model
}

/** The parameters that a model of this configuration would have. */
export declare function parameters(config: ModelConfig): ParameterInfo[];

/** A linear layer of the base that gets a low-rank term. */
export interface AdapterTarget {
  readonly module: string; // its name in transformers
  readonly rank: number;
  readonly scale: number;
}

export declare class Model {
  constructor(engine: Engine, config: ModelConfig);
  /**
   * An adapter to `base`: shares its parameters, and keeps them if the base is disposed. Its own, which the methods below name, read,
   * write and copy, are those of the low-rank terms and of a scalar head.
   */
  constructor(base: Model, adapter: { readonly head: ModelConfig['head']; readonly targets: readonly AdapterTarget[] });
  parameters(): ParameterInfo[];
  initialize(seed: number): Job<void>;
  read(path: string, tensors: readonly FileTensor[]): Job<void>;
  /** Writes prefix, then each tensor at its offset; flushes to disk. */
  write(path: string, prefix: Uint8Array, tensors: readonly FileTensor[]): Job<void>;
  /** Copies every parameter that has the same name and shape in both. */
  copyFrom(other: Model): Job<void>;
  /** The parameters of an adapter's base with its terms added. */
  merge(adapter: Model): Job<void>;
  /** parameters += weight · (other - parameters) */
  lerp(other: Model, weight: number): Job<void>;
  /** One parameter's values, float32, row-major. */
  parameter(name: string): Job<Float32Array>;

  logits(batch: PackedBatch): Job<Float32Array>; // (R, V)
  logprobs(
    batch: PackedBatch,
    options: { temperature: number },
  ): Job<{ logprobs: Float32Array; entropy: Float32Array }>; // (R) nats
  scores(batch: PackedBatch): Job<Float32Array>; // (R) the scalar head at each row
  /** Adds delta to every score: in the final norm's bias if it has one, else in scoreOffset(). */
  shiftScores(delta: number): Job<void>;
  /** Multiplies every score. */
  scaleScores(factor: number): Job<void>;
  scoreOffset(): Job<number>;
  setScoreOffset(offset: number): Job<void>;
  dispose(): void;
}

export interface TogetherRequest {
  readonly model: Model;
  readonly batch: PackedBatch;
  readonly temperature: number; // of a language model
}

/** What logprobs() or scores() gives for each request alone, in passes that all share; their models have one base. */
export declare function computeTogether(
  requests: readonly TogetherRequest[],
): Job<{ values: Float32Array; entropy: Float32Array }[]>; // (R) nats and nats, or scores and nothing

export interface TrainerOptions {
  readonly beta1: number;
  readonly beta2: number;
  readonly eps: number;
  readonly weightDecay: number; // on matrices only
  readonly dropout: number; // residual dropout, rate
  readonly gradientCheckpointing: boolean; // blocks keep only their inputs
}

export interface PolicyLossOptions {
  readonly oldLogprobs: Float32Array; // (R) nats
  readonly advantages: Float32Array; // (R)
  readonly clipRange: number;
  readonly dualClip: number; // 0: off
  readonly entropyCoef: number;
  readonly temperature: number;
  readonly scale: number;
}

export interface ValueLossOptions {
  readonly oldValues: Float32Array; // (R)
  readonly returns: Float32Array; // (R)
  readonly clipRange: number; // Infinity: unclipped
  readonly scale: number;
}

export interface RewardLossOptions {
  readonly ranks: Int32Array; // (R) 0 is best
  readonly cuGroups: Int32Array; // (G + 1) where each group starts among the rows; a group is within one tree or spans whole trees
  readonly scale: number;
}

/** Sums over rows are not multiplied by scale. */
export declare class Trainer {
  constructor(model: Model, options: TrainerOptions);
  sft(
    batch: PackedBatch,
    options: { scale: number; dropoutSeed: number; adapterDropout: number },
  ): Job<{ loss: number; rowLoss: Float32Array }>; // Σ nats; (R)
  ppo(
    batch: PackedBatch,
    options: PolicyLossOptions,
  ): Job<{
    loss: number; // Σ
    clipped: number; // rows
    entropy: number; // Σ nats
    logprobs: Float32Array; // (R)
    ratio: Float32Array; // (R)
  }>;
  value(batch: PackedBatch, options: ValueLossOptions): Job<{ loss: number; clipped: number; values: Float32Array }>;
  reward(
    batch: PackedBatch,
    options: RewardLossOptions,
  ): Job<{
    scores: Float32Array; // (R)
    groupStats: Float32Array; // (G, 3): mean loss over the compared pairs, number of compared pairs, number ordered correctly
  }>;
  /** Sets the accumulated gradient aside until a step adds it back; returns its norm. To measure the norms of two losses separately. */
  setAside(): Job<number>;
  zero(): Job<void>;
  gradient(name: string): Job<Float32Array>;
  readonly steps: number; // optimizer steps taken by the jobs that have ended
  setSteps(steps: number): Job<void>;
  /** Tensors are named 'm.' or 'v.' + the parameter's name. */
  read(path: string, tensors: readonly FileTensor[]): Job<void>;
  /** Returns the number of steps taken at the time of writing. */
  write(path: string, prefix: Uint8Array, tensors: readonly FileTensor[]): Job<number>;
  dispose(): void;
}

export interface TrainerStep {
  readonly trainer: Trainer;
  readonly learningRate: number;
  readonly maxGradNorm: number; // 0: off
  readonly average: Model | undefined; // += averageWeight · (parameters - average), after the step
  readonly averageWeight: number; // 0 to 1
}

export interface StepResult {
  readonly gradNorm: number; // over all parameters, before clipping
  readonly lastNorm: number; // of the gradient added since setAside()
}

/** One optimizer step of each trainer, all or none; ERR_NOT_FINITE if a gradient is not finite. Clears the gradients. */
export declare function stepTogether(steps: readonly TrainerStep[]): Job<StepResult[]>;

export interface GeneratorOptions {
  readonly slots: number;
  readonly maxLength: number; // prompt + response, tokens
}

export interface Sampling {
  readonly temperature: number; // 0: greedy
  readonly topK: number; // 0: off
  readonly topP: number; // 1: off
  readonly stopTokens: Int32Array;
}

export interface StartOptions {
  readonly tokens: Int32Array; // prompts end to end
  readonly cuSeqlens: Int32Array; // (P + 1)
  readonly cached: Int32Array; // (P) so many of the prompt's first tokens are in the cache already,
  readonly cachedIn: Int32Array; // (P) in this slot, which no other prompt's sample takes; not read where cached is 0
  readonly adapters: readonly Model[]; // to the generator's model
  readonly adapterOf: Int32Array; // (P) an index into adapters, or -1: the model without an adapter
  readonly promptOf: Int32Array; // (n) the prompt of each new sample: a prompt is computed once
  readonly slots: Int32Array; // (n) free slots
  readonly seeds: Int32Array; // (n, 2) low and high half of the request's seed
  readonly sampleIndex: Int32Array; // (n)
  readonly maxNewTokens: Int32Array; // (n)
  readonly sampling: readonly Sampling[]; // the samples' settings, each once
  readonly samplingOf: Int32Array; // (n) an index into sampling
}

export interface Decoded {
  readonly slots: Int32Array; // (B) slots that sampled tokens
  readonly counts: Int32Array; // (B) tokens per slot
  readonly tokens: Int32Array; // Σ counts, slot by slot
  readonly logprobs: Float32Array; // Σ counts, nats
  readonly finished: Uint8Array; // (B) 0 live, 1 ended with a stop token (the last of its tokens), 2 cut off; 1 and 2 free the slot
  readonly stale: Int32Array; // slots whose parameters have changed since they were computed: they are empty, and nothing else was done
}

/** Batched decoding with a key/value cache, of a model and any adapters to it. */
export declare class Generator {
  /** @param model the base, or an adapter to it */
  constructor(model: Model, options: GeneratorOptions);
  /** Prefills the prompts and samples each sample's first token. */
  start(options: StartOptions): Job<Decoded>;
  /** Part of a prompt ahead of its start: computes tokens that follow the first `begin` ones in a free slot, under an adapter or none. */
  prefill(slot: number, tokens: Int32Array, begin: number, adapter: Model | undefined): Job<Decoded>;
  /** Samples up to `steps` tokens in each of these live slots; returns early when one finishes. */
  run(steps: number, slots: Int32Array): Job<Decoded>;
  /** Frees the slots of samples that are no longer needed (after a stop string). */
  release(slots: Int32Array): Job<void>;
  dispose(): void;
}

/** Exchanges the names of two files or folders atomically; false if the file system cannot. */
export declare function exchangePaths(a: string, b: string): boolean;
