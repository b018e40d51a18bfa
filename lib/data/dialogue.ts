/** Rows as dialogues: what precedes a response, and the responses. */
import { isDeepStrictEqual } from 'node:util';
import type { HeedError } from '../core/errors.js';
import { shown } from '../core/json.js';
import {
  type Dialogue,
  type Message,
  messagesField,
  optionalString,
  rowError,
  stringField,
  stringsField,
  variablesOf,
} from './fields.js';
import type { Row } from './rows.js';

/** A prompt: text to be used as it is or as a user's turn, or the turns of a dialogue. */
export type RowPrompt =
  | {
      readonly text: string;
      /** Whether the text has the form of Anthropic's data: turns after "\n\nHuman:" and "\n\nAssistant:". */
      readonly isTranscript: boolean;
      readonly dialogue?: undefined;
      readonly field?: undefined;
    }
  | { readonly dialogue: Dialogue; readonly field: string; readonly text?: undefined };

/** A response: text, or turns. */
export type RowResponse = string | readonly Message[];

/** The field that holds a whole dialogue, with its responses; undefined if there is none. */
export const wholeDialogueField = (row: Row): string | undefined =>
  ['messages', 'conversations'].find((name) => name in row.value);

/** The field that holds the dialogue of a row's prompt; undefined if there is none. */
const dialogueField = (row: Row): string | undefined =>
  wholeDialogueField(row) ?? (Array.isArray(row.value.prompt) ? 'prompt' : undefined);

/** ShareGPT's `system` beside `conversations` is the first turn. @throws DataError naming the field */
export function dialogueOf(row: Row, field: string): Dialogue {
  const messages = messagesField(row, field);
  const system = field === 'conversations' ? optionalString(row, 'system') : '';
  const first = system === '' || messages[0]!.role === 'system' ? [] : [{ role: 'system', content: system }];
  return { messages: [...first, ...messages], variables: variablesOf(row) };
}

/** A row's prompt: a dialogue up to the last turn that is not the assistant's, `prompt`, or `instruction` with `input`. */
export function promptOf(row: Row): RowPrompt {
  const field = dialogueField(row);
  if (field === undefined) return textPrompt(plainPrompt(row));
  const { messages, variables } = dialogueOf(row, field);
  const last = messages.findLastIndex((message) => message.role !== 'assistant');
  if (last < 0) throw rowError(row, 'has no turn to answer, expected a user message', field);
  return { dialogue: { messages: messages.slice(0, last + 1), variables }, field };
}

const kAssistant = '\n\nAssistant:';

/** A text as a prompt. */
export const textPrompt = (text: string): RowPrompt & { readonly text: string } => ({
  text,
  isTranscript: text.startsWith('\n\nHuman:') && text.trimEnd().endsWith(kAssistant),
});

/** `prompt`, or `instruction` with `input`. */
function plainPrompt(row: Row): string {
  if ('prompt' in row.value) return stringField(row, 'prompt');
  if (!('instruction' in row.value)) throw unknownKind(row, 'prompt, messages or instruction');
  const instruction = stringField(row, 'instruction');
  const input = optionalString(row, 'input');
  return input === '' ? instruction : `${instruction}\n${input}`;
}

/** The one response of a demonstration: `response`, `completion`, or `output` of an instruction. */
export function responseOf(row: Row): RowResponse {
  const { value } = row;
  const field = 'instruction' in value ? 'output' : 'completion' in value ? 'completion' : 'response';
  if (![field, 'prompt', 'instruction'].some((name) => name in value))
    throw unknownKind(row, 'prompt and response, messages, or instruction and output');
  if (field === 'completion' && 'response' in value)
    throw rowError(row, 'is there beside response, expected only one of them', 'completion');
  return Array.isArray(value[field]) ? messagesField(row, field) : stringField(row, field);
}

export interface ComparedRow {
  readonly prompt: RowPrompt;
  readonly responses: readonly RowResponse[];
}

/** A row's prompt and several responses to it: `responses`, or `chosen` and `rejected`. At least one response. */
export function comparedOf(row: Row): ComparedRow {
  const { value } = row;
  if ('chosen' in value || 'rejected' in value) return pairOf(row);
  if (!('responses' in value)) throw unknownKind(row, 'prompt with responses and ranks, or with chosen and rejected');
  const responses = stringsField(row, 'responses');
  if (responses.length === 0) throw rowError(row, 'is empty, expected at least one response', 'responses');
  return { prompt: promptOf(row), responses };
}

