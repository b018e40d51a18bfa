/** A Hugging Face tokenizer as the keys that llama.cpp reads. */
import { isDeepStrictEqual } from 'node:util';
import { DataError } from '../core/errors.js';
import { isObject } from '../core/json.js';
import { addsSpace, completed, type Json } from '../tokenizer/description.js';
import { readTokenizer } from '../tokenizer/files.js';
import { Tokenizer } from '../tokenizer/tokenizer.js';
import type { GgufValue } from './container.js';

// How texts are split before merges, by the name that llama.cpp has for it.
const kLlama3 =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
const kQwen2 = kLlama3.replace('{1,3}', '');
const kByRegex: Readonly<Record<string, string>> = { [kLlama3]: 'llama-bpe', [kQwen2]: 'qwen2' };

const kSpace = '\u2581';
// A token's type.
const [kNormal, kUnknown, kControl, kUserDefined, kUnused, kByte] = [1, 2, 3, 4, 5, 6] as const;

const objects = (value: unknown): Json[] => (Array.isArray(value) ? value.filter(isObject) : []);

/**
 * @param dir the tokenizer's folder
 * @param size rows of the embedding: tokens that the tokenizer lacks are filled in as unused
 * @param ends ids that end a text, besides the tokenizer's own
 * @throws DataError naming the part of the tokenizer that llama.cpp does not know
 */
export async function ggufVocabulary(
  dir: string,
  size: number,
  ends: readonly number[],
): Promise<Record<string, GgufValue>> {
  const { json: source, options } = await readTokenizer(dir);
  const json = completed(source, options);
  const tokenizer = Tokenizer.fromJson(source, options);
  tokenizer.requireFits(size, dir);
  const file = options.file ?? dir;
  const model = json.model as Json;
  if (model.type !== 'BPE')
    throw new DataError(`is ${JSON.stringify(model.type)}, heed exports only BPE`, { file, field: 'model.type' });
  const vocab = model.vocab as Record<string, number>;
  const merges = (model.merges as (string | [string, string])[]).map((merge) =>
    typeof merge === 'string' ? (merge.split(' ') as [string, string]) : merge,
  );

  const tokens = Array.from({ length: size }, (_, id) => `[PAD${id}]`);
  const types: number[] = tokens.map(() => kUnused);
  for (const [token, id] of Object.entries(vocab)) {
    tokens[id] = token;
    types[id] = /^<0x[0-9A-F]{2}>$/.test(token) ? kByte : token === model.unk_token ? kUnknown : kNormal;
  }
  for (const { id, content, special } of objects(json.added_tokens)) {
    tokens[id as number] = content as string;
    if (types[id as number] !== kUnknown) types[id as number] = special === true ? kControl : kUserDefined;
  }

  const pre = preOf(json);
  const isPieces = pre === undefined && isSentencePiece(json);
  if (pre === undefined && !isPieces) {
    const shown = JSON.stringify({ normalizer: json.normalizer ?? null, pre_tokenizer: json.pre_tokenizer ?? null });
    throw new DataError(
      `splits texts by ${shown.slice(0, 300)}, for which llama.cpp has no name that heed knows: it knows the splits of GPT-2, SmolLM, Llama 3, OLMo 2, Qwen2 and SentencePiece`,
      { file },
    );
  }
  const other = ends.find((id) => id !== tokenizer.endOfText && id < size);
  const bos = tokenizer.bos ?? tokenizer.endOfText;
  return {
    'tokenizer.ggml.model': { string: isPieces ? 'llama' : 'gpt2' },
    'tokenizer.ggml.pre': { string: pre ?? 'default' },
    'tokenizer.ggml.tokens': { strings: tokens },
    'tokenizer.ggml.token_type': { i32s: types },
    ...(isPieces
      ? {
          'tokenizer.ggml.scores': { f32s: scoresOf(tokens, merges) },
          'tokenizer.ggml.add_space_prefix': { bool: addsSpace(json) },
        }
      : { 'tokenizer.ggml.merges': { strings: merges.map((pair) => pair.join(' ')) } }),
    'tokenizer.ggml.bos_token_id': { u32: bos },
    'tokenizer.ggml.eos_token_id': { u32: tokenizer.endOfText },
    ...(other === undefined ? {} : { 'tokenizer.ggml.eot_token_id': { u32: other } }),
    ...(tokenizer.pad === undefined ? {} : { 'tokenizer.ggml.padding_token_id': { u32: tokenizer.pad } }),
    ...(typeof model.unk_token === 'string' && model.unk_token in vocab
      ? { 'tokenizer.ggml.unknown_token_id': { u32: vocab[model.unk_token]! } }
      : {}),
    'tokenizer.ggml.add_bos_token': { bool: tokenizer.prefix.length > 0 },
    'tokenizer.ggml.add_eos_token': { bool: false },
    ...(tokenizer.chatTemplate === undefined ? {} : { 'tokenizer.chat_template': { string: tokenizer.chatTemplate } }),
  };
}

