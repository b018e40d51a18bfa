/** OPT: learned positions from the third row on, LayerNorm, ReLU, weights stored (out, in). Galactica too. */
import { type Family, noNames, usual } from './family.js';

const block = 'model.decoder.layers.{}';

const fixed = {
  ...usual,
  norm: 'layer',
  normEps: 1e-5, // of torch's LayerNorm: there is no key for it
  rope: null,
  positionOffset: 2,
  slidingWindow: null,
  gatedMlp: false,
  weightLayout: 'out,in',
} as const;

export const opt: Family = {
  classes: { language: 'OPTForCausalLM', scalar: 'OPTForSequenceClassification', trunk: 'OPTModel' },
  names: {
    ...noNames,
    embedding: 'model.decoder.embed_tokens',
    positions: 'model.decoder.embed_positions',
    attentionNorm: `${block}.self_attn_layer_norm`,
    qkv: ['q', 'k', 'v'].map((part) => `${block}.self_attn.${part}_proj`),
    attentionOut: `${block}.self_attn.out_proj`,
    mlpNorm: `${block}.final_layer_norm`,
    up: [`${block}.fc1`],
    down: `${block}.fc2`,
    finalNorm: 'model.decoder.final_layer_norm',
    languageHead: 'lm_head',
    scalarHead: 'score',
  },
  prefix: 'model.',
  buffers: /^$/,
  keys: {
    numLayers: 'num_hidden_layers',
    numHeads: 'num_attention_heads',
    channels: 'hidden_size',
    mlpChannels: 'ffn_dim',
    vocabSize: 'vocab_size',
    maxPositions: 'max_position_embeddings',
  },
  defaults: { ...fixed, activation: 'relu', qkvBias: true, attentionOutBias: true, mlpBias: true, tiedHead: true },
  mlpChannels: (channels) => 4 * channels,

  read(keys) {
    const channels = keys.positiveInteger('hidden_size', 768);
    const numHeads = keys.positiveInteger('num_attention_heads', 12);
    if (channels % numHeads !== 0)
      keys.fail('num_attention_heads', `is ${numHeads}, expected a divisor of hidden_size (${channels})`);
    keys.requireOneOf('do_layer_norm_before', [true]);
    keys.requireOneOf('_remove_final_layer_norm', [false]);
    keys.requireOneOf('layer_norm_elementwise_affine', [true]);
    keys.requireOneOf('word_embed_proj_dim', [channels]);
    const bias = keys.boolean('enable_bias', true);
    return {
      ...fixed,
      numLayers: keys.positiveInteger('num_hidden_layers', 12),
      numHeads,
      numKvHeads: numHeads,
      headDim: channels / numHeads,
      channels,
      mlpChannels: keys.positiveInteger('ffn_dim', 3072),
      vocabSize: keys.positiveInteger('vocab_size', 50272),
      maxPositions: keys.positiveInteger('max_position_embeddings', 2048),
      activation: keys.oneOf('activation_function', ['relu', 'gelu'], 'relu'),
      qkvBias: bias,
      attentionOutBias: bias,
      mlpBias: bias,
      tiedHead: keys.boolean('tie_word_embeddings', true),
    };
  },

  write: (config) => ({
    num_hidden_layers: config.numLayers,
    num_attention_heads: config.numHeads,
    hidden_size: config.channels,
    word_embed_proj_dim: config.channels,
    ffn_dim: config.mlpChannels,
    max_position_embeddings: config.maxPositions,
    do_layer_norm_before: true,
    activation_function: config.activation,
    enable_bias: config.qkvBias,
  }),
};
