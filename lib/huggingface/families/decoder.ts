/** Shared by Llama and its descendants: rotary positions, RMSNorm, a gated MLP, grouped-query attention, weights stored (out, in). */
import type { JsonObject } from '../../core/json.js';
import type { ModelConfig } from '../modelconfig.js';
import { readRope, writeRope } from '../rope.js';
import type { Family, Features } from './family.js';

const block = 'model.layers.{}';

export const fixed = {
  norm: 'rms',
  activation: 'silu',
  gatedMlp: true,
  weightLayout: 'out,in',
} as const;

export const decoder = {
  names: {
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

/** transformers' defaults for missing keys. */
export interface Missing {
  readonly kvHeads: number | undefined; // undefined: as many as heads
  readonly mlpChannels: number;
  readonly vocabSize: number;
  readonly positions: number;
}

/** All features except the biases and the sliding window. */
export function readDecoder(
  keys: JsonObject,
  missing: Missing,
): Omit<Features, 'qkvBias' | 'attentionOutBias' | 'mlpBias' | 'slidingWindow'> {
  const channels = keys.positiveInteger('hidden_size', 4096);
  const numHeads = keys.positiveInteger('num_attention_heads', 32);
  const headDim = keys.positiveInteger('head_dim', channels / numHeads);
  if (!Number.isInteger(headDim))
    keys.fail('num_attention_heads', `is ${numHeads}, expected a divisor of hidden_size (${channels})`);
  keys.oneOf('hidden_act', ['silu', 'swish'], 'silu');
  const maxPositions = keys.positiveInteger('max_position_embeddings', missing.positions);
  const kvHeads = keys.has('num_key_value_heads') ? numHeads : (missing.kvHeads ?? numHeads); // null: as many as heads
  return {
    ...fixed,
    numLayers: keys.positiveInteger('num_hidden_layers', 32),
    numHeads,
    numKvHeads: keys.positiveInteger('num_key_value_heads', kvHeads),
    headDim,
    channels,
    mlpChannels: keys.positiveInteger('intermediate_size', missing.mlpChannels),
    vocabSize: keys.positiveInteger('vocab_size', missing.vocabSize),
    maxPositions,
    normEps: keys.number('rms_norm_eps', 1e-6),
    rope: readRope(keys, maxPositions),
    tiedHead: keys.boolean('tie_word_embeddings', false),
  };
}

/** The window's size; null: no window. A missing key is not null, but transformers' default. */
export function readWindowSize(keys: JsonObject): number | null {
  return keys.has('sliding_window') && keys.isEmpty('sliding_window')
    ? null
    : keys.positiveInteger('sliding_window', 4096);
}

export function writeDecoder(config: ModelConfig): Record<string, unknown> {
  return {
    num_hidden_layers: config.numLayers,
    num_attention_heads: config.numHeads,
    num_key_value_heads: config.numKvHeads,
    head_dim: config.headDim,
    hidden_size: config.channels,
    intermediate_size: config.mlpChannels,
    max_position_embeddings: config.maxPositions,
    rms_norm_eps: config.normEps,
    hidden_act: 'silu',
    ...(config.rope ? writeRope(config.rope) : {}),
  };
}
