/** Reads and copies a tokenizer's files: `tokenizer.json` and the files that transformers writes beside it. */
import { copyFile, readFile, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { DataError } from '../core/errors.js';
import { refuseForeign } from '../core/foreign.js';
import { isObject, parseJsonFile, shown } from '../core/json.js';
import { kChatTemplate, kDefaultTemplate, tokenizerFilesIn } from '../core/tokenizerfiles.js';
import { content, specialNames, specialTokensBeside } from './special.js';

/** Settings from the files beside `tokenizer.json`; they take precedence over guesses. */
export interface TokenizerOptions {
  /** The token that ends a text. Default: the one named by the folder's files, else the first usual name in the vocabulary. */
  readonly endOfText?: string | undefined;
  readonly pad?: string | undefined;
  /** The token that begins a text in a chat template. Default: the first of those that the tokenizer adds before a text. */
  readonly bos?: string | undefined;
  /**
   * Whether `bos` is added before a text. Default: what the post-processor of `tokenizer.json` does, as in transformers 5, which leaves
   * `add_bos_token` of `tokenizer_config.json` out where there is a `tokenizer.json`.
   */
  readonly addBos?: boolean | undefined;
  /** Whether a text is encoded as if a space preceded it. Default: what `tokenizer.json` says. */
  readonly addPrefixSpace?: boolean | undefined;
  /** Tokens that `tokenizer.json` lacks. */
  readonly addedTokens?: Readonly<Record<string, AddedToken>> | undefined;
  /** A Jinja chat template. */
  readonly chatTemplate?: string | undefined;
  /** The file to name in error messages. */
  readonly file?: string | undefined;
}

/** A token added to the vocabulary, as `added_tokens_decoder` of `tokenizer_config.json` describes it. */
export interface AddedToken {
  readonly id: number;
  readonly special?: boolean;
  readonly normalized?: boolean;
  readonly lstrip?: boolean;
  readonly rstrip?: boolean;
  readonly single_word?: boolean;
}

/**
 * @param path a folder, or a `tokenizer.json`
 * @throws DataError naming the file that is missing or wrong
 */
export async function readTokenizer(
  path: string,
): Promise<{ readonly json: Record<string, unknown>; readonly options: TokenizerOptions }> {
  const file = (await isFolder(path)) ? join(path, 'tokenizer.json') : path;
  const json = await readJson(file);
  if (json === undefined) throw new DataError('does not exist, expected a Hugging Face tokenizer.json', { file });
  return { json, options: { file, ...(await readBeside(dirname(file), json)) } };
}

/** Copies a tokenizer's files from one folder to another. @throws DataError if `from` has no tokenizer.json */
export async function copyTokenizer(from: string, to: string): Promise<void> {
  const files = tokenizerFilesIn(from);
  if (!files.some(({ name }) => name === 'tokenizer.json'))
    throw new DataError('does not exist', { file: join(from, 'tokenizer.json') });
  for (const { path, name } of files) await copyFile(path, join(to, name));
}

// transformers spreads the special tokens over several files.
async function readBeside(folder: string, json: Record<string, unknown>): Promise<TokenizerOptions> {
  const config = (await readJson(join(folder, 'tokenizer_config.json'))) ?? {};
  // A file of older versions, which counts where the newer key is missing, and then before the configuration.
  const map = config.added_tokens_decoder ? {} : ((await readJson(join(folder, 'special_tokens_map.json'))) ?? {});
  const { additional_special_tokens: _, ...ofMap } = map; // transformers 5 reads this one of the configuration alone
  const named = { ...config, ...ofMap };
  const model = (await readJson(join(folder, 'config.json'))) ?? {};
  const added = (await readJson(join(folder, 'added_tokens.json'))) ?? {};
  const template = await readTemplate(folder);
  const id = Array.isArray(model.eos_token_id) ? model.eos_token_id[0] : model.eos_token_id;
  if (flag(config, 'split_special_tokens', folder))
    throw new DataError('is true, heed implements only false', {
      file: join(folder, 'tokenizer_config.json'),
      field: 'split_special_tokens',
    });
  // The class of any tokenizer.json takes it as it is; those of a family build what is before the model anew.
  const isAnyClass =
    config.tokenizer_class === 'PreTrainedTokenizerFast' || config.tokenizer_class === 'TokenizersBackend';
  const addPrefixSpace = flag(config, 'add_prefix_space', folder);
  const listed = { ...addedTokensOf(added, specialNames(named)), ...addedTokensOf(config.added_tokens_decoder) };
  return defined({
    endOfText: content(named.eos_token) ?? tokenOf(json, id),
    pad: content(named.pad_token),
    bos: content(named.bos_token),
    addPrefixSpace: isAnyClass ? undefined : addPrefixSpace,
    addedTokens: { ...listed, ...specialTokensBeside(named, json, listed) },
    chatTemplate: template ?? templateOf(config.chat_template),
  });
}

/** `chat_template.jinja`, or the default one of several. */
async function readTemplate(folder: string): Promise<string | undefined> {
  return (await readText(join(folder, kChatTemplate))) ?? (await readText(join(folder, kDefaultTemplate)));
}

function flag(config: Record<string, unknown>, name: string, folder: string): boolean | undefined {
  const value = config[name] ?? undefined;
  if (value === undefined || typeof value === 'boolean') return value;
  const file = join(folder, 'tokenizer_config.json');
  throw new DataError(`is ${shown(value)}, expected true or false`, { file, field: name });
}

/** Ids by token: of `added_tokens.json`, `{token: id}`, or of `added_tokens_decoder`, `{id: {content, …}}`. */
function addedTokensOf(value: unknown, special: ReadonlySet<string> = new Set()): Record<string, AddedToken> {
  if (!isObject(value)) return {};
  const tokens: Record<string, AddedToken> = {};
  for (const [key, entry] of Object.entries(value)) {
    if (typeof entry === 'number') tokens[key] = { id: entry, special: special.has(key) };
    else if (isObject(entry) && typeof entry.content === 'string') {
      const { content: token, ...properties } = entry;
      tokens[token as string] = { ...properties, id: Number(key) };
    }
  }
  return tokens;
}

function templateOf(value: unknown): string | undefined {
  if (typeof value === 'string') return value;
  if (!Array.isArray(value)) return undefined;
  const named = value.filter(isObject).find((entry) => entry.name === 'default');
  return typeof named?.template === 'string' ? named.template : undefined;
}

function tokenOf(json: Record<string, unknown>, id: unknown): string | undefined {
  if (typeof id !== 'number') return undefined;
  const added = Array.isArray(json.added_tokens) ? json.added_tokens.filter(isObject) : [];
  const special = added.find((token) => token.id === id)?.content;
  if (typeof special === 'string') return special;
  const vocab = isObject(json.model) && isObject(json.model.vocab) ? json.model.vocab : {};
  return Object.keys(vocab).find((token) => vocab[token] === id);
}

async function readBytes(file: string): Promise<Buffer | undefined> {
  try {
    return await readFile(file);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new DataError(`cannot be read: ${(cause as Error).message}`, { file }, { cause });
  }
}

async function readText(file: string): Promise<string | undefined> {
  const bytes = await readBytes(file);
  if (bytes) refuseForeign(bytes, file, 'text');
  return bytes?.toString('utf8');
}

async function readJson(file: string): Promise<Record<string, unknown> | undefined> {
  const bytes = await readBytes(file);
  if (bytes === undefined) return undefined;
  const value = parseJsonFile(bytes, file);
  if (isObject(value)) return value;
  throw new DataError('is not a JSON object', { file });
}

async function isFolder(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch (cause) {
    throw new DataError(`does not exist or cannot be read (${basename(path)})`, { file: path }, { cause });
  }
}

/** Removes undefined properties, which would override values when spread. */
export function defined<T extends object>(options: T): Partial<T> {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as Partial<T>;
}
