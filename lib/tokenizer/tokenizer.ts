/** Converts text to token ids and back with a Hugging Face `tokenizer.json` and their native library. */
import type { Decoder, Encoding, Tokenizer as Native } from 'tokenizers';
import { DataError, HeedError } from '../core/errors.js';
import { isObject, shown } from '../core/json.js';
import type { Abortable } from '../core/native.js';
import { Pace } from '../core/pace.js';
import { addsSpace, apartness, completed, highestId, mayDrop, prefixOf, specialTokensOf } from './description.js';
import { defined, readTokenizer, type TokenizerOptions } from './files.js';
import { Encoder, library } from './library.js';
import { encodeInParts, type PartOptions } from './parts.js';
import { isPlainByteLevel, WordCache } from './words.js';

/** Characters encoded together. */
const kBatch = 1 << 14;
const kEndNames = ['<|endoftext|>', '<|end_of_text|>', '</s>', '<|im_end|>', '<eos>', '<|eot_id|>'];
const kPadNames = ['<|pad|>', '<pad>', '[PAD]', '<|finetune_right_pad_id|>'];

/** Texts that seldom merge with what follows them. */
const kBefore = ['\n', 'a', '.', '('];

/** Tokens that decide how the next ones are decoded. */
const kContext = 8;

/** The ids of a text that follows another. */
export interface Continuation {
  readonly ids: Int32Array;
  /** Whether they and the ids of the other text are the ids of the joined text. */
  readonly isJoined: boolean;
  /** The ids of the joined text. */
  readonly joined: Int32Array;
}

/** A text encoder and decoder. Special tokens written out in a text are encoded as those tokens. */
export class Tokenizer {
  /** Ids are in [0, vocabSize). */
  readonly vocabSize: number;
  /** The id that ends a document or a response. */
  readonly endOfText: number;
  /** The id that other programs pad with; undefined if the vocabulary has no padding token. */
  readonly pad: number | undefined;
  /** The id that begins a text in a chat template; undefined if the vocabulary has none. */
  readonly bos: number | undefined;
  /** The ids that the tokenizer adds before a text (Llama's `<s>`); usually empty. {@link encode} does not add them. */
  readonly prefix: Int32Array;
  readonly chatTemplate: string | undefined;
  readonly #tokenizer: Native;
  readonly #decoder: Decoder | null;
  readonly #encoder: Encoder;
  readonly #special: ReadonlySet<string>;
  readonly #file: string;
  readonly #mayDrop: boolean;
  readonly #addsSpace: boolean;
  readonly #isApart: PartOptions['isApart'];
  readonly #words: WordCache | undefined;

