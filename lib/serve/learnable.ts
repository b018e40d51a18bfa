/** Feedback as what trains and what tests: with the token ids that were sampled. */
import { hash } from '../core/random.js';
import type { Feedback, Frame, Prompt, RankedResponses } from '../data/index.js';
import { areIdsOf } from '../data/sampled.js';
import type { Database } from '../feedback/database.js';
import { lastRankings, lastThumbs } from '../feedback/rows.js';
import { hasPair, levelsOf } from '../phases/pairs.js';
import { packResponses, type Tree } from '../runtime/batch.js';
import type { LanguageModel } from '../runtime/model.js';
import { clusteredMean, type Estimate } from '../statistics/index.js';

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
 * same answers counts; an edit is a ranking of itself above the answer.
 *
 * @param frame encodes edits
 */
export async function readLearnable(
  database: Database,
  frame: Frame,
  maxTokens: number,
): Promise<{ readonly train: Learnable; readonly held: Learnable }> {
  const fits = (...parts: readonly Int32Array[]) => parts.reduce((n, { length }) => n + length, 0) <= maxTokens;
  const isOurs = ours(frame);
  const thumbs = (
    database
      .prepare(
        `SELECT prompt, text, prompt_tokens, tokens, label FROM thumbs JOIN responses ON responses.id = thumbs.response
         WHERE length(tokens) > 0 AND length(prompt_tokens) > 0
           AND thumbs.id IN (${lastThumbs}) ORDER BY thumbs.id`,
      )
      .all() as (Sampled & { prompt: number; label: number })[]
  )
    .filter(isOurs)
    .map(({ prompt, prompt_tokens, tokens, label }) => ({
      prompt,
      item: { prompt: ids(prompt_tokens), response: ids(tokens), desirable: label === 1 },
    }))
    .filter(({ item }) => fits(item.prompt, item.response));
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
  const ranked = lastRankings(rows).flatMap(({ prompt, responses, ranks: written }) => {
    const found = (JSON.parse(responses) as number[]).map((id) => find.get(id) as Sampled | undefined);
    const ranks = Int32Array.from(levelsOf(JSON.parse(written) as number[]));
    if (!found.every((each): each is Sampled => each !== undefined && isOurs(each)) || !hasPair(ranks)) return [];
    if (new Set(found.map(({ prompt_tokens }) => ids(prompt_tokens).join())).size > 1) return []; // of other templates
    const item = { prompt: ids(found[0]!.prompt_tokens), responses: found.map(({ tokens }) => ids(tokens)), ranks };
    return fits(item.prompt, ...item.responses) ? [{ prompt, item }] : [];
  });
  const edits = (await readEdits(database, frame)).filter(({ item }) => fits(item.prompt, ...item.responses));
  const rankings = [...ranked, ...edits];
  const part = (held: boolean): Learnable => {
    const belongs = ({ prompt }: { readonly prompt: number }) => isHeldOut(prompt) === held;
    return { thumbs: thumbs.filter(belongs), rankings: rankings.filter(belongs) };
  };
  return { train: part(false), held: part(true) };
}

async function readEdits(database: Database, frame: Frame): Promise<Judged<RankedResponses>[]> {
  const rows = database
    .prepare(
      `SELECT demonstrations.prompt AS id, prompts.prompt, response AS edit, text, prompt_tokens, tokens FROM demonstrations
       JOIN responses ON responses.id = edited JOIN prompts ON prompts.id = demonstrations.prompt
       WHERE length(tokens) > 0 AND length(prompt_tokens) > 0 AND trim(response) <> '' AND response <> text
         AND demonstrations.id IN (SELECT max(id) FROM demonstrations GROUP BY edited, labeler) ORDER BY demonstrations.id`,
    )
    .all() as (Sampled & { id: number; prompt: string; edit: string })[];
  return await Promise.all(
    rows.filter(ours(frame)).map(async (row) => {
      const prompt = ids(row.prompt_tokens);
      const lead = /^\s/.test(row.edit) ? '' : frame.lead(JSON.parse(row.prompt));
      const before = { text: frame.tokenizer.decode(prompt, false), ids: prompt };
      const edit = await frame.tokenizer.encodeAfter(before, lead + row.edit);
      const responses = [frame.ended(edit.ids), ids(row.tokens)];
      return { prompt: row.id, item: { prompt, responses, ranks: Int32Array.of(0, 1) } };
    }),
  );
}

