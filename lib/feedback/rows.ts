/** Rows of a file of feedback, in the form in which training commands and people read them. */
import type { Database } from './database.js';

/** What training reads: rankings, demonstrations, or responses called good or bad. */
export const feedbackKinds = ['rankings', 'demonstrations', 'feedback'] as const;
export type FeedbackKind = (typeof feedbackKinds)[number];

export type FeedbackRow = Readonly<Record<string, unknown>>;

export interface FeedbackRowsOptions {
  /** Repetitions and attention items too, which training leaves out; each row names its `purpose`. Default false. */
  readonly all?: boolean;
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
 * Feedback: `{prompt, response, label, labeler, created, model}`. Demonstrations: `{prompt, response, labeler, created}`.
 */
export function feedbackRows(
  database: Database,
  kind: FeedbackKind,
  options: FeedbackRowsOptions = {},
): Generator<FeedbackRow> {
  if (kind === 'rankings') return rankings(database, options);
  return kind === 'feedback' ? thumbs(database) : demonstrations(database);
}

/** The kind that the file has rows of; the first that it has, or rankings. */
export function kindIn(database: Database): FeedbackKind {
  const has = (table: string) => database.prepare(`SELECT 1 FROM ${table} LIMIT 1`).get() !== undefined;
  if (has('rankings')) return 'rankings';
  return has('demonstrations') ? 'demonstrations' : has('thumbs') ? 'feedback' : 'rankings';
}

function* rankings(database: Database, { all = false }: FeedbackRowsOptions): Generator<FeedbackRow> {
  const rows = database
    .prepare(
      `SELECT rankings.*, prompts.prompt AS prompt, category, labelers.name AS labeler FROM rankings
       JOIN prompts ON prompts.id = rankings.prompt LEFT JOIN labelers ON labelers.id = labeler
       ${all ? '' : "WHERE purpose = 'label'"} ORDER BY rankings.id`,
    )
    .all() as RankingRow[];
  const find = database.prepare('SELECT text, model FROM responses WHERE id = ?');
  const findRating = database.prepare('SELECT rating, flags FROM ratings WHERE task = ? AND response = ?');
  for (const row of rows) {
    const ids = JSON.parse(row.responses) as number[];
    const responses = ids.map((id) => find.get(id) as { text: string; model: string });
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
}

interface Rated {
  readonly rating: number;
  readonly flags: string;
}

function* thumbs(database: Database): Generator<FeedbackRow> {
  const rows = database
    .prepare(
      `SELECT prompts.prompt, responses.text, model, label, labelers.name AS labeler, thumbs.created FROM thumbs
       JOIN responses ON responses.id = thumbs.response JOIN prompts ON prompts.id = responses.prompt
       LEFT JOIN labelers ON labelers.id = thumbs.labeler ORDER BY thumbs.id`,
    )
    .all() as { prompt: string; text: string; model: string; label: number; labeler: string | null; created: number }[];
  for (const { prompt, text, model, label, labeler, created } of rows)
    yield {
      prompt: JSON.parse(prompt),
      response: text,
      label: label === 1,
      ...defined({ labeler, created: new Date(created).toISOString() }),
      model,
    };
}

function* demonstrations(database: Database): Generator<FeedbackRow> {
  const rows = database
    .prepare(
      `SELECT prompts.prompt, response, labelers.name AS labeler, demonstrations.created FROM demonstrations
       JOIN prompts ON prompts.id = demonstrations.prompt LEFT JOIN labelers ON labelers.id = labeler
       ORDER BY demonstrations.id`,
    )
    .all() as { prompt: string; response: string; labeler: string | null; created: number }[];
  for (const { prompt, response, labeler, created } of rows)
    yield {
      prompt: JSON.parse(prompt),
      response,
      ...defined({ labeler, created: new Date(created).toISOString() }),
    };
}

const defined = (row: Record<string, unknown>) =>
  Object.fromEntries(Object.entries(row).filter(([, value]) => value !== null && value !== undefined));
