/** Renders rows as the text of a prompt and its responses, and encodes them as token ids. */
import { HeedError } from '../core/errors.js';
import { shown } from '../core/json.js';
import type { Abortable } from '../core/native.js';
import type { Continuation, Tokenizer } from '../tokenizer/tokenizer.js';
import {
  comparedOf,
  dialogueOf,
  promptOf,
  type RowPrompt,
  type RowResponse,
  responseOf,
  textPrompt,
  transcriptTurns,
  wholeDialogueField,
} from './dialogue.js';
import { type Dialogue, type Message, numbersField, rowError } from './fields.js';
import type { Row } from './rows.js';
import { ChatTemplate, type Piece, type Rendered } from './template.js';
import type { TextPart } from './texts.js';

/** A prompt and responses to it, as text. */
export interface Compared {
  readonly prompt: string;
  readonly texts: readonly string[];
  /** Which of them were cut off, and have no end. Default: none. */
  readonly cutOff?: readonly boolean[] | undefined;
}

export interface ComparedIds {
  readonly prompt: Int32Array;
  readonly responses: readonly Int32Array[];
  /** Whether prompt and response together are the ids of their text, for each response. */
  readonly isJoined: boolean;
}

/** Reads rows with one tokenizer and at most one template. Without a template text is used unchanged. */
export class Frame {
  readonly tokenizer: Tokenizer;
  /** The end-of-text token as text. */
  readonly endOfText: string;
  readonly #template: ChatTemplate | undefined;
  #own: ChatTemplate | undefined; // the tokenizer's own, used for dialogues if none was given

  constructor(tokenizer: Tokenizer, template?: ChatTemplate) {
    this.tokenizer = tokenizer;
    this.endOfText = tokenizer.idToToken(tokenizer.endOfText) ?? '';
    this.#template = template;
    this.#own = template;
  }

  // Only when a dialogue needs it: a template that does not parse is no obstacle to texts.
  #ownTemplate(): ChatTemplate | undefined {
    const { chatTemplate } = this.tokenizer;
    if (!this.#own && chatTemplate !== undefined)
      this.#own = new ChatTemplate(chatTemplate, this.tokenizer, "the tokenizer's chat template");
    return this.#own;
  }

  /**
   * The text of a prompt, rendered with the template.
   *
   * @param variables what the template is given beside messages, such as `tools`
   * @throws HeedError for messages if there is none
   */
  promptText(prompt: string | readonly Message[], variables?: Dialogue['variables']): string {
    if (typeof prompt === 'string') {
      const text = textPrompt(prompt);
      return this.#leaves(text) ? prompt : this.#template!.prompt(dialogueFrom(text));
    }
    if (!Array.isArray(prompt))
      throw new TypeError(
        `the prompt is ${prompt === null ? 'null' : `of type ${typeof prompt}`}, expected a string or messages`,
      );
    const own = this.#ownTemplate();
    if (own) return own.prompt({ messages: prompt.map(checkMessage), variables });
    throw new HeedError('ERR_INVALID_ARGUMENT', 'messages need a chat template: name plain, hh or a Jinja file');
  }

