/** Chat templates: render a dialogue as the text that a model is trained on. */
import { readFile } from 'node:fs/promises';
import { Template } from '@huggingface/jinja';
import { DataError, HeedError } from '../core/errors.js';
import type { Tokenizer } from '../tokenizer/tokenizer.js';
import type { Dialogue, Message } from './fields.js';
import { pythonStrips, rendered } from './jinja.js';

/** A span of text; the assistant's spans carry loss. */
export interface Piece {
  readonly text: string;
  readonly learn: boolean;
}

/** A dialogue as text. */
export interface Rendered {
  readonly pieces: readonly Piece[];
  /** Whether only the last of several turns carries loss, because the template renders earlier ones differently. */
  readonly lastTurnOnly: boolean;
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
  /** Whether it writes the form of Anthropic's data. */
  readonly isTranscript: boolean;
  readonly #isPlain: boolean;
  readonly #template: Template;
  readonly #tokens: Readonly<Record<string, string>>;
  readonly #endOfText: string;

  /** @throws HeedError if the template does not parse */
  constructor(source: string, tokenizer: Tokenizer, name = 'the chat template') {
    this.name = name;
    this.isTranscript = source === TEMPLATES.hh;
    this.#isPlain = this.isTranscript || source === TEMPLATES.plain;
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
    this.#template = this.#guard(() => pythonStrips(new Template(source)));
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
  prompt({ messages, variables }: Dialogue): string {
    return this.#render(messages, true, variables);
  }

  /**
   * The dialogue, split where the assistant's turns begin and end. A turn ends with the end-of-text token if the template writes
   * one, and what follows it belongs to the next turn. Turns of weight 0 are not learnt.
   *
   * Some templates render earlier turns differently once later ones follow (without their reasoning, say). Then only the last turn is
   * learnt, after the earlier ones as they are when it is generated.
   *
   * @returns undefined if no turn begins where the template lets the assistant begin
   */
  split({ messages, variables }: Dialogue): Rendered | undefined {
    const turns = messages.flatMap((message, i) => (isLearnt(message) ? [i] : []));
    const pieces: Piece[] = [];
    let done = ''; // the text of the pieces so far
    for (const turn of turns) {
      const before = this.#render(messages.slice(0, turn), true, variables);
      const text = this.#turn(before, messages.slice(0, turn + 1), variables);
      if (text === undefined || !before.startsWith(done)) return this.#lastOf(messages, turns, variables);
      pieces.push({ text: before.slice(done.length), learn: false }, { text, learn: true });
      done = before + text;
    }
    return { pieces, lastTurnOnly: false };
  }

  /** The text of turns that follow a prompt; undefined if the template does not continue the prompt with them. */
  continuation({ messages, variables }: Dialogue, turns: readonly Message[]): string | undefined {
    const prompt = this.#render(messages, true, variables);
    const before = turns.length === 1 ? prompt : this.#render([...messages, ...turns.slice(0, -1)], true, variables);
    const last = this.#turn(before, [...messages, ...turns], variables);
    return last === undefined || !before.startsWith(prompt) ? undefined : before.slice(prompt.length) + last;
  }

  /** What it writes between a prompt and the answer's own text: a space, say, in `Assistant: …`. */
  lead({ messages, variables }: Dialogue): string {
    const kMark = 'heed';
    const before = this.#render(messages, true, variables);
    const after = this.#render([...messages, { role: 'assistant', content: kMark }], false, variables);
    return after.startsWith(before) ? (after.slice(before.length).match(/^(\s*)heed/)?.[1] ?? '') : '';
  }

  #lastOf(
    messages: readonly Message[],
    turns: readonly number[],
    variables: Dialogue['variables'],
  ): Rendered | undefined {
    if (turns.length === 1) return undefined; // the first is the last, and did not follow its prompt
    const turn = turns.at(-1)!;
    const before = this.#render(messages.slice(0, turn), true, variables);
    const text = this.#turn(before, messages.slice(0, turn + 1), variables);
    if (text === undefined) return undefined;
    return {
      pieces: [
        { text: before, learn: false },
        { text, learn: true },
      ],
      lastTurnOnly: true,
    };
  }

  /** The last turn's text, up to its end-of-text token; undefined if it does not follow `before`. */
  #turn(before: string, messages: readonly Message[], variables: Dialogue['variables']): string | undefined {
    const after = this.#render(messages, false, variables);
    if (!after.startsWith(before)) return undefined;
    const end = after.lastIndexOf(this.#endOfText); // a turn's own text may have the token too
    return after.slice(before.length, end < before.length ? undefined : end + this.#endOfText.length);
  }

  #render(messages: readonly Message[], prompt: boolean, variables: Dialogue['variables']): string {
    if (this.#isPlain && messages.some(({ role, tool_calls }) => role === 'tool' || (tool_calls ?? null) !== null))
      throw new HeedError(
        'ERR_INVALID_ARGUMENT',
        `${this.name} has no form for tools and their calls: use the tokenizer's own template, or a Jinja file`,
      );
    return this.#guard(() =>
      rendered(this.#template, { messages, add_generation_prompt: prompt, ...this.#tokens, ...variables }),
    );
  }

  #guard<T>(work: () => T): T {
    try {
      return work();
    } catch (cause) {
      // An error of the engine's own code is about a template that it does not expect.
      const why = cause instanceof TypeError ? 'it cannot be rendered' : (cause as Error).message;
      throw new HeedError('ERR_INVALID_ARGUMENT', `${this.name}: ${why}`, { cause });
    }
  }
}

const isLearnt = ({ role, weight, train }: Message) => role === 'assistant' && weight !== 0 && train !== false;
