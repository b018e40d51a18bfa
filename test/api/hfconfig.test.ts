import { describe, expect, test } from '@jest/globals';
import { DataError } from '../../lib/core/errors.js';
import { configFromHf, configToHf, modelConfig } from '../../lib/huggingface/config.js';
import { usual } from '../../lib/huggingface/families/family.js';
import { withPad } from '../../lib/huggingface/modelconfig.js';
import { gpt2, llama } from './support.js';

const file = 'DIR/config.json';
// As written by transformers 5.
const hfGpt2 = {
  activation_function: 'gelu_new', add_cross_attention: false, architectures: ['GPT2LMHeadModel'], attn_pdrop: 0.1,
  bos_token_id: 39, dtype: 'float32', embd_pdrop: 0.1, eos_token_id: 39, initializer_range: 0.02, layer_norm_epsilon: 1e-5,
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

const sizes = { numLayers: 2, numHeads: 4, numKvHeads: 2, channels: 32, vocabSize: 40, maxPositions: 64 };
const plainSizes = { numLayers: 2, numHeads: 4, channels: 32, vocabSize: 40, maxPositions: 64 };
const stretched = {
  theta: 500_000,
  scaling: { type: 'llama3', factor: 8, lowFreqFactor: 1, highFreqFactor: 4, originalMaxPositions: 32 },
} as const;
const written = [
  gpt2,
  { ...gpt2, activation: 'gelu', tiedHead: false } as const,
  llama,
  modelConfig('llama', { ...sizes, qkvBias: true, attentionOutBias: true, mlpBias: true, rope: stretched }),
  modelConfig('llama', { ...sizes, rope: { theta: 1e4, scaling: { type: 'linear', factor: 4 } } }),
  modelConfig('mistral', sizes),
  modelConfig('mistral', { ...sizes, slidingWindow: { size: 16, fullLayers: [] } }),
  ...[[], [0], [1]].map((fullLayers) => modelConfig('qwen2', { ...sizes, slidingWindow: { size: 16, fullLayers } })),
  modelConfig('qwen2', { ...sizes, tiedHead: false }),
  modelConfig('qwen3', {
    ...sizes,
    headDim: 16,
    qkvBias: true,
    attentionOutBias: true,
    slidingWindow: { size: 16, fullLayers: [1] },
  }),
  modelConfig('gpt_neox', plainSizes),
  modelConfig('gpt_neox', {
    ...plainSizes,
    parallelResidual: false,
    qkvBias: false,
    attentionOutBias: false,
    activation: 'relu',
  }),
  modelConfig('gpt_neox', { ...plainSizes, rope: { theta: 500, scaling: null } }),
  modelConfig('smollm3', { ...sizes, noRopeLayers: [1], mlpBias: true }),
  modelConfig('smollm3', { ...sizes, noRopeLayers: [], slidingWindow: { size: 16, fullLayers: [0] } }),
  modelConfig('olmo2', { ...sizes, tiedHead: false }),
  modelConfig('phi3', { ...sizes, rope: { theta: 1e4, scaling: null, partialRotaryFactor: 0.5 } }),
  modelConfig('phi3', { ...sizes, slidingWindow: { size: 16, fullLayers: [] } }),
  modelConfig('gpt_neo', plainSizes),
  modelConfig('gpt_neo', { ...plainSizes, activation: 'gelu', slidingWindow: { size: 16, fullLayers: [0] } }),
  modelConfig('opt', plainSizes),
  modelConfig('opt', { ...plainSizes, activation: 'gelu', qkvBias: false, attentionOutBias: false, mlpBias: false }),
  modelConfig('gemma2', sizes),
  modelConfig('gemma2', {
    ...sizes,
    attentionScale: 144 ** -0.5,
    attentionSoftcap: 50,
    logitSoftcap: 30,
    slidingWindow: { size: 16, fullLayers: [1] },
  }),
  modelConfig('gemma3_text', sizes),
  modelConfig('gemma3_text', {
    ...sizes,
    rope: { theta: 1e6, scaling: { type: 'linear', factor: 8 } },
    logitSoftcap: 30,
  }),
];

describe('reading', () => {
  test('GPT-2 as transformers writes it', () => {
    expect(configFromHf(hfGpt2, file)).toEqual({
      config: {
        family: 'gpt2', numLayers: 1, numHeads: 2, numKvHeads: 2, headDim: 8, channels: 16, mlpChannels: 64, vocabSize: 40,
        maxPositions: 32, norm: 'layer', normEps: 1e-5, rope: null, slidingWindow: null, activation: 'gelu_tanh', gatedMlp: false,
        qkvBias: true, attentionOutBias: true, mlpBias: true, weightLayout: 'in,out', tiedHead: true, ...usual,
      }, // biome-ignore format: a table
      kind: 'language',
      specialTokens: { bos: 39, eos: 39, pad: undefined },
      scoreOffset: 0,
      notices: [],
      ignored: [],
    });
    expect(configFromHf({ ...hfGpt2, n_inner: 20 }, file).config.mlpChannels).toBe(20);
    expect(configFromHf({ ...hfGpt2, tie_word_embeddings: false }, file).config.tiedHead).toBe(false);
    for (const [name, activation] of [
      ['gelu', 'gelu'],
      ['gelu_pytorch_tanh', 'gelu_tanh'],
      [null, 'gelu_tanh'],
    ]) {
      expect(configFromHf({ ...hfGpt2, activation_function: name }, file).config.activation).toBe(activation);
    }
  });

  test('Llama as written by transformers 5 and 4', () => {
    const { config } = configFromHf(hfLlama, file);
    expect(config).toMatchObject({
      family: 'llama',
      headDim: 8,
      numKvHeads: 1,
      mlpChannels: 24,
      rope: { theta: 500, scaling: null },
      qkvBias: false,
      tiedHead: false,
    });
    const { rope_parameters: _, head_dim: __, num_key_value_heads: ___, ...older } = hfLlama;
    expect(
      configFromHf({ ...older, rope_theta: 700, rope_scaling: null, torch_dtype: 'bfloat16' }, file).config,
    ).toMatchObject({
      rope: { theta: 700, scaling: null },
      headDim: 8,
      numKvHeads: 2,
    });
    expect(configFromHf(older, file).config.rope).toEqual({ theta: 10000, scaling: null });
  });

  test('keys of older and other programs that have no effect', () => {
    const old = { n_special: 0, predict_special_tokens: true, output_past: true, _num_labels: 1, unk_token_id: 0 };
    expect(configFromHf({ ...hfGpt2, ...old }, file)).toEqual(configFromHf(hfGpt2, file));
    expect(configFromHf({ ...hfLlama, max_sequence_length: 2048, model_max_length: 2048 }, file)).toEqual(
      configFromHf(hfLlama, file),
    );
  });

  test('unknown keys, which transformers does not know either, are named', () => {
    expect(configFromHf({ ...hfGpt2, attention_sinks: 4, hidden_act: 'silu', _mine: 1 }, file)).toEqual({
      ...configFromHf(hfGpt2, file),
      ignored: ['attention_sinks', 'hidden_act'],
    });
  });

  test('biases and scaled positions, as written by both versions of transformers', () => {
    const llama3 = { factor: 8, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 8192 };
    const { rope_parameters: _, ...rest } = hfLlama;
    const older = { ...rest, rope_theta: 500_000, rope_scaling: { rope_type: 'llama3', ...llama3 } };
    const newer = { ...rest, rope_parameters: { rope_type: 'llama3', rope_theta: 500_000, ...llama3 } };
    const scaling = { type: 'llama3', factor: 8, lowFreqFactor: 1, highFreqFactor: 4, originalMaxPositions: 8192 };
    for (const json of [older, newer]) {
      expect(configFromHf(json, file).config.rope).toEqual({ theta: 500_000, scaling });
    }
    const linear = { ...hfLlama, rope_scaling: { type: 'linear', factor: 4 } };
    expect(configFromHf(linear, file).config.rope).toEqual({ theta: 10_000, scaling: { type: 'linear', factor: 4 } });
    const biases = configFromHf({ ...hfLlama, attention_bias: true, mlp_bias: true }, file).config;
    expect([biases.qkvBias, biases.attentionOutBias, biases.mlpBias]).toEqual([true, true, true]);
  });

  test('defaults of transformers for missing keys', () => {
    const read = (json: object) => configFromHf(json, file).config;
    const kvHeads = (model_type: string, num_key_value_heads?: null) =>
      read({
        model_type,
        num_attention_heads: 32,
        max_position_embeddings: 4096,
        ...(num_key_value_heads === null ? { num_key_value_heads } : {}),
      }).numKvHeads;
    expect(['llama', 'mistral', 'qwen2'].map((family) => kvHeads(family))).toEqual([32, 8, 32]);
    expect(['llama', 'mistral', 'qwen2'].map((family) => kvHeads(family, null))).toEqual([32, 32, 32]);
    expect(read({ model_type: 'qwen2' })).toMatchObject({ qkvBias: true, attentionOutBias: false, tiedHead: false });
  });

  test('sliding windows as transformers 5 reads them', () => {
    const window = (json: object) =>
      configFromHf(JSON.parse(JSON.stringify({ num_hidden_layers: 4, ...json })), file).config.slidingWindow;
    const mistral = { model_type: 'mistral' };
    expect(window(mistral)).toEqual({ size: 4096, fullLayers: [] });
    expect(window({ ...mistral, sliding_window: 8 })).toEqual({ size: 8, fullLayers: [] });
    expect(window({ ...mistral, sliding_window: null })).toBeNull();
    // AutoModel makes a Ministral of it.
    const layers = ['sliding_attention', 'full_attention', 'sliding_attention', 'full_attention'];
    expect(window({ ...mistral, sliding_window: 8, layer_types: layers })).toEqual({ size: 8, fullLayers: [1, 3] });
    expect(window({ ...mistral, layer_types: Array(4).fill('full_attention') })).toBeNull();

    const qwen2 = { model_type: 'qwen2', use_sliding_window: true, sliding_window: 8, max_window_layers: 3 };
    const types = ['full_attention', 'sliding_attention', 'attention', 'sliding_attention'];
    expect(window(qwen2)).toEqual({ size: 8, fullLayers: [0, 1, 2] });
    expect(window({ ...qwen2, max_window_layers: 0 })).toEqual({ size: 8, fullLayers: [] });
    expect(window({ ...qwen2, layer_types: types })).toEqual({ size: 8, fullLayers: [0, 2] });
    expect(window({ ...qwen2, sliding_window: undefined })).toEqual({ size: 4096, fullLayers: [0, 1, 2] });
    expect(window({ ...qwen2, sliding_window: null })).toBeNull();
    expect(window({ ...qwen2, max_window_layers: 4 })).toBeNull();
    expect(window({ ...qwen2, max_window_layers: undefined })).toBeNull(); // 28
    expect(window({ ...qwen2, use_sliding_window: false })).toBeNull();
    expect(window({ ...qwen2, use_sliding_window: undefined })).toBeNull();
  });

  test('what is written is read back', () => {
    for (const config of written) {
      for (const kind of ['language', 'scalar'] as const) {
        const scoreOffset = kind === 'scalar' && config.norm === 'rms' ? 1.25 : 0;
        const info = { config, kind, specialTokens: { bos: 3, eos: 4, pad: 5 }, scoreOffset };
        expect(configFromHf(JSON.parse(JSON.stringify(configToHf(info, 'F32'))), file)).toEqual({
          ...info,
          notices: [],
          ignored: [],
        });
      }
    }
  });

  test('a scalar model always has a padding token, which a new one does not share with its end if possible', () => {
    const pad = (specialTokens: object, vocabSize = 37) =>
      configToHf({ config: { ...gpt2, vocabSize }, kind: 'scalar', specialTokens, scoreOffset: 0 }, 'F32').pad_token_id;
    expect([pad({}), pad({ eos: 0 }), pad({ eos: [0, 1] }), pad({ eos: 5, pad: 5 }), pad({ eos: 5, pad: 6 })]).toEqual([
      0, 1, 2, 5, 6,
    ]);
    expect(pad({ eos: 0 }, 1)).toBe(0);
    expect([withPad({ eos: 5, pad: 5 }, 37), withPad({ eos: 5, pad: 6 }, 37)]).toEqual([
      { eos: 5, pad: 0 },
      { eos: 5, pad: 6 },
    ]);
  });
});

describe('refused configurations name the key', () => {
  const scalar = { architectures: ['GPT2ForSequenceClassification'] };
  test.each<[object, string]>([
    [
      { ...hfGpt2, model_type: 'bert' },
      'model_type is "bert", heed implements gpt2, gpt_neo, gpt_neox, opt, llama, mistral, qwen2, qwen3,',
    ],
    [{ ...hfGpt2, model_type: undefined }, 'model_type is missing'],
    [{ ...hfGpt2, architectures: ['GPT2DoubleHeadsModel'] }, 'architectures is ["GPT2DoubleHeadsModel"]'],
    [{ ...hfGpt2, architectures: ['LlamaForCausalLM'] }, 'architectures is ["LlamaForCausalLM"]'],
    [
      { ...hfGpt2, activation_function: 'relu' },
      'activation_function is "relu", heed implements gelu_new, gelu_pytorch_tanh and gelu',
    ],
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
    [
      { ...hfGpt2, heed: { score_offset: 1 } },
      'heed.score_offset is allowed only for a reward model whose final norm has no bias',
    ],
    [{ ...hfGpt2, heed: { other: 1 } }, 'heed.other is not known'],
    [{ ...hfGpt2, heed: 3 }, 'heed is not a JSON object'],
    [{ ...hfGpt2, ...scalar }, 'id2label gives 2 labels, expected 1, as a reward model has'],
    [{ ...hfGpt2, ...scalar, id2label: { 0: 'a', 1: 'b', 2: 'c' } }, 'id2label gives 3 labels'],
    [{ ...hfGpt2, ...scalar, num_labels: 2 }, 'num_labels gives 2 labels'],
    [{ ...hfLlama, hidden_act: 'gelu' }, 'hidden_act is "gelu", heed implements silu and swish'],
    [{ ...hfLlama, attention_bias: 1 }, 'attention_bias is 1, expected true or false'],
    [{ ...hfLlama, rope_interleaved: true }, 'rope_interleaved is true, heed implements only false'],
    [{ ...hfLlama, partial_rotary_factor: 0.5 }, 'partial_rotary_factor is 0.5'],
    [
      { ...hfLlama, rope_scaling: { type: 'proportional', factor: 2 } },
      'rope_scaling.type is "proportional", heed implements default, linear, dynamic, llama3, yarn and longrope',
    ],
    [
      { ...hfLlama, rope_parameters: { rope_type: 'yarn', factor: 8, llama_4_scaling_beta: 0.1 } },
      'rope_parameters.llama_4_scaling_beta is not implemented by heed',
    ],
    [{ ...hfLlama, rope_scaling: { type: 'yarn' } }, 'rope_scaling.factor is missing, expected a number'],
    [
      { ...hfLlama, rope_scaling: { type: 'longrope', short_factor: [1, 0], long_factor: [1, 1] } },
      'rope_scaling.short_factor is [1,0], expected a list of positive numbers',
    ],
    [
      { model_type: 'gpt_neox', rope_scaling: { type: 'longrope', short_factor: [1], long_factor: [1] } },
      'rope_scaling.type is "longrope", heed implements default, linear, dynamic, llama3 and yarn',
    ],
    [
      { model_type: 'mistral', num_hidden_layers: 1, sliding_window: null, layer_types: ['sliding_attention'] },
      'layer_types has sliding_attention, expected only full_attention: sliding_window is null',
    ],
    [{ ...hfLlama, rope_scaling: { type: 'linear' } }, 'rope_scaling.factor is missing, expected a number'],
    [
      { ...hfLlama, rope_scaling: { factor: 32, rope_type: 'llama3' } },
      'rope_scaling.low_freq_factor is missing, expected a number',
    ],
    [{ ...hfLlama, rope_parameters: { rope_type: 'default', turns: 8 } }, 'rope_parameters.turns is not implemented'],
    [
      { ...hfLlama, rope_parameters: { rope_theta: 500, partial_rotary_factor: 0.5 } },
      'rope_parameters.partial_rotary_factor is 0.5',
    ],
    [{ ...hfLlama, rope_parameters: [8] }, 'rope_parameters is not a JSON object'],
    [
      { ...hfLlama, num_attention_heads: 3, head_dim: null },
      'num_attention_heads is 3, expected a divisor of hidden_size (16)',
    ],
    [{ model_type: 'mistral', sliding_window: 0 }, 'sliding_window is 0, expected a whole number above 0'],
    [{ model_type: 'qwen2', max_window_layers: -1 }, 'max_window_layers is -1, expected a whole number'],
    [
      { model_type: 'qwen2', num_hidden_layers: 1, layer_types: ['linear_attention'] },
      'layer_types is ["linear_attention"], expected 1 entries, each sliding_attention or full_attention',
    ],
    [
      { model_type: 'qwen2', num_hidden_layers: 2, layer_types: ['full_attention'] },
      'layer_types is ["full_attention"], expected 2 entries',
    ],
    [
      { model_type: 'qwen2', num_hidden_layers: 1, layer_types: ['sliding_attention'], sliding_window: 8 },
      'layer_types has sliding_attention, expected only full_attention: use_sliding_window or sliding_window is off',
    ],
    [[], 'is not a JSON object'],
    [null as never, 'is not a JSON object'],
  ])('%#: %s', (json, message) => {
    const read = () => configFromHf(JSON.parse(JSON.stringify(json)), file);
    expect(read).toThrow(DataError);
    expect(read).toThrow(`${file}: ${message}`);
  });
});
