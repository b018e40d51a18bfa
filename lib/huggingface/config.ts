/** Hugging Face's `config.json`, read with suspicion and written so that transformers loads it. */
import { JsonObject } from '../core/json.js';
import type { HfConfig, ModelConfig, ModelKind, SpecialTokens } from './modelconfig.js';

const classes = {
  gpt2: { language: 'GPT2LMHeadModel', scalar: 'GPT2ForSequenceClassification' },
  llama: { language: 'LlamaForCausalLM', scalar: 'LlamaForSequenceClassification' },
} as const;

// Keys that change nothing heed computes: descriptions, dropout of other programs' training, how other programs run a model.
const benign = new Set(
  `_attn_implementation _attn_implementation_autoset _commit_hash _name_or_path _num_labels architectures attention_dropout attn_pdrop
  bad_words_ids begin_suppress_tokens bos_token_id cache_implementation chunk_size_feed_forward classifier_dropout cls_token_id
  decoder_start_token_id diversity_penalty do_sample dtype early_stopping embd_pdrop encoder_no_repeat_ngram_size eos_token_id
  exponential_decay_length_penalty finetuning_task forced_bos_token_id forced_eos_token_id gradient_checkpointing heed id2label
  initializer_range is_decoder is_llama_config keys_to_ignore_at_inference label2id length_penalty loss_type mask_token_id max_length
  max_sequence_length min_length model_max_length model_type n_ctx n_special name no_repeat_ngram_size num_beam_groups num_beams
  num_labels num_return_sequences output_attentions output_hidden_states output_past output_scores pad_token_id predict_special_tokens
  prefix pretraining_tp problem_type remove_invalid_values reorder_and_upcast_attn repetition_penalty resid_pdrop return_dict
  return_dict_in_generate sep_token_id summary_activation summary_first_dropout summary_hidden_size summary_proj_to_labels summary_type
  summary_use_proj suppress_tokens task_specific_params temperature tf_legacy_loss tokenizer_class top_k top_p torch_dtype torchscript
  transformers.js_config transformers_version typical_p unk_token_id unsloth_fixed unsloth_version use_bfloat16 use_cache`.split(
    /\s+/,
  ),
);

// Keys that would change the mathematics, and the values that do not.
const fixed: Readonly<Record<'gpt2' | 'llama' | 'both', Readonly<Record<string, readonly unknown[]>>>> = {
  both: {
    add_cross_attention: [false],
    cross_attention_hidden_size: [null],
    is_encoder_decoder: [false],
    pruned_heads: [null],
    quantization_config: [null],
    tie_encoder_decoder: [false],
    sliding_window: [null],
    use_sliding_window: [false],
  },
  gpt2: {
    activation_function: ['gelu_new', 'gelu_pytorch_tanh'],
    scale_attn_weights: [true],
    scale_attn_by_inverse_layer_idx: [false],
  },
  llama: {
    attention_bias: [false],
    hidden_act: ['silu', 'swish'],
    mlp_bias: [false],
    partial_rotary_factor: [1, null],
    rope_interleaved: [false],
  },
};

const sizes = {
  gpt2: ['n_embd', 'n_head', 'n_inner', 'n_layer', 'n_positions', 'vocab_size', 'layer_norm_epsilon', 'tie_word_embeddings'],
  llama: [
    'head_dim', 'hidden_size', 'intermediate_size', 'max_position_embeddings', 'num_attention_heads', 'num_hidden_layers',
    'num_key_value_heads', 'rms_norm_eps', 'rope_parameters', 'rope_scaling', 'rope_theta', 'tie_word_embeddings', 'vocab_size',
  ],
} as const; // biome-ignore format: two lists

/**
 * Reads the content of a `config.json`.
 *
 * @param json the parsed file
 * @param file its path, for messages
 * @throws DataError that names the key that is missing, wrong, or changes the mathematics in a way that heed does not implement
 */
