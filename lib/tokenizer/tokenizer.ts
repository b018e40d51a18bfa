/**
 * Text to token ids and back: Hugging Face's `tokenizer.json`, read by their own TypeScript library, behind one small interface.
 */
import { copyFile, readFile, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { Tokenizer as HfTokenizer } from '@huggingface/tokenizers';
import { DataError, HeedError } from '../core/errors.js';
import { kTokenizerFiles } from '../core/tokenizerfiles.js';
import { isPlainByteLevel, WordCache } from './words.js';

/** What stands beside `tokenizer.json`, and wins over what it would be guessed to be. */
export interface TokenizerOptions {
  /** The token that ends a text. Default: what the folder's files say, else the first of the usual names that the vocabulary has. */
  readonly endOfText?: string | undefined;
  readonly pad?: string | undefined;
  /** A Jinja chat template. */
  readonly chatTemplate?: string | undefined;
  /** Where it comes from, for messages. */
  readonly file?: string | undefined;
}

const kEndNames = ['<|endoftext|>', '<|end_of_text|>', '</s>', '<|im_end|>', '<eos>', '<|eot_id|>'];
const kPadNames = ['<|pad|>', '<pad>', '[PAD]', '<|finetune_right_pad_id|>'];
const kModels = ['BPE', 'Unigram', 'WordPiece'];

/** A text encoder and decoder. Special tokens written in a text are taken for the tokens they name. */
export class Tokenizer {
  /** Ids are in [0, vocabSize). */
  readonly vocabSize: number;
  /** The id that ends a document or a response. */
  readonly endOfText: number;
  /** The id that other programs pad with; undefined where the vocabulary has none of its own. */
  readonly pad: number | undefined;
  /** What the tokenizer itself puts before a text (Llama's `<s>`); mostly empty. Not part of {@link encode}. */
  readonly prefix: Int32Array;
  readonly chatTemplate: string | undefined;
  readonly #tokenizer: HfTokenizer;
  readonly #file: string;
  readonly #words: WordCache | undefined;

  private constructor(json: Record<string, unknown>, options: TokenizerOptions) {
    this.#file = options.file ?? 'tokenizer.json';
    this.vocabSize = highestId(json, this.#file) + 1;
    try {
      // The library would take a space before punctuation away when decoding.
      this.#tokenizer = new HfTokenizer(json, { clean_up_tokenization_spaces: false });
      this.prefix = this.#ownPrefix();
    } catch (cause) {
      throw new DataError(
        `is not a tokenizer that can be used: ${(cause as Error).message}`,
        { file: this.#file },
        { cause },
      );
    }
    this.endOfText = this.#special('end-of-text', options.endOfText, kEndNames);
    this.pad = options.pad === undefined ? this.#first(kPadNames) : this.#special('padding', options.pad, []);
    this.chatTemplate = options.chatTemplate;
    this.#words = isPlainByteLevel(json) ? new WordCache(json, (text) => this.#encode(text)) : undefined;
  }

  /**
   * @param json the content of a `tokenizer.json`
   * @throws DataError if it is none, or has no token that ends a text
   */
  static fromJson(json: unknown, options: TokenizerOptions = {}): Tokenizer {
    if (!isObject(json)) throw new DataError('is not a JSON object', { file: options.file ?? 'tokenizer.json' });
    return new Tokenizer(json, options);
  }

  /**
   * @param path a model's or tokenizer's folder, or a `tokenizer.json`
   * @throws DataError naming the file that is missing or wrong
   */
  static async load(path: string, options: TokenizerOptions = {}): Promise<Tokenizer> {
    const folder = await isFolder(path);
    const file = folder ? join(path, 'tokenizer.json') : path;
    const json = await readJson(file);
    if (json === undefined) throw new DataError('does not exist, expected a Hugging Face tokenizer.json', { file });
    const beside = await readBeside(dirname(file), json);
    return Tokenizer.fromJson(json, { file, ...beside, ...defined(options) });
  }

  /** @returns the ids of the text, with nothing put before or after it. @throws HeedError where the vocabulary lacks a part of it */
  encode(text: string): Int32Array {
    if (typeof text !== 'string') throw new TypeError(`encode: text is of type ${typeof text}, expected a string`);
    return Int32Array.from(this.#words?.encode(text) ?? this.#encode(text));
  }

  /**
   * Ids above the vocabulary have no text, as in Hugging Face's decoders: a model may have more rows than its tokenizer has tokens.
   *
   * @param skipSpecial leaves special tokens such as end-of-text out. Default true
   * @throws RangeError for what is no id
   */
  decode(ids: ArrayLike<number>, skipSpecial = true): string {
    const list = Array.from(ids);
    for (const id of list) {
      if (!(Number.isInteger(id) && id >= 0)) throw new RangeError(`decode: ${id} is no token id`);
    }
    const known = list.filter((id) => id < this.vocabSize);
    if (known.length === 0) return '';
    return this.#tokenizer.decode(known, { skip_special_tokens: skipSpecial });
  }

  /** @returns the token's id, undefined if there is none */
  tokenToId(token: string): number | undefined {
    return this.#tokenizer.token_to_id(token);
  }

  /** @returns the token as the vocabulary writes it, undefined if there is none */
  idToToken(id: number): string | undefined {
    return this.#tokenizer.id_to_token(id);
  }

  /** @throws HeedError if the tokenizer has ids that a model with `vocabSize` rows has not */
  requireFits(vocabSize: number, model = 'the model'): void {
    if (this.vocabSize > vocabSize) {
      throw new HeedError(
        'ERR_INVALID_ARGUMENT',
        `${this.#file} has ${this.vocabSize} tokens, more than the vocabulary of ${model}, which has ${vocabSize}`,
      );
    }
  }

  #encode(text: string): number[] {
    const { ids, tokens }: { ids: number[]; tokens: string[] } = this.#tokenizer.encode(text, {
      add_special_tokens: false,
    });
    const unknown = ids.findIndex((id) => !Number.isInteger(id));
    if (unknown < 0) return ids;
    throw new HeedError('ERR_INVALID_ARGUMENT', `${this.#file} has no token for ${JSON.stringify(tokens[unknown])}`);
  }

  #ownPrefix(): Int32Array {
    const plain = this.#tokenizer.encode('a', { add_special_tokens: false }).ids;
    const whole = this.#tokenizer.encode('a', { add_special_tokens: true }).ids;
    const at = whole.indexOf(plain[0]!);
    return Int32Array.from(at > 0 ? whole.slice(0, at) : []);
  }

  #first(names: readonly string[]): number | undefined {
    return names.map((name) => this.tokenToId(name)).find((id) => id !== undefined);
  }

  #special(what: string, name: string | undefined, usual: readonly string[]): number {
    const id = name === undefined ? this.#first(usual) : this.tokenToId(name);
    if (id !== undefined) return id;
    throw new DataError(
      name === undefined
        ? `has no ${what} token: none of ${usual.join(' ')}, and nothing beside it names one (eos_token of tokenizer_config.json)`
        : `has no token ${JSON.stringify(name)}, which should be its ${what} token`,
      { file: this.#file },
    );
  }
}

