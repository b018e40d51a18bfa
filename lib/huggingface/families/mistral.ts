/** Mistral 7B v0.1 to v0.3 and others of that class. */
import { decoder, readDecoder, requireNoWindow, writeDecoder } from './decoder.js';
import type { Family } from './family.js';

export const mistral: Family = {
  ...decoder,
  classes: { language: 'MistralForCausalLM', scalar: 'MistralForSequenceClassification', trunk: 'MistralModel' },
  read(keys) {
    const features = readDecoder(keys, { kvHeads: 8, mlpChannels: 14336, vocabSize: 32000, positions: 131072 });
    const none = keys.has('sliding_window') && keys.isEmpty('sliding_window');
    if (!none) requireNoWindow(keys, keys.count('sliding_window', 4096), features);
    return { ...features, qkvBias: false, attentionOutBias: false, mlpBias: false };
  },
  write: (config) => ({ ...writeDecoder(config), sliding_window: null }),
};
