/** What a model is. */

/** The families of checkpoints: what `lib/huggingface/families` describes. */
export const familyNames = ['gpt2', 'llama', 'mistral', 'qwen2'] as const;
export type FamilyName = (typeof familyNames)[number];

/** How the frequencies of rotary positions are changed for contexts longer than those of pretraining. */
export type RopeScaling =
  /** All of them divided by `factor`. */
  | { readonly type: 'linear'; readonly factor: number }
  /** Llama 3.1: long wavelengths divided by `factor`, short ones kept, those between blended. */
  | {
      readonly type: 'llama3';
      readonly factor: number;
      readonly lowFreqFactor: number;
      readonly highFreqFactor: number;
      readonly originalMaxPositions: number;
    };

/** Rotary positions (Su et al. 2021). */
export interface Rope {
  /** Base of the frequencies. */
  readonly theta: number;
  /** null: none. */
  readonly scaling: RopeScaling | null;
}

/** Attention to the last positions only (Beltagy et al. 2020). */
export interface SlidingWindow {
  /** Positions that a token attends to, its own the last. */
  readonly size: number;
  /** Layers, from 0 and ascending, that attend to all positions all the same. */
  readonly fullLayers: readonly number[];
}

/** A transformer as a list of features. {@link modelConfig} fills in those that a family decides. */
export interface ModelConfig {
  /** Whose parameter names and `config.json` the model has. */
  readonly family: FamilyName;
  readonly numLayers: number;
  readonly numHeads: number;
  /** Heads of keys and values; a divisor of `numHeads`. */
  readonly numKvHeads: number;
  /** Channels of a head; even where positions are rotary. */
  readonly headDim: number;
  /** Width of the residual stream. */
  readonly channels: number;
  /** Width inside the MLP. */
  readonly mlpChannels: number;
  readonly vocabSize: number;
  /** The longest sequence, tokens. */
  readonly maxPositions: number;
  /** 'layer': LayerNorm, with a bias; 'rms': RMSNorm, without. */
  readonly norm: 'layer' | 'rms';
  readonly normEps: number;
  /** Rotary positions; null: learned ones. */
  readonly rope: Rope | null;
  /** null: every token attends to all positions before it. */
  readonly slidingWindow: SlidingWindow | null;
  /** 'gelu_tanh' is GPT-2's (gelu_new), 'gelu' the exact one. */
  readonly activation: 'gelu_tanh' | 'gelu' | 'silu';
  /** `down(activation(gate x) · up x)`, or `down(activation(up x))`. */
  readonly gatedMlp: boolean;
  readonly qkvBias: boolean;
  readonly attentionOutBias: boolean;
  readonly mlpBias: boolean;
  /** How the weights of blocks are stored. */
  readonly weightLayout: 'in,out' | 'out,in';
  /** Whether the language head is the embedding matrix. */
  readonly tiedHead: boolean;
}

/** Which head a model has: next-token logits, or one score per position. */
export type ModelKind = 'language' | 'scalar';

/** Ids with a meaning, as `config.json` keeps them for other programs. */
export interface SpecialTokens {
  readonly bos?: number | undefined;
  /** End of text; several where a model has several. */
  readonly eos?: number | readonly number[] | undefined;
  /** What other programs pad with. */
  readonly pad?: number | undefined;
}

/** Everything a `config.json` says that heed keeps. */
export interface HfConfig {
  readonly config: ModelConfig;
  readonly kind: ModelKind;
  readonly specialTokens: SpecialTokens;
  /** Of a scalar model whose final norm has no bias: what is added to every score. */
  readonly scoreOffset: number;
}
