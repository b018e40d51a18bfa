/** Special tokens that the files beside `tokenizer.json` name, which transformers adds to the vocabulary if it lacks them. */
import { isObject } from '../core/json.js';
import type { AddedToken } from './files.js';

type Json = Readonly<Record<string, unknown>>;

const kNames = ['bos_token', 'eos_token', 'unk_token', 'sep_token', 'pad_token', 'cls_token', 'mask_token'];
/** Without one of these in its vocabulary a tokenizer is refused. */
const kRequired = ['bos_token', 'eos_token', 'pad_token'];

/** The text of a token that is given as such, or as an object. */
export const content = (token: unknown): string | undefined =>
  typeof token === 'string' ? token : isObject(token) && typeof token.content === 'string' ? token.content : undefined;

/** Tokens by the keys that name them, in the order in which transformers adds them: its own keys, a model's own, a list of others. */
function named(config: Json): { readonly key: string; readonly token: unknown }[] {
  const others = config.extra_special_tokens ?? config.additional_special_tokens;
  const own = Object.keys(config).filter((key) => key.endsWith('_token') && !kNames.includes(key));
  return [
    ...kNames.map((key) => ({ key, token: config[key] })),
    ...own.filter((key) => typeof config[key] === 'string').map((key) => ({ key, token: config[key] })),
    ...(isObject(others) || Array.isArray(others) ? Object.values(others) : []).map((token) => ({ key: '', token })),
  ];
}

/** All of them. */
export const specialNames = (config: Json): Set<string> =>
  new Set(named(config).flatMap(({ token }) => content(token) ?? []));

/**
 * Those that are no added tokens of `tokenizer.json` or of the files beside it: with their id in the vocabulary, or else the next one.
 *
 * @param listed the added tokens of the files beside it
 */
export function specialTokensBeside(
  config: Json,
  json: Json,
  listed: Readonly<Record<string, AddedToken>>,
): Record<string, AddedToken> {
  const added = Array.isArray(json.added_tokens) ? json.added_tokens.filter(isObject) : [];
  const known = new Set([...added.map((token) => content(token)), ...Object.keys(listed)]);
  const vocab = isObject(json.model) ? json.model.vocab : undefined;
  const ids = new Map<unknown, number>(
    Array.isArray(vocab)
      ? vocab.map((entry, id) => [Array.isArray(entry) ? entry[0] : undefined, id])
      : Object.entries(isObject(vocab) ? (vocab as Record<string, number>) : {}),
  );
  const taken = [...added, ...Object.values(listed)].flatMap(({ id }) => (typeof id === 'number' ? id : []));
  let next = taken.reduce((most, id) => Math.max(most, id + 1), ids.size);
  const tokens: Record<string, AddedToken> = {};
  for (const { key, token } of named(config)) {
    const text = content(token);
    if (text === undefined || text === '' || known.has(text)) continue;
    known.add(text);
    const id = ids.get(text) ?? (kRequired.includes(key) ? undefined : next++);
    if (id === undefined) continue;
    const {
      lstrip = false,
      rstrip = false,
      single_word = false,
      normalized = false,
    } = (isObject(token) ? token : {}) as Partial<AddedToken>;
    tokens[text] = { id, special: true, lstrip, rstrip, single_word, normalized };
  }
  return tokens;
}
