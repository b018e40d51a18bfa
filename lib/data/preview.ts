/** Rows as a person looks at them before training: what is read, what is learnt. */
import { isObject } from '../core/json.js';
import { stringField } from './fields.js';
import { Frame, isBlank } from './frame.js';
import {
  type DataOptions,
  demonstrationReader,
  feedbackReader,
  promptReader,
  type RowReader,
  rankingReader,
} from './readers.js';
import { isTextFile, type Row, streamRows } from './rows.js';
import { streamTexts } from './texts.js';

export type PreviewKind = 'demonstrations' | 'rankings' | 'feedback' | 'prompts' | 'documents';

/** Token ids that are read, or learnt. */
export interface PreviewPiece {
  readonly ids: Int32Array;
  readonly isLearnt: boolean;
}

/** An item of a row: a label for each text, and its pieces. */
export interface Preview {
  readonly texts: readonly { readonly label: string; readonly pieces: readonly PreviewPiece[] }[];
  /** Tokens of the longest sequence. */
  readonly length: number;
}

/** What a row is, by its fields. */
export function kindOf({ value }: Row): PreviewKind {
  if (['responses', 'chosen', 'rejected'].some((field) => field in value)) return 'rankings';
  if ('label' in value && !('text' in value)) return 'feedback';
  if (['response', 'completion', 'output'].some((field) => field in value)) return 'demonstrations';
  if ('text' in value && !('prompt' in value)) return 'documents';
  const turns = [value.messages ?? value.conversations].flat();
  const isAnswer = (turn: unknown) => isObject(turn) && /^(assistant|gpt)$/.test(String(turn.role ?? turn.from));
  return turns.some(isAnswer) ? 'demonstrations' : 'prompts';
}

/** The rows of a file; each document of a text file is one. */
export async function* previewRows(file: string, options: Pick<DataOptions, 'signal'>): AsyncGenerator<Row> {
  if (!isTextFile(file)) return yield* streamRows(file, options);
  let line = 0;
  for await (const { text, isFirst } of streamTexts(file, options))
    if (isFirst) yield { file, line: ++line, value: { text } };
}

/** Reads a row of a kind as a preview. */
export function previewReader(kind: PreviewKind, o: DataOptions): RowReader<Preview> {
  const read: (ids: Int32Array) => PreviewPiece = (ids) => ({ ids, isLearnt: false });
  if (kind === 'rankings') {
    return shownBy(rankingReader(o), ({ prompt, responses, ranks }) => ({
      texts: [
        { label: 'prompt', pieces: [read(prompt)] },
        ...responses.map((ids, k) => ({ label: `rank ${ranks[k]}`, pieces: [{ ids, isLearnt: true }] })),
      ],
      length: prompt.length + Math.max(...responses.map(({ length }) => length)),
    }));
  }
  if (kind === 'feedback') {
    return shownBy(feedbackReader(o), ({ prompt, response, desirable }) => ({
      texts: [{ label: desirable ? 'good' : 'bad', pieces: [read(prompt), { ids: response, isLearnt: true }] }],
      length: prompt.length + response.length,
    }));
  }
  if (kind === 'prompts') {
    return shownBy(promptReader({ ...o, maxNewTokens: 1 }), ({ tokens }) => ({
      texts: [{ label: '', pieces: [read(tokens)] }],
      length: tokens.length,
    }));
  }
  if (kind === 'documents') return documentReader(o);
  return shownBy(demonstrationReader(o), ({ tokens, spans }) => {
    const pieces: PreviewPiece[] = [];
    let at = 0;
    for (let i = 0; i < spans.length; i += 2) {
      pieces.push(read(tokens.subarray(at, spans[i])));
      pieces.push({ ids: tokens.subarray(spans[i], spans[i + 1]), isLearnt: true });
      at = spans[i + 1]!;
    }
    pieces.push(read(tokens.subarray(at)));
    return { texts: [{ label: '', pieces: pieces.filter(({ ids }) => ids.length > 0) }], length: tokens.length };
  });
}

function shownBy<T>(reader: RowReader<T>, show: (item: T) => Preview): RowReader<Preview> {
  return async (row, counts) => {
    const found = await reader(row, counts);
    return found && { ...found, item: show(found.item) };
  };
}

/** A document, of which all but the first token is learnt, in windows. */
function documentReader(o: DataOptions): RowReader<Preview> {
  const frame = new Frame(o.tokenizer);
  return async (row, counts) => {
    const text = stringField(row, 'text');
    if (isBlank(text)) return counts.drop('empty');
    const ids = await frame.documentIds(text, o);
    counts.keep(ids.length, ids.length - 1);
    const pieces = [
      { ids: ids.subarray(0, 1), isLearnt: false },
      { ids: ids.subarray(1), isLearnt: true },
    ];
    return { item: { texts: [{ label: '', pieces }], length: ids.length }, key: text, size: ids.length };
  };
}
