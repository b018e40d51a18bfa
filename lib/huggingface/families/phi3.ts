/** Phi-3 and Phi-4: Llama with one matrix of queries, keys and values, and one of gate and up. */
import { decoder, readDecoder, readWindowSize, writeDecoder } from './decoder.js';
import type { Family } from './family.js';

const block = 'model.layers.{}';

export const phi3: Family = {
  ...decoder,
  classes: { language: 'Phi3ForCausalLM', scalar: 'Phi3ForSequenceClassification', trunk: 'Phi3Model' },
  names: { ...decoder.names, qkv: [`${block}.self_attn.qkv_proj`], up: [`${block}.mlp.gate_up_proj`] },
  defaults: { ...decoder.defaults, tiedHead: false },
  read(keys) {
    const features = readDecoder(keys, {
      kvHeads: undefined,
      channels: 3072,
      mlpChannels: 8192,
      vocabSize: 32064,
      positions: 4096,
      normEps: 1e-5,
      rope: {
        partial: { key: 'partial_rotary_factor', missing: 1 },
        missingOriginal: 4096,
        longrope: ['longrope', 'su', 'yarn'], // the last two were its names
      },
    });
    keys.get('original_max_position_embeddings'); // in files without scaling too
    keys.get('attention_bias'); // in its files, but not read by its class
    const size = readWindowSize(keys, null); // for all layers
    const slidingWindow = size === null ? null : { size, fullLayers: [] };
    return { ...features, slidingWindow, qkvBias: false, attentionOutBias: false, mlpBias: false };
  },
  write: (config) => ({
    ...writeDecoder(config),
    partial_rotary_factor: config.rope?.partialRotaryFactor ?? 1,
    sliding_window: config.slidingWindow?.size ?? null,
  }),
};
