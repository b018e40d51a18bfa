import { describe, expect, test } from '@jest/globals';
import { DataError } from '../../lib/core/errors.js';
import { configFromHf, configToHf } from '../../lib/huggingface/config.js';
import { gpt2, llama } from './support.js';

const file = 'DIR/config.json';
// As transformers 5 writes them.
const hfGpt2 = {
  activation_function: 'gelu_new', add_cross_attention: false, architectures: ['GPT2LMHeadModel'], attn_pdrop: 0.1,
  bos_token_id: 50256, dtype: 'float32', embd_pdrop: 0.1, eos_token_id: 50256, initializer_range: 0.02, layer_norm_epsilon: 1e-5,
  model_type: 'gpt2', n_embd: 16, n_head: 2, n_inner: null, n_layer: 1, n_positions: 32, pad_token_id: null,
  reorder_and_upcast_attn: false, resid_pdrop: 0.1, scale_attn_by_inverse_layer_idx: false, scale_attn_weights: true,
  summary_activation: null, summary_first_dropout: 0.1, summary_proj_to_labels: true, summary_type: 'cls_index',
  summary_use_proj: true, tie_word_embeddings: true, transformers_version: '5.0.0', use_cache: true, vocab_size: 40,
}; // biome-ignore format: a table
const hfLlama = {
  architectures: ['LlamaForCausalLM'], attention_bias: false, attention_dropout: 0, bos_token_id: 1, dtype: 'float32', eos_token_id: 2,
  head_dim: 8, hidden_act: 'silu', hidden_size: 16, initializer_range: 0.02, intermediate_size: 24, max_position_embeddings: 32,
  mlp_bias: false, model_type: 'llama', num_attention_heads: 2, num_hidden_layers: 1, num_key_value_heads: 1, pad_token_id: null,
  pretraining_tp: 1, rms_norm_eps: 1e-6, rope_parameters: { rope_theta: 500, rope_type: 'default' }, tie_word_embeddings: false,
  transformers_version: '5.0.0', use_cache: true, vocab_size: 40,
}; // biome-ignore format: a table

describe('reading', () => {
  test('GPT-2 as transformers writes it', () => {
    expect(configFromHf(hfGpt2, file)).toEqual({
      config: {
        architecture: 'gpt2', numLayers: 1, numHeads: 2, numKvHeads: 2, headDim: 8, channels: 16, mlpChannels: 64, vocabSize: 40,
        maxPositions: 32, normEps: 1e-5, ropeTheta: 10000, tiedHead: true,
      }, // biome-ignore format: a table
      kind: 'language',
      specialTokens: { bos: 50256, eos: 50256, pad: undefined },
      scoreOffset: 0,
    });
    expect(configFromHf({ ...hfGpt2, n_inner: 20 }, file).config.mlpChannels).toBe(20);
    expect(configFromHf({ ...hfGpt2, tie_word_embeddings: false }, file).config.tiedHead).toBe(false);
  });

  test('Llama as transformers writes it, and wrote it', () => {
    const { config } = configFromHf(hfLlama, file);
    expect(config).toMatchObject({
      architecture: 'llama',
      headDim: 8,
      numKvHeads: 1,
      mlpChannels: 24,
      ropeTheta: 500,
      tiedHead: false,
    });
    const { rope_parameters: _, head_dim: __, num_key_value_heads: ___, ...older } = hfLlama;
    expect(
      configFromHf({ ...older, rope_theta: 700, rope_scaling: null, torch_dtype: 'bfloat16' }, file).config,
    ).toMatchObject({
      ropeTheta: 700,
      headDim: 8,
      numKvHeads: 2,
    });
    expect(configFromHf(older, file).config.ropeTheta).toBe(10000);
  });

  test('keys of older and other writers that change nothing', () => {
    const old = { n_special: 0, predict_special_tokens: true, output_past: true, _num_labels: 1, unk_token_id: 0 };
    expect(configFromHf({ ...hfGpt2, ...old }, file)).toEqual(configFromHf(hfGpt2, file));
    expect(configFromHf({ ...hfLlama, max_sequence_length: 2048, model_max_length: 2048 }, file)).toEqual(
      configFromHf(hfLlama, file),
    );
  });

  test('what is written is read back', () => {
    for (const config of [gpt2, llama]) {
      for (const kind of ['language', 'scalar'] as const) {
        const scoreOffset = kind === 'scalar' && config === llama ? 1.25 : 0;
        const info = { config, kind, specialTokens: { bos: 3, eos: 4, pad: 5 }, scoreOffset };
        expect(configFromHf(JSON.parse(JSON.stringify(configToHf(info, 'F32'))), file)).toEqual(info);
      }
    }
  });

  test('a padding token is always written for a scalar model, and is not the end token where there is another', () => {
    const pad = (specialTokens: object, vocabSize = 37) =>
      configToHf({ config: { ...gpt2, vocabSize }, kind: 'scalar', specialTokens, scoreOffset: 0 }, 'F32').pad_token_id;
    expect([pad({}), pad({ eos: 0 }), pad({ eos: [0, 1] }), pad({ eos: 5, pad: 5 }), pad({ eos: 5, pad: 6 })]).toEqual([
      0, 1, 2, 0, 6,
    ]);
    expect(pad({ eos: 0, pad: 0 }, 1)).toBe(0);
  });
});