/**
 * `chosen` and `rejected`: texts after `prompt`; texts of whole dialogues, as in Anthropic's data; turns after `prompt`; or turns of
 * whole dialogues, whose beginning they share.
 */
function pairOf(row: Row): ComparedRow {
  if (!Array.isArray(row.value.chosen) && !Array.isArray(row.value.rejected)) {
    const [chosen, rejected] = [stringField(row, 'chosen'), stringField(row, 'rejected')];
    if (!('prompt' in row.value || 'instruction' in row.value || dialogueField(row) !== undefined))
      return splitTranscripts(row, chosen, rejected);
    const prompt = promptOf(row);
    const repeated = prompt.dialogue === undefined && prompt.isTranscript ? prompt.text : '';
    const repeats = chosen.startsWith(repeated) && rejected.startsWith(repeated);
    return { prompt, responses: [chosen, rejected].map((text) => (repeats ? text.slice(repeated.length) : text)) };
  }
  const [chosen, rejected] = [messagesField(row, 'chosen'), messagesField(row, 'rejected')];
  const shared = sharedTurns(chosen, rejected);
  const responses = [chosen.slice(shared), rejected.slice(shared)];
  responses.forEach(([first], i) => {
    if (first!.role === 'assistant') return;
    const field = i === 0 ? 'chosen' : 'rejected';
    throw rowError(row, `goes on with a turn of ${shown(first!.role)}, expected an assistant's`, field);
  });
  const given = Array.isArray(row.value.prompt) ? messagesField(row, 'prompt') : [];
  const common = chosen.slice(0, shared);
  const isWhole = isDeepStrictEqual(common.slice(0, given.length), given);
  const messages = isWhole ? common : [...given, ...common];
  if (messages.length === 0) return { prompt: promptOf(row), responses };
  const { prompt } = row.value;
  if (typeof prompt === 'string' && !messages.some(({ content }) => content.trim() === prompt.trim()))
    throw rowError(
      row,
      `is ${JSON.stringify(prompt.slice(0, 60))}, which is no turn of the dialogue in chosen`,
      'prompt',
    );
  return { prompt: { dialogue: { messages, variables: variablesOf(row) }, field: 'chosen' }, responses };
}

/** How many turns two dialogues share before an assistant's turn. */
function sharedTurns(a: readonly Message[], b: readonly Message[]): number {
  const most = Math.min(a.length, b.length) - 1; // each has a turn of its own
  let shared = 0;
  while (shared < most && isDeepStrictEqual(a[shared], b[shared])) shared++;
  while (shared > 0 && (a[shared]!.role !== 'assistant' || b[shared]!.role !== 'assistant')) shared--;
  return shared;
}

/** Anthropic's dialogues in one text: the prompt is what both share, up to an assistant's turn. */
function splitTranscripts(row: Row, chosen: string, rejected: string): ComparedRow {
  let shared = 0;
  while (shared < chosen.length && chosen[shared] === rejected[shared]) shared++;
  const at = chosen.slice(0, shared).lastIndexOf(kAssistant);
  if (at < 0)
    throw unknownKind(
      row,
      `prompt, or dialogues in chosen and rejected that share a text with ${JSON.stringify(kAssistant)}`,
    );
  const end = at + kAssistant.length;
  return { prompt: textPrompt(chosen.slice(0, end)), responses: [chosen.slice(end), rejected.slice(end)] };
}

/** The turns of a text in the form of Anthropic's data. */
export function transcriptTurns(text: string): Message[] {
  return text
    .split(/\n\n(?=(?:Human|Assistant):)/)
    .filter((turn) => /^(Human|Assistant):/.test(turn))
    .map((turn) => ({
      role: turn.startsWith('Human:') ? 'user' : 'assistant',
      content: turn.slice(turn.indexOf(':') + 1).trim(),
    }));
}

function unknownKind(row: Row, expected: string): HeedError {
  const fields = Object.keys(row.value);
  return rowError(
    row,
    `has ${fields.length === 0 ? 'no fields' : `the fields ${fields.join(', ')}`}, expected ${expected}`,
  );
}
