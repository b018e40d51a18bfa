// config.json of public checkpoints: the features that are read, and the number of parameters, which their publishers state.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { native } from '../../lib/core/native.js';
import { configFromHf, configToHf } from '../../lib/huggingface/config.js';
import { readConfig } from '../../lib/huggingface/folder.js';
import type { ModelConfig } from '../../lib/huggingface/modelconfig.js';
import { Engine } from '../../lib/runtime/engine.js';
import { LanguageModel } from '../../lib/runtime/model.js';
import { nativeConfig } from '../../lib/runtime/nativeconfig.js';

const layers = (count: number, type: (layer: number) => unknown) => Array.from({ length: count }, (_, i) => type(i));

// What decides about the model; the rest of these files are ids, dropout and the like.
const checkpoints: [name: string, parameters: number, json: Record<string, unknown>, features: Partial<ModelConfig>][] = [
  [
    'Qwen3-0.6B',
    596_049_920,
    {
      architectures: ['Qwen3ForCausalLM'], attention_bias: false, attention_dropout: 0.0, bos_token_id: 151643, eos_token_id: 151645,
      head_dim: 128, hidden_act: 'silu', hidden_size: 1024, initializer_range: 0.02, intermediate_size: 3072,
      max_position_embeddings: 40960, max_window_layers: 28, model_type: 'qwen3', num_attention_heads: 16, num_hidden_layers: 28,
      num_key_value_heads: 8, rms_norm_eps: 1e-6, rope_scaling: null, rope_theta: 1000000, sliding_window: null,
      tie_word_embeddings: true, torch_dtype: 'bfloat16', transformers_version: '4.51.0', use_cache: true,
      use_sliding_window: false, vocab_size: 151936,
    },
    { qkNorm: 'head', headDim: 128, numKvHeads: 8, qkvBias: false, rope: { theta: 1e6, scaling: null }, slidingWindow: null },
  ],
  [
    'pythia-160m',
    162_322_944,
    {
      architectures: ['GPTNeoXForCausalLM'], bos_token_id: 0, eos_token_id: 0, hidden_act: 'gelu', hidden_size: 768,
      initializer_range: 0.02, intermediate_size: 3072, layer_norm_eps: 1e-5, max_position_embeddings: 2048, model_type: 'gpt_neox',
      num_attention_heads: 12, num_hidden_layers: 12, rotary_emb_base: 10000, rotary_pct: 0.25, tie_word_embeddings: false,
      torch_dtype: 'float16', transformers_version: '4.24.0', use_cache: true, use_parallel_residual: true, vocab_size: 50304,
    },
    { parallelResidual: true, rope: { theta: 10000, scaling: null, partialRotaryFactor: 0.25 }, activation: 'gelu', tiedHead: false },
  ],
  [
    'pythia-1b',
    1_011_781_632,
    {
      architectures: ['GPTNeoXForCausalLM'], bos_token_id: 0, eos_token_id: 0, hidden_act: 'gelu', hidden_size: 2048,
      initializer_range: 0.02, intermediate_size: 8192, layer_norm_eps: 1e-5, max_position_embeddings: 2048, model_type: 'gpt_neox',
      num_attention_heads: 8, num_hidden_layers: 16, rotary_emb_base: 10000, rotary_pct: 0.25, tie_word_embeddings: false,
      use_cache: true, use_parallel_residual: true, vocab_size: 50304,
    },
    { headDim: 256 },
  ],
  [
    'SmolLM3-3B',
    3_075_098_624,
    {
      architectures: ['SmolLM3ForCausalLM'], attention_bias: false, attention_dropout: 0.0, eos_token_id: 128012, hidden_act: 'silu',
      hidden_size: 2048, intermediate_size: 11008, layer_types: layers(36, () => 'full_attention'), max_position_embeddings: 65536,
      max_window_layers: 28, mlp_bias: false, model_type: 'smollm3', no_rope_layer_interval: 4,
      no_rope_layers: layers(36, (i) => Number((i + 1) % 4 !== 0)), num_attention_heads: 16, num_hidden_layers: 36,
      num_key_value_heads: 4, pad_token_id: 128004, rms_norm_eps: 1e-6, rope_scaling: null, rope_theta: 5000000.0,
      sliding_window: null, tie_word_embeddings: true, torch_dtype: 'bfloat16', use_cache: false, use_sliding_window: false,
      vocab_size: 128256,
    },
    { noRopeLayers: [3, 7, 11, 15, 19, 23, 27, 31, 35], slidingWindow: null, rope: { theta: 5e6, scaling: null } },
  ],
  [
    'OLMo-2-0425-1B',
    1_484_916_736,
    {
      architectures: ['Olmo2ForCausalLM'], attention_bias: false, attention_dropout: 0.0, eos_token_id: 100257, hidden_act: 'silu',
      hidden_size: 2048, initializer_range: 0.02, intermediate_size: 8192, max_position_embeddings: 4096, model_type: 'olmo2',
      num_attention_heads: 16, num_hidden_layers: 16, num_key_value_heads: 16, pad_token_id: 100277, rms_norm_eps: 1e-6,
      rope_scaling: null, rope_theta: 500000, tie_word_embeddings: false, torch_dtype: 'float32', use_cache: true, vocab_size: 100352,
    },
    { preNorm: false, postNorm: true, qkNorm: 'all', tiedHead: false },
  ],
  [
    'Phi-3-mini-4k-instruct',
    3_821_079_552,
    {
      architectures: ['Phi3ForCausalLM'], attention_bias: false, attention_dropout: 0.0, bos_token_id: 1, embd_pdrop: 0.0,
      eos_token_id: 32000, hidden_act: 'silu', hidden_size: 3072, initializer_range: 0.02, intermediate_size: 8192,
      max_position_embeddings: 4096, model_type: 'phi3', num_attention_heads: 32, num_hidden_layers: 32, num_key_value_heads: 32,
      original_max_position_embeddings: 4096, pad_token_id: 32000, resid_pdrop: 0.0, rms_norm_eps: 1e-5, rope_scaling: null,
      rope_theta: 10000.0, sliding_window: 2047, tie_word_embeddings: false, torch_dtype: 'bfloat16', use_cache: true, vocab_size: 32064,
    },
    { slidingWindow: { size: 2047, fullLayers: [] }, headDim: 96, rope: { theta: 10000, scaling: null } },
  ],
  [
    'gpt-neo-125m',
    125_198_592,
    {
      activation_function: 'gelu_new', architectures: ['GPTNeoForCausalLM'], attention_dropout: 0,
      attention_layers: layers(12, (i) => (i % 2 === 0 ? 'global' : 'local')), attention_types: [[['global', 'local'], 6]],
      bos_token_id: 50256, embed_dropout: 0, eos_token_id: 50256, gradient_checkpointing: false, hidden_size: 768,
      initializer_range: 0.02, intermediate_size: null, layer_norm_epsilon: 1e-5, max_position_embeddings: 2048, model_type: 'gpt_neo',
      num_heads: 12, num_layers: 12, resid_dropout: 0, use_cache: true, vocab_size: 50257, window_size: 256,
    },
    { slidingWindow: { size: 256, fullLayers: [0, 2, 4, 6, 8, 10] }, attentionScale: 1, qkvBias: false, mlpChannels: 3072 },
  ],
  [
    'opt-125m',
    125_239_296,
    {
      _remove_final_layer_norm: false, activation_dropout: 0.0, activation_function: 'relu', architectures: ['OPTForCausalLM'],
      attention_dropout: 0.0, bos_token_id: 2, do_layer_norm_before: true, dropout: 0.1, eos_token_id: 2, ffn_dim: 3072,
      hidden_size: 768, init_std: 0.02, layerdrop: 0.0, max_position_embeddings: 2048, model_type: 'opt', num_attention_heads: 12,
      num_hidden_layers: 12, pad_token_id: 1, prefix: '</s>', torch_dtype: 'float16', use_cache: true, vocab_size: 50272,
      word_embed_proj_dim: 768,
    },
    { positionOffset: 2, activation: 'relu', tiedHead: true },
  ],
  [
    'gemma-2-2b',
    2_614_341_888,
    {
      architectures: ['Gemma2ForCausalLM'], attention_bias: false, attention_dropout: 0.0, attn_logit_softcapping: 50.0,
      bos_token_id: 2, cache_implementation: 'hybrid', eos_token_id: 1, final_logit_softcapping: 30.0, head_dim: 256,
      hidden_act: 'gelu_pytorch_tanh', hidden_activation: 'gelu_pytorch_tanh', hidden_size: 2304, initializer_range: 0.02,
      intermediate_size: 9216, max_position_embeddings: 8192, model_type: 'gemma2', num_attention_heads: 8, num_hidden_layers: 26,
      num_key_value_heads: 4, pad_token_id: 0, query_pre_attn_scalar: 256, rms_norm_eps: 1e-6, rope_theta: 10000.0,
      sliding_window: 4096, torch_dtype: 'float32', use_cache: true, vocab_size: 256000,
    },
    {
      normOffset: 1, postNorm: true, scaledEmbedding: true, attentionSoftcap: 50, logitSoftcap: 30, attentionScale: null, tiedHead: true,
      slidingWindow: { size: 4096, fullLayers: layers(13, (i) => 2 * i + 1) as number[] },
    },
  ],
  [
    'gemma-3-270m',
    268_098_176,
    {
      _sliding_window_pattern: 6, architectures: ['Gemma3ForCausalLM'], attention_bias: false, attention_dropout: 0.0,
      attn_logit_softcapping: null, bos_token_id: 2, eos_token_id: 1, final_logit_softcapping: null, head_dim: 256,
      hidden_activation: 'gelu_pytorch_tanh', hidden_size: 640, initializer_range: 0.02, intermediate_size: 2048,
      layer_types: layers(18, (i) => (i % 6 === 5 ? 'full_attention' : 'sliding_attention')), max_position_embeddings: 32768,
      model_type: 'gemma3_text', num_attention_heads: 4, num_hidden_layers: 18, num_key_value_heads: 1, pad_token_id: 0,
      query_pre_attn_scalar: 256, rms_norm_eps: 1e-6, rope_local_base_freq: 10000.0, rope_scaling: null, rope_theta: 1000000.0,
      sliding_window: 512, use_bidirectional_attention: false, use_cache: true, vocab_size: 262144,
    },
    {
      qkNorm: 'head', attentionSoftcap: null, logitSoftcap: null, slidingWindow: { size: 512, fullLayers: [5, 11, 17] },
      rope: { theta: 1e6, scaling: null }, windowRope: { theta: 1e4, scaling: null },
    },
  ],
  [
    'gemma-3-1b',
    999_885_952,
    {
      architectures: ['Gemma3ForCausalLM'], head_dim: 256, hidden_activation: 'gelu_pytorch_tanh', hidden_size: 1152,
      intermediate_size: 6912, max_position_embeddings: 32768, model_type: 'gemma3_text', num_attention_heads: 4,
      num_hidden_layers: 26, num_key_value_heads: 1, query_pre_attn_scalar: 256, rms_norm_eps: 1e-6,
      rope_local_base_freq: 10000, rope_theta: 1000000, sliding_window: 512, sliding_window_pattern: 6, vocab_size: 262144,
    },
    { slidingWindow: { size: 512, fullLayers: [5, 11, 17, 23] } },
  ],
]; // biome-ignore format: as in the files

