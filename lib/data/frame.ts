/** Turns a row's fields into the text of a prompt and its responses, and into token ids. Prompt and response are tokenised separately. */
import { HeedError } from '../core/errors.js';
import type { Abortable } from '../core/native.js';
import type { Tokenizer } from '../tokenizer/tokenizer.js';
import {
  type Message,
  messagesField,
  numbersField,
  optionalString,
  rowError,
  stringField,
  stringsField,
} from './fields.js';
import type { Row } from './rows.js';
import { ChatTemplate, type Piece } from './template.js';

/** Reads rows with one tokenizer and at most one template. Without a template text is used unchanged. */
export class Frame {
  readonly tokenizer: Tokenizer;
  /** The end-of-text token as text. */
  readonly endOfText: string;
  readonly #template: ChatTemplate | undefined;
  readonly #own: ChatTemplate | undefined; // the tokenizer's own, used for dialogues if none was given

  constructor(tokenizer: Tokenizer, template?: ChatTemplate) {
    this.tokenizer = tokenizer;
    this.endOfText = tokenizer.idToToken(tokenizer.endOfText) ?? '';
    this.#template = template;
    this.#own =
      template ??
      (tokenizer.chatTemplate === undefined ? undefined : new ChatTemplate(tokenizer.chatTemplate, tokenizer));
  }

  /** The text of a prompt, rendered with the template. @throws HeedError for messages if there is none */
  promptText(prompt: string | readonly Message[]): string {
    if (typeof prompt === 'string') return this.#template ? this.#template.prompt([user(prompt)]) : prompt;
    if (this.#own) return this.#own.prompt(prompt);
    throw new HeedError('ERR_INVALID_ARGUMENT', 'messages need a chat template: name plain, hh or a Jinja file');
  }

  /** The text of a row's prompt: `prompt`, `instruction` with `input`, or `messages` up to the last turn that is not the assistant's. */
  prompt(row: Row): string {
    const field = dialogueField(row);
    if (field === undefined) {
      const content = plainPrompt(row);
      if (isBlank(content)) return '';
      // Without a template, only a line break separates an instruction from its response.
      return this.promptText('prompt' in row.value || this.#template ? content : `${content}\n`);
    }
    const messages = messagesField(row, field);
    const last = messages.findLastIndex((message) => message.role !== 'assistant');
    if (last < 0) throw rowError(row, 'has no turn to answer, expected a user message', field);
    return this.#dialogue(row, field).prompt(messages.slice(0, last + 1));
  }

  /** A demonstration as pieces with and without loss. `{prompt, response}`, `{messages}`, `{instruction, input, output}`. */
  demonstration(row: Row): Piece[] {
    const { value } = row;
    if ('messages' in value) {
      const messages = messagesField(row, 'messages');
      const pieces = this.#dialogue(row, 'messages').pieces(messages);
      if (pieces.length === 0) throw rowError(row, 'has no turn of an assistant, expected at least one', 'messages');
      return pieces;
    }
    const field = 'instruction' in value ? 'output' : 'response';
    if (![field, 'prompt', 'instruction'].some((name) => name in value)) {
      throw unknownKind(row, 'prompt and response, messages, or instruction and output');
    }
    const response = stringField(row, field);
    if (this.#template && !isBlank(response)) {
      const messages = Array.isArray(value.prompt) ? messagesField(row, 'prompt') : [user(plainPrompt(row))];
      return this.#template.pieces([...messages, { role: 'assistant', content: response }]);
    }
    return [
      { text: this.prompt(row), learn: false },
      { text: response, learn: true },
    ];
  }

  /** A ranking's responses and their ranks, 0 for the best: `{responses, ranks}` or `{chosen, rejected}`. */
  ranking(row: Row): { readonly texts: readonly string[]; readonly ranks: Int32Array } {
    const texts = this.responses(row);
    if (!('responses' in row.value)) return { texts, ranks: Int32Array.of(0, 1) };
    if (texts.length < 2)
      throw rowError(row, `has length ${texts.length}, expected at least 2 to compare`, 'responses');
    const ranks = numbersField(row, 'ranks');
    if (ranks.length !== texts.length) {
      throw rowError(row, `has length ${ranks.length}, expected ${texts.length}: one per response`, 'ranks');
    }
    const levels = [...new Set(ranks)].sort((a, b) => a - b);
    return { texts, ranks: Int32Array.from(ranks, (rank) => levels.indexOf(rank)) };
  }

  /** Several responses to a prompt: `responses`, or `chosen` and `rejected`. At least one. */
  responses(row: Row): string[] {
    if ('chosen' in row.value || 'rejected' in row.value)
      return [stringField(row, 'chosen'), stringField(row, 'rejected')];
    if (!('responses' in row.value))
      throw unknownKind(row, 'prompt with responses and ranks, or with chosen and rejected');
    const texts = stringsField(row, 'responses');
    if (texts.length === 0) throw rowError(row, 'is empty, expected at least one response', 'responses');
    return texts;
  }

  /** The ids of a prompt. Special tokens that the tokenizer itself puts before a text are added once. */
  async promptIds(text: string, options?: Abortable): Promise<Int32Array> {
    const { prefix } = this.tokenizer;
    const ids = await this.tokenizer.encode(text, options);
    return prefix.every((id, i) => ids[i] === id) ? ids : concat([prefix, ids]);
  }

  /** The ids of a response (or document) with its end-of-text token. */
  async responseIds(text: string, options?: Abortable): Promise<Int32Array> {
    const { endOfText } = this.tokenizer;
    const ids = await this.tokenizer.encode(text, options);
    return ids.at(-1) === endOfText ? ids : concat([ids, Int32Array.of(endOfText)]);
  }

  #dialogue(row: Row, field: string): ChatTemplate {
    if (this.#own) return this.#own;
    throw rowError(row, 'is a dialogue and needs a chat template: --template plain, hh or a Jinja file', field);
  }
}

/** Whether a text is empty or only white space. */
export function isBlank(text: string): boolean {
  return text.trim() === '';
}

export function concat(parts: readonly Int32Array[]): Int32Array {
  const all = new Int32Array(parts.reduce((n, part) => n + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

const user = (content: string): Message => ({ role: 'user', content });

function dialogueField(row: Row): string | undefined {
  if ('messages' in row.value) return 'messages';
  return Array.isArray(row.value.prompt) ? 'prompt' : undefined;
}

function plainPrompt(row: Row): string {
  if ('prompt' in row.value) return stringField(row, 'prompt');
  if (!('instruction' in row.value)) throw unknownKind(row, 'prompt, messages or instruction');
  const instruction = stringField(row, 'instruction');
  const input = optionalString(row, 'input');
  return input === '' ? instruction : `${instruction}\n${input}`;
}

function unknownKind(row: Row, expected: string): HeedError {
  const fields = Object.keys(row.value);
  return rowError(
    row,
    `has ${fields.length === 0 ? 'no fields' : `the fields ${fields.join(', ')}`}, expected ${expected}`,
  );
}
