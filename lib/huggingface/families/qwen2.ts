/** Qwen2 and Qwen2.5: Llama with a bias on queries, keys and values. */
import { decoder, readDecoder, requireNoWindow, writeDecoder } from './decoder.js';
import type { Family } from './family.js';

export const qwen2: Family = {
  ...decoder,
  classes: { language: 'Qwen2ForCausalLM', scalar: 'Qwen2ForSequenceClassification', trunk: 'Qwen2Model' },
  defaults: { ...decoder.defaults, qkvBias: true },
  read(keys) {
    const features = readDecoder(keys, { kvHeads: 32, mlpChannels: 22016, vocabSize: 151936, positions: 32768 });
    const window = keys.count('sliding_window', 4096);
    const full = keys.count('max_window_layers', 28); // layers before the first that has the window
    if (keys.boolean('use_sliding_window', false) && full < features.numLayers) requireNoWindow(keys, window, features);
    return { ...features, qkvBias: true, attentionOutBias: false, mlpBias: false };
  },
  write: (config) => ({ ...writeDecoder(config), use_sliding_window: false }),
};