describe.each(checkpoints)('%s', (_, parameters, json, features) => {
  const { config, ignored, ...rest } = configFromHf(json, 'config.json');
  test('is read', () => {
    expect(config).toMatchObject(features);
    expect(ignored).toEqual([]);
  });
  test('has as many parameters as its publisher says', () => {
    const list = native().parameters(nativeConfig(config, 'language'));
    expect(list.reduce((sum, { shape }) => sum + shape.reduce((n, d) => n * d, 1), 0)).toBe(parameters);
  });
  test('is the same when written and read', () => {
    const written = JSON.parse(JSON.stringify(configToHf({ config, ...rest }, 'F32'))) as object;
    expect(configFromHf(written, 'config.json').config).toEqual(config);
  });
});

const of = (name: string) => checkpoints.find(([one]) => one === name)![2];
test.each([
  ['opt-125m', { word_embed_proj_dim: 512 }, 'word_embed_proj_dim is 512, heed implements only 768'],
  ['opt-125m', { do_layer_norm_before: false }, 'do_layer_norm_before is false, heed implements only true'],
  ['opt-125m', { _remove_final_layer_norm: true }, '_remove_final_layer_norm is true, heed implements only false'],
  ['opt-125m', { layer_norm_elementwise_affine: false }, 'layer_norm_elementwise_affine is false'],
  ['opt-125m', { activation_function: 'swish' }, 'activation_function is "swish", heed implements relu and gelu'],
  [
    'gpt-neo-125m',
    { attention_types: [[['global', 'local'], 5]] },
    'attention_types is [[["global","local"],5]], expected',
  ],
  ['gpt-neo-125m', { attention_types: [[['global', 'sparse'], 6]] }, 'attention_types is'],
  ['gpt-neo-125m', { num_heads: 7 }, 'num_heads is 7, expected a divisor of hidden_size (768)'],
  ['pythia-160m', { hidden_act: 'silu' }, 'hidden_act is "silu", heed implements gelu, gelu_new'],
  [
    'Phi-3-mini-4k-instruct',
    { rope_scaling: { type: 'linear3', factor: 2 } },
    'rope_scaling.type is "linear3", heed implements default, linear, dynamic, llama3, yarn and longrope',
  ],
  ['Qwen3-0.6B', { rope_scaling: { rope_type: 'su', factor: 4 } }, 'rope_scaling.rope_type is "su"'],
  ['SmolLM3-3B', { no_rope_layers: [1, 0] }, 'no_rope_layers is [1,0], expected 36 entries, each 0 or 1'],
  [
    'gemma-2-2b',
    { hidden_activation: 'gelu' },
    'hidden_activation is "gelu", heed implements only "gelu_pytorch_tanh"',
  ],
  ['gemma-2-2b', { final_logit_softcapping: -1 }, 'final_logit_softcapping is -1, expected a positive number or null'],
  ['gemma-2-2b', { sliding_window: null }, 'sliding_window is null, expected a size'],
  ['gemma-2-2b', { query_pre_attn_scalar: 0 }, 'query_pre_attn_scalar is 0, expected a positive number'],
  [
    'gemma-3-1b',
    { use_bidirectional_attention: true },
    'use_bidirectional_attention is true, heed implements only false',
  ],
  ['gemma-3-1b', { attn_logit_softcapping: 50 }, 'attn_logit_softcapping is 50, heed implements only null'],
])('%s with %j is refused by name', (name, change, message) => {
  expect(() => configFromHf({ ...of(name), ...change }, 'config.json')).toThrow(`config.json: ${message}`);
});

