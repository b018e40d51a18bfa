/** Hugging Face's `config.json`: strict reading, and writing such that transformers loads it. */
import { isDeepStrictEqual } from 'node:util';
import { DataError, HeedError } from '../core/errors.js';
import { isObject, JsonObject, shown } from '../core/json.js';
import type { Family, Features, Sizes } from './families/family.js';
import { families } from './families/index.js';
import {
  endsOf,
  type FamilyName,
  familyNames,
  type HfConfig,
  type ModelConfig,
  type ModelKind,
  type SpecialTokens,
  withPad,
} from './modelconfig.js';
import type { FileDType } from './safetensors.js';

// Keys that change what a model of any family computes, and the values that heed implements.
const fixed: Readonly<Record<string, readonly unknown[]>> = {
  add_cross_attention: [false],
  cross_attention_hidden_size: [null],
  is_encoder_decoder: [false],
  pruned_heads: [null],
  quantization_config: [null],
  tie_encoder_decoder: [false],
};

// Keys that do not change what heed computes: descriptions, dropout in training, how other programs run a model.
const harmless = new Set(
  `activation_dropout architectures attention_dropout attention_probs_dropout_prob attn_pdrop auto_map bad_words_ids begin_suppress_tokens bos_token_id cache_implementation
  chunk_size_feed_forward classifier_dropout cls_token_id decoder_start_token_id diversity_penalty do_sample dtype
  dropout dual_chunk_attention_config early_stopping embd_pdrop embed_dropout encoder_no_repeat_ngram_size eos_token_id exponential_decay_length_penalty
  finetuning_task forced_bos_token_id forced_eos_token_id gradient_checkpointing heed hidden_dropout hidden_dropout_prob id2label init_std initializer_range is_decoder
  is_llama_config keys_to_ignore_at_inference label2id layer_types layerdrop length_penalty loss_type mask_token_id max_length max_sequence_length
  min_length model_max_length model_type n_ctx n_special name no_repeat_ngram_size num_beam_groups num_beams
  num_labels num_return_sequences output_attentions output_hidden_states output_past output_scores pad_token_id
  predict_special_tokens prefix pretraining_tp problem_type remove_invalid_values reorder_and_upcast_attn repetition_penalty
  resid_dropout resid_pdrop return_dict return_dict_in_generate sep_token_id summary_activation summary_first_dropout summary_hidden_size
  summary_proj_to_labels summary_type summary_use_proj suppress_tokens task_specific_params temperature tf_legacy_loss
  tokenizer_class top_k top_p torch_dtype torchscript transformers.js_config transformers_version typical_p unk_token_id
  unsloth_fixed unsloth_version use_bfloat16 use_cache use_mrope`.split(/\s+/),
);

/** A {@link HfConfig} that was read from a file. */
export interface ReadConfig extends HfConfig {
  /** Messages about how the file was interpreted. */
  readonly notices: readonly string[];
  /** Keys known neither to heed nor to transformers' class of that family. */
  readonly ignored: readonly string[];
}

/**
 * Reads the contents of a `config.json`.
 *
 * @param json the parsed file
 * @param file its path, for messages
 * @throws DataError that names the key that is missing, invalid, or asks for something heed does not implement
 */
export function configFromHf(json: unknown, file: string): ReadConfig {
  const keys = new JsonObject(json, file);
  const name = keys.oneOf('model_type', familyNames);
  const family = families[name];
  const kind = kindOf(keys, family);
  const config: ModelConfig = { family: name, ...family.read(keys) };
  for (const [key, values] of Object.entries(fixed)) keys.requireOneOf(key, values);
  if (kind === 'scalar') checkLabels(keys);
  const { tokens, notices } = withinVocabulary(specialTokens(keys), config.vocabSize, file);
  notices.push(...shorterContext(config, file));
  const info = { config, kind, specialTokens: tokens, scoreOffset: scoreOffset(keys, config, kind), notices };
  return { ...info, ignored: keys.unread().filter((key) => !harmless.has(key) && !key.startsWith('_')) };
}

