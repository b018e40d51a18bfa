/** Chat templates: render a dialogue as the text that a model is trained on. */
import { readFile } from 'node:fs/promises';
import { Template } from '@huggingface/jinja';
import { DataError, HeedError } from '../core/errors.js';
import type { Tokenizer } from '../tokenizer/tokenizer.js';
import type { Message } from './fields.js';

/** A span of text; the assistant's spans carry loss. */
export interface Piece {
  readonly text: string;
  readonly learn: boolean;
}

/** Built-in templates. */
export const TEMPLATES = {
  /** `User: …`, `Assistant: …`, one line each. */
  plain: `{%- for message in messages -%}
{%- if message.role == 'assistant' -%}{{ 'Assistant: ' + message.content + eos_token + '\\n' }}
{%- elif message.role == 'user' -%}{{ 'User: ' + message.content + '\\n' }}
{%- else -%}{{ message.content + '\\n' }}{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ 'Assistant:' }}{%- endif -%}`,
  /** The form of Anthropic's human preference data: `\n\nHuman: …\n\nAssistant:…`. */
  hh: `{%- for message in messages -%}
{%- if message.role == 'assistant' -%}{{ '\\n\\nAssistant:' + message.content + eos_token }}
{%- elif message.role == 'user' -%}{{ '\\n\\nHuman: ' + message.content }}
{%- else -%}{{ message.content }}{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '\\n\\nAssistant:' }}{%- endif -%}`,
} as const;

/** A Jinja template with the tokenizer's special tokens. */
export class ChatTemplate {
  readonly name: string;
  readonly #template: Template;
  readonly #tokens: Readonly<Record<string, string>>;
  readonly #endOfText: string;

  /** @throws HeedError if the template does not parse */
  constructor(source: string, tokenizer: Tokenizer, name = 'the chat template') {
    this.name = name;
    const token = (name: string, id: number | undefined) => {
      const text = id === undefined ? undefined : tokenizer.idToToken(id);
      return text === undefined ? {} : { [name]: text };
    };
    this.#endOfText = tokenizer.idToToken(tokenizer.endOfText) ?? '';
    this.#tokens = {
      eos_token: this.#endOfText,
      ...token('bos_token', tokenizer.bos),
      ...token('pad_token', tokenizer.pad),
    };
    this.#template = this.#guard(() => new Template(source));
  }

  /**
   * @param name `plain`, `hh`, `tokenizer` (the tokenizer's own), or a Jinja file
   * @throws DataError naming the file; HeedError if the tokenizer has none
   */
  static async load(name: string, tokenizer: Tokenizer): Promise<ChatTemplate> {
    if (name === 'plain' || name === 'hh') return new ChatTemplate(TEMPLATES[name], tokenizer, `template ${name}`);
    if (name === 'tokenizer') {
      if (tokenizer.chatTemplate !== undefined)
        return new ChatTemplate(tokenizer.chatTemplate, tokenizer, "the tokenizer's chat template");
      throw new HeedError('ERR_INVALID_ARGUMENT', 'the tokenizer has no chat template: name plain, hh or a Jinja file');
    }
    try {
      return new ChatTemplate(await readFile(name, 'utf8'), tokenizer, name);
    } catch (cause) {
      if (cause instanceof HeedError) throw cause;
      throw new DataError('cannot be read, expected plain, hh, tokenizer or a Jinja file', { file: name }, { cause });
    }
  }

  /** The text up to the start of the assistant's turn. */
  prompt(messages: readonly Message[]): string {
    return this.#render(messages, true);
  }

  /**
   * The dialogue, split where the assistant's turns begin and end. A turn ends with the end-of-text token if the template writes
   * one, and what follows it belongs to the next turn.
   *
   * @throws HeedError if the template renders earlier turns differently when later ones are added
   */
  pieces(messages: readonly Message[]): Piece[] {
    const pieces: Piece[] = [];
    let done = ''; // the text of the pieces so far
    messages.forEach((message, i) => {
      if (message.role !== 'assistant') return;
      const before = this.#render(messages.slice(0, i), true);
      const after = this.#render(messages.slice(0, i + 1), false);
      if (!before.startsWith(done) || !after.startsWith(before)) {
        throw new HeedError(
          'ERR_INVALID_ARGUMENT',
          `${this.name} renders turn ${i + 1} differently once a later turn is added, expected the same text`,
        );
      }
      const end = after.indexOf(this.#endOfText, before.length);
      const upTo = end < 0 ? after.length : end + this.#endOfText.length;
      pieces.push(
        { text: before.slice(done.length), learn: false },
        { text: after.slice(before.length, upTo), learn: true },
      );
      done = after.slice(0, upTo);
    });
    return pieces;
  }

  #render(messages: readonly Message[], prompt: boolean): string {
    return this.#guard(() => this.#template.render({ messages, add_generation_prompt: prompt, ...this.#tokens }));
  }

  #guard<T>(work: () => T): T {
    try {
      return work();
    } catch (cause) {
      throw new HeedError('ERR_INVALID_ARGUMENT', `${this.name}: ${(cause as Error).message}`, { cause });
    }
  }
}
