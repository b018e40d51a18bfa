/** Rows of a file of feedback, in the form in which training commands and people read them. */
import type { Database } from './database.js';
import type { FeedbackKind } from './kinds.js';

export type FeedbackRow = Readonly<Record<string, unknown>>;

export interface FeedbackRowsOptions {
  /**
   * All that the file says: repetitions and attention items too, which training leaves out, each row with its `purpose`; and of each
   * response what was sampled: `prompt_tokens`, `tokens`, `logprobs`, `finish` and `sampling`. Default false.
   */
  readonly all?: boolean;
  /**
   * What training reads: the last word of each labeler on the same answers, edits as rankings too (the edited answer above the sampled
   * one), and the ids that were sampled: `prompt_tokens`, and `tokens` of a response or of each response, with their `finish`. Default
   * false.
   */
  readonly forTraining?: boolean;
}

interface RankingRow {
  readonly id: number;
  readonly prompt: string;
  readonly category: string | null;
  readonly responses: string;
  readonly ranks: string;
  readonly labeler: string | null;
  readonly task: number | null;
  readonly purpose: string;
  readonly confidence: number | null;
  readonly seconds: number | null;
  readonly created: number;
}

/**
 * Rankings: `{prompt, responses, ranks, labeler, created, models, confidence, seconds, ratings, flags}`, where the responses are in the
 * order in which the labeler saw them, 0 is the best rank, `ratings` are 1 to 7 and `flags` lists, per response, what was said to apply.
 * Feedback: `{prompt, response, label, labeler, created, model}`. Demonstrations: `{prompt, response, labeler, created}`, and not
 * for training `edited: {text, model}`, what was changed into it.
 * Prompts: `{prompt, category, responses, models, sampled}`, with distinct responses that are complete, the newest first, and in `sampled`
 * each one's columns in the file.
 */
export function feedbackRows(
  database: Database,
  kind: FeedbackKind,
  options: FeedbackRowsOptions = {},
): Generator<FeedbackRow> {
  if (kind === 'prompts') return prompts(database);
  if (kind === 'rankings') return rankings(database, options);
  return kind === 'feedback' ? thumbs(database, options) : demonstrations(database, options);
}

/** The kind that the file has rows of; the first that it has, or rankings. */
export function kindIn(database: Database): FeedbackKind {
  const has = (table: string) => database.prepare(`SELECT 1 FROM ${table} LIMIT 1`).get() !== undefined;
  if (has('rankings')) return 'rankings';
  return has('demonstrations') ? 'demonstrations' : has('thumbs') ? 'feedback' : 'rankings';
}

function* rankings(database: Database, options: FeedbackRowsOptions): Generator<FeedbackRow> {
  const { all = false, forTraining = false } = options;
  const written = database
    .prepare(
      `SELECT rankings.*, prompts.prompt AS prompt, category, labelers.name AS labeler FROM rankings
       JOIN prompts ON prompts.id = rankings.prompt LEFT JOIN labelers ON labelers.id = labeler
       ${all ? '' : "WHERE purpose = 'label'"} ORDER BY rankings.id`,
    )
    .all() as RankingRow[];
  const rows = forTraining ? lastRankings(written) : written;
  const find = database.prepare(`SELECT text, model, ${kSampled} FROM responses WHERE id = ?`);
  const findRating = database.prepare('SELECT rating, flags FROM ratings WHERE task = ? AND response = ?');
  for (const row of rows) {
    const ids = JSON.parse(row.responses) as number[];
    const responses = ids.map((id) => find.get(id) as Sampled & { text: string; model: string });
    const judged = row.task === null ? [] : ids.map((id) => findRating.get(row.task, id) as Rated | undefined);
    const isRated = judged.length > 0 && judged.every(Boolean);
    yield {
      prompt: JSON.parse(row.prompt),
      responses: responses.map(({ text }) => text),
      ranks: JSON.parse(row.ranks),
      ...defined({
        labeler: row.labeler,
        created: new Date(row.created).toISOString(),
        category: row.category,
        confidence: row.confidence,
        seconds: row.seconds,
      }),
      models: responses.map(({ model }) => model),
      ...(forTraining ? sampledOfRanking(responses) : {}),
      ...(all ? keptOfRanking(responses) : {}),
      ...(isRated
        ? {
            ratings: judged.map((one) => one!.rating),
            flags: judged.map((one) =>
              Object.entries(JSON.parse(one!.flags) as Record<string, boolean>).flatMap(([name, on]) =>
                on ? [name] : [],
              ),
            ),
          }
        : {}),
      ...(all ? { purpose: row.purpose } : {}),
    };
  }
  if (forTraining) yield* edits(database);
}