describe('folders', () => {
  const inFolder = async <T>(files: Record<string, object>, use: (dir: string) => Promise<T>): Promise<T> => {
    const dir = mkdtempSync(join(tmpdir(), 'heed-families-'));
    try {
      for (const [name, json] of Object.entries(files)) writeFileSync(join(dir, name), JSON.stringify(json));
      return await use(dir);
    } finally {
      rmSync(dir, { recursive: true });
    }
  };
  // An empty safetensors file: the configuration is checked before the tensors.
  const load = (json: object) =>
    inFolder({ 'config.json': json }, async (dir) => {
      writeFileSync(join(dir, 'model.safetensors'), Buffer.from([2, 0, 0, 0, 0, 0, 0, 0, 0x7b, 0x7d]));
      const engine = await Engine.create({ threads: 1 });
      try {
        return await LanguageModel.load(engine, dir);
      } finally {
        await engine.dispose();
      }
    });

  test.each([
    [
      'Qwen3-0.6B',
      { num_key_value_heads: 3 },
      'num_key_value_heads is 3, expected a divisor of num_attention_heads (16)',
    ],
    ['Qwen3-0.6B', { rms_norm_eps: 2 }, 'rms_norm_eps is 2, expected a number between 0 and 1'],
    ['Qwen3-0.6B', { rope_theta: 0 }, 'rope_theta is 0, expected more than 1'],
    ['pythia-160m', { rotary_pct: 1.5 }, 'rotary_pct is 1.5, expected more than 0 and at most 1'],
    ['opt-125m', { max_position_embeddings: 2 ** 21 }, 'max_position_embeddings is 2097152, expected 1 to 1048576'],
    ['gpt-neo-125m', { hidden_size: 131072, num_heads: 1024 }, 'hidden_size is 131072, expected 1 to 65536'],
  ])('errors about %s with %j name the key', async (name, change, message) => {
    await expect(load({ ...of(name), ...change })).rejects.toThrow(`config.json: ${message}`);
  });

  test('ids outside of the vocabulary are left out, and said', async () => {
    const config = { ...of('pythia-160m'), bos_token_id: 50304, eos_token_id: 0, pad_token_id: 60000 };
    const read = (generation: object) =>
      inFolder({ 'config.json': config, 'generation_config.json': generation }, readConfig);
    const some = await read({ eos_token_id: [3, 50304] });
    expect(some.specialTokens).toEqual({ bos: undefined, eos: [3], pad: undefined });
    expect(some.notices.map((notice) => notice.replace(/ in .* was/, ' was'))).toEqual([
      'bos_token_id 50304 was ignored: the vocabulary has 50304 tokens',
      'pad_token_id 60000 was ignored: the vocabulary has 50304 tokens',
      'eos_token_id 50304 was ignored: the vocabulary has 50304 tokens',
    ]);
    expect((await read({ eos_token_id: 99999 })).specialTokens.eos).toBe(0);
  });
});
