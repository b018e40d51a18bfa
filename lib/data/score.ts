/** Rows to be scored: every row that has a prompt and one or more responses. None is dropped: a row that cannot be scored is an error. */
import type { Tree } from '../runtime/batch.js';
import type { Tokenizer } from '../tokenizer/tokenizer.js';
import { wholeDialogueField } from './dialogue.js';
import { numbersField, rowError, stringField } from './fields.js';
import { Frame, isBlank } from './frame.js';
import { eachRow } from './portions.js';
import { toSequence } from './readers.js';
import { noRows, type Row, streamRows } from './rows.js';
import { cutOffIn, sampledIds } from './sampled.js';
import type { ChatTemplate } from './template.js';
import { document, type TrainSequence } from './types.js';

/** A row's tokens: a prompt with responses, or a dialogue or document with several spans. */
export type Scorable =
  | { readonly tree: Tree; readonly several: boolean; readonly sequence?: never }
  | { readonly sequence: TrainSequence; readonly several: false; readonly tree?: never };

export interface ScoreOptions {
  readonly tokenizer: Tokenizer;
  readonly template?: ChatTemplate | undefined;
  readonly vocabSize: number;
  readonly maxPositions: number;
  /** Aborting it rejects with `signal.reason`. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Reads `{prompt, tokens}` (output of heed generate: ids, used unchanged), `{text}`, and the rows of demonstrations and rankings.
 *
 * @throws DataError naming file, line and field, also for a row that is empty or longer than the model's positions
 */
export async function readScorable(files: readonly string[], o: ScoreOptions): Promise<Scorable[]> {
  const frame = new Frame(o.tokenizer, o.template);
  const rows: Scorable[] = [];
  for (const file of files) {
    const before = rows.length;
    for await (const row of eachRow(streamRows(file, o), o, (row) => scorable(row, frame, o))) rows.push(row);
    if (rows.length === before) throw noRows(file);
  }
  return rows;
}

async function scorable(row: Row, frame: Frame, o: ScoreOptions): Promise<Scorable> {
  const { value } = row;
  if ('text' in value && !('prompt' in value)) {
    const text = stringField(row, 'text');
    if (isBlank(text)) throw rowError(row, 'is empty, expected at least one word', 'text');
    return fitting(row, o, {
      sequence: document(await frame.documentIds(text, o)),
      several: false,
    });
  }
  if (wholeDialogueField(row) !== undefined) {
    const { pieces } = continued(row, frame.demonstration(row));
    if (pieces.length === 0) throw rowError(row, 'has no turn to score: the weight of each is 0');
    const { sequence } = await toSequence(pieces, frame, o);
    return fitting(row, o, { sequence, several: false });
  }
  const sampled = sampledIds(row, o.tokenizer, { otherTokens: 0 });
  if (sampled) return fitting(row, o, { tree: sampled, several: 'responses' in value });
  if ('tokens' in value && !('prompt_tokens' in value)) {
    const ids = numbersField(row, 'tokens');
    const bad = ids.findIndex((id) => !(Number.isInteger(id) && id >= 0 && id < o.vocabSize));
    if (bad >= 0) throw rowError(row, `is ${ids[bad]}, expected an id from 0 to ${o.vocabSize - 1}`, `tokens[${bad}]`);
    if (ids.length === 0) throw rowError(row, 'is empty, expected at least one id', 'tokens');
    const framed = typeof value.prompt === 'string' ? new Frame(o.tokenizer) : frame; // heed generate writes the prompt with its template applied
    return fitting(row, o, {
      tree: { prompt: await promptOf(row, framed, o), responses: [Int32Array.from(ids)] },
      several: false,
    });
  }
  if ('responses' in value || 'chosen' in value || 'rejected' in value) {
    const compared = continued(row, frame.compared(row));
    if (isBlank(compared.prompt)) throw rowError(row, 'is empty, expected at least one word', 'prompt');
    return fitting(row, o, { tree: await frame.comparedIds({ ...compared, cutOff: cutOffIn(row) }, o), several: true });
  }
  const { pieces } = continued(row, frame.demonstration(row));
  if (pieces.length > 2) {
    // A response of several turns.
    const { sequence } = await toSequence(pieces, frame, o);
    return fitting(row, o, { sequence, several: false });
  }
  const [prompt, response] = pieces.map(({ text }) => text);
  if (isBlank(prompt!)) throw rowError(row, 'is empty, expected at least one word', 'prompt');
  if (isBlank(response!)) throw rowError(row, 'is empty, expected at least one word', 'response');
  const compared = { prompt: prompt!, texts: [response!], cutOff: cutOffIn(row) };
  return fitting(row, o, { tree: await frame.comparedIds(compared, o), several: false });
}

function continued<T>(row: Row, rendered: T | undefined): T {
  if (rendered !== undefined) return rendered;
  throw rowError(
    row,
    "has a turn that the chat template does not let follow its prompt, expected the prompt's text before it",
  );
}

async function promptOf(row: Row, frame: Frame, o: ScoreOptions): Promise<Int32Array> {
  const text = frame.prompt(row);
  if (isBlank(text)) throw rowError(row, 'is empty, expected at least one word', 'prompt');
  return frame.promptIds(text, o);
}

function fitting(row: Row, { maxPositions }: ScoreOptions, found: Scorable): Scorable {
  const longest = found.tree
    ? found.tree.prompt.length + Math.max(...found.tree.responses.map((ids) => ids.length))
    : found.sequence.tokens.length;
  if (longest <= maxPositions) return found;
  throw rowError(row, `has ${longest} tokens, expected at most the model's ${maxPositions} positions`);
}
