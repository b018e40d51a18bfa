/** The configuration of a model. */

/** The families of checkpoints: see `lib/huggingface/families`. */
export const familyNames = [
  'gpt2',
  'gpt_neo',
  'gpt_neox',
  'opt',
  'llama',
  'mistral',
  'qwen2',
  'qwen3',
  'smollm3',
  'olmo2',
  'phi3',
  'gemma2',
  'gemma3_text',
] as const;
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
    }
  /**
   * YaRN (Peng et al. 2023): frequencies that turn less often than `betaSlow` times within the context of pretraining are divided by `factor`,
   * those that turn more often than `betaFast` times are kept, those between interpolated. Rotated queries and keys are multiplied by
   * `attentionFactor`.
   */
  | {
      readonly type: 'yarn';
      readonly factor: number;
      readonly attentionFactor: number;
      readonly betaFast: number;
      readonly betaSlow: number;
      /** Whether the bounds between kept and divided frequencies are rounded to whole channels. */
      readonly truncate: boolean;
      readonly originalMaxPositions: number;
    }
  /**
   * LongRoPE (Ding et al. 2024): each frequency is divided by its short factor. Texts beyond `originalMaxPositions` would have the long factors
   * from their first token on, so that a token depended on what follows it: the context ends there.
   */
  | {
      readonly type: 'longrope';
      readonly attentionFactor: number;
      /** One for each frequency. */
      readonly shortFactor: readonly number[];
      /** Kept for other programs. */
      readonly longFactor: readonly number[];
      readonly originalMaxPositions: number;
      /** The context with the long factors, kept for other programs. */
      readonly extendedPositions: number;
    }
  /** Scales texts beyond the context, and so none that heed takes; kept for other programs. */
  | { readonly type: 'dynamic'; readonly factor: number };

/** Rotary positions (Su et al. 2021). */
export interface Rope {
  /** Base of the frequencies. */
  readonly theta: number;
  /** null: no scaling. */
  readonly scaling: RopeScaling | null;
  /** Share of each head's channels that are rotated, less than 1: the first `floor(headDim · partialRotaryFactor)`. Without it all are. */
  readonly partialRotaryFactor?: number;
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
  /** Channels per head. */
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
  /** RMSNorms multiply by `normOffset + weight`: 1 in Gemma. */
  readonly normOffset: 0 | 1;
  /** Norms before attention and MLP. */
  readonly preNorm: boolean;
  /** Norms of what attention and MLP add to the residual stream. */
  readonly postNorm: boolean;
  /** `x + attention(norm(x)) + mlp(norm'(x))`, or one after the other. */
  readonly parallelResidual: boolean;
  /** RMSNorm of queries and keys: of each head, or of all heads together. */
  readonly qkNorm: 'head' | 'all' | null;
  /** Whether token embeddings are multiplied by √channels. */
  readonly scaledEmbedding: boolean;
  /** Rotary positions; null: learned ones. */
  readonly rope: Rope | null;
  /** Rotary positions of the layers with the sliding window; null: as in the others. */
  readonly windowRope: Rope | null;
  /** Layers whose queries and keys are not rotated: ascending indices from 0. */
  readonly noRopeLayers: readonly number[];
  /** Rows that learned positions have in files before that of position 0. */
  readonly positionOffset: number;
  /** null: every token attends to all earlier positions. */
  readonly slidingWindow: SlidingWindow | null;
  /** Factor of attention scores; null: 1 / √headDim. */
  readonly attentionScale: number | null;
  /** Attention scores become `cap · tanh(score / cap)`; null: no cap. */
  readonly attentionSoftcap: number | null;
  /** Logits become `cap · tanh(logit / cap)`; null: no cap. */
  readonly logitSoftcap: number | null;
  /** 'gelu_tanh' is GPT-2's gelu_new, 'gelu' the exact one. */
  readonly activation: 'gelu_tanh' | 'gelu' | 'silu' | 'relu';
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