export function configFromHf(json: unknown, file: string): HfConfig {
  const keys = new JsonObject(json, file);
  const architecture = keys.oneOf('model_type', ['gpt2', 'llama']);
  const kind = kindOf(keys, architecture);
  refuseUnknown(keys, architecture);
  const config = architecture === 'gpt2' ? gpt2Config(keys) : llamaConfig(keys);
  if (kind === 'scalar') checkLabels(keys);
  return { config, kind, specialTokens: specialTokens(keys), scoreOffset: scoreOffset(keys, architecture, kind) };
}

function gpt2Config(keys: JsonObject): ModelConfig {
  const channels = keys.count('n_embd', 768);
  const numHeads = keys.count('n_head', 12);
  if (channels % numHeads !== 0) keys.fail('n_head', `is ${numHeads}, expected a divisor of n_embd (${channels})`);
  return {
    architecture: 'gpt2',
    numLayers: keys.count('n_layer', 12),
    numHeads,
    numKvHeads: numHeads,
    headDim: channels / numHeads,
    channels,
    mlpChannels: keys.count('n_inner', 4 * channels),
    vocabSize: keys.count('vocab_size', 50257),
    maxPositions: keys.count('n_positions', 1024),
    normEps: keys.number('layer_norm_epsilon', 1e-5),
    ropeTheta: 10000,
    tiedHead: keys.boolean('tie_word_embeddings', true),
  };
}

function llamaConfig(keys: JsonObject): ModelConfig {
  const channels = keys.count('hidden_size', 4096);
  const numHeads = keys.count('num_attention_heads', 32);
  const headDim = keys.count('head_dim', channels / numHeads);
  if (!Number.isInteger(headDim))
    keys.fail('num_attention_heads', `is ${numHeads}, expected a divisor of hidden_size (${channels})`);
  return {
    architecture: 'llama',
    numLayers: keys.count('num_hidden_layers', 32),
    numHeads,
    numKvHeads: keys.count('num_key_value_heads', numHeads),
    headDim,
    channels,
    mlpChannels: keys.count('intermediate_size', 11008),
    vocabSize: keys.count('vocab_size', 32000),
    maxPositions: keys.count('max_position_embeddings', 2048),
    normEps: keys.number('rms_norm_eps', 1e-6),
    ropeTheta: ropeTheta(keys),
    tiedHead: keys.boolean('tie_word_embeddings', false),
  };
}

// `rope_theta` beside the others until transformers 4, inside `rope_parameters` since 5; `rope_scaling` is the older name of both.
function ropeTheta(keys: JsonObject): number {
  let theta = keys.number('rope_theta', 10000);
  for (const key of ['rope_scaling', 'rope_parameters']) {
    if (keys.get(key) === undefined) continue;
    const inner = keys.inner(key);
    const kinds = ['rope_type', 'type'];
    for (const name of kinds) if (inner.get(name) !== undefined) inner.oneOf(name, ['default']);
    for (const name of inner.names()) {
      if (kinds.includes(name)) continue;
      if (name === 'rope_theta') theta = inner.number(name, theta);
      else if (name === 'partial_rotary_factor') inner.only(name, [1, null]);
      else inner.fail(name, 'is not implemented by heed');
    }
  }
  return theta;
}

function kindOf(keys: JsonObject, architecture: 'gpt2' | 'llama'): ModelKind {
  const list = keys.get('architectures');
  if (list === undefined) return 'language';
  const name = Array.isArray(list) && list.length === 1 ? (list[0] as unknown) : undefined;
  const { language, scalar } = classes[architecture];
  if (name === language || name === (architecture === 'gpt2' ? 'GPT2Model' : 'LlamaModel')) return 'language';
  if (name === scalar) return 'scalar';
  return keys.fail('architectures', `is ${JSON.stringify(list)}, heed implements ["${language}"] and ["${scalar}"]`);
}

function refuseUnknown(keys: JsonObject, architecture: 'gpt2' | 'llama'): void {
  const known = new Set<string>(sizes[architecture]);
  for (const name of keys.names()) {
    const allowed = fixed.both[name] ?? fixed[architecture][name];
    if (allowed) keys.only(name, allowed);
    else if (!known.has(name) && !benign.has(name))
      keys.fail(name, 'is not implemented by heed: it may change what the model computes');
  }
}