/** Distinct prompts: what people say of one prompt is one piece of evidence. */
export const countPrompts = ({ thumbs, rankings }: Learnable): number =>
  new Set([...thumbs, ...rankings].map(({ prompt }) => prompt)).size;

/**
 * The share of false passes that a test may have which is the `attempt`-th since a version passed: 5 % / (k (k + 1)), which add up to 5 %
 * over any number of attempts on the same held-out feedback.
 */
export const alphaOf = (attempt: number): number => 0.05 / (attempt * (attempt + 1));

/** The prompts that are not held out, each once. */
export function readPrompts(database: Database): Prompt[] {
  const rows = database
    .prepare(
      'SELECT prompt, prompt_tokens FROM responses WHERE length(prompt_tokens) > 0 GROUP BY prompt ORDER BY prompt',
    )
    .all() as { prompt: number; prompt_tokens: Uint8Array }[];
  return rows.filter(({ prompt }) => !isHeldOut(prompt)).map(({ prompt_tokens }) => ids(prompt_tokens));
}

/**
 * By how much `after` agrees more than `before` with held-out feedback: nats by which what people preferred became likelier against what
 * they did not, per judgement, with the interval over prompts, which leaves out `alpha`. undefined with
 * fewer than two prompts: then there is no interval.
 */
export async function improvement(
  before: LanguageModel,
  after: LanguageModel,
  { thumbs, rankings }: Learnable,
  signal: AbortSignal,
  alpha: number,
): Promise<Estimate | undefined> {
  const trees: Tree[] = [
    ...thumbs.map(({ item }) => ({ prompt: item.prompt, responses: [item.response] })),
    ...rankings.map(({ item }) => ({ prompt: item.prompt, responses: item.responses })),
  ];
  if (countPrompts({ thumbs, rankings }) < 2) return undefined;
  const [old, now] = [await logprobsOf(before, trees, signal), await logprobsOf(after, trees, signal)];
  const gained = trees.map(({ responses }, i) => responses.map((_, k) => now[i]![k]! - old[i]![k]!));
  const values = [
    ...thumbs.map(({ item }, i) => (item.desirable ? 1 : -1) * gained[i]![0]!),
    ...rankings.map(({ item: { ranks } }, i) => meanMargin(gained[thumbs.length + i]!, ranks)),
  ];
  return clusteredMean(values, [[...thumbs, ...rankings].map(({ prompt }) => prompt)], {
    seed: 0,
    alpha,
    resamples: Math.min(200_000, Math.ceil(100 / alpha)), // enough beyond the interval
  });
}

/** Σ log π of each response's tokens. */
async function logprobsOf(model: LanguageModel, trees: readonly Tree[], signal: AbortSignal): Promise<number[][]> {
  const found: number[][] = [];
  for (const tree of trees) {
    const batch = packResponses([tree]);
    const { logprobs } = await model.logprobs(batch, { signal });
    found.push(
      tree.responses.map((_, k) => logprobs.subarray(batch.cuRows[k], batch.cuRows[k + 1]).reduce((a, b) => a + b, 0)),
    );
  }
  return found;
}

function meanMargin(values: readonly number[], ranks: ArrayLike<number>): number {
  let sum = 0;
  let pairs = 0;
  values.forEach((better, i) => {
    values.forEach((worse, k) => {
      if (ranks[i]! >= ranks[k]!) return;
      sum += better - worse;
      pairs++;
    });
  });
  return sum / pairs;
}