/** The name of a byte-level split; undefined if there is none. */
function preOf({ normalizer, pre_tokenizer: split, model }: Json): string | undefined {
  if (!isObject(split)) return undefined;
  const isNfc = isObject(normalizer) && normalizer.type === 'NFC';
  const parts = split.type === 'Sequence' ? objects(split.pretokenizers) : [split];
  const last = parts.at(-1);
  if (last?.type !== 'ByteLevel' || last.add_prefix_space === true) return undefined;
  const [first] = parts;
  const plain = normalizer === null || normalizer === undefined;
  // As llama.cpp normalises nothing, texts have to be in NFC where the tokenizer does: Pythia's, Qwen's.
  if (parts.length === 1) return (plain || isNfc) && last.use_regex !== false ? 'gpt-2' : undefined;
  if (parts.length > 2) return undefined;
  if (first?.type === 'Digits' && first.individual_digits === true && last.use_regex !== false)
    return plain ? 'smollm' : undefined;
  if (first?.type !== 'Split' || first.behavior !== 'Isolated' || last.use_regex !== false) return undefined;
  const regex = isObject(first.pattern) ? (first.pattern.Regex as string) : '';
  const name = kByRegex[regex];
  // llama.cpp takes whole words of the vocabulary unmerged for llama-bpe, as `ignore_merges` says, and normalises nothing.
  const ignoresMerges = (model as Json).ignore_merges === true;
  if (name === 'llama-bpe') return plain ? (ignoresMerges ? name : 'dbrx') : undefined;
  return (plain || isNfc) && !ignoresMerges ? name : undefined;
}

/** Whether spaces become `▁` and unknown characters bytes, as in SentencePiece. */
function isSentencePiece({ normalizer, pre_tokenizer: split, model }: Json): boolean {
  if ((model as Json).byte_fallback !== true) return false;
  if (isObject(split) && split.type === 'Metaspace') return split.replacement === kSpace && !isObject(normalizer);
  const steps = isObject(normalizer) ? objects(normalizer.normalizers ?? [normalizer]) : [];
  const replace = { type: 'Replace', pattern: { String: ' ' }, content: kSpace };
  // Gemma's splits at spaces, of which the normalizer leaves none.
  const splitsNothing =
    !isObject(split) || (split.type === 'Split' && isDeepStrictEqual(split.pattern, { String: ' ' }));
  return (
    splitsNothing &&
    steps.some((step) => isDeepStrictEqual(step, replace)) &&
    steps.every((step) => isDeepStrictEqual(step, replace) || step.type === 'Prepend')
  );
}

/** llama.cpp merges the neighbours whose union has the highest score: the earliest merge. */
function scoresOf(tokens: readonly string[], merges: readonly (readonly [string, string])[]): number[] {
  const ranks = new Map<string, number>();
  merges.forEach(([a, b], rank) => {
    if (!ranks.has(a + b)) ranks.set(a + b, rank);
  });
  return tokens.map((token) => -(ranks.get(token) ?? merges.length));
}