describe('what is refused, by name', () => {
  const scalar = { architectures: ['GPT2ForSequenceClassification'] };
  test.each<[object, string]>([
    [{ ...hfGpt2, model_type: 'mistral' }, 'model_type is "mistral", heed implements gpt2 and llama'],
    [{ ...hfGpt2, model_type: undefined }, 'model_type is missing'],
    [{ ...hfGpt2, architectures: ['GPT2DoubleHeadsModel'] }, 'architectures is ["GPT2DoubleHeadsModel"]'],
    [{ ...hfGpt2, architectures: ['LlamaForCausalLM'] }, 'architectures is ["LlamaForCausalLM"]'],
    [{ ...hfGpt2, activation_function: 'relu' }, 'activation_function is "relu", heed implements only "gelu_new"'],
    [{ ...hfGpt2, activation_function: 'gelu' }, 'activation_function is "gelu"'],
    [{ ...hfGpt2, scale_attn_weights: false }, 'scale_attn_weights is false, heed implements only true'],
    [{ ...hfGpt2, scale_attn_by_inverse_layer_idx: true }, 'scale_attn_by_inverse_layer_idx is true'],
    [{ ...hfGpt2, add_cross_attention: true }, 'add_cross_attention is true'],
    [{ ...hfGpt2, quantization_config: { bits: 4 } }, 'quantization_config is {"bits":4}'],
    [{ ...hfGpt2, n_embd: 15 }, 'n_head is 2, expected a divisor of n_embd (15)'],
    [{ ...hfGpt2, n_embd: '16' }, 'n_embd is "16", expected a number'],
    [{ ...hfGpt2, n_layer: 1.5 }, 'n_layer is 1.5, expected a whole number above 0'],
    [{ ...hfGpt2, n_layer: 0 }, 'n_layer is 0, expected a whole number above 0'],
    [{ ...hfGpt2, tie_word_embeddings: 'yes' }, 'tie_word_embeddings is "yes"'],
    [{ ...hfGpt2, eos_token_id: 'end' }, 'eos_token_id is "end", expected a token id'],
    [{ ...hfGpt2, attention_sinks: 4 }, 'attention_sinks is not implemented by heed'],
    [{ ...hfGpt2, hidden_act: 'silu' }, 'hidden_act is not implemented by heed'],
    [{ ...hfGpt2, heed: { score_offset: 1 } }, 'heed.score_offset is only for LlamaForSequenceClassification'],
    [{ ...hfGpt2, heed: { other: 1 } }, 'heed.other is not known'],
    [{ ...hfGpt2, heed: 3 }, 'heed is not a JSON object'],
    [{ ...hfGpt2, ...scalar }, 'id2label gives 2 labels, a reward model has one'],
    [{ ...hfGpt2, ...scalar, id2label: { 0: 'a', 1: 'b', 2: 'c' } }, 'id2label gives 3 labels'],
    [{ ...hfGpt2, ...scalar, num_labels: 2 }, 'num_labels gives 2 labels'],
    [{ ...hfLlama, hidden_act: 'gelu' }, 'hidden_act is "gelu", heed implements only "silu"'],
    [{ ...hfLlama, attention_bias: true }, 'attention_bias is true'],
    [{ ...hfLlama, mlp_bias: true }, 'mlp_bias is true'],
    [{ ...hfLlama, sliding_window: 4096 }, 'sliding_window is 4096'],
    [{ ...hfLlama, partial_rotary_factor: 0.5 }, 'partial_rotary_factor is 0.5'],
    [
      { ...hfLlama, rope_scaling: { type: 'linear', factor: 2 } },
      'rope_scaling.type is "linear", heed implements default',
    ],
    [{ ...hfLlama, rope_parameters: { rope_type: 'llama3', factor: 8 } }, 'rope_parameters.rope_type is "llama3"'],
    [{ ...hfLlama, rope_scaling: { factor: 32, rope_type: 'llama3' } }, 'rope_scaling.rope_type is "llama3"'],
    [{ ...hfLlama, rope_parameters: { rope_type: 'default', factor: 8 } }, 'rope_parameters.factor is not implemented'],
    [{ ...hfLlama, rope_parameters: [] }, 'rope_parameters is not a JSON object'],
    [
      { ...hfLlama, num_attention_heads: 3, head_dim: null },
      'num_attention_heads is 3, expected a divisor of hidden_size (16)',
    ],
    [[], 'is not a JSON object'],
    [null as never, 'is not a JSON object'],
  ])('%#: %s', (json, message) => {
    const read = () => configFromHf(JSON.parse(JSON.stringify(json)), file);
    expect(read).toThrow(DataError);
    expect(read).toThrow(`${file}: ${message}`);
  });
});
