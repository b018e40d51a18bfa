/** Facts read from a `tokenizer.json`. */
import { DataError } from '../core/errors.js';
import { isObject, shown } from '../core/json.js';
import { byteAlphabet } from './bpe.js';
import type { AddedToken, TokenizerOptions } from './files.js';

export type Json = Readonly<Record<string, unknown>>;

const kModels = ['BPE', 'Unigram', 'WordPiece', 'WordLevel'];

/**
 * The description with what old files leave out and what `tokenizer_config.json` overrides, as transformers applies it.
 *
 * @param addPrefixSpace whether a text is encoded as if a space preceded it; undefined leaves it as it is
 * @param addedTokens ids by token, of tokens that are not in the file
 */
export function completed(
  json: Json,
  { addPrefixSpace, addedTokens = {} }: Pick<TokenizerOptions, 'addPrefixSpace' | 'addedTokens'>,
): Json {
  const listed = objects(json.added_tokens);
  const known = new Set(listed.map(({ content }) => content));
  const added = Object.entries(addedTokens)
    .filter(([content]) => !known.has(content))
    .sort(([, a], [, b]) => a.id - b.id);
  return {
    ...json,
    ...(isObject(json.model) && json.model.type === undefined
      ? { model: { type: modelType(json.model), ...json.model } }
      : {}),
    ...(addPrefixSpace === undefined ? {} : { pre_tokenizer: withPrefixSpace(json.pre_tokenizer, addPrefixSpace) }),
    ...(added.length === 0
      ? {}
      : { added_tokens: [...listed, ...added.map(([content, token]) => addedToken(content, token))] }),
  };
}

// The first files have no type; the fields tell, as in the tokenizers library.
function modelType(model: Json): string | undefined {
  if (Array.isArray(model.vocab)) return 'Unigram';
  if ('merges' in model) return 'BPE';
  if ('max_input_chars_per_word' in model) return 'WordPiece';
  return 'unk_token' in model ? 'WordLevel' : undefined;
}

function withPrefixSpace(component: unknown, add: boolean): unknown {
  if (!isObject(component)) return component;
  if (component.type === 'ByteLevel') return { ...component, add_prefix_space: add };
  if (component.type === 'Metaspace') {
    const scheme = component.prepend_scheme === 'first' ? 'first' : 'always';
    return { ...component, prepend_scheme: add ? scheme : 'never' };
  }
  if (component.type !== 'Sequence') return component;
  return { ...component, pretokenizers: objects(component.pretokenizers).map((inner) => withPrefixSpace(inner, add)) };
}

function addedToken(content: string, token: AddedToken): Json {
  const { lstrip = false, rstrip = false, single_word = false, special = false, normalized = !special } = token;
  return { id: token.id, content, single_word, lstrip, rstrip, normalized, special };
}

const objects = (value: unknown): Json[] => (Array.isArray(value) ? value.filter(isObject) : []);

/** @throws DataError naming a field that is missing or wrong */
export function highestId(json: Json, file: string): number {
  const model = json.model;
  if (!isObject(model)) throw new DataError('is missing, expected an object', { file, field: 'model' });
  if (!kModels.includes(model.type as string)) {
    throw new DataError(`is ${shown(model.type)}, expected ${kModels.join(', ')}`, {
      file,
      field: 'model.type',
    });
  }
  const { vocab } = model;
  if (!isObject(vocab) && !Array.isArray(vocab)) {
    throw new DataError('is missing, expected the tokens and their ids', { file, field: 'model.vocab' });
  }
  let highest = Array.isArray(vocab) ? vocab.length - 1 : -1; // Unigram: the index in the list is the id
  const take = (id: unknown, field: string) => {
    if (!(Number.isInteger(id) && (id as number) >= 0 && (id as number) < 2 ** 31)) {
      throw new DataError(`has the id ${shown(id)}, expected an integer of at least 0`, { file, field });
    }
    highest = Math.max(highest, id as number);
  };
  if (!Array.isArray(vocab)) for (const [token, id] of Object.entries(vocab)) take(id, `model.vocab[${shown(token)}]`);
  const added = json.added_tokens ?? [];
  if (!Array.isArray(added)) throw new DataError('is not a list', { file, field: 'added_tokens' });
  added.forEach((token, i) => {
    take(isObject(token) ? token.id : undefined, `added_tokens[${i}]`);
  });
  if (highest < 0) throw new DataError('is empty', { file, field: 'model.vocab' });
  return highest;
}

