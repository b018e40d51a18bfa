/** Typed access to the fields of a row; other fields are ignored. */
import { DataError } from '../core/errors.js';
import type { Row } from './rows.js';

/** One turn of a dialogue. */
export interface Message {
  readonly role: string;
  readonly content: string;
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

/** Turns of a dialogue: `role` and `content` (or `text`, as in Open Assistant). @throws DataError unless it is a non-empty list of turns */
export function messagesField(row: Row, field: string): Message[] {
  const messages = list(row, field, 'messages').map((value, i) => {
    if (typeof value !== 'object' || value === null) throw wrong(row, `${field}[${i}]`, value, 'an object');
    const { role, text, content = text } = value as Record<string, unknown>;
    return { role: string(row, `${field}[${i}].role`, role), content: string(row, `${field}[${i}].content`, content) };
  });
  if (messages.length === 0) throw new DataError('is empty, expected at least one message', place(row, field));
  return messages;
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
  if (typeof value === 'string') return value;
  throw wrong(row, field, value, 'a string');
}

function wrong(row: Row, field: string, value: unknown, expected: string): DataError {
  if (value === undefined) return new DataError(`is missing, expected ${expected}`, place(row, field));
  const text = JSON.stringify(value);
  const shown = text.length > 60 ? `${text.slice(0, 57)}...` : text;
  return new DataError(`is ${shown}, expected ${expected}`, place(row, field));
}

const place = (row: Row, field: string | undefined) => ({ file: row.file, line: row.line, field });
