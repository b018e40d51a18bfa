/** Mistral 7B v0.1 to v0.3 and others of that class. */
import type { ModelConfig } from '../modelconfig.js';
import { decoder, layerTypes, readDecoder, readFullLayers, readWindowSize, writeDecoder } from './decoder.js';
import type { Family } from './family.js';

export const mistral: Family = {
  ...decoder,
  classes: { language: 'MistralForCausalLM', scalar: 'MistralForSequenceClassification', trunk: 'MistralModel' },
  read(keys) {
    const features = readDecoder(keys, { kvHeads: 8, mlpChannels: 14336, vocabSize: 32000, positions: 131072 });
    const size = readWindowSize(keys);
    const fullLayers = readFullLayers(keys, features.numLayers, () => size !== null);
    if (size === null && fullLayers.length < features.numLayers)
      keys.fail('layer_types', 'has sliding_attention, expected only full_attention: sliding_window is null');
    const slidingWindow = size === null || fullLayers.length === features.numLayers ? null : { size, fullLayers };
    return { ...features, slidingWindow, qkvBias: false, attentionOutBias: false, mlpBias: false };
  },
  write: (config) => ({ ...writeDecoder(config), ...writeWindow(config) }),
};

// With layer_types transformers takes the class of Ministral, which is Mistral with a window in some layers.
const writeWindow = ({ numLayers, slidingWindow: window }: ModelConfig): Record<string, unknown> => ({
  sliding_window: window?.size ?? null,
  ...(window && window.fullLayers.length > 0 ? { layer_types: layerTypes(numLayers, window.fullLayers) } : {}),
});