/** How a response was sampled: columns of the file. */
export interface SampledColumns {
  readonly prompt_tokens: Uint8Array | null;
  readonly tokens: Uint8Array | null;
  readonly logprobs: Uint8Array | null;
  readonly sampling: string;
  readonly finish: string | null;
}

function* prompts(database: Database): Generator<FeedbackRow> {
  const all = database.prepare('SELECT id, prompt, category FROM prompts ORDER BY id').all() as {
    readonly id: number;
    readonly prompt: string;
    readonly category: string | null;
  }[];
  const find = database.prepare(
    `SELECT text, model, prompt_tokens, tokens, logprobs, sampling, finish FROM responses
     WHERE id IN (SELECT max(id) FROM responses WHERE prompt = ? AND finish IS NOT 'abort' AND trim(text) <> '' GROUP BY text)
     ORDER BY id DESC`,
  );
  for (const { id, prompt, category } of all) {
    const answered = find.all(id) as (SampledColumns & { readonly text: string; readonly model: string })[];
    yield {
      prompt: JSON.parse(prompt),
      ...defined({ category }),
      responses: answered.map(({ text }) => text),
      models: answered.map(({ model }) => model),
      sampled: answered.map(({ text: _, model: __, ...columns }) => columns),
    };
  }
}

/** An answer that somebody changed is worse than what they made of it. */
function* edits(database: Database): Generator<FeedbackRow> {
  for (const { prompt, response, text, model, labeler, created, finish } of demonstrationsIn(database, true))
    if (text !== null && text !== response && response.trim() !== '')
      yield {
        prompt: JSON.parse(prompt),
        responses: [response, text],
        ranks: [0, 1],
        ...defined({ labeler, created: new Date(created).toISOString() }),
        models: ['edit', model],
        finish: ['stop', finish],
      };
}

interface Rated {
  readonly rating: number;
  readonly flags: string;
}

function* thumbs(
  database: Database,
  { all = false, forTraining = false }: FeedbackRowsOptions,
): Generator<FeedbackRow> {
  const rows = database
    .prepare(
      `SELECT prompts.prompt, category, responses.text, model, label, labelers.name AS labeler, thumbs.created, ${kPurpose}, ${kSampled}
       FROM thumbs JOIN responses ON responses.id = thumbs.response JOIN prompts ON prompts.id = responses.prompt
       LEFT JOIN labelers ON labelers.id = thumbs.labeler LEFT JOIN tasks ON tasks.id = thumbs.task
       WHERE ${all ? '1' : "coalesce(purpose, 'label') = 'label'"} ${forTraining ? `AND thumbs.id IN (${lastThumbs})` : ''} ORDER BY thumbs.id`,
    )
    .all() as (Sampled & {
    readonly prompt: string;
    readonly category: string | null;
    readonly text: string;
    readonly model: string;
    readonly label: number;
    readonly labeler: string | null;
    readonly created: number;
    readonly purpose: string;
  })[];
  for (const { prompt, category, text, model, label, labeler, created, purpose, ...sampled } of rows)
    yield {
      prompt: JSON.parse(prompt),
      response: text,
      label: label === 1,
      ...defined({ labeler, created: new Date(created).toISOString(), category }),
      model,
      ...(forTraining ? sampledOf(sampled) : {}),
      ...(all ? { ...keptOf(sampled), purpose } : {}),
    };
}

function* demonstrations(database: Database, options: FeedbackRowsOptions): Generator<FeedbackRow> {
  const { all = false, forTraining = false } = options;
  for (const row of demonstrationsIn(database, forTraining, all)) {
    const { prompt, category, response, text, model, labeler, created, purpose, ...sampled } = row;
    yield {
      prompt: JSON.parse(prompt),
      response,
      ...defined({ labeler, created: new Date(created).toISOString(), category }),
      ...(forTraining && text === response ? sampledOf(sampled) : {}),
      ...(text === null || forTraining ? {} : { edited: { text, model, ...(all ? keptOf(sampled) : {}) } }),
      ...(all ? { purpose } : {}),
    };
  }
}

interface Demonstration extends Sampled {
  readonly prompt: string;
  readonly category: string | null;
  readonly response: string;
  /** The answer that a person changed into it. */
  readonly text: string | null;
  readonly model: string | null;
  readonly labeler: string | null;
  readonly created: number;
  readonly purpose: string;
}

