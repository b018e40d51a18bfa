/** Qwen2 and Qwen2.5: Llama with a bias on queries, keys and values. */
import type { JsonObject } from '../../core/json.js';
import type { ModelConfig, SlidingWindow } from '../modelconfig.js';
import { decoder, readDecoder, readWindowSize, writeDecoder } from './decoder.js';
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

function readWindow(keys: JsonObject, numLayers: number): SlidingWindow | null {
  const used = keys.boolean('use_sliding_window', false);
  const size = readWindowSize(keys);
  const first = keys.nonNegativeInteger('max_window_layers', 28); // the first layer with the window
  const layers = Array.from({ length: numLayers }, (_, layer) => layer);
  const types =
    keys.get('layer_types') ??
    layers.map((layer) => (used && size !== null && layer >= first ? 'sliding_attention' : 'full_attention'));
  const isKnown = (type: unknown) => type === 'sliding_attention' || type === 'full_attention' || type === 'attention';
  if (!Array.isArray(types) || types.length !== numLayers || !types.every(isKnown)) {
    return keys.fail(
      'layer_types',
      `is ${JSON.stringify(types)}, expected ${numLayers} entries, each sliding_attention or full_attention`,
    );
  }
  const fullLayers = layers.filter((layer) => types[layer] !== 'sliding_attention');
  if (fullLayers.length === numLayers) return null;
  if (!used || size === null)
    return keys.fail(
      'layer_types',
      'has sliding_attention, expected only full_attention: use_sliding_window or sliding_window is off',
    );
  return { size, fullLayers };
}

function writeWindow({ numLayers, slidingWindow }: ModelConfig): Record<string, unknown> {
  if (slidingWindow === null) return { use_sliding_window: false };
  const { size, fullLayers } = slidingWindow;
  const types = Array.from({ length: numLayers }, (_, layer) =>
    fullLayers.includes(layer) ? 'full_attention' : 'sliding_attention',
  );
  return {
    use_sliding_window: true,
    sliding_window: size,
    max_window_layers: types.indexOf('sliding_attention'),
    layer_types: types,
  };
}