/** The notice that LongRoPE's long factors are not used, if a file has them. */
function shorterContext({ rope, maxPositions }: ModelConfig, file: string): string[] {
  if (rope?.scaling?.type !== 'longrope' || rope.scaling.extendedPositions <= maxPositions) return [];
  return [
    `max_position_embeddings of ${file} is ${rope.scaling.extendedPositions}, but texts may have ${maxPositions} tokens: longrope computes ` +
      'every token of a longer text otherwise',
  ];
}

/**
 * All that {@link configFromHf} refuses, not only the first: a key that was refused is read as if it were missing.
 *
 * @returns read: undefined if nothing could be read
 */
export function problemsOfConfig(json: unknown, file: string): { read: ReadConfig | undefined; problems: DataError[] } {
  const problems: DataError[] = [];
  const rest = structuredClone(json);
  for (;;) {
    try {
      return { read: configFromHf(rest, file), problems };
    } catch (error) {
      if (!(error instanceof DataError)) throw error;
      problems.push(error);
      if (error.field === 'model_type' || !remove(rest, error.field)) return { read: undefined, problems };
    }
  }
}

/** Removes a key, given with those of the objects around it, and whether it was there. */
function remove(json: unknown, field: string | undefined): boolean {
  const path = (field ?? '').split('.');
  const last = path.pop()!;
  const object = path.reduce<unknown>((at, key) => (isObject(at) ? at[key] : undefined), json);
  return isObject(object) && Object.hasOwn(object, last) && delete object[last];
}

function kindOf(keys: JsonObject, { classes }: Family): ModelKind {
  const list = keys.get('architectures');
  if (list === undefined) return 'language';
  const name = Array.isArray(list) && list.length === 1 ? (list[0] as unknown) : undefined;
  if (name === classes.language || name === classes.trunk) return 'language';
  if (name === classes.scalar) return 'scalar';
  return keys.fail(
    'architectures',
    `is ${shown(list)}, heed implements ["${classes.language}"] and ["${classes.scalar}"]`,
  );
}

// transformers gives the number of labels through id2label; its default is 2.
function checkLabels(keys: JsonObject): void {
  const names = keys.get('id2label');
  const labels =
    keys.get('num_labels') ?? (typeof names === 'object' && names !== null ? Object.keys(names).length : 2);
  if (labels !== 1) {
    keys.fail(
      keys.get('num_labels') === undefined ? 'id2label' : 'num_labels',
      `gives ${String(labels)} labels, expected 1, as a reward model has`,
    );
  }
}

const specialTokens = (keys: JsonObject): SpecialTokens => ({
  bos: keys.id('bos_token_id'),
  eos: eosOf(keys),
  pad: keys.id('pad_token_id'),
});

/** `eos_token_id`: one id, or a list. */
export function eosOf(keys: JsonObject): SpecialTokens['eos'] {
  const eos = keys.get('eos_token_id');
  if (!Array.isArray(eos)) return keys.id('eos_token_id');
  if (eos.every((id) => Number.isSafeInteger(id) && id >= 0)) return eos.length === 0 ? undefined : (eos as number[]);
  return keys.fail('eos_token_id', `is ${shown(eos)}, expected a token id or a list of them`);
}

/** Without ids that are not in the vocabulary, which no text can contain; notices name them. */
export function withinVocabulary(
  tokens: SpecialTokens,
  vocabSize: number,
  file: string,
): { tokens: SpecialTokens; notices: string[] } {
  const notices: string[] = [];
  const known = (name: keyof SpecialTokens) => (id: number) => {
    if (id < vocabSize) return true;
    notices.push(`${name}_token_id ${id} in ${file} was ignored: the vocabulary has ${vocabSize} tokens`);
    return false;
  };
  const one = (name: 'bos' | 'pad') =>
    tokens[name] === undefined || known(name)(tokens[name]) ? tokens[name] : undefined;
  const ends = endsOf(tokens).filter(known('eos'));
  const eos = ends.length === endsOf(tokens).length ? tokens.eos : ends.length > 0 ? ends : undefined;
  return { tokens: { bos: one('bos'), eos, pad: one('pad') }, notices };
}

/** heed's own section: the score offset of a model whose final norm has no bias. */
const hasOffset = (config: ModelConfig, kind: ModelKind) => kind === 'scalar' && config.norm === 'rms';

