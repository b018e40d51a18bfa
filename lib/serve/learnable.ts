/** Feedback as what trains and what tests: with the token ids that were sampled. */
import { Pace } from '../core/pace.js';
import { hash } from '../core/random.js';
import type { Feedback, Frame, Prompt, RankedResponses } from '../data/index.js';
import { areIdsOf } from '../data/sampled.js';
import type { Database } from '../feedback/database.js';
import { lastRankings, lastThumbs } from '../feedback/rows.js';
import { hasPair, levelsOf } from '../phases/pairs.js';

/** A share of the prompts is held out, the same ones forever: no version is tested on what any version learnt from. */
const kHeldOut = 0.25;
const isHeldOut = (prompt: number) => hash(`held out/${prompt}`) / 2 ** 32 < kHeldOut;

export interface Judged<Item> {
  readonly prompt: number;
  readonly item: Item;
}

export interface Learnable {
  readonly thumbs: readonly Judged<Feedback>[];
  readonly rankings: readonly Judged<RankedResponses>[];
}

const ids = (blob: Uint8Array) => new Int32Array(blob.slice().buffer);

interface Sampled {
  readonly text: string;
  readonly prompt_tokens: Uint8Array;
  readonly tokens: Uint8Array;
}

/** Answers in the file may be of a model with other tokens, whose ids mean nothing to this one. */
const ours =
  ({ tokenizer }: Frame) =>
  ({ text, prompt_tokens, tokens }: Sampled) =>
    areIdsOf(text, ids(prompt_tokens), ids(tokens), tokenizer);

/** How many rows of feedback there are that training reads: thumbs, rankings and edits. */
export function countFeedback(database: Database): number {
  return database
    .prepare(
      'SELECT (SELECT count(*) FROM thumbs) + (SELECT count(*) FROM rankings) + count(edited) FROM demonstrations',
    )
    .pluck()
    .get() as number;
}

/**
 * The feedback on sampled answers of at most `maxTokens` tokens with their prompt, split by prompt. The last word of each labeler on the
 * same answers counts; an edit is a ranking of itself above the answer. The event loop turns meanwhile.
 *
 * @param frame encodes edits
 */
export async function readLearnable(
  database: Database,
  frame: Frame,
  maxTokens: number,
  signal?: AbortSignal,
): Promise<{ readonly train: Learnable; readonly held: Learnable }> {
  const fits = (...parts: readonly Int32Array[]) => parts.reduce((n, { length }) => n + length, 0) <= maxTokens;
  const pace = new Pace(signal, kRows);
  const thumbs = await readThumbs(database, frame, pace);
  const rankings = [...(await readRankings(database, frame, pace)), ...(await readEdits(database, frame, pace))];
  const part = (held: boolean): Learnable => {
    const belongs = ({ prompt }: { readonly prompt: number }) => isHeldOut(prompt) === held;
    return {
      thumbs: thumbs.filter(belongs).filter(({ item }) => fits(item.prompt, item.response)),
      rankings: rankings.filter(belongs).filter(({ item }) => fits(item.prompt, ...item.responses)),
    };
  };
  return { train: part(false), held: part(true) };
}

/** Rows between two turns of the event loop: each is decoded. */
const kRows = 32;

async function readThumbs(database: Database, frame: Frame, pace: Pace): Promise<Judged<Feedback>[]> {
  const last = database.prepare(`${lastThumbs} ORDER BY 1`).pluck().all() as number[];
  const find = database.prepare(
    `SELECT prompt, text, prompt_tokens, tokens, label FROM thumbs JOIN responses ON responses.id = thumbs.response
     WHERE length(tokens) > 0 AND length(prompt_tokens) > 0 AND thumbs.id = ?`,
  );
  const isOurs = ours(frame);
  const found: Judged<Feedback>[] = [];
  for (const id of last) {
    await pace.add(1);
    const row = find.get(id) as (Sampled & { prompt: number; label: number }) | undefined;
    if (!row || !isOurs(row)) continue;
    const { prompt, prompt_tokens, tokens, label } = row;
    found.push({ prompt, item: { prompt: ids(prompt_tokens), response: ids(tokens), desirable: label === 1 } });
  }
  return found;
}

