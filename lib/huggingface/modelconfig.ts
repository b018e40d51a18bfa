/** What a model is. */

/** Sizes and kind of a transformer. */
export interface ModelConfig {
  /** 'gpt2': learned positions, LayerNorm, GELU; 'llama': rotary positions, RMSNorm, SwiGLU, grouped-query attention. */
  readonly architecture: 'gpt2' | 'llama';
  readonly numLayers: number;
  readonly numHeads: number;
  /** Heads of keys and values; a divisor of `numHeads`, equal to it for 'gpt2'. */
  readonly numKvHeads: number;
  /** Channels of a head. For 'gpt2' `numHeads · headDim` is `channels`; for 'llama' even. */
  readonly headDim: number;
  /** Width of the residual stream. */
  readonly channels: number;
  /** Width inside the MLP. */
  readonly mlpChannels: number;
  readonly vocabSize: number;
  /** The longest sequence, tokens. */
  readonly maxPositions: number;
  readonly normEps: number;
  /** Base of the rotary frequencies; only 'llama' uses it. */
  readonly ropeTheta: number;
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
  /** Of a Llama-style scalar model: what is added to every score. */
  readonly scoreOffset: number;
}
