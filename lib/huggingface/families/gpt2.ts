/** GPT-2: learned positions, LayerNorm, a plain MLP, a bias everywhere, weights stored (in, out). Cerebras-GPT too. */
import { type Family, noNames, usual } from './family.js';

const block = 'transformer.h.{}';
// transformers' names of the activations; the first is written.
const activations = { gelu_tanh: ['gelu_new', 'gelu_pytorch_tanh'], gelu: ['gelu'] } as const;

const fixed = {
  ...usual,
  norm: 'layer',
  rope: null,
  slidingWindow: null,
  gatedMlp: false,
  qkvBias: true,
  attentionOutBias: true,
  mlpBias: true,
  weightLayout: 'in,out',
} as const;

export const gpt2: Family = {
  classes: { language: 'GPT2LMHeadModel', scalar: 'GPT2ForSequenceClassification', trunk: 'GPT2Model' },
  names: {
    ...noNames,
    embedding: 'transformer.wte',
    positions: 'transformer.wpe',
    attentionNorm: `${block}.ln_1`,
    qkv: [`${block}.attn.c_attn`],
    attentionOut: `${block}.attn.c_proj`,
    mlpNorm: `${block}.ln_2`,
    up: [`${block}.mlp.c_fc`],
    down: `${block}.mlp.c_proj`,
    finalNorm: 'transformer.ln_f',
    languageHead: 'lm_head',
    scalarHead: 'score',
  },
  prefix: 'transformer.',
  buffers: /\.attn\.(masked_)?bias$/,
  keys: {
    numLayers: 'n_layer',
    numHeads: 'n_head',
    channels: 'n_embd',
    mlpChannels: 'n_inner',
    vocabSize: 'vocab_size',
    maxPositions: 'n_positions',
    normEps: 'layer_norm_epsilon',
  },
  defaults: { ...fixed, normEps: 1e-5, activation: 'gelu_tanh', tiedHead: true },
  mlpChannels: (channels) => 4 * channels,

  read(keys) {
    // transformers knows these keys by two names.
    const either = (own: string, usual: string, missing: number) =>
      keys.positiveInteger(own, keys.positiveInteger(usual, missing));
    const channels = either('n_embd', 'hidden_size', 768);
    const numHeads = either('n_head', 'num_attention_heads', 12);
    if (channels % numHeads !== 0) keys.fail('n_head', `is ${numHeads}, expected a divisor of n_embd (${channels})`);
    keys.requireOneOf('scale_attn_weights', [true]);
    keys.requireOneOf('scale_attn_by_inverse_layer_idx', [false]);
    const name = keys.oneOf('activation_function', Object.values(activations).flat(), 'gelu_new');
    return {
      ...fixed,
      numLayers: either('n_layer', 'num_hidden_layers', 12),
      numHeads,
      numKvHeads: numHeads,
      headDim: channels / numHeads,
      channels,
      mlpChannels: keys.positiveInteger('n_inner', 4 * channels),
      vocabSize: keys.positiveInteger('vocab_size', 50257),
      maxPositions: either('n_positions', 'max_position_embeddings', 1024),
      normEps: keys.number('layer_norm_epsilon', 1e-5),
      activation: name === 'gelu' ? 'gelu' : 'gelu_tanh',
      tiedHead: keys.boolean('tie_word_embeddings', true),
    };
  },

  write: (config) => ({
    n_layer: config.numLayers,
    n_head: config.numHeads,
    n_embd: config.channels,
    n_inner: config.mlpChannels,
    n_positions: config.maxPositions,
    layer_norm_epsilon: config.normEps,
    activation_function: config.activation === 'gelu' ? 'gelu' : 'gelu_new',
  }),
};
