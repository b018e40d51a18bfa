/** Gemma 2 and the text models of Gemma 3: norms on both sides of attention and MLP, scaled embeddings, alternating windows. */
import type { JsonObject } from '../../core/json.js';
import type { ModelConfig, Rope, SlidingWindow } from '../modelconfig.js';
import { readRope, readRopeParameters, ropeParameters, writeRope } from '../rope.js';
import {
  decoder,
  fixed,
  layerTypes,
  type Missing,
  outerNormNames,
  qkNormNames,
  readFullLayers,
  readSizes,
  readWindowSize,
  writeSizes,
} from './decoder.js';
import type { Family } from './family.js';

const shared = {
  ...fixed,
  normOffset: 1,
  postNorm: true,
  scaledEmbedding: true,
  activation: 'gelu_tanh',
  mlpBias: false,
} as const;

const missing: Missing = {
  layers: 26,
  heads: 8,
  kvHeads: 4,
  headDim: 256,
  channels: 2304,
  mlpChannels: 9216,
  vocabSize: 256000,
  positions: 8192,
  tied: true,
};

/** All but the rotary positions. */
function read(keys: JsonObject, sizes: Missing, isSliding: (layer: number) => boolean) {
  keys.get('hidden_act'); // transformers reads hidden_activation alone
  keys.requireOneOf('hidden_activation', ['gelu_pytorch_tanh', 'gelu_new']);
  keys.requireOneOf('use_bidirectional_attention', [false]);
  const attentionBias = keys.boolean('attention_bias', false);
  const features = readSizes(keys, sizes);
  const scalar = keys.number('query_pre_attn_scalar', 256);
  if (!(scalar > 0)) keys.fail('query_pre_attn_scalar', `is ${scalar}, expected a positive number`);
  return {
    ...shared,
    ...features,
    attentionScale: scalar === features.headDim ? null : scalar ** -0.5,
    slidingWindow: readWindow(keys, features.numLayers, isSliding),
    qkvBias: attentionBias,
    attentionOutBias: attentionBias,
  };
}

function readWindow(keys: JsonObject, numLayers: number, isSliding: (layer: number) => boolean): SlidingWindow | null {
  const fullLayers = readFullLayers(keys, numLayers, isSliding);
  const size = readWindowSize(keys);
  if (fullLayers.length === numLayers) return null;
  return size === null
    ? keys.fail('sliding_window', 'is null, expected a size, since layer_types has sliding_attention')
    : { size, fullLayers };
}

// null is no cap; a missing key is the class's default.
const readCap = (keys: JsonObject, key: string, otherwise: number | null): number | null => {
  const isNull = keys.has(key) ? keys.isEmpty(key) : otherwise === null;
  if (isNull) return null;
  const cap = keys.number(key, otherwise ?? undefined);
  return cap > 0 ? cap : keys.fail(key, `is ${cap}, expected a positive number or null`);
};

function write(config: ModelConfig): Record<string, unknown> {
  const { attentionScale: scale, slidingWindow: window, numLayers, headDim } = config;
  const scalar = scale === null ? headDim : scale ** -2;
  const rounded = Math.round(scalar); // transformers wants a whole number
  return {
    ...writeSizes(config),
    hidden_act: 'gelu_pytorch_tanh',
    hidden_activation: 'gelu_pytorch_tanh',
    query_pre_attn_scalar: rounded ** -0.5 === scale ? rounded : scalar,
    attention_bias: config.qkvBias,
    sliding_window: window?.size ?? 4096,
    layer_types: layerTypes(numLayers, window?.fullLayers ?? [...Array(numLayers).keys()]),
    final_logit_softcapping: config.logitSoftcap,
    attn_logit_softcapping: config.attentionSoftcap,
  };
}

const base = {
  ...decoder,
  names: { ...decoder.names, ...outerNormNames },
  defaults: { ...decoder.defaults, ...shared, normEps: 1e-6 },
  mlpChannels: (channels: number) => 4 * channels,
} as const;

export const gemma2: Family = {
  ...base,
  classes: { language: 'Gemma2ForCausalLM', scalar: 'Gemma2ForSequenceClassification', trunk: 'Gemma2Model' },
  read(keys) {
    const features = read(keys, missing, (layer) => layer % 2 === 0);
    return {
      ...features,
      rope: readRope(keys, features.maxPositions),
      attentionSoftcap: readCap(keys, 'attn_logit_softcapping', 50),
      logitSoftcap: readCap(keys, 'final_logit_softcapping', 30),
    };
  },
  write: (config) => ({ ...write(config), ...(config.rope ? writeRope(config.rope) : {}) }),
};

const thetas = { full: 1_000_000, sliding: 10_000 } as const;

export const gemma3Text: Family = {
  ...base,
  classes: { language: 'Gemma3ForCausalLM', scalar: 'Gemma3TextForSequenceClassification', trunk: 'Gemma3TextModel' },
  names: { ...base.names, ...qkNormNames },
  defaults: {
    ...base.defaults,
    qkNorm: 'head',
    rope: { theta: thetas.full, scaling: null },
    windowRope: { theta: thetas.sliding, scaling: null },
  },
  read(keys) {
    const every = keys.positiveInteger('sliding_window_pattern', keys.positiveInteger('_sliding_window_pattern', 6));
    const sizes = { ...missing, vocabSize: 262_208, positions: 131_072 };
    const features = read(keys, sizes, (layer) => (layer + 1) % every !== 0);
    keys.requireOneOf('attn_logit_softcapping', [null]); // transformers' class has the key and ignores it
    return {
      ...features,
      ...readRopes(keys, features.maxPositions),
      qkNorm: 'head',
      attentionSoftcap: null,
      logitSoftcap: readCap(keys, 'final_logit_softcapping', null),
    };
  },
  write: (config) => ({ ...write(config), ...writeRopes(config) }),
};

/** One key for each kind of layer until transformers 4, an object for each since 5. */
function readRopes(keys: JsonObject, maxPositions: number): { rope: Rope; windowRope: Rope } {
  const plain = { scaling: null } as const;
  const local: Rope = { theta: keys.number('rope_local_base_freq', thetas.sliding), ...plain };
  const nested = keys.isEmpty('rope_parameters') ? undefined : keys.object('rope_parameters');
  if (nested === undefined || !nested.keys().some((name) => name.endsWith('_attention'))) {
    return { rope: readRope(keys, maxPositions, { missingTheta: thetas.full }), windowRope: local };
  }
  const of = (name: string, outer: Rope) =>
    nested.isEmpty(name) ? outer : readRopeParameters(nested.object(name), maxPositions, outer);
  const global: Rope = { theta: keys.number('rope_theta', thetas.full), ...plain };
  const rope = of('full_attention', global);
  if (keys.isEmpty('rope_scaling')) return { rope, windowRope: of('sliding_attention', local) };
  return {
    rope: readRopeParameters(keys.object('rope_scaling'), maxPositions, rope),
    windowRope: of('sliding_attention', local),
  };
}

function writeRopes({ rope, windowRope }: ModelConfig): Record<string, unknown> {
  if (rope === null || windowRope === null) return {};
  return {
    ...writeRope(rope),
    rope_local_base_freq: windowRope.theta,
    rope_parameters: { full_attention: ropeParameters(rope), sliding_attention: ropeParameters(windowRope) },
  };
}
