// What a missing key of config.json means: the default of transformers' class.
import { describe, expect, test } from '@jest/globals';
import { configFromHf, configToHf } from '../../lib/huggingface/config.js';
import { familyNames } from '../../lib/huggingface/modelconfig.js';

const layers = <T>(count: number, of: (layer: number) => T) => Array.from({ length: count }, (_, i) => of(i));
const [full, sliding] = ['full_attention', 'sliding_attention'];

// `Config().to_dict()` of transformers 5, without ids and dropout.
const defaults: Record<string, Record<string, unknown>> = {
  gpt2: {
    vocab_size: 50257, n_positions: 1024, n_embd: 768, n_layer: 12, n_head: 12, n_inner: null, activation_function: 'gelu_new',
    layer_norm_epsilon: 1e-5, scale_attn_weights: true, scale_attn_by_inverse_layer_idx: false, reorder_and_upcast_attn: false,
    add_cross_attention: false, tie_word_embeddings: true,
  },
  llama: {
    vocab_size: 32000, hidden_size: 4096, intermediate_size: 11008, num_hidden_layers: 32, num_attention_heads: 32,
    num_key_value_heads: 32, hidden_act: 'silu', max_position_embeddings: 2048, rms_norm_eps: 1e-6, tie_word_embeddings: false,
    rope_parameters: { rope_theta: 10000, rope_type: 'default' }, attention_bias: false, mlp_bias: false, head_dim: 128,
  },
  mistral: {
    vocab_size: 32000, hidden_size: 4096, intermediate_size: 14336, num_hidden_layers: 32, num_attention_heads: 32,
    num_key_value_heads: 8, head_dim: 128, hidden_act: 'silu', max_position_embeddings: 131072, rms_norm_eps: 1e-6,
    tie_word_embeddings: false, rope_parameters: { rope_theta: 10000, rope_type: 'default' }, sliding_window: 4096,
  },
  qwen2: {
    vocab_size: 151936, hidden_size: 4096, intermediate_size: 22016, num_hidden_layers: 32, num_attention_heads: 32,
    num_key_value_heads: 32, hidden_act: 'silu', max_position_embeddings: 32768, rms_norm_eps: 1e-6, tie_word_embeddings: false,
    rope_parameters: { rope_theta: 10000, rope_type: 'default' }, use_sliding_window: false, sliding_window: null,
    max_window_layers: 28, layer_types: layers(32, () => full),
  },
  qwen3: {
    vocab_size: 151936, hidden_size: 4096, intermediate_size: 22016, num_hidden_layers: 32, num_attention_heads: 32,
    num_key_value_heads: 32, head_dim: 128, hidden_act: 'silu', max_position_embeddings: 32768, rms_norm_eps: 1e-6,
    tie_word_embeddings: false, rope_parameters: { rope_theta: 10000, rope_type: 'default' }, attention_bias: false,
    use_sliding_window: false, sliding_window: null, max_window_layers: 28, layer_types: layers(32, () => full),
  },
  gpt_neox: {
    vocab_size: 50432, hidden_size: 6144, num_hidden_layers: 44, num_attention_heads: 64, intermediate_size: 24576, hidden_act:
    'gelu', max_position_embeddings: 2048, layer_norm_eps: 1e-5, tie_word_embeddings: false, use_parallel_residual: true,
    rope_parameters: { rope_theta: 10000, partial_rotary_factor: 0.25, rope_type: 'default' }, attention_bias: true,
  },
  smollm3: {
    vocab_size: 128256, hidden_size: 2048, intermediate_size: 11008, num_hidden_layers: 36, num_attention_heads: 16,
    num_key_value_heads: 4, hidden_act: 'silu', max_position_embeddings: 32768, rms_norm_eps: 1e-6, rope_parameters: { rope_theta:
    2000000, rope_type: 'default' }, use_sliding_window: false, sliding_window: null, no_rope_layer_interval: 4, attention_bias:
    false, mlp_bias: false, tie_word_embeddings: true, layer_types: layers(36, () => full), no_rope_layers: layers(36, (i) => (i %
    4 === 3 ? 0 : 1)),
  },
  olmo2: {
    vocab_size: 50304, hidden_size: 4096, intermediate_size: 11008, num_hidden_layers: 32, num_attention_heads: 32,
    num_key_value_heads: 32, hidden_act: 'silu', max_position_embeddings: 2048, tie_word_embeddings: false, rope_parameters: {
    rope_theta: 10000, rope_type: 'default' }, attention_bias: false, rms_norm_eps: 1e-5,
  },
  phi3: {
    vocab_size: 32064, hidden_size: 3072, intermediate_size: 8192, num_hidden_layers: 32, num_attention_heads: 32,
    num_key_value_heads: 32, hidden_act: 'silu', max_position_embeddings: 4096, original_max_position_embeddings: 4096,
    rms_norm_eps: 1e-5, tie_word_embeddings: false, rope_parameters: { rope_theta: 10000, partial_rotary_factor: 1, rope_type:
    'default' }, sliding_window: null,
  },
  gpt_neo: {
    vocab_size: 50257, max_position_embeddings: 2048, hidden_size: 2048, num_layers: 24, attention_types: [[['global', 'local'],
    12]], num_heads: 16, intermediate_size: null, window_size: 256, activation_function: 'gelu_new', layer_norm_epsilon: 1e-5,
    tie_word_embeddings: true, attention_layers: layers(24, (i) => (i % 2 === 0 ? 'global' : 'local')),
  },
  opt: {
    vocab_size: 50272, hidden_size: 768, num_hidden_layers: 12, ffn_dim: 3072, max_position_embeddings: 2048,
    do_layer_norm_before: true, _remove_final_layer_norm: false, word_embed_proj_dim: 768, num_attention_heads: 12,
    activation_function: 'relu', enable_bias: true, layer_norm_elementwise_affine: true, tie_word_embeddings: true,
  },
  gemma2: {
    vocab_size: 256000, hidden_size: 2304, intermediate_size: 9216, num_hidden_layers: 26, num_attention_heads: 8,
    num_key_value_heads: 4, head_dim: 256, hidden_activation: 'gelu_pytorch_tanh', max_position_embeddings: 8192, rms_norm_eps:
    1e-6, tie_word_embeddings: true, rope_parameters: { rope_theta: 10000, rope_type: 'default' }, attention_bias: false,
    query_pre_attn_scalar: 256, sliding_window: 4096, final_logit_softcapping: 30, attn_logit_softcapping: 50,
    use_bidirectional_attention: null, layer_types: layers(26, (i) => (i % 2 === 0 ? sliding : full)),
  },
  gemma3_text: {
    vocab_size: 262208, hidden_size: 2304, intermediate_size: 9216, num_hidden_layers: 26, num_attention_heads: 8,
    num_key_value_heads: 4, head_dim: 256, hidden_activation: 'gelu_pytorch_tanh', max_position_embeddings: 131072, rms_norm_eps:
    1e-6, tie_word_embeddings: true, rope_parameters: { sliding_attention: { rope_type: 'default', rope_theta: 10000 },
    full_attention: { rope_type: 'default', rope_theta: 1000000 } }, attention_bias: false, query_pre_attn_scalar: 256,
    sliding_window: 4096, final_logit_softcapping: null, attn_logit_softcapping: null, use_bidirectional_attention: false,
    _sliding_window_pattern: 6, layer_types: layers(26, (i) => (i % 6 === 5 ? full : sliding)),
  },
}; // biome-ignore format: a table

test('the table has every family', () => expect(Object.keys(defaults).sort()).toEqual([...familyNames].sort()));

describe.each(Object.entries(defaults))('%s', (model_type, json) => {
  const whole = configFromHf({ model_type, ...json }, 'config.json');

  test('all keys missing', () => expect(configFromHf({ model_type }, 'config.json')).toEqual(whole));

  test('no default is written that is then ignored', () => {
    const written = JSON.parse(JSON.stringify(configToHf(whole, 'F32'))) as Record<string, unknown>;
    expect(configFromHf(written, 'config.json').ignored).toEqual([]);
    const { rope_parameters: rope } = json;
    if (rope && model_type !== 'phi3') expect(written.rope_parameters).toEqual(rope); // Phi-3's says a share of 1
  });
});