  /** White space that the template writes before an answer's own text. */
  lead(prompt: string | readonly Message[], variables?: Dialogue['variables']): string {
    return typeof prompt === 'string' ? '' : (this.#ownTemplate()?.lead({ messages: prompt, variables }) ?? '');
  }

  /** The text of a row's prompt; empty if it is blank. */
  prompt(row: Row): string {
    return this.#promptOf(row, promptOf(row));
  }

  /**
   * A demonstration as pieces with and without loss: `{prompt, response}`, `{prompt, completion}`, `{messages}`, `{conversations}`,
   * `{instruction, input, output}`.
   *
   * @returns undefined if the template does not let the assistant's last turn follow its prompt
   */
  demonstration(row: Row): Rendered | undefined {
    const field = wholeDialogueField(row);
    if (field !== undefined) {
      const dialogue = dialogueOf(row, field);
      if (dialogue.messages.every(({ role }) => role !== 'assistant')) {
        const roles = [...new Set(dialogue.messages.map(({ role }) => role))].join(', ').slice(0, 80);
        throw rowError(row, `has no turn of an assistant but only of ${roles}, expected at least one`, field);
      }
      return this.#templateOf(row, field).split(dialogue);
    }
    const response = responseOf(row);
    const prompt = promptOf(row);
    const isText = prompt.text !== undefined && typeof response === 'string';
    if ((isText && this.#leaves(prompt)) || isBlankResponse(response) || isBlankPrompt(prompt)) {
      const text = isBlankResponse(response) ? '' : (response as string);
      const pieces: Piece[] = [
        { text: this.#promptOf(row, prompt), learn: false },
        { text, learn: true },
      ];
      return { pieces, lastTurnOnly: false };
    }
    const { messages, variables } = dialogueFrom(prompt);
    const read = messages.map((message) => ({ ...message, weight: 0 })); // only the response is learnt
    return this.#templateOf(row, prompt.field).split({ messages: [...read, ...turnsOf(prompt, response)], variables });
  }

  /** The ranks of responses that {@link compared} has read, 0 for the best. */
  ranks(row: Row): Int32Array {
    if (!('responses' in row.value)) return Int32Array.of(0, 1);
    const { length } = row.value.responses as unknown[];
    if (length < 2) throw rowError(row, `has length ${length}, expected at least 2 to compare`, 'responses');
    const ranks = numbersField(row, 'ranks');
    if (ranks.length !== length)
      throw rowError(row, `has length ${ranks.length}, expected ${length}: one per response`, 'ranks');
    const levels = [...new Set(ranks)].sort((a, b) => a - b);
    return Int32Array.from(ranks, (rank) => levels.indexOf(rank));
  }

  /**
   * A prompt with several responses: `responses`, or `chosen` and `rejected`.
   *
   * @returns undefined if the template does not let a response follow the prompt
   */
  compared(row: Row): Compared | undefined {
    const { prompt, responses } = comparedOf(row);
    if (this.#leaves(prompt) && responses.every((response) => typeof response === 'string'))
      return { prompt: this.#promptOf(row, prompt), texts: responses };
    if (isBlankPrompt(prompt)) return { prompt: '', texts: [] };
    const dialogue = dialogueFrom(prompt);
    const template = this.#templateOf(row, prompt.field);
    const texts = responses.map((response) => {
      if (isBlankResponse(response)) return '';
      return template.continuation(dialogue, turnsOf(prompt, response));
    });
    if (texts.some((text) => text === undefined)) return undefined;
    return { prompt: template.prompt(dialogue), texts: texts as string[] };
  }

  /** The ids of a prompt. Special tokens that the tokenizer itself puts before a text are added once. */
  async promptIds(text: string, options?: Abortable): Promise<Int32Array> {
    return this.#withPrefix(await this.tokenizer.encode(text, options));
  }

  /** The ids of a document with its end-of-text token. */
  async documentIds(text: string, options?: Abortable): Promise<Int32Array> {
    return this.ended(this.#withPrefix(await this.tokenizer.encode(text, options)));
  }

  /** The ids of a part of a document, which begins after a line break unless it is the first. */
  async partIds({ text, isFirst }: TextPart, options?: Abortable): Promise<Int32Array> {
    if (isFirst) return this.#withPrefix(await this.tokenizer.encode(text, options));
    const before = { text: '\n', ids: await this.tokenizer.encode('\n', options) };
    return (await this.tokenizer.encodeAfter(before, text, options)).ids;
  }

  /** The ids of a prompt and of responses that follow it, each with its end-of-text token unless it was cut off. */
  async comparedIds({ prompt: text, texts, cutOff }: Compared, options?: Abortable): Promise<ComparedIds> {
    const ids = await this.tokenizer.encode(text, options);
    const responses = await Promise.all(texts.map((each) => this.tokenizer.encodeAfter({ text, ids }, each, options)));
    return {
      prompt: this.#withPrefix(ids),
      responses: responses.map(({ ids: own }, k) => (cutOff?.[k] ? this.#unended(own) : this.ended(own))),
      isJoined: responses.every(({ isJoined }) => isJoined),
    };
  }

  /** The ids of each piece, the last with its end-of-text token; where else that stands is up to the template. */
  async pieceIds(pieces: readonly Piece[], options?: Abortable): Promise<{ ids: Int32Array[]; isJoined: boolean }> {
    const encoded: Continuation[] = [];
    let before: { text: string; ids: Int32Array } = { text: '', ids: new Int32Array() };
    for (const { text } of pieces) {
      const piece = await this.tokenizer.encodeAfter(before, text, options);
      encoded.push(piece);
      before = { text: before.text + text, ids: piece.joined };
    }
    const ids = encoded.map((piece, i) => (i === 0 ? this.#withPrefix(piece.ids) : piece.ids));
    ids.push(this.ended(ids.pop()!));
    return { ids, isJoined: encoded.every(({ isJoined }) => isJoined) };
  }

  #withPrefix(ids: Int32Array): Int32Array {
    const { prefix } = this.tokenizer;
    return prefix.every((id, i) => ids[i] === id) ? ids : concat([prefix, ids]);
  }

  /** The ids with an end-of-text token at the end. */
  ended(ids: Int32Array): Int32Array {
    const { endOfText } = this.tokenizer;
    return ids.at(-1) === endOfText ? ids : concat([ids, Int32Array.of(endOfText)]);
  }

  #unended(ids: Int32Array): Int32Array {
    return ids.at(-1) === this.tokenizer.endOfText ? ids.slice(0, -1) : ids;
  }

  #promptOf(row: Row, prompt: RowPrompt): string {
    if (prompt.dialogue) return this.#templateOf(row, prompt.field).prompt(prompt.dialogue);
    if (isBlank(prompt.text)) return '';
    // Without a template, only a line break separates an instruction from its response.
    const isInstruction = !('prompt' in row.value) && 'instruction' in row.value;
    return this.promptText(isInstruction && !this.#template ? `${prompt.text}\n` : prompt.text);
  }

  /** Whether a prompt's text and texts that follow it are used as they are. */
  #leaves(prompt: RowPrompt): boolean {
    return prompt.dialogue === undefined && (!this.#template || (prompt.isTranscript && this.#template.isTranscript));
  }

  #templateOf(row: Row, field: string | undefined): ChatTemplate {
    const own = this.#ownTemplate();
    if (own) return own;
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

function checkMessage(message: Message, i: number): Message {
  const { role, content } = (message ?? {}) as Partial<Message>;
  for (const [name, value] of Object.entries({ role, content }))
    if (typeof value !== 'string') throw new TypeError(`messages[${i}].${name} is ${shown(value)}, expected a string`);
  return message;
}

const user = (content: string): Message => ({ role: 'user', content });

/** The turns of a prompt; a transcript's last one is the assistant's that is to be written. */
const dialogueFrom = (prompt: RowPrompt): Dialogue =>
  prompt.dialogue ?? {
    messages: prompt.isTranscript ? transcriptTurns(prompt.text).slice(0, -1) : [user(prompt.text)],
  };

function turnsOf(prompt: RowPrompt, response: RowResponse): readonly Message[] {
  if (typeof response !== 'string') return response;
  const isTranscript = prompt.dialogue === undefined && prompt.isTranscript;
  return isTranscript ? transcriptTurns(`\n\nAssistant:${response}`) : [{ role: 'assistant', content: response }];
}

const isBlankPrompt = (prompt: RowPrompt) => prompt.text !== undefined && isBlank(prompt.text);
const isBlankResponse = (response: RowResponse) => typeof response === 'string' && isBlank(response);
