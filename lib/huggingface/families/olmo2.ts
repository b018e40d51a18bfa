/** OLMo 2: Llama with norms after attention and MLP instead of before, and of all queries and keys. */
import { decoder, outerNormNames, qkNormNames, readDecoder, writeDecoder } from './decoder.js';
import type { Family } from './family.js';

const own = { preNorm: false, postNorm: true, qkNorm: 'all' } as const;

export const olmo2: Family = {
  ...decoder,
  classes: { language: 'Olmo2ForCausalLM', scalar: 'Olmo2ForSequenceClassification', trunk: 'Olmo2Model' },
  names: { ...decoder.names, ...qkNormNames, ...outerNormNames, attentionNorm: '', mlpNorm: '' },
  defaults: { ...decoder.defaults, ...own },
  read(keys) {
    const missing = { kvHeads: undefined, mlpChannels: 11008, vocabSize: 50304, positions: 2048, normEps: 1e-5 };
    const attentionBias = keys.boolean('attention_bias', false);
    return {
      ...readDecoder(keys, missing),
      ...own,
      slidingWindow: null,
      qkvBias: attentionBias,
      attentionOutBias: attentionBias,
      mlpBias: false,
    };
  },
  write: (config) => ({ ...writeDecoder(config), attention_bias: config.qkvBias }),
};