/** The special tokens, which decoding can skip. */
export const specialTokensOf = (json: Json): Set<string> =>
  new Set(objects(json.added_tokens).flatMap(({ special, content }) => (special === true ? [content as string] : [])));

/** The ids that the post-processor adds before a text, such as Llama's `<s>`. */
export function prefixOf(json: Json): number[] {
  const before = (processor: unknown): number[] => {
    if (!isObject(processor)) return [];
    switch (processor.type) {
      case 'TemplateProcessing':
        return templatePrefix(processor);
      case 'BertProcessing':
      case 'RobertaProcessing':
        return idsIn([(processor.cls as unknown[] | undefined)?.[1]]);
      case 'Sequence':
        return objects(processor.processors).flatMap(before);
      default:
        return [];
    }
  };
  return before(json.post_processor);
}

function templatePrefix({ single, special_tokens: named }: Json): number[] {
  const ids: number[] = [];
  for (const piece of objects(single)) {
    if (!isObject(piece.SpecialToken)) break; // the text itself
    const token = isObject(named) ? named[piece.SpecialToken.id as string] : undefined;
    ids.push(...idsIn(isObject(token) ? token.ids : undefined));
  }
  return ids;
}

const idsIn = (value: unknown): number[] =>
  Array.isArray(value) ? value.filter((id): id is number => Number.isInteger(id)) : [];

/** The types of a component and of its nested components. */
function types(component: unknown): string[] {
  if (!isObject(component)) return [];
  const inner = [component.pretokenizers, component.normalizers].flatMap(objects);
  return [String(component.type), ...inner.flatMap(types)];
}

/** Whether the library may silently drop characters that the vocabulary lacks. */
export function mayDrop(json: Json): boolean {
  const model = json.model as Json;
  if (model.type !== 'BPE' || (model.unk_token ?? null) !== null || (json.normalizer ?? null) !== null) return false;
  const vocab = model.vocab as Record<string, number>;
  const hasBytes = Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`);
  if (model.byte_fallback === true && hasBytes.every((token) => token in vocab)) return false;
  return !(types(json.pre_tokenizer).includes('ByteLevel') && byteAlphabet().every((token) => token in vocab));
}

/** Whether a text is encoded as if a space preceded it. */
export function addsSpace(json: Json): boolean {
  const adds = (component: unknown): boolean => {
    if (!isObject(component)) return false;
    if ([component.pretokenizers, component.normalizers].flatMap(objects).some(adds)) return true;
    if (component.type === 'Prepend') return true;
    if (component.type === 'Metaspace')
      return component.prepend_scheme !== 'never' && component.add_prefix_space !== false;
    return component.type === 'ByteLevel' && component.add_prefix_space === true;
  };
  return adds(json.normalizer) || adds(json.pre_tokenizer);
}

/**
 * For tokenizers that merge a whole text as one word, as SentencePiece does: a function that tells whether no token spans two adjacent
 * characters, so that the texts before and after that point are merged independently. Undefined for tokenizers that split words.
 */
export function apartness(json: Json): ((before: string, after: string) => boolean) | undefined {
  const model = json.model as Json;
  const plain = ['Prepend', 'Replace', 'Sequence'];
  const wholeText = types(json.pre_tokenizer).every((type) => type === 'Metaspace' || type === 'Sequence');
  if (model.type !== 'BPE' || !wholeText || !types(json.normalizer).every((type) => plain.includes(type))) {
    return undefined;
  }
  const normalizers = isObject(json.normalizer) ? objects(json.normalizer.normalizers ?? [json.normalizer]) : [];
  const replaced = normalizers.filter(({ type }) => type === 'Replace');
  if (!replaced.every(({ pattern, content }) => isObject(pattern) && pattern.String === ' ' && content === kSpace)) {
    return undefined;
  }
  const space = replaced.length > 0 || isObject(json.pre_tokenizer) ? kSpace : ' ';
  const vocab = model.vocab as Record<string, number>;
  const tokens = Object.keys(vocab);
  const known = new Map<string, boolean>();
  return (a, b) => {
    const [before, after] = [a, b].map((character) => (character === ' ' ? space : character)) as [string, string];
    const pair = before + after;
    const found = known.get(pair);
    if (found !== undefined) return found;
    // Two unknown characters could form a single unknown token.
    const isApart = before in vocab && after in vocab && !tokens.some((token) => token.includes(pair));
    if (known.size < 10_000) known.set(pair, isApart);
    return isApart;
  };
}

const kSpace = '▁'; // U+2581, which SentencePiece writes for a space