async function readRankings(database: Database, frame: Frame, pace: Pace): Promise<Judged<RankedResponses>[]> {
  const find = database.prepare(
    'SELECT text, prompt_tokens, tokens FROM responses WHERE id = ? AND length(tokens) > 0 AND length(prompt_tokens) > 0',
  );
  const rows = database
    .prepare("SELECT prompt, responses, ranks, labeler, task FROM rankings WHERE purpose = 'label' ORDER BY id")
    .all() as {
    prompt: number;
    responses: string;
    ranks: string;
    labeler: number | null;
    task: number | null;
  }[];
  const isOurs = ours(frame);
  const kept: Judged<RankedResponses>[] = [];
  for (const { prompt, responses, ranks: written } of lastRankings(rows)) {
    await pace.add(1);
    const found = (JSON.parse(responses) as number[]).map((id) => find.get(id) as Sampled | undefined);
    const ranks = Int32Array.from(levelsOf(JSON.parse(written) as number[]));
    if (!found.every((each): each is Sampled => each !== undefined && isOurs(each)) || !hasPair(ranks)) continue;
    if (new Set(found.map(({ prompt_tokens }) => ids(prompt_tokens).join())).size > 1) continue; // of other templates
    const item = { prompt: ids(found[0]!.prompt_tokens), responses: found.map(({ tokens }) => ids(tokens)), ranks };
    kept.push({ prompt, item });
  }
  return kept;
}

async function readEdits(database: Database, frame: Frame, pace: Pace): Promise<Judged<RankedResponses>[]> {
  const rows = database
    .prepare(
      `SELECT demonstrations.prompt AS id, prompts.prompt, response AS edit, text, prompt_tokens, tokens FROM demonstrations
       JOIN responses ON responses.id = edited JOIN prompts ON prompts.id = demonstrations.prompt
       WHERE length(tokens) > 0 AND length(prompt_tokens) > 0 AND trim(response) <> '' AND response <> text
         AND demonstrations.id IN (SELECT max(id) FROM demonstrations GROUP BY edited, labeler) ORDER BY demonstrations.id`,
    )
    .all() as (Sampled & { id: number; prompt: string; edit: string })[];
  const isOurs = ours(frame);
  const edits: Judged<RankedResponses>[] = [];
  for (const row of rows) {
    await pace.add(1);
    if (!isOurs(row)) continue;
    const prompt = ids(row.prompt_tokens);
    const lead = /^\s/.test(row.edit) ? '' : frame.lead(JSON.parse(row.prompt));
    const before = { text: frame.tokenizer.decode(prompt, false), ids: prompt };
    const edit = await frame.tokenizer.encodeAfter(before, lead + row.edit);
    const responses = [frame.ended(edit.ids), ids(row.tokens)];
    edits.push({ prompt: row.id, item: { prompt, responses, ranks: Int32Array.of(0, 1) } });
  }
  return edits;
}

/** Distinct prompts: what people say of one prompt is one piece of evidence. */
export const countPrompts = ({ thumbs, rankings }: Learnable): number =>
  new Set([...thumbs, ...rankings].map(({ prompt }) => prompt)).size;

/** The prompts of at most `maxTokens` tokens that are not held out, each once, as it was encoded last. */
export async function readPrompts(
  database: Database,
  frame: Frame,
  maxTokens: number,
  signal?: AbortSignal,
): Promise<Prompt[]> {
  const last = database
    .prepare('SELECT max(id) FROM responses WHERE length(prompt_tokens) > 0 GROUP BY prompt ORDER BY prompt')
    .pluck()
    .all() as number[];
  const find = database.prepare('SELECT prompt, text, prompt_tokens, tokens FROM responses WHERE id = ?');
  const isOurs = ours(frame);
  const pace = new Pace(signal, kRows);
  const found: Prompt[] = [];
  for (const id of last) {
    await pace.add(1);
    const row = find.get(id) as Sampled & { prompt: number };
    if (isHeldOut(row.prompt) || !isOurs(row)) continue;
    const prompt = ids(row.prompt_tokens);
    if (prompt.length <= maxTokens) found.push(prompt);
  }
  return found;
}
