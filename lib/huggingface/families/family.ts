/** The descriptor of a family of checkpoints. */
import type { JsonObject } from '../../core/json.js';
import type { ModelConfig, ModelKind } from '../modelconfig.js';

/** Module names of the parameters in files; '{}' stands for the layer's index. */
export interface ParameterNames {
  readonly embedding: string;
  /** Learned positions; '' if they are rotary. */
  readonly positions: string;
  readonly attentionNorm: string;
  /** One fused matrix, or queries, keys and values. */
  readonly qkv: readonly string[];
  /** Whether a fused matrix has the query, key and value of the first head, then of the second, and so on. */
  readonly qkvByHead: boolean;
  /** '' without the norm, here and below. */
  readonly qNorm: string;
  readonly kNorm: string;
  readonly attentionOut: string;
  readonly attentionPostNorm: string;
  readonly mlpNorm: string;
  /** One matrix, or gate and up. */
  readonly up: readonly string[];
  readonly down: string;
  readonly mlpPostNorm: string;
  readonly finalNorm: string;
  readonly languageHead: string;
  readonly scalarHead: string;
}

/** A model configuration without the family's name. */
export type Features = Omit<ModelConfig, 'family'>;
export type Sizes = Pick<
  ModelConfig,
  'numLayers' | 'numHeads' | 'numKvHeads' | 'headDim' | 'channels' | 'mlpChannels' | 'vocabSize' | 'maxPositions'
>;

/** What most families have. */
export const usual = {
  normOffset: 0,
  preNorm: true,
  postNorm: false,
  parallelResidual: false,
  qkNorm: null,
  scaledEmbedding: false,
  windowRope: null,
  noRopeLayers: [],
  positionOffset: 0,
  attentionScale: null,
  attentionSoftcap: null,
  logitSoftcap: null,
} as const;

/** Names of parameters that few families have. */
export const noNames = { qkvByHead: false, qNorm: '', kNorm: '', attentionPostNorm: '', mlpPostNorm: '' } as const;

export interface Family {
  /** transformers' classes; a file of the class `trunk` is loaded as a language model. */
  readonly classes: Readonly<Record<ModelKind | 'trunk', string>>;
  readonly names: ParameterNames;
  /** The prefix of names, which files of the trunk alone omit. */
  readonly prefix: string;
  /** Tensors in older files that are not parameters. */
  readonly buffers: RegExp;
  /** The keys of `config.json` that hold features, and parts of `rope`, for messages about them. */
  readonly keys: Readonly<Record<string, string>>;
  /** Default of a new model. */
  readonly defaults: Omit<Features, keyof Sizes>;
  /** Default width of the MLP of a new model. */
  readonly mlpChannels: (channels: number) => number;
  /**
   * Reads a `config.json`. It must read every key that changes what transformers' class computes; unread keys are taken to be
   * harmless.
   */
  readonly read: (keys: JsonObject) => Features;
  /** The family's keys of a `config.json`, from which `read` restores the configuration. */
  readonly write: (config: ModelConfig) => Record<string, unknown>;
}
