/** Qwen3: Qwen2 without biases, with a norm of each head's queries and keys. */
import { decoder, qkNormNames, readDecoder, writeDecoder } from './decoder.js';
import type { Family } from './family.js';
import { readWindow, writeWindow } from './qwen2.js';

export const qwen3: Family = {
  ...decoder,
  classes: { language: 'Qwen3ForCausalLM', scalar: 'Qwen3ForSequenceClassification', trunk: 'Qwen3Model' },
  names: { ...decoder.names, ...qkNormNames },
  defaults: { ...decoder.defaults, qkNorm: 'head' },
  read(keys) {
    const sizes = { kvHeads: 32, headDim: 128, mlpChannels: 22016, vocabSize: 151936, positions: 32768 };
    const features = readDecoder(keys, sizes);
    const attentionBias = keys.boolean('attention_bias', false);
    return {
      ...features,
      qkNorm: 'head',
      slidingWindow: readWindow(keys, features.numLayers),
      qkvBias: attentionBias,
      attentionOutBias: attentionBias,
      mlpBias: false,
    };
  },
  write: (config) => ({ ...writeDecoder(config), attention_bias: config.qkvBias, ...writeWindow(config) }),
};
