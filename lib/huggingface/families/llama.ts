/** Llama 1 to 3.2, TinyLlama, SmolLM2 and others of that class. */
import { decoder, readDecoder, writeDecoder } from './decoder.js';
import type { Family } from './family.js';

export const llama: Family = {
  ...decoder,
  classes: { language: 'LlamaForCausalLM', scalar: 'LlamaForSequenceClassification', trunk: 'LlamaModel' },
  read(keys) {
    const attentionBias = keys.boolean('attention_bias', false);
    keys.requireOneOf('rope_interleaved', [false]);
    return {
      ...readDecoder(keys, { kvHeads: undefined, mlpChannels: 11008, vocabSize: 32000, positions: 2048 }),
      slidingWindow: null,
      qkvBias: attentionBias,
      attentionOutBias: attentionBias,
      mlpBias: keys.boolean('mlp_bias', false),
    };
  },
  write: (config) => ({ ...writeDecoder(config), attention_bias: config.qkvBias, mlp_bias: config.mlpBias }),
};