  private constructor(source: Record<string, unknown>, options: TokenizerOptions) {
    this.#file = options.file ?? 'tokenizer.json';
    const json = completed(source, options);
    this.vocabSize = highestId(json, this.#file) + 1;
    this.#special = specialTokensOf(json);
    this.#mayDrop = mayDrop(json);
    this.#addsSpace = addsSpace(json);
    this.#isApart = apartness(json);
    const { Tokenizer: Library } = library();
    try {
      // No truncation, no padding and no dropout: the ids of a text are complete and deterministic.
      const model = { ...(json.model as object), dropout: null };
      this.#tokenizer = Library.fromString(JSON.stringify({ ...json, model, truncation: null, padding: null }));
    } catch (cause) {
      throw new DataError(
        `cannot be used as a tokenizer: ${(cause as Error).message}`,
        { file: this.#file },
        { cause },
      );
    }
    this.#requireIds(options.addedTokens ?? {});
    this.#decoder = this.#tokenizer.getDecoder();
    this.#encoder = new Encoder(this.#tokenizer);
    this.endOfText = this.#specialId('end-of-text', options.endOfText, kEndNames);
    this.pad = options.pad === undefined ? this.#first(kPadNames) : this.#specialId('padding', options.pad, []);
    const { bos, addBos } = options;
    const own = prefixOf(json);
    this.bos = bos === undefined ? own[0] : this.#specialId('beginning-of-text', bos, []);
    this.prefix = Int32Array.from(addBos === undefined ? own : addBos && this.bos !== undefined ? [this.bos] : []);
    this.chatTemplate = options.chatTemplate;
    this.#words = isPlainByteLevel(json)
      ? new WordCache(json, (word, signal) => this.#encode(word, signal))
      : undefined;
  }

  /**
   * @param json the content of a `tokenizer.json`
   * @throws DataError if it is not a tokenizer, or has no end-of-text token
   */
  static fromJson(json: unknown, options: TokenizerOptions = {}): Tokenizer {
    if (!isObject(json)) throw new DataError('is not a JSON object', { file: options.file ?? 'tokenizer.json' });
    return new Tokenizer(json, options);
  }

  /**
   * @param path the folder of a model or tokenizer, or a `tokenizer.json`
   * @throws DataError naming the file that is missing or wrong
   */
  static async load(path: string, options: TokenizerOptions = {}): Promise<Tokenizer> {
    const { json, options: beside } = await readTokenizer(path);
    return Tokenizer.fromJson(json, { ...beside, ...defined(options) });
  }

  /**
   * The ids of a text, with nothing added before or after it. The work does not block the event loop, however long the text is;
   * concurrent calls are batched.
   *
   * @throws HeedError if the vocabulary lacks part of the text; the signal's reason after an abort
   */
  async encode(text: string, { signal }: Abortable = {}): Promise<Int32Array> {
    if (typeof text !== 'string') throw new TypeError(`encode: text is of type ${typeof text}, expected a string`);
    signal?.throwIfAborted();
    return this.#words ? this.#words.encode(text, signal) : this.#encode(text, signal);
  }

  /**
   * The ids of a text that follows another: those by which the joined text goes on after the ids of the other. Where a token of the
   * joined text would span both, the text is encoded by itself, and `isJoined` is false.
   *
   * @param before the other text and its ids
   * @throws as {@link encode}
   */
  async encodeAfter(
    before: { readonly text: string; readonly ids: Int32Array },
    text: string,
    options: Abortable = {},
  ): Promise<Continuation> {
    const joined = await this.encode(before.text + text, options);
    if (startsWith(joined, before.ids)) return { ids: joined.slice(before.ids.length), isJoined: true, joined };
    return { ids: await this.#encodeContinuation(text, options), isJoined: false, joined };
  }

  /** {@link encode} for several texts. */
  async encodeBatch(texts: readonly string[], options: Abortable = {}): Promise<Int32Array[]> {
    const ids: Int32Array[] = [];
    const pace = new Pace(options.signal, kBatch);
    for (let begin = 0; begin < texts.length; ) {
      let end = begin;
      let size = 0;
      while (end < texts.length && size < kBatch) size += 1 + texts[end++]!.length;
      ids.push(...(await Promise.all(texts.slice(begin, end).map((text) => this.encode(text, options)))));
      await pace.add(size);
      begin = end;
    }
    return ids;
  }

  /**
   * The text of a list of ids. Ids above the vocabulary decode to nothing, as in Hugging Face's decoders: a model may have more rows
   * than its tokenizer has tokens.
   *
   * @param skipSpecial leaves out special tokens such as end-of-text. Default true
   * @throws RangeError if an element is not a token id
   */
  decode(ids: ArrayLike<number>, skipSpecial = true): string {
    const list = Array.from(ids);
    for (const id of list) {
      if (!(Number.isInteger(id) && id >= 0)) throw new RangeError(`decode: ${id} is not a token id`);
    }
    const tokens = list.map((id) => (id < this.vocabSize ? this.#tokenizer.idToToken(id) : null));
    const shown = tokens.filter(
      (token): token is string => token !== null && !(skipSpecial && this.#special.has(token)),
    );
    return this.#decoder ? this.#decoder.decode(shown) : shown.join(' ');
  }

  /**
   * The text by which the text of other ids goes on. Some decoders drop the space at the beginning of a text, which a response that
   * follows a prompt must keep.
   *
   * @throws RangeError as {@link decode}
   */
  decodeAfter(before: ArrayLike<number>, ids: ArrayLike<number>, skipSpecial = true): string {
    const context = Array.from(before).slice(-kContext);
    const text = this.decode([...context, ...Array.from(ids)], skipSpecial);
    return text.slice(this.decode(context, skipSpecial).length);
  }

  /** @returns the id of a token, undefined if it does not exist */
  tokenToId(token: string): number | undefined {
    return this.#tokenizer.tokenToId(token) ?? undefined;
  }

  /** @returns the token as spelled in the vocabulary, undefined if it does not exist */
  idToToken(id: number): string | undefined {
    return this.#tokenizer.idToToken(id) ?? undefined;
  }

  /** @throws HeedError if the tokenizer has more tokens than a model with `vocabSize` rows */
  requireFits(vocabSize: number, model = 'the model'): void {
    if (this.vocabSize > vocabSize) {
      throw new HeedError(
        'ERR_INVALID_ARGUMENT',
        `${this.#file} has ${this.vocabSize} tokens, more than the vocabulary of ${model}, which has ${vocabSize}`,
      );
    }
  }

  /** The ids of a text that follows another: without the space that some tokenizers put before a text. */
  async #encodeContinuation(text: string, options: Abortable): Promise<Int32Array> {
    if (!this.#addsSpace) return this.encode(text, options);
    for (const before of kBefore) {
      const [start, whole] = await Promise.all([this.encode(before, options), this.encode(before + text, options)]);
      if (startsWith(whole, start)) return whole.slice(start.length);
    }
    return this.encode(text, options);
  }

  #encode(text: string, signal?: AbortSignal): Promise<Int32Array> {
    const encode = async (part: string) => {
      const encoding = await this.#encoder.encode(part, signal);
      if (this.#mayDrop) this.#requireWhole(part, encoding);
      return encoding;
    };
    return encodeInParts(text, { encode, isApart: this.#isApart });
  }

  /** Rejects text that the ids do not cover; dropping white space may be intended. */
  #requireWhole(text: string, encoding: Encoding): void {
    const characters = Array.from(text);
    let from = 0;
    for (const [start, end] of [...encoding.getOffsets(), [characters.length, characters.length]] as [
      number,
      number,
    ][]) {
      const missing = characters.slice(from, start).find((character) => character.trim() !== '');
      if (missing !== undefined) {
        throw new HeedError('ERR_INVALID_ARGUMENT', `${this.#file} has no token for ${JSON.stringify(missing)}`);
      }
      from = Math.max(from, end);
    }
  }

  /** The library numbers added tokens itself. */
  #requireIds(added: NonNullable<TokenizerOptions['addedTokens']>): void {
    for (const [token, { id }] of Object.entries(added)) {
      const found = this.tokenToId(token);
      if (found === id) continue;
      throw new DataError(`gives ${shown(token)} the id ${found}, but the files beside it give it ${id}`, {
        file: this.#file,
      });
    }
  }

  #first(names: readonly string[]): number | undefined {
    return names.map((name) => this.tokenToId(name)).find((id) => id !== undefined);
  }

  #specialId(what: string, name: string | undefined, usual: readonly string[]): number {
    const id = name === undefined ? this.#first(usual) : this.tokenToId(name);
    if (id !== undefined) return id;
    throw new DataError(
      name === undefined
        ? `has no ${what} token: expected one of ${usual.join(' ')}, or eos_token in tokenizer_config.json`
        : `has no token ${shown(name)}, which is configured as its ${what} token`,
      { file: this.#file },
    );
  }
}

const startsWith = (ids: Int32Array, start: Int32Array) => start.every((id, i) => ids[i] === id);

/** Decodes a stream of tokens: a character is held back until its last byte has arrived. */
export class TextStream {
  readonly #tokenizer: Tokenizer;
  readonly #ids: number[];
  #from = 0; // ids from here on are decoded together, so that the decoder has context
  #shown: number; // ids whose text was already returned

  /** @param before the ids that the stream follows: a prompt */
  constructor(tokenizer: Tokenizer, before: ArrayLike<number> = []) {
    this.#tokenizer = tokenizer;
    this.#ids = Array.from(before).slice(-kContext);
    this.#shown = this.#ids.length;
  }

  /** @returns the text that this token completes; empty within a multi-byte character */
  push(id: number): string {
    this.#ids.push(id);
    const whole = this.#tokenizer.decode(this.#ids.slice(this.#from));
    if (whole.endsWith('\ufffd') && this.#ids.length - this.#shown < 4) return '';
    return this.#advance(whole);
  }

  /** @returns the remaining text */
  end(): string {
    return this.#advance(this.#tokenizer.decode(this.#ids.slice(this.#from)));
  }

  #advance(whole: string): string {
    const text = whole.slice(this.#tokenizer.decode(this.#ids.slice(this.#from, this.#shown)).length);
    // The context has to show something: a decoder may drop the space at the beginning of what is shown.
    if (text !== '') this.#from = this.#shown;
    this.#shown = this.#ids.length;
    return text;
  }
}
