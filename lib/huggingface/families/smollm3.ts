/** SmolLM3: Llama with layers that know no positions. */
import { type JsonObject, shown } from '../../core/json.js';
import type { ModelConfig, SlidingWindow } from '../modelconfig.js';
import { decoder, layerTypes, readDecoder, readFullLayers, readWindowSize, writeDecoder } from './decoder.js';
import type { Family } from './family.js';

export const smollm3: Family = {
  ...decoder,
  classes: { language: 'SmolLM3ForCausalLM', scalar: 'SmolLM3ForSequenceClassification', trunk: 'SmolLM3Model' },
  read(keys) {
    const features = readDecoder(keys, {
      layers: 36,
      heads: 16,
      kvHeads: 4,
      channels: 2048,
      mlpChannels: 11008,
      vocabSize: 128256,
      positions: 32768,
      tied: true,
      rope: { missingTheta: 2_000_000 },
    });
    const attentionBias = keys.boolean('attention_bias', false);
    const noRopeLayers = readNoRopeLayers(keys, features.numLayers);
    return {
      ...features,
      noRopeLayers,
      slidingWindow: readWindow(keys, features.numLayers, noRopeLayers),
      qkvBias: attentionBias,
      attentionOutBias: attentionBias,
      mlpBias: keys.boolean('mlp_bias', false),
    };
  },
  write: (config) => ({
    ...writeDecoder(config),
    no_rope_layers: Array.from({ length: config.numLayers }, (_, layer) =>
      config.noRopeLayers.includes(layer) ? 0 : 1,
    ),
    attention_bias: config.qkvBias,
    mlp_bias: config.mlpBias,
    ...writeWindow(config),
  }),
};

/** `no_rope_layers`: of each layer 1 if it has rotary positions, 0 if not. */
function readNoRopeLayers(keys: JsonObject, numLayers: number): number[] {
  const interval = keys.positiveInteger('no_rope_layer_interval', 4);
  const layers = Array.from({ length: numLayers }, (_, layer) => layer);
  const given = keys.get('no_rope_layers');
  if (given === undefined) return layers.filter((layer) => (layer + 1) % interval === 0);
  if (!Array.isArray(given) || given.length < numLayers || !given.every((entry) => entry === 0 || entry === 1)) {
    return keys.fail('no_rope_layers', `is ${shown(given)}, expected ${numLayers} entries, each 0 or 1`);
  }
  return layers.filter((layer) => given[layer] === 0);
}

function readWindow(keys: JsonObject, numLayers: number, noRopeLayers: readonly number[]): SlidingWindow | null {
  keys.get('max_window_layers'); // in its files, but not read by its class
  const size = readWindowSize(keys, null);
  const used = keys.boolean('use_sliding_window', false) && size !== null;
  const fullLayers = readFullLayers(keys, numLayers, (layer) => used && noRopeLayers.includes(layer));
  if (fullLayers.length === numLayers) return null;
  if (used) return { size, fullLayers };
  return keys.fail(
    'layer_types',
    'has sliding_attention, expected only full_attention: use_sliding_window or sliding_window is off',
  );
}

function writeWindow({ numLayers, slidingWindow: window }: ModelConfig): Record<string, unknown> {
  if (window === null)
    return { use_sliding_window: false, layer_types: layerTypes(numLayers, [...Array(numLayers).keys()]) };
  return {
    use_sliding_window: true,
    sliding_window: window.size,
    layer_types: layerTypes(numLayers, window.fullLayers),
  };
}
