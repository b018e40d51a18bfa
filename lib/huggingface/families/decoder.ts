/** Shared by Llama and its descendants: rotary positions, RMSNorm, a gated MLP, grouped-query attention, weights stored (out, in). */
import { type JsonObject, shown } from '../../core/json.js';
import type { ModelConfig } from '../modelconfig.js';
import { contextOf, type RopeNames, readRope, writeRope } from '../rope.js';
import { type Family, type Features, noNames, usual } from './family.js';

const block = 'model.layers.{}';

export const fixed = {
  ...usual,
  norm: 'rms',
  activation: 'silu',
  gatedMlp: true,
  weightLayout: 'out,in',
} as const;

export const decoder = {
  names: {
    ...noNames,
    embedding: 'model.embed_tokens',
    positions: '',
    attentionNorm: `${block}.input_layernorm`,
    qkv: ['q', 'k', 'v'].map((part) => `${block}.self_attn.${part}_proj`),
    attentionOut: `${block}.self_attn.o_proj`,
    mlpNorm: `${block}.post_attention_layernorm`,
    up: ['gate', 'up'].map((part) => `${block}.mlp.${part}_proj`),
    down: `${block}.mlp.down_proj`,
    finalNorm: 'model.norm',
    languageHead: 'lm_head',
    scalarHead: 'score',
  },
  prefix: 'model.',
  buffers: /\.rotary_emb\.inv_freq$/,
  keys: {
    numLayers: 'num_hidden_layers',
    numHeads: 'num_attention_heads',
    numKvHeads: 'num_key_value_heads',
    headDim: 'head_dim',
    channels: 'hidden_size',
    mlpChannels: 'intermediate_size',
    vocabSize: 'vocab_size',
    maxPositions: 'max_position_embeddings',
    normEps: 'rms_norm_eps',
    slidingWindow: 'sliding_window',
    'rope.theta': 'rope_theta',
    'rope.scaling.factor': 'rope_scaling.factor',
    'rope.scaling.highFreqFactor': 'rope_scaling.high_freq_factor',
    'rope.scaling.attentionFactor': 'rope_scaling.attention_factor',
    'rope.scaling.betaFast': 'rope_scaling.beta_fast',
    'rope.scaling.betaSlow': 'rope_scaling.beta_slow',
    'rope.scaling.shortFactor': 'rope_scaling.short_factor',
    'rope.partialRotaryFactor': 'partial_rotary_factor',
    lowFreqFactor: 'low_freq_factor',
    betaSlow: 'beta_slow',
    attentionScale: 'query_pre_attn_scalar',
    attentionSoftcap: 'attn_logit_softcapping',
    logitSoftcap: 'final_logit_softcapping',
  },
  defaults: {
    ...fixed,
    normEps: 1e-5,
    rope: { theta: 10_000, scaling: null },
    slidingWindow: null,
    qkvBias: false,
    attentionOutBias: false,
    mlpBias: false,
    tiedHead: true,
  },
  mlpChannels: (channels: number) => 8 * Math.ceil(channels / 3),
} as const satisfies Partial<Family>;

/** Names of the norms of each head's, or all, queries and keys. */
export const qkNormNames = { qNorm: `${block}.self_attn.q_norm`, kNorm: `${block}.self_attn.k_norm` } as const;
/** Names of norms around attention and MLP, before and after. */
export const outerNormNames = {
  attentionPostNorm: `${block}.post_attention_layernorm`,
  mlpNorm: `${block}.pre_feedforward_layernorm`,
  mlpPostNorm: `${block}.post_feedforward_layernorm`,
} as const;

/** transformers' defaults for missing keys. */
export interface Missing {
  readonly layers?: number; // 32
  readonly heads?: number; // 32
  readonly kvHeads: number | undefined; // undefined: as many as heads
  readonly headDim?: number; // hidden_size / num_attention_heads
  readonly channels?: number; // 4096
  readonly mlpChannels: number;
  readonly vocabSize: number;
  readonly positions: number;
  readonly normEps?: number; // 1e-6
  readonly tied?: boolean; // false
  readonly rope?: RopeNames;
}

