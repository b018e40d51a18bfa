/** Qwen2 and Qwen2.5: Llama with a bias on queries, keys and values. */
import type { JsonObject } from '../../core/json.js';
import type { ModelConfig, SlidingWindow } from '../modelconfig.js';
import { decoder, layerTypes, readDecoder, readFullLayers, readWindowSize, writeDecoder } from './decoder.js';
import type { Family } from './family.js';

export const qwen2: Family = {
  ...decoder,
  classes: { language: 'Qwen2ForCausalLM', scalar: 'Qwen2ForSequenceClassification', trunk: 'Qwen2Model' },
  defaults: { ...decoder.defaults, qkvBias: true },
  read(keys) {
    const features = readDecoder(keys, { kvHeads: 32, mlpChannels: 22016, vocabSize: 151936, positions: 32768 });
    const slidingWindow = readWindow(keys, features.numLayers);
    return { ...features, slidingWindow, qkvBias: true, attentionOutBias: false, mlpBias: false };
  },
  write: (config) => ({ ...writeDecoder(config), ...writeWindow(config) }),
};

export function readWindow(keys: JsonObject, numLayers: number): SlidingWindow | null {
  const used = keys.boolean('use_sliding_window', false);
  const size = readWindowSize(keys);
  const first = keys.nonNegativeInteger('max_window_layers', 28); // the first layer with the window
  const fullLayers = readFullLayers(keys, numLayers, (layer) => used && size !== null && layer >= first);
  if (fullLayers.length === numLayers) return null;
  if (!used || size === null)
    return keys.fail(
      'layer_types',
      'has sliding_attention, expected only full_attention: use_sliding_window or sliding_window is off',
    );
  return { size, fullLayers };
}

export function writeWindow({ numLayers, slidingWindow }: ModelConfig): Record<string, unknown> {
  if (slidingWindow === null) return { use_sliding_window: false };
  const { size, fullLayers } = slidingWindow;
  const types = layerTypes(numLayers, fullLayers);
  return {
    use_sliding_window: true,
    sliding_window: size,
    max_window_layers: types.indexOf('sliding_attention'),
    layer_types: types,
  };
}