function demonstrationsIn(database: Database, isLastOnly: boolean, all = false): Demonstration[] {
  const last = `(SELECT max(id) FROM demonstrations WHERE ${isLabel('demonstrations')} GROUP BY coalesce(edited, -id), ${kLabeler})`;
  return database
    .prepare(
      `SELECT prompts.prompt, category, response, text, model, labelers.name AS labeler, demonstrations.created, ${kPurpose}, ${kSampled}
       FROM demonstrations JOIN prompts ON prompts.id = demonstrations.prompt
       LEFT JOIN responses ON responses.id = edited LEFT JOIN labelers ON labelers.id = demonstrations.labeler
       LEFT JOIN tasks ON tasks.id = demonstrations.task
       WHERE ${all ? '1' : "coalesce(purpose, 'label') = 'label'"} ${isLastOnly ? `AND demonstrations.id IN ${last}` : ''}
       ORDER BY demonstrations.id`,
    )
    .all() as Demonstration[];
}

/** SQL: neither a repetition nor an attention item. */
function isLabel(table: string): string {
  return `NOT EXISTS (SELECT 1 FROM tasks WHERE tasks.id = ${table}.task AND purpose <> 'label')`;
}

// People without a name are one over heed serve; on a labelling page each task is somebody's.
const kLabeler = 'labeler, CASE WHEN labeler IS NULL THEN task END';

/** SQL: the ids of the thumbs that are a labeler's last on an answer. */
export const lastThumbs = `SELECT max(id) FROM thumbs WHERE ${isLabel('thumbs')} GROUP BY response, ${kLabeler}`;

/** The rankings that are a labeler's last of the same answers, in their order. */
export function lastRankings<
  Ranking extends { readonly responses: string; readonly labeler: unknown; readonly task: number | null },
>(rows: readonly Ranking[]): Ranking[] {
  const last = new Map<string, Ranking>();
  for (const row of rows) {
    const answers = (JSON.parse(row.responses) as number[]).toSorted((a, b) => a - b);
    const key = JSON.stringify([answers, row.labeler, row.labeler === null ? row.task : null]);
    last.set(key, row);
  }
  const kept = new Set(last.values());
  return rows.filter((row) => kept.has(row));
}

/** SQL: what a row of `tasks` was for; what people say over heed serve has none. */
const kPurpose = "coalesce(purpose, 'label') AS purpose";

const kSampled = 'prompt_tokens, tokens, logprobs, sampling, finish';

interface Sampled {
  readonly prompt_tokens: Uint8Array | null;
  readonly tokens: Uint8Array | null;
  readonly logprobs: Uint8Array | null;
  readonly sampling: string | null;
  readonly finish: string | null;
}

const idsOf = (blob: Uint8Array) => [...new Int32Array(blob.slice().buffer)];

const sampledOf = ({ prompt_tokens, tokens, finish }: Sampled) => ({
  ...(prompt_tokens?.length && tokens?.length ? { prompt_tokens: idsOf(prompt_tokens), tokens: idsOf(tokens) } : {}),
  ...defined({ finish }),
});

/** All that is kept of a response besides its text. */
function keptOf({ prompt_tokens: before, tokens, logprobs, sampling, finish }: Sampled) {
  return defined({
    prompt_tokens: before && idsOf(before),
    tokens: tokens && idsOf(tokens),
    // Nine digits are those of a float32.
    logprobs: logprobs && Array.from(new Float32Array(logprobs.slice().buffer), (one) => Number(one.toPrecision(9))),
    finish,
    sampling: sampling === null || sampling === '{}' ? undefined : JSON.parse(sampling),
  });
}

/** The same of each response of a ranking, null where it has none; `prompt_tokens` is one list if all have the same. */
function keptOfRanking(responses: readonly Sampled[]) {
  const each = responses.map(keptOf);
  const names = [...new Set(each.flatMap(Object.keys))];
  const lists = Object.fromEntries(names.map((name) => [name, each.map((one) => one[name] ?? null)]));
  const [first, ...others] = (lists.prompt_tokens ?? []) as (readonly number[] | null)[];
  return others.length > 0 && others.every((one) => one?.join() === first?.join())
    ? { ...lists, prompt_tokens: first }
    : lists;
}

/** Responses have ids in common only if all were sampled after the same ids. */
function sampledOfRanking(responses: readonly Sampled[]) {
  const each = responses.map(sampledOf);
  const prompts = new Set(each.map(({ prompt_tokens }) => prompt_tokens?.join()));
  const finish = responses.map((one) => one.finish);
  if (prompts.size > 1 || prompts.has(undefined)) return { finish };
  return { prompt_tokens: each[0]!.prompt_tokens, tokens: each.map(({ tokens }) => tokens), finish };
}

const defined = (row: Record<string, unknown>) =>
  Object.fromEntries(Object.entries(row).filter(([, value]) => value !== null && value !== undefined));