/** Text as it comes, from tokens as they come: a character is held back until its last byte is there. */
export class TextStream {
  readonly #tokenizer: Tokenizer;
  #ids: number[] = [];
  #from = 0; // ids from here on are decoded together, so that a decoder sees what a token follows
  #shown = 0; // ids of which the text is out

  constructor(tokenizer: Tokenizer) {
    this.#tokenizer = tokenizer;
  }

  /** @returns the text that this token completes, often empty within a character of several bytes */
  push(id: number): string {
    this.#ids.push(id);
    const whole = this.#tokenizer.decode(this.#ids.slice(this.#from));
    if (whole.endsWith('\ufffd') && this.#ids.length - this.#shown < 4) return '';
    return this.#advance(whole);
  }

  /** @returns what is left at the end of the text */
  end(): string {
    return this.#advance(this.#tokenizer.decode(this.#ids.slice(this.#from)));
  }

  #advance(whole: string): string {
    const before = this.#tokenizer.decode(this.#ids.slice(this.#from, this.#shown));
    this.#from = this.#shown;
    this.#shown = this.#ids.length;
    return whole.slice(before.length);
  }
}

/** Copies a tokenizer's files from one folder to another. @throws DataError if `from` has no tokenizer.json */
export async function copyTokenizer(from: string, to: string): Promise<void> {
  for (const name of kTokenizerFiles) {
    try {
      await copyFile(join(from, name), join(to, name));
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== 'ENOENT') throw cause;
      if (name === 'tokenizer.json') throw new DataError('does not exist', { file: join(from, name) }, { cause });
    }
  }
}