function scoreOffset(keys: JsonObject, config: ModelConfig, kind: ModelKind): number {
  if (keys.get('heed') === undefined) return 0;
  const own = keys.object('heed');
  for (const name of own.keys()) if (name !== 'score_offset') own.fail(name, 'is not known');
  const offset = own.number('score_offset', 0);
  if (offset !== 0 && !hasOffset(config, kind))
    own.fail('score_offset', 'is allowed only for a reward model whose final norm has no bias');
  return offset;
}

const dtypeNames = { F32: 'float32', BF16: 'bfloat16', F16: 'float16' } as const;

/**
 * The contents of a `config.json` that transformers loads.
 *
 * @param info pad: if undefined, a scalar model gets one ({@link withPad})
 */
export function configToHf(info: HfConfig, dtype: FileDType): Record<string, unknown> {
  const { config, kind, specialTokens: tokens, scoreOffset: offset } = info;
  const { classes, write } = families[config.family];
  return {
    architectures: [classes[kind]],
    model_type: config.family,
    vocab_size: config.vocabSize,
    tie_word_embeddings: config.tiedHead,
    bos_token_id: tokens.bos ?? null,
    eos_token_id: tokens.eos ?? null,
    pad_token_id: tokens.pad ?? (kind === 'scalar' ? withPad(tokens, config.vocabSize).pad! : null),
    dtype: dtypeNames[dtype],
    ...(kind === 'scalar' ? { id2label: { 0: 'score' }, label2id: { score: 0 } } : {}),
    ...(hasOffset(config, kind) ? { heed: { score_offset: offset } } : {}),
    ...write(config),
  };
}

/** The required sizes of a new model, and overrides of what its family decides. */
export type ModelOptions = Partial<Features> &
  Pick<Sizes, 'numLayers' | 'numHeads' | 'channels' | 'vocabSize' | 'maxPositions'>;

/**
 * The configuration of a new model of a family.
 *
 * @param options sizes; default numKvHeads as numHeads, headDim channels / numHeads, mlpChannels 4 · channels for 'gpt2' and
 * 8/3 · channels for the others; and any feature that the family does not fix, such as `tiedHead` or `rope`
 */
export function modelConfig(family: FamilyName, options: ModelOptions): ModelConfig {
  const { defaults, mlpChannels } = familyOf(family);
  const { numHeads, channels } = options;
  const sizes = { numKvHeads: numHeads, headDim: channels / numHeads, mlpChannels: mlpChannels(channels) };
  return { family, ...defaults, ...sizes, ...options };
}

/** @throws HeedError ERR_INVALID_ARGUMENT, or TypeError, for an unknown family */
export function familyOf(name: FamilyName): Family {
  if (typeof name !== 'string') throw new TypeError(`config.family is ${name}, expected a string`);
  if (!familyNames.includes(name)) {
    throw new HeedError('ERR_INVALID_ARGUMENT', `family is ${name as string}, expected ${familyNames.join(', ')}`);
  }
  return families[name];
}

/** @throws HeedError ERR_INVALID_ARGUMENT naming a feature that the family's `config.json` cannot express */
export function requireOfFamily(config: ModelConfig): void {
  const said = asSaved(config);
  const text = (value: unknown) => (typeof value === 'object' ? shown(value) : String(value));
  for (const key of Object.keys(said) as (keyof ModelConfig)[]) {
    if (isDeepStrictEqual(said[key], config[key])) continue;
    throw new HeedError(
      'ERR_INVALID_ARGUMENT',
      `${key} is ${text(config[key])}, expected ${text(said[key])} in a model of the family ${config.family}`,
    );
  }
}

/** The configuration as it would be read back from its `config.json`. */
function asSaved(config: ModelConfig): ModelConfig {
  const info = { config, kind: 'language', specialTokens: {}, scoreOffset: 0 } as const;
  try {
    return configFromHf(configToHf(info, 'F32'), 'config.json').config;
  } catch (cause) {
    if (!(cause instanceof DataError)) throw cause;
    throw new HeedError('ERR_INVALID_ARGUMENT', `the model could not be saved: ${cause.message}`, { cause });
  }
}