// transformers says the number of labels through id2label; its default is 2.
function checkLabels(keys: JsonObject): void {
  const names = keys.get('id2label');
  const labels =
    keys.get('num_labels') ?? (typeof names === 'object' && names !== null ? Object.keys(names).length : 2);
  if (labels !== 1) {
    keys.fail(
      keys.get('num_labels') === undefined ? 'id2label' : 'num_labels',
      `gives ${String(labels)} labels, a reward model has one`,
    );
  }
}

function specialTokens(keys: JsonObject): SpecialTokens {
  const eos = keys.get('eos_token_id');
  const several =
    Array.isArray(eos) && eos.length > 0 && eos.every((id) => Number.isInteger(id)) ? (eos as number[]) : undefined;
  return {
    bos: keys.id('bos_token_id'),
    eos: several ?? keys.id('eos_token_id'),
    pad: keys.id('pad_token_id'),
  };
}

function scoreOffset(keys: JsonObject, architecture: string, kind: ModelKind): number {
  if (keys.get('heed') === undefined) return 0;
  const own = keys.inner('heed');
  for (const name of own.names()) if (name !== 'score_offset') own.fail(name, 'is not known');
  const offset = own.number('score_offset', 0);
  if (offset !== 0 && (architecture !== 'llama' || kind !== 'scalar')) {
    own.fail('score_offset', 'is only for LlamaForSequenceClassification');
  }
  return offset;
}

/**
 * The content of a `config.json` that transformers loads.
 *
 * @param info pad: for a scalar model one is always written, and it is not the end token where the vocabulary has another
 */
export function configToHf(info: HfConfig, dtype: 'F32' | 'BF16'): Record<string, unknown> {
  const { config, kind, specialTokens: tokens, scoreOffset: offset } = info;
  const common = {
    architectures: [classes[config.architecture][kind]],
    model_type: config.architecture,
    vocab_size: config.vocabSize,
    tie_word_embeddings: config.tiedHead,
    bos_token_id: tokens.bos ?? null,
    eos_token_id: tokens.eos ?? null,
    pad_token_id: kind === 'scalar' ? padToken(tokens, config.vocabSize) : (tokens.pad ?? null),
    dtype: dtype === 'F32' ? 'float32' : 'bfloat16',
    ...(kind === 'scalar' ? { id2label: { 0: 'score' }, label2id: { score: 0 } } : {}),
    ...(kind === 'scalar' && config.architecture === 'llama' ? { heed: { score_offset: offset } } : {}),
  };
  if (config.architecture === 'gpt2') {
    return {
      ...common,
      n_layer: config.numLayers,
      n_head: config.numHeads,
      n_embd: config.channels,
      n_inner: config.mlpChannels,
      n_positions: config.maxPositions,
      layer_norm_epsilon: config.normEps,
      activation_function: 'gelu_new',
    };
  }
  return {
    ...common,
    num_hidden_layers: config.numLayers,
    num_attention_heads: config.numHeads,
    num_key_value_heads: config.numKvHeads,
    head_dim: config.headDim,
    hidden_size: config.channels,
    intermediate_size: config.mlpChannels,
    max_position_embeddings: config.maxPositions,
    rms_norm_eps: config.normEps,
    rope_theta: config.ropeTheta,
    rope_parameters: { rope_type: 'default', rope_theta: config.ropeTheta },
    hidden_act: 'silu',
    attention_bias: false,
    mlp_bias: false,
  };
}

// transformers reads a score at the last token that is not padding, so a response must not end with it.
function padToken({ pad, eos }: SpecialTokens, vocabSize: number): number {
  const ends = new Set(typeof eos === 'number' ? [eos] : (eos ?? []));
  if (pad !== undefined && (!ends.has(pad) || vocabSize === ends.size)) return pad;
  for (let id = 0; id < vocabSize; id++) if (!ends.has(id)) return id;
  return 0;
}
