/** Feedback as what trains and what tests: with the token ids that were sampled. */
import { Pace } from '../../core/pace.js';
import { hash } from '../../core/random.js';
import type { Feedback, Frame, Prompt, RankedResponses } from '../../data/index.js';
import { areIdsOf } from '../../data/sampled.js';
import type { Database } from '../../feedback/database.js';
import { lastRankings, lastThumbs } from '../../feedback/rows.js';
import { hasPair, levelsOf } from '../../phases/pairs.js';
import { type IsOwn, ints as ids, type SampledRow } from './own.js';

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

/** Judged answers that are left out, by the name of the model that gave them: they are not the trained model's. */
export type LeftOut = Readonly<Record<string, number>>;

interface Sampled extends SampledRow {
  readonly text: string;
}

/** Of a row of `responses`. */
const kSampled = 'responses.id AS response, model, text, prompt_tokens, tokens, logprobs, sampling';
const kHasIds = 'length(tokens) > 0 AND length(prompt_tokens) > 0';

/** Answers in the file may be of a model with other tokens, whose ids mean nothing to this one. */
const areIdsIn = (
  { tokenizer }: Frame,
  { text, prompt_tokens, tokens }: Pick<Sampled, 'text' | 'prompt_tokens' | 'tokens'>,
) => areIdsOf(text, ids(prompt_tokens), ids(tokens), tokenizer);

const lengthOf = (...parts: readonly Int32Array[]) => parts.reduce((n, { length }) => n + length, 0);

/** What the readers below share. */
class Reading {
  readonly leftOut = new Map<string, number>();
  readonly pace: Pace;

  constructor(
    readonly database: Database,
    readonly frame: Frame,
    readonly maxTokens: number,
    readonly isOwn: IsOwn,
    signal: AbortSignal | undefined,
  ) {
    this.pace = new Pace(signal, kRows);
  }

  /** Whether an answer is to be learnt from; one of another model is counted. */
  async takes(row: Sampled): Promise<boolean> {
    if (lengthOf(ids(row.prompt_tokens), ids(row.tokens)) > this.maxTokens) return false;
    if (areIdsIn(this.frame, row) && (await this.isOwn(row))) return true;
    this.leftOut.set(row.model, (this.leftOut.get(row.model) ?? 0) + 1);
    return false;
  }
}

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
 * The feedback on the model's own answers of at most `maxTokens` tokens with their prompt, split by prompt. The last word of each labeler
 * on the same answers counts; an edit is a ranking of itself above the answer. Of a ranking the own answers are compared, if these have
 * different ranks. The event loop turns meanwhile.
 *
 * @param o frame: encodes edits; isOwn: whether an answer is the model's own
 */
export async function readLearnable(
  database: Database,
  o: {
    readonly frame: Frame;
    readonly maxTokens: number;
    readonly isOwn: IsOwn;
    readonly signal?: AbortSignal | undefined;
  },
): Promise<{ readonly train: Learnable; readonly held: Learnable; readonly leftOut: LeftOut }> {
  const reading = new Reading(database, o.frame, o.maxTokens, o.isOwn, o.signal);
  const thumbs = await readThumbs(reading);
  const rankings = [...(await readRankings(reading)), ...(await readEdits(reading))];
  const part = (held: boolean): Learnable => {
    const belongs = ({ prompt }: { readonly prompt: number }) => isHeldOut(prompt) === held;
    return {
      thumbs: thumbs.filter(belongs),
      rankings: rankings
        .filter(belongs)
        .filter(({ item }) => lengthOf(item.prompt, ...item.responses) <= reading.maxTokens),
    };
  };
  return { train: part(false), held: part(true), leftOut: Object.fromEntries(reading.leftOut) };
}

/** Rows between two turns of the event loop: each is decoded. */
const kRows = 32;

async function readThumbs(reading: Reading): Promise<Judged<Feedback>[]> {
  const { database, pace } = reading;
  const last = database.prepare(`${lastThumbs} ORDER BY 1`).pluck().all() as number[];
  const find = database.prepare(
    `SELECT prompt, label, ${kSampled} FROM thumbs JOIN responses ON responses.id = thumbs.response
     WHERE ${kHasIds} AND thumbs.id = ?`,
  );
  const found: Judged<Feedback>[] = [];
  for (const id of last) {
    await pace.add(1);
    const row = find.get(id) as (Sampled & { prompt: number; label: number }) | undefined;
    if (!row || !(await reading.takes(row))) continue;
    const { prompt, prompt_tokens, tokens, label } = row;
    found.push({ prompt, item: { prompt: ids(prompt_tokens), response: ids(tokens), desirable: label === 1 } });
  }
  return found;
}