function highestId(json: Record<string, unknown>, file: string): number {
  const model = json.model;
  if (!isObject(model)) throw new DataError('is missing, expected an object', { file, field: 'model' });
  if (!kModels.includes(model.type as string)) {
    throw new DataError(`is ${JSON.stringify(model.type)}, expected ${kModels.join(', ')}`, {
      file,
      field: 'model.type',
    });
  }
  const { vocab } = model;
  if (!isObject(vocab) && !Array.isArray(vocab)) {
    throw new DataError('is missing, expected the tokens and their ids', { file, field: 'model.vocab' });
  }
  let highest = Array.isArray(vocab) ? vocab.length - 1 : -1; // a list of a Unigram model: the place is the id
  const take = (id: unknown, field: string) => {
    if (!(Number.isInteger(id) && (id as number) >= 0 && (id as number) < 2 ** 31)) {
      throw new DataError(`has the id ${JSON.stringify(id)}, expected an integer of at least 0`, { file, field });
    }
    highest = Math.max(highest, id as number);
  };
  if (!Array.isArray(vocab))
    for (const [token, id] of Object.entries(vocab)) take(id, `model.vocab[${JSON.stringify(token)}]`);
  const added = json.added_tokens ?? [];
  if (!Array.isArray(added)) throw new DataError('is not a list', { file, field: 'added_tokens' });
  added.forEach((token, i) => {
    take(isObject(token) ? token.id : undefined, `added_tokens[${i}]`);
  });
  if (highest < 0) throw new DataError('is empty', { file, field: 'model.vocab' });
  return highest;
}

// transformers spreads what a tokenizer's special tokens are over several files.
async function readBeside(folder: string, json: Record<string, unknown>): Promise<TokenizerOptions> {
  const config = (await readJson(join(folder, 'tokenizer_config.json'))) ?? {};
  const map = (await readJson(join(folder, 'special_tokens_map.json'))) ?? {};
  const model = (await readJson(join(folder, 'config.json'))) ?? {};
  const template = await readText(join(folder, 'chat_template.jinja'));
  const id = Array.isArray(model.eos_token_id) ? model.eos_token_id[0] : model.eos_token_id;
  return defined({
    endOfText: content(config.eos_token) ?? content(map.eos_token) ?? tokenOf(json, id),
    pad: content(config.pad_token) ?? content(map.pad_token),
    chatTemplate: template ?? templateOf(config.chat_template),
  });
}

const content = (token: unknown): string | undefined =>
  typeof token === 'string' ? token : isObject(token) && typeof token.content === 'string' ? token.content : undefined;

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

async function readText(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, 'utf8');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new DataError(`cannot be read: ${(cause as Error).message}`, { file }, { cause });
  }
}

async function readJson(file: string): Promise<Record<string, unknown> | undefined> {
  const text = await readText(file);
  if (text === undefined) return undefined;
  try {
    const value: unknown = JSON.parse(text);
    if (isObject(value)) return value;
  } catch (cause) {
    throw new DataError(`is not valid JSON: ${(cause as Error).message}`, { file }, { cause });
  }
  throw new DataError('is not a JSON object', { file });
}

async function isFolder(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch (cause) {
    throw new DataError(`does not exist or cannot be read (${basename(path)})`, { file: path }, { cause });
  }
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Without the properties that are undefined: they would hide what they are spread over. */
function defined<T extends object>(options: T): Partial<T> {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as Partial<T>;
}
