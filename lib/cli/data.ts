import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { styleText } from 'node:util';
import { SHIPPED_BASE } from '../align/index.js';
import { dataFields, type Values } from '../config/index.js';
import { HeedError } from '../core/errors.js';
import { Counts } from '../data/counts.js';
import { describeReport } from '../data/index.js';
import { eachRow } from '../data/portions.js';
import { kindOf, type Preview, type PreviewKind, previewReader, previewRows } from '../data/preview.js';
import { noRows, type Row } from '../data/rows.js';
import { readConfig } from '../huggingface/folder.js';
import { Tokenizer } from '../tokenizer/tokenizer.js';
import type { Command, Context } from './command.js';
import { templateFor } from './models.js';
import { writeOut } from './output.js';
import { thousands } from './training.js';

export const data: Command<typeof dataFields> = {
  name: 'data',
  summary: 'show how a file is read: rows as tokens, lengths, what is dropped and why',
  about: `Shows the first rows as a model sees them, with what is learnt in green («so» where there are no colours), then the lengths of all
rows, and which of them would be dropped or are wrong.`,
  fields: dataFields,
  required: ['data'],
  positional: 'data',
  examples: [
    ['as the embedded base model reads it', 'heed data demos.jsonl'],
    ['as another model does, with its chat template', 'heed data chats.parquet --model llama --template tokenizer'],
  ],
  trains: false,
  run,
};

/** How many rows of each problem are named. */
const kNamed = 3;

async function run(values: Values<typeof dataFields>, { signal, log }: Context): Promise<void> {
  const dir = values.model ?? SHIPPED_BASE;
  const tokenizer = await Tokenizer.load(dir);
  const isModel = existsSync(join(dir, 'config.json'));
  const limit = values.model !== undefined && isModel ? (await readConfig(dir)).config.maxPositions : undefined;
  const maxLength = values.maxLength ?? limit ?? Number.MAX_SAFE_INTEGER;
  const template = await templateFor(values.template, tokenizer);
  const options = { tokenizer, maxLength, overlong: values.overlong, template, signal };
  if (values.model === undefined) log.line('tokens of the embedded base model; --model DIR shows those of another');

  for (const file of values.data!) {
    const total = new Counts();
    const lengths: number[] = [];
    const problems = new Map<string, Row[]>();
    const problem = (what: string, row: Row) =>
      problems.set(what, [...(problems.get(what) ?? []), row].slice(0, kNamed));
    let wrong = 0;
    const given = values.as === 'auto' ? undefined : values.as;
    let reading: { readonly kind: PreviewKind; readonly read: ReturnType<typeof previewReader> } | undefined;
    const results = eachRow(previewRows(file, { signal }), { signal }, async (row) => {
      const kind = reading?.kind ?? given ?? kindOf(row);
      reading ??= { kind, read: previewReader(kind, options) };
      const counts = new Counts();
      counts.rows = 1;
      try {
        return { row, counts, found: await reading.read(row, counts) };
      } catch (error) {
        if (!(error instanceof HeedError)) throw error;
        return { row, counts, error };
      }
    });
    for await (const { row, counts, found, error } of results) {
      if (total.rows === 0)
        await writeOut(
          `${file}: read as ${reading!.kind}, from the fields ${visible(Object.keys(row.value).join(', '))}\n`,
        );
      total.add(counts, 1);
      if (error) {
        wrong++;
        problem(reasonOf(error, row), row);
        continue;
      }
      for (const [name, what] of kReasons) if (counts[name] > 0) problem(what, row);
      if (!found) continue;
      lengths.push(found.item.length);
      if (lengths.length <= values.rows) await writeOut(shown(found.item, row, tokenizer));
    }
    if (total.rows === 0) throw noRows(file);
    const longest = maxLength === Number.MAX_SAFE_INTEGER ? Number.POSITIVE_INFINITY : maxLength;
    await writeOut(`\n${describeReport(total, longest)}${wrong > 0 ? `; wrong: ${thousands(wrong)}` : ''}\n`);
    for (const [what, rows] of problems)
      await writeOut(
        `  ${what}: ${rows.map(({ line }) => `row ${line}`).join(', ')}${rows.length === kNamed ? ', …' : ''}\n`,
      );
    await writeOut(lengthsOf(lengths));
  }
}

/** Why a row is not used as it is, by the count that says so. */
const kReasons = [
  ['empty', 'dropped, a prompt or response is empty'],
  ['overlong', 'dropped, too long'],
  ['unrendered', 'dropped, the chat template does not continue the prompt'],
  ['checks', 'dropped, a repetition or an attention item'],
  ['cut', 'cut, too long'],
  ['unlearnt', 'dropped, no turn is learnt: the weight of each is 0'],
  ['lastTurnOnly', 'only the last turn is learnt, since the chat template changes earlier ones'],
  ['encodedApart', 'prompt and response are encoded apart, since a token would span both'],
  ['otherTokens', "encoded from the text: the ids kept with it are another tokenizer's"],
] as const;

/** An error without its place. */
function reasonOf(error: HeedError, { file, line }: Row): string {
  const place = `${file}:${line}: `;
  return `wrong, ${error.message.startsWith(place) ? error.message.slice(place.length) : error.message}`;
}

/** A row's texts, each with its number of tokens. */
function shown({ texts, length }: Preview, { line }: Row, tokenizer: Tokenizer): string {
  const lines = texts.map(({ label, pieces }) => {
    const before: number[] = [];
    const text = pieces.map(({ ids, isLearnt }) => {
      const piece = tokenizer.decodeAfter(before, ids, false);
      before.push(...ids.slice(-8));
      const shown = visible(piece);
      return isLearnt ? learnt(shown) : shown;
    });
    const count = pieces.reduce((sum, { ids }) => sum + ids.length, 0);
    const head = label === '' ? '' : `${label}, ${count} tokens: `;
    return `${head}${text.join('')}`;
  });
  const sum = texts
    .flatMap(({ pieces }) => pieces)
    .reduce((n, piece) => n + (piece.isLearnt ? piece.ids.length : 0), 0);
  return `\nrow ${line}: ${length} tokens, ${sum} learnt\n${lines.join('\n')}\n`;
}

/** Control characters as pictures, so that a text cannot steer the terminal. */
const visible = (text: string) =>
  text.replace(/\p{Cc}/gu, (c) => {
    if (c === '\n' || c === '\t') return c;
    return c < ' ' ? String.fromCharCode(0x2400 + c.charCodeAt(0)) : '\u2421';
  });

const learnt = (text: string) => (process.stdout.isTTY ? styleText('green', text) : `«${text}»`);

/** The distribution of lengths, with bars. */
function lengthsOf(lengths: number[]): string {
  if (lengths.length === 0) return '';
  const sorted = lengths.sort((a, b) => a - b);
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]!;
  const longest = sorted.at(-1)!;
  const width = Math.max(1, Math.ceil((longest + 1) / 10));
  const counts = new Array<number>(Math.ceil((longest + 1) / width)).fill(0);
  for (const length of sorted) counts[Math.floor(length / width)]!++;
  const most = Math.max(...counts);
  const bars = counts.map((count, i) => {
    const range = width === 1 ? `${i}` : `${i * width} to ${(i + 1) * width - 1}`;
    const bar = '█'.repeat(Math.ceil((40 * count) / most));
    return `  ${range.padStart(15)} ${bar}${bar === '' ? '' : ' '}${count}\n`;
  });
  const marks = `half up to ${at(0.5)}, 95 % up to ${at(0.95)}, all up to ${longest}`;
  return `lengths in tokens: ${marks}\n${bars.join('')}`;
}
