/** The configuration of a model. */

/** The families of checkpoints: see `lib/huggingface/families`. */
export const familyNames = ['gpt2', 'llama', 'mistral', 'qwen2'] as const;
export type FamilyName = (typeof familyNames)[number];

/** How rotary frequencies are scaled for contexts longer than in pretraining. */
export type RopeScaling =
  /** All frequencies are divided by `factor`. */
  | { readonly type: 'linear'; readonly factor: number }
  /** Llama 3.1: low frequencies are divided by `factor`, high ones kept, those between interpolated. */
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
  /** null: no scaling. */
  readonly scaling: RopeScaling | null;
}

/** Sliding-window attention (Beltagy et al. 2020). */
export interface SlidingWindow {
  /** Number of positions that a token attends to, including its own. */
  readonly size: number;
  /** Layers without the window: ascending indices from 0. */
  readonly fullLayers: readonly number[];
}

/** A transformer as a list of features. {@link modelConfig} fills in those that the family determines. */
export interface ModelConfig {
  /** Determines the parameter names and the `config.json`. */
  readonly family: FamilyName;
  readonly numLayers: number;
  readonly numHeads: number;
  /** Heads of keys and values; a divisor of `numHeads`. */
  readonly numKvHeads: number;
  /** Channels per head; even if positions are rotary. */
  readonly headDim: number;
  /** Width of the residual stream. */
  readonly channels: number;
  /** Hidden width of the MLP. */
  readonly mlpChannels: number;
  readonly vocabSize: number;
  /** The longest sequence, tokens. */
  readonly maxPositions: number;
  /** 'layer': LayerNorm, with a bias; 'rms': RMSNorm, without. */
  readonly norm: 'layer' | 'rms';
  readonly normEps: number;
  /** Rotary positions; null: learned ones. */
  readonly rope: Rope | null;
  /** null: every token attends to all earlier positions. */
  readonly slidingWindow: SlidingWindow | null;
  /** 'gelu_tanh' is GPT-2's gelu_new, 'gelu' the exact one. */
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

/** The model's head: next-token logits, or one score per position. */
export type ModelKind = 'language' | 'scalar';

/** Special token ids, which `config.json` keeps for other programs. */
export interface SpecialTokens {
  readonly bos?: number | undefined;
  /** End of text; some models have several. */
  readonly eos?: number | readonly number[] | undefined;
  /** The padding token of other programs. A scalar model's scores are read before it, as in transformers. */
  readonly pad?: number | undefined;
}

/** The end-of-text ids. */
export const endsOf = ({ eos }: SpecialTokens): readonly number[] =>
  eos === undefined ? [] : typeof eos === 'number' ? [eos] : eos;

/**
 * The special tokens of a scalar model, which needs a padding token: transformers reads a sequence's score at its last token that is
 * not padding. One that ends texts is replaced, unless the model was trained so.
 */
export function withPad(tokens: SpecialTokens, vocabSize: number): SpecialTokens {
  const ends = endsOf(tokens);
  if (tokens.pad !== undefined && !ends.includes(tokens.pad)) return tokens;
  const pad = Array.from({ length: ends.length + 1 }, (_, id) => id).find((id) => !ends.includes(id))!;
  return { ...tokens, pad: pad < vocabSize ? pad : 0 };
}

/** The contents of a `config.json` that heed uses. */
export interface HfConfig {
  readonly config: ModelConfig;
  readonly kind: ModelKind;
  readonly specialTokens: SpecialTokens;
  /** Added to every score of a scalar model whose final norm has no bias. */
  readonly scoreOffset: number;
}
