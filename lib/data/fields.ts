/** Typed access to the fields of a row; other fields are ignored. */
import { DataError } from '../core/errors.js';
import { isObject, shown } from '../core/json.js';
import type { Row } from './rows.js';

/** One turn of a dialogue. A chat template may use fields beyond the role and the text. */
export interface Message {
  readonly role: string;
  readonly content: string;
  readonly name?: unknown;
  readonly reasoning_content?: unknown;
  readonly tool_calls?: unknown;
  readonly tool_call_id?: unknown;
  /** 0: the turn is read and not learnt. */
  readonly weight?: unknown;
  /** false: the turn is read and not learnt. */
  readonly train?: unknown;
}

/** Turns, and what else a chat template is given: `tools`, and the fields of `chat_template_kwargs`. */
export interface Dialogue {
  readonly messages: readonly Message[];
  readonly variables?: Readonly<Record<string, unknown>> | undefined;
}

/** @throws DataError unless the field is a string */
export function stringField(row: Row, field: string): string {
  return string(row, field, row.value[field]);
}

/** Empty if the row has no such field. @throws DataError if it is present but not a string */
export function optionalString(row: Row, field: string): string {
  return row.value[field] === undefined || row.value[field] === null ? '' : stringField(row, field);
}

/** @throws DataError unless the field is a list of strings */
export function stringsField(row: Row, field: string): string[] {
  return list(row, field, 'strings').map((value, i) => string(row, `${field}[${i}]`, value));
}

/** @throws DataError unless the field is a list of finite numbers */
export function numbersField(row: Row, field: string): number[] {
  return list(row, field, 'numbers').map((value, i) => {
    if (typeof value === 'number' && Number.isFinite(value)) return value;
    throw wrong(row, `${field}[${i}]`, value, 'a finite number');
  });
}

/**
 * Turns of a dialogue: `role` and `content` (or `text`, as in Open Assistant, or `from` and `value`, as in ShareGPT); other fields are
 * kept. Content may be a list of text parts, and may be missing in a turn that calls tools.
 *
 * @throws DataError unless it is a non-empty list of turns
 */
export function messagesField(row: Row, field: string): Message[] {
  const messages = list(row, field, 'messages').map((value, i) => {
    if (!isObject(value)) throw wrong(row, `${field}[${i}]`, value, 'an object');
    const { from, value: said, text = said, role = from, content = text, ...others } = value;
    return {
      ...others,
      role: roleOf(string(row, `${field}[${i}].${from === undefined ? 'role' : 'from'}`, role)),
      content: contentOf(row, `${field}[${i}].content`, content, value.tool_calls !== undefined),
    };
  });
  if (messages.length === 0) throw new DataError('is empty, expected at least one message', place(row, field));
  return messages;
}

/** `tools` and `chat_template_kwargs` of a row, as transformers passes them to a chat template; undefined if it has neither. */
export function variablesOf(row: Row): Dialogue['variables'] {
  const { tools, chat_template_kwargs: others } = row.value;
  if ((tools ?? null) === null && (others ?? null) === null) return undefined;
  if (others !== undefined && others !== null && !isObject(others))
    throw wrong(row, 'chat_template_kwargs', others, 'an object');
  const listed = typeof tools === 'string' ? parsed(row, 'tools', tools) : (tools ?? undefined);
  if (listed !== undefined && !Array.isArray(listed)) throw wrong(row, 'tools', tools, 'a list of tools');
  return { ...(others as object | undefined), ...(listed === undefined ? {} : { tools: listed }) };
}

// Data sets keep tools as text where their columns must have one type.
function parsed(row: Row, field: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw wrong(row, field, text, 'a list of tools');
  }
}

// ShareGPT's names.
const roles: Readonly<Record<string, string>> = {
  human: 'user',
  gpt: 'assistant',
  function_call: 'assistant',
  observation: 'tool',
};
const roleOf = (role: string) => (Object.hasOwn(roles, role) ? roles[role]! : role);

function contentOf(row: Row, field: string, content: unknown, callsTools: boolean): string {
  if (callsTools && (content ?? null) === null) return '';
  if (!Array.isArray(content)) return string(row, field, content);
  return content
    .map((part: unknown, i) => {
      if (typeof part === 'string') return part;
      if (isObject(part) && (part.type ?? 'text') === 'text') return string(row, `${field}[${i}].text`, part.text);
      throw wrong(row, `${field}[${i}]`, part, 'a text part: {"type": "text", "text": …}');
    })
    .join('');
}

/** @throws DataError unless the field is true, false, 1 or 0 */
export function labelField(row: Row, field: string): boolean {
  const value = row.value[field];
  if (typeof value === 'boolean') return value;
  if (value === 1 || value === 0) return value === 1;
  if (typeof value === 'string' && /^(true|false|1|0)$/i.test(value)) return /^(true|1)$/i.test(value); // of a table as text
  throw wrong(row, field, value, 'true or false');
}

/** An error that names the row and the field. */
export function rowError(row: Row, message: string, field?: string): DataError {
  return new DataError(message, place(row, field));
}

function list(row: Row, field: string, of: string): unknown[] {
  const value = row.value[field];
  if (Array.isArray(value)) return value;
  throw wrong(row, field, value, `a list of ${of}`);
}

function string(row: Row, field: string, value: unknown): string {
  if (typeof value !== 'string') throw wrong(row, field, value, 'a string');
  const half = value.search(/\p{Surrogate}/u);
  if (half < 0) return value;
  const code = value.charCodeAt(half).toString(16);
  throw new DataError(`has half a character, \\u${code}, at ${half}, expected whole ones`, place(row, field));
}

function wrong(row: Row, field: string, value: unknown, expected: string): DataError {
  if (value === undefined) return new DataError(`is missing, expected ${expected}`, place(row, field));
  return new DataError(`is ${shown(value)}, expected ${expected}`, place(row, field));
}

const place = (row: Row, field: string | undefined) => ({ file: row.file, line: row.line, field });

/** Whether a ranking checks its labeler: a repetition or an attention item, which `heed label --export` writes beside the labels. */
export const isCheck = ({ value: { purpose } }: Row): boolean => purpose === 'repeat' || purpose === 'attention';