/** All features except the biases and the sliding window. */
export function readDecoder(
  keys: JsonObject,
  missing: Missing,
): Omit<Features, 'qkvBias' | 'attentionOutBias' | 'mlpBias' | 'slidingWindow'> {
  keys.oneOf('hidden_act', ['silu', 'swish'], 'silu');
  const sizes = readSizes(keys, missing);
  const rope = readRope(keys, sizes.maxPositions, { longrope: ['longrope'], ...missing.rope });
  return { ...fixed, ...sizes, maxPositions: contextOf(rope, sizes.maxPositions), rope };
}

/** What {@link readDecoder} reads, without the activation and the rotary positions. */
export function readSizes(keys: JsonObject, missing: Missing) {
  const channels = keys.positiveInteger('hidden_size', missing.channels ?? 4096);
  const numHeads = keys.positiveInteger('num_attention_heads', missing.heads ?? 32);
  const headDim = keys.positiveInteger('head_dim', missing.headDim ?? channels / numHeads);
  if (!Number.isInteger(headDim))
    keys.fail('num_attention_heads', `is ${numHeads}, expected a divisor of hidden_size (${channels})`);
  const kvHeads = keys.has('num_key_value_heads') ? numHeads : (missing.kvHeads ?? numHeads); // null: as many as heads
  return {
    numLayers: keys.positiveInteger('num_hidden_layers', missing.layers ?? 32),
    numHeads,
    numKvHeads: keys.positiveInteger('num_key_value_heads', kvHeads),
    headDim,
    channels,
    mlpChannels: keys.positiveInteger('intermediate_size', missing.mlpChannels),
    vocabSize: keys.positiveInteger('vocab_size', missing.vocabSize),
    maxPositions: keys.positiveInteger('max_position_embeddings', missing.positions),
    normEps: keys.number('rms_norm_eps', missing.normEps ?? 1e-6),
    tiedHead: keys.boolean('tie_word_embeddings', missing.tied ?? false),
  };
}

/** The window's size; null: no window. A missing key is not null, but transformers' default. */
export function readWindowSize(keys: JsonObject, missing: number | null = 4096): number | null {
  const isNull = keys.has('sliding_window') ? keys.isEmpty('sliding_window') : missing === null;
  return isNull ? null : keys.positiveInteger('sliding_window', missing ?? 0, 2 ** 31);
}

/**
 * The layers without a window.
 *
 * @param isSliding whether a layer has it where `layer_types` is missing
 */
export function readFullLayers(keys: JsonObject, numLayers: number, isSliding: (layer: number) => boolean): number[] {
  const layers = Array.from({ length: numLayers }, (_, layer) => layer);
  const types =
    keys.get('layer_types') ?? layers.map((layer) => (isSliding(layer) ? 'sliding_attention' : 'full_attention'));
  const isKnown = (type: unknown) => type === 'sliding_attention' || type === 'full_attention' || type === 'attention';
  if (!Array.isArray(types) || types.length !== numLayers || !types.every(isKnown)) {
    return keys.fail(
      'layer_types',
      `is ${shown(types)}, expected ${numLayers} entries, each sliding_attention or full_attention`,
    );
  }
  return layers.filter((layer) => types[layer] !== 'sliding_attention');
}

/** `layer_types` of a model with a window in some layers. */
export const layerTypes = (numLayers: number, fullLayers: readonly number[]): string[] =>
  Array.from({ length: numLayers }, (_, layer) =>
    fullLayers.includes(layer) ? 'full_attention' : 'sliding_attention',
  );

export function writeDecoder(config: ModelConfig): Record<string, unknown> {
  return { ...writeSizes(config), hidden_act: 'silu', ...(config.rope ? writeRope(config.rope) : {}) };
}

export function writeSizes(config: ModelConfig): Record<string, unknown> {
  return {
    num_hidden_layers: config.numLayers,
    num_attention_heads: config.numHeads,
    num_key_value_heads: config.numKvHeads,
    head_dim: config.headDim,
    hidden_size: config.channels,
    intermediate_size: config.mlpChannels,
    max_position_embeddings: config.maxPositions,
    rms_norm_eps: config.normEps,
  };
}
