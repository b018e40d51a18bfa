/** Mistral 7B v0.1 to v0.3 and others of that class. */
import { decoder, readDecoder, readWindowSize, writeDecoder } from './decoder.js';
import type { Family } from './family.js';

export const mistral: Family = {
  ...decoder,
  classes: { language: 'MistralForCausalLM', scalar: 'MistralForSequenceClassification', trunk: 'MistralModel' },
  read(keys) {
    const features = readDecoder(keys, { kvHeads: 8, mlpChannels: 14336, vocabSize: 32000, positions: 131072 });
    const size = readWindowSize(keys); // for all layers: transformers' Mistral ignores layer_types
    const slidingWindow = size === null ? null : { size, fullLayers: [] };
    return { ...features, slidingWindow, qkvBias: false, attentionOutBias: false, mlpBias: false };
  },
  write: (config) => ({ ...writeDecoder(config), sliding_window: config.slidingWindow?.size ?? null }),
};
