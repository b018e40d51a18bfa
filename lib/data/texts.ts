/** All text of files, to train a tokenizer or a base model on. */
import type { Abortable } from '../core/native.js';
import { END_OF_TEXT } from '../tokenizer/bpe.js';
import type { ReadOptions } from './bytes.js';
import { rowError, stringField } from './fields.js';
import { isTextFile, noRows, streamRows, streamText } from './rows.js';

/** A document, or the next part of a very long one. */
export interface TextPart {
  readonly text: string;
  readonly isFirst: boolean;
  readonly isLast: boolean;
}

/** Characters after which a document is cut at the next line break. */
const kLongest = 1 << 24;

/**
 * The documents of a pretraining file: `{text}` rows, or a text file, which is of any size.
 *
 * @param longest see {@link kLongest}
 * @throws DataError naming file, line and field
 */
export async function* streamTexts(
  file: string,
  options: ReadOptions = {},
  longest = kLongest,
): AsyncGenerator<TextPart> {
  if (isTextFile(file)) return yield* partsOf(streamText(file, options), longest);
  let isEmpty = true;
  for await (const row of streamRows(file, options)) {
    isEmpty = false;
    yield { text: stringField(row, 'text'), isFirst: true, isLast: true };
  }
  if (isEmpty) throw noRows(file);
}

/** The documents of a text, separated by end-of-text. */
async function* partsOf(pieces: AsyncIterable<string>, longest: number): AsyncGenerator<TextPart> {
  let text = '';
  let isFirst = true;
  for await (const piece of pieces) {
    // A separator may begin in the text before.
    const documents = (text + piece).split(END_OF_TEXT);
    text = documents.pop()!;
    for (const document of documents) {
      yield { text: document, isFirst, isLast: true };
      isFirst = true;
    }
    const end = text.length > longest ? lineEnd(text) : 0;
    if (end === 0) continue;
    yield { text: text.slice(0, end), isFirst, isLast: false };
    text = text.slice(end);
    isFirst = false;
  }
  yield { text, isFirst, isLast: true };
}

/** The end of the last line break that is between two words, which no token spans; 0 if there is none. */
function lineEnd(text: string): number {
  for (let at = text.lastIndexOf('\n'); at > 0; at = text.lastIndexOf('\n', at - 1)) {
    const [before, after] = [text[at - 1]!, text[at + 1]];
    if (after !== undefined && /\S/.test(before) && /\S/.test(after)) return at + 1;
  }
  return 0;
}

/** Fields of rows that have text. */
const kFields = [
  'text',
  'prompt',
  'response',
  'completion',
  'responses',
  'chosen',
  'rejected',
  'instruction',
  'input',
  'output',
  'messages',
  'conversations',
];

/**
 * The texts of rows of any phase, and of text files.
 *
 * @throws DataError naming file and line of a row that has no field of any phase
 */
export async function* streamAllTexts(file: string, options: Abortable = {}): AsyncGenerator<string> {
  if (isTextFile(file)) {
    for await (const { text } of streamTexts(file, options)) yield text;
    return;
  }
  let isEmpty = true;
  for await (const row of streamRows(file, options)) {
    isEmpty = false;
    const fields = kFields.filter((field) => field in row.value);
    if (fields.length === 0) throw rowError(row, `has no text: expected one of the fields ${kFields.join(', ')}`);
    for (const field of fields) yield* stringsIn(row.value[field]);
  }
  if (isEmpty) throw noRows(file);
}

/** A text, a list of texts, or the contents of messages. */
function stringsIn(value: unknown): string[] {
  if (typeof value === 'string') return [value];
  if (Array.isArray(value)) return value.flatMap(stringsIn);
  const { content, value: said } = (value ?? {}) as { content?: unknown; value?: unknown };
  return [content, said].flatMap((text) => (text === undefined ? [] : stringsIn(text)));
}
