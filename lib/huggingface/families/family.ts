/** What heed knows of a family of checkpoints. */
import type { JsonObject } from '../../core/json.js';
import type { ModelConfig, ModelKind } from '../modelconfig.js';

/** What files call the parameters: names of modules; '{}' stands for the number of the layer. */
export interface ParameterNames {
  readonly embedding: string;
  /** Learned positions; '' where they are rotary. */
  readonly positions: string;
  readonly attentionNorm: string;
  /** One name, or those of queries, keys and values. */
  readonly qkv: readonly string[];
  readonly attentionOut: string;
  readonly mlpNorm: string;
  /** One name, or those of gate and up. */
  readonly up: readonly string[];
  readonly down: string;
  readonly finalNorm: string;
  readonly languageHead: string;
  readonly scalarHead: string;
}

/** A configuration without the family's name. */
export type Features = Omit<ModelConfig, 'family'>;
export type Sizes = Pick<
  ModelConfig,
  'numLayers' | 'numHeads' | 'numKvHeads' | 'headDim' | 'channels' | 'mlpChannels' | 'vocabSize' | 'maxPositions'
>;

export interface Family {
  /** transformers' classes; `trunk` names a language model too. */
  readonly classes: Readonly<Record<ModelKind | 'trunk', string>>;
  readonly names: ParameterNames;
  /** The prefix of names that files of the trunk alone leave out. */
  readonly prefix: string;
  /** Tensors of older files that are no parameters. */
  readonly buffers: RegExp;
  /** Of a new model. */
  readonly defaults: Omit<Features, keyof Sizes>;
  /** Width of the MLP of a new model. */
  readonly mlpChannels: (channels: number) => number;
  /**
   * Reads a `config.json`. Every key that changes what the class of transformers computes is asked for here; what nobody asks for
   * changes nothing.
   */
  readonly read: (keys: JsonObject) => Features;
  /** The family's own keys of a `config.json`, such that `read` gives the configuration back. */
  readonly write: (config: ModelConfig) => Record<string, unknown>;
}