async function readRankings(reading: Reading): Promise<Judged<RankedResponses>[]> {
  const { database, pace } = reading;
  const find = database.prepare(`SELECT ${kSampled} FROM responses WHERE id = ? AND ${kHasIds}`);
  const rows = database
    .prepare("SELECT prompt, responses, ranks, labeler, task FROM rankings WHERE purpose = 'label' ORDER BY id")
    .all() as {
    prompt: number;
    responses: string;
    ranks: string;
    labeler: number | null;
    task: number | null;
  }[];
  const kept: Judged<RankedResponses>[] = [];
  for (const { prompt, responses, ranks: written } of lastRankings(rows)) {
    await pace.add(1);
    const all = (JSON.parse(responses) as number[]).map((id) => find.get(id) as Sampled | undefined);
    if (!all.every((each): each is Sampled => each !== undefined)) continue;
    const given = JSON.parse(written) as number[];
    const own: { readonly row: Sampled; readonly rank: number }[] = [];
    for (const [i, row] of all.entries()) if (await reading.takes(row)) own.push({ row, rank: given[i]! });
    const found = own.map(({ row }) => row);
    const ranks = Int32Array.from(levelsOf(own.map(({ rank }) => rank)));
    if (!hasPair(ranks)) continue;
    if (new Set(found.map(({ prompt_tokens }) => ids(prompt_tokens).join())).size > 1) continue; // of other templates
    const item = { prompt: ids(found[0]!.prompt_tokens), responses: found.map(({ tokens }) => ids(tokens)), ranks };
    kept.push({ prompt, item });
  }
  return kept;
}

async function readEdits(reading: Reading): Promise<Judged<RankedResponses>[]> {
  const { database, frame, pace } = reading;
  const rows = database
    .prepare(
      `SELECT demonstrations.prompt AS prompt_id, prompts.prompt AS asked, demonstrations.response AS edit, ${kSampled}
       FROM demonstrations JOIN responses ON responses.id = edited JOIN prompts ON prompts.id = demonstrations.prompt
       WHERE ${kHasIds} AND trim(demonstrations.response) <> '' AND demonstrations.response <> text
         AND demonstrations.id IN (SELECT max(id) FROM demonstrations GROUP BY edited, labeler) ORDER BY demonstrations.id`,
    )
    .all() as (Sampled & { prompt_id: number; asked: string; edit: string })[];
  const edits: Judged<RankedResponses>[] = [];
  for (const row of rows) {
    await pace.add(1);
    if (!(await reading.takes(row))) continue;
    const prompt = ids(row.prompt_tokens);
    const lead = /^\s/.test(row.edit) ? '' : frame.lead(JSON.parse(row.asked));
    const before = { text: frame.tokenizer.decode(prompt, false), ids: prompt };
    const edit = await frame.tokenizer.encodeAfter(before, lead + row.edit);
    const responses = [frame.ended(edit.ids), ids(row.tokens)];
    edits.push({ prompt: row.prompt_id, item: { prompt, responses, ranks: Int32Array.of(0, 1) } });
  }
  return edits;
}

/** Distinct prompts: what people say of one prompt is one piece of evidence. */
export const countPrompts = ({ thumbs, rankings }: Learnable): number =>
  new Set([...thumbs, ...rankings].map(({ prompt }) => prompt)).size;

/** The prompts of at most `maxTokens` tokens that are not held out, whichever model answered them, each once, as it was encoded last. */
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
  const pace = new Pace(signal, kRows);
  const found: Prompt[] = [];
  for (const id of last) {
    await pace.add(1);
    const row = find.get(id) as Pick<Sampled, 'text' | 'prompt_tokens' | 'tokens'> & { prompt: number };
    if (isHeldOut(row.prompt) || !areIdsIn(frame, row)) continue;
    const prompt = ids(row.prompt_tokens);
    if (prompt.length <= maxTokens) found.push(prompt);
  }
  return found;
}
