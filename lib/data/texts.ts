/** All text of a file with rows of any kind, to train a tokenizer on. */
import { END_OF_TEXT } from '../tokenizer/bpe.js';
import { rowError } from './fields.js';
import { isTextFile, readSomeRows, readTextFile } from './rows.js';

const kFields = [
  'text',
  'prompt',
  'response',
  'responses',
  'chosen',
  'rejected',
  'instruction',
  'input',
  'output',
  'messages',
];

/**
 * The texts of rows of any phase, and of text files.
 *
 * @throws DataError naming file and line of a row that has no field of any phase
 */
export async function readAllTexts(
  file: string,
  options: { readonly signal?: AbortSignal | undefined } = {},
): Promise<string[]> {
  if (isTextFile(file)) return (await readTextFile(file, options)).split(END_OF_TEXT);
  return (await readSomeRows(file, options)).flatMap((row) => {
    const fields = kFields.filter((field) => field in row.value);
    if (fields.length === 0) throw rowError(row, `has no text: expected one of the fields ${kFields.join(', ')}`);
    return fields.flatMap((field) => stringsIn(row.value[field]));
  });
}

/** A text, a list of texts, or the contents of messages. */
function stringsIn(value: unknown): string[] {
  if (typeof value === 'string') return [value];
  if (Array.isArray(value)) return value.flatMap(stringsIn);
  const content = (value as { content?: unknown } | null)?.content;
  return typeof content === 'string' ? [content] : [];
}
