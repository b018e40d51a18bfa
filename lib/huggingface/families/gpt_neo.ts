/** GPT-Neo, and with it TinyStories: GPT-2 with a window in some layers, scores that are not scaled, queries and keys without a bias. */
import { type JsonObject, shown } from '../../core/json.js';
import type { ModelConfig, SlidingWindow } from '../modelconfig.js';
import { type Family, noNames, usual } from './family.js';

const block = 'transformer.h.{}';
// transformers' names of the activations; the first is written.
const activations = { gelu_tanh: ['gelu_new', 'gelu_pytorch_tanh'], gelu: ['gelu'], relu: ['relu'] } as const;

const fixed = {
  ...usual,
  norm: 'layer',
  rope: null,
  attentionScale: 1,
  gatedMlp: false,
  qkvBias: false,
  attentionOutBias: true,
  mlpBias: true,
  weightLayout: 'out,in',
} as const;

export const gptNeo: Family = {
  classes: { language: 'GPTNeoForCausalLM', scalar: 'GPTNeoForSequenceClassification', trunk: 'GPTNeoModel' },
  names: {
    ...noNames,
    embedding: 'transformer.wte',
    positions: 'transformer.wpe',
    attentionNorm: `${block}.ln_1`,
    qkv: ['q', 'k', 'v'].map((part) => `${block}.attn.attention.${part}_proj`),
    attentionOut: `${block}.attn.attention.out_proj`,
    mlpNorm: `${block}.ln_2`,
    up: [`${block}.mlp.c_fc`],
    down: `${block}.mlp.c_proj`,
    finalNorm: 'transformer.ln_f',
    languageHead: 'lm_head',
    scalarHead: 'score',
  },
  prefix: 'transformer.',
  buffers: /\.attn\.attention\.(masked_)?bias$/,
  keys: {
    numLayers: 'num_layers',
    numHeads: 'num_heads',
    channels: 'hidden_size',
    mlpChannels: 'intermediate_size',
    vocabSize: 'vocab_size',
    maxPositions: 'max_position_embeddings',
    normEps: 'layer_norm_epsilon',
    slidingWindow: 'window_size',
  },
  defaults: { ...fixed, normEps: 1e-5, activation: 'gelu_tanh', slidingWindow: null, tiedHead: true },
  mlpChannels: (channels) => 4 * channels,

  read(keys) {
    // transformers knows these keys by two names.
    const either = (own: string, usual: string, missing: number) =>
      keys.positiveInteger(own, keys.positiveInteger(usual, missing));
    const channels = keys.positiveInteger('hidden_size', 2048);
    const numHeads = either('num_heads', 'num_attention_heads', 16);
    const numLayers = either('num_layers', 'num_hidden_layers', 24);
    if (channels % numHeads !== 0)
      keys.fail('num_heads', `is ${numHeads}, expected a divisor of hidden_size (${channels})`);
    const name = keys.oneOf('activation_function', Object.values(activations).flat(), 'gelu_new');
    return {
      ...fixed,
      numLayers,
      numHeads,
      numKvHeads: numHeads,
      headDim: channels / numHeads,
      channels,
      mlpChannels: keys.positiveInteger('intermediate_size', 4 * channels),
      vocabSize: keys.positiveInteger('vocab_size', 50257),
      maxPositions: keys.positiveInteger('max_position_embeddings', 2048),
      normEps: keys.number('layer_norm_epsilon', 1e-5),
      activation: name === 'gelu' || name === 'relu' ? name : 'gelu_tanh',
      slidingWindow: readWindow(keys, numLayers),
      tiedHead: keys.boolean('tie_word_embeddings', true),
    };
  },

  write: (config) => ({
    num_layers: config.numLayers,
    num_heads: config.numHeads,
    hidden_size: config.channels,
    intermediate_size: config.mlpChannels,
    max_position_embeddings: config.maxPositions,
    layer_norm_epsilon: config.normEps,
    activation_function: config.activation === 'silu' ? undefined : activations[config.activation][0],
    ...writeWindow(config),
  }),
};

/** `attention_types`: lists of types, each with how often it comes; `attention_layers` is what transformers makes of it. */
function readWindow(keys: JsonObject, numLayers: number): SlidingWindow | null {
  keys.get('attention_layers');
  const size = keys.positiveInteger('window_size', 256, 2 ** 31);
  const given = keys.get('attention_types') ?? [[['global', 'local'], 12]];
  const types = Array.isArray(given) ? given.flatMap((item) => repeated(item as unknown)) : [];
  if (types.length !== numLayers || !types.every((type) => type === 'global' || type === 'local')) {
    return keys.fail(
      'attention_types',
      `is ${shown(given)}, expected lists of "global" and "local" with counts, for ${numLayers} layers in all`,
    );
  }
  const fullLayers = types.flatMap((type, layer) => (type === 'global' ? [layer] : []));
  return fullLayers.length === numLayers ? null : { size, fullLayers };
}

function repeated(item: unknown): unknown[] {
  if (!Array.isArray(item) || item.length !== 2) return [item];
  const [types, count] = item as unknown[];
  if (!Array.isArray(types) || typeof count !== 'number' || !(count >= 0 && count <= 1024)) return [item];
  return Array.from({ length: count }, () => types as unknown[]).flat();
}

function writeWindow({ numLayers, slidingWindow: window }: ModelConfig): Record<string, unknown> {
  const types = Array.from({ length: numLayers }, (_, layer) =>
    window === null || window.fullLayers.includes(layer) ? 'global' : 'local',
  );
  return { attention_types: [[types, 1]], attention_layers: types, ...(window ? { window_size: window.size } : {}) };
}
