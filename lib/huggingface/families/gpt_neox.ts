/** GPT-NeoX, and with it Pythia: LayerNorm, rotary positions of some channels, attention and MLP side by side, a bias everywhere. */
import type { ModelConfig } from '../modelconfig.js';
import { readRope, writeRope } from '../rope.js';
import { type Family, noNames, usual } from './family.js';

const block = 'gpt_neox.layers.{}';
// transformers' names of the activations; the first is written.
const activations = {
  gelu: ['gelu'],
  gelu_tanh: ['gelu_new', 'gelu_fast', 'gelu_pytorch_tanh'],
  relu: ['relu'],
} as const;

const fixed = {
  ...usual,
  norm: 'layer',
  slidingWindow: null,
  gatedMlp: false,
  mlpBias: true,
  weightLayout: 'out,in',
} as const;
const ropeNames = { theta: 'rotary_emb_base', partial: { key: 'rotary_pct', missing: 0.25 } } as const;

export const gptNeoX: Family = {
  classes: { language: 'GPTNeoXForCausalLM', scalar: 'GPTNeoXForSequenceClassification', trunk: 'GPTNeoXModel' },
  names: {
    ...noNames,
    embedding: 'gpt_neox.embed_in',
    positions: '',
    attentionNorm: `${block}.input_layernorm`,
    qkv: [`${block}.attention.query_key_value`],
    qkvByHead: true,
    attentionOut: `${block}.attention.dense`,
    mlpNorm: `${block}.post_attention_layernorm`,
    up: [`${block}.mlp.dense_h_to_4h`],
    down: `${block}.mlp.dense_4h_to_h`,
    finalNorm: 'gpt_neox.final_layer_norm',
    languageHead: 'embed_out',
    scalarHead: 'score',
  },
  prefix: 'gpt_neox.',
  buffers: /\.attention\.(masked_)?bias$|\.rotary_emb\.inv_freq$/,
  keys: {
    numLayers: 'num_hidden_layers',
    numHeads: 'num_attention_heads',
    channels: 'hidden_size',
    mlpChannels: 'intermediate_size',
    vocabSize: 'vocab_size',
    maxPositions: 'max_position_embeddings',
    normEps: 'layer_norm_eps',
    'rope.theta': 'rotary_emb_base',
    'rope.partialRotaryFactor': 'rotary_pct',
  },
  defaults: {
    ...fixed,
    normEps: 1e-5,
    parallelResidual: true,
    rope: { theta: 10_000, scaling: null, partialRotaryFactor: 0.25 },
    activation: 'gelu',
    qkvBias: true,
    attentionOutBias: true,
    tiedHead: false,
  },
  mlpChannels: (channels) => 4 * channels,

  read(keys) {
    const channels = keys.positiveInteger('hidden_size', 6144);
    const numHeads = keys.positiveInteger('num_attention_heads', 64);
    if (channels % numHeads !== 0)
      keys.fail('num_attention_heads', `is ${numHeads}, expected a divisor of hidden_size (${channels})`);
    const maxPositions = keys.positiveInteger('max_position_embeddings', 2048);
    const name = keys.oneOf('hidden_act', Object.values(activations).flat(), 'gelu');
    const attentionBias = keys.boolean('attention_bias', true);
    return {
      ...fixed,
      numLayers: keys.positiveInteger('num_hidden_layers', 44),
      numHeads,
      numKvHeads: numHeads,
      headDim: channels / numHeads,
      channels,
      mlpChannels: keys.positiveInteger('intermediate_size', 24576),
      vocabSize: keys.positiveInteger('vocab_size', 50432),
      maxPositions,
      normEps: keys.number('layer_norm_eps', 1e-5),
      parallelResidual: keys.boolean('use_parallel_residual', true),
      rope: readRope(keys, maxPositions, ropeNames),
      activation: name === 'gelu' || name === 'relu' ? name : 'gelu_tanh',
      qkvBias: attentionBias,
      attentionOutBias: attentionBias,
      tiedHead: keys.boolean('tie_word_embeddings', false),
    };
  },

  write: (config) => ({
    num_hidden_layers: config.numLayers,
    num_attention_heads: config.numHeads,
    hidden_size: config.channels,
    intermediate_size: config.mlpChannels,
    max_position_embeddings: config.maxPositions,
    layer_norm_eps: config.normEps,
    use_parallel_residual: config.parallelResidual,
    hidden_act: config.activation === 'silu' ? undefined : activations[config.activation][0],
    attention_bias: config.qkvBias,
    ...writeRotary(config),
  }),
};

function writeRotary({ rope }: ModelConfig): Record<string, unknown> {
  if (rope === null) return {};
  const { rope_theta, ...others } = writeRope(rope);
  return { ...others, rotary_pct: rope.partialRotaryFactor ?? 1, rotary_emb_base: rope_theta };
}
