/** How the labelling goes: speed, agreement, and where people disagree. */
import type { Database } from '../feedback/database.js';
import {
  type Agreement,
  bootstrapRatio,
  compareOrders,
  type Estimate,
  krippendorffAlpha,
  type LabeledRanking,
  labelerAgreement,
  notCertain,
  pairwiseAgreement,
  rankUnits,
  selfAgreement,
} from '../statistics/index.js';
import { Store } from './store.js';
import type { Disagreement, LabelerRow, Mode, Overview } from './types.js';

const kDisagreements = 20;
const kResamples = { resamples: 400 };

/** A ranking with its ranks in the order of the item's responses, not as shown. */
interface Ranked extends LabeledRanking {
  readonly item: number;
  readonly labeler: string;
  readonly ranks: readonly (number | null)[];
  readonly purpose: string;
  /** (K) 1 to 7, if each output was rated too. */
  readonly ratings: readonly number[] | undefined;
  /** Of an attention item. */
  readonly right: readonly number[] | undefined;
}

/** What is found by looking through the file: all but how the reward model does. */
export type Measures = Omit<Overview, 'learning'>;

/** Takes seconds with many labels, see {@link Overviewer}. All is of one moment, whoever writes meanwhile. */
export function measuresOf(database: Database, mode: Mode): Measures {
  const store = new Store(database);
  return database.transaction(() => measure(store, mode))();
}

function measure(store: Store, mode: Mode): Measures {
  const { database } = store;
  const all = rankingsOf(database);
  const labels = all.filter(({ purpose }) => purpose === 'label');
  const compared = all.filter(({ purpose }) => purpose !== 'attention');
  const { units, clusters } = rankUnits(labels);
  const agreement = pairwiseAgreement(labels, kResamples);
  const ofEach = labelerAgreement(labels, kResamples);
  const count = (sql: string) => database.prepare(sql).pluck().get() as number;
  const people = count('SELECT count(*) FROM labelers');
  return {
    at: Date.now(),
    mode,
    items: {
      ...store.items(),
      finished: database
        .prepare(
          `SELECT count(*) FROM items WHERE ranks IS NULL AND (SELECT count(*) FROM tasks WHERE item = items.id
           AND purpose = 'label' AND state = 'done') >= min(wanted, ?)`,
        )
        .pluck()
        .get(Math.max(1, people)) as number,
    },
    labels: count('SELECT coalesce(sum(done), 0) FROM labelers'),
    skips: database
      .prepare(
        "SELECT reason, count(*) AS count FROM tasks WHERE state = 'skipped' GROUP BY reason ORDER BY count DESC LIMIT 20",
      )
      .all() as { reason: string; count: number }[],
    labelers: labelerRows(database, all, ofEach),
    agreement: agreement?.withTies,
    agreementWithoutTies: agreement?.withoutTies,
    alpha: krippendorffAlpha(units, { metric: 'ordinal', clusters, ...kResamples }),
    self: selfAgreement(compared, kResamples)?.withTies,
    ratings: ownRatings(labels),
    disagreements: disagreementsOf(store, labels),
  };
}

function rankingsOf(database: Database): Ranked[] {
  const rows = database
    .prepare(
      `SELECT tasks.item, rankings.task, name, rankings.responses, rankings.ranks, rankings.purpose,
         coalesce(items.responses, '[]') AS own, items.ranks AS known FROM rankings
       JOIN tasks ON tasks.id = rankings.task JOIN labelers ON labelers.id = rankings.labeler JOIN items ON items.id = tasks.item
       ORDER BY rankings.id`,
    )
    .iterate() as IterableIterator<{
    readonly item: number;
    readonly task: number;
    readonly name: string;
    readonly responses: string;
    readonly ranks: string;
    readonly purpose: string;
    readonly own: string;
    readonly known: string | null;
  }>;
  const ratings = new Map<string, number>();
  for (const { task, response, rating } of database
    .prepare('SELECT task, response, rating FROM ratings WHERE task IS NOT NULL')
    .iterate() as IterableIterator<{ readonly task: number; readonly response: number; readonly rating: number }>)
    ratings.set(`${task}/${response}`, rating);
  return Array.from(rows, ({ item, task, name, responses, ranks, purpose, own, known }) => {
    const order = JSON.parse(own) as number[];
    const shown = JSON.parse(responses) as number[];
    const given = JSON.parse(ranks) as number[];
    const rated = order.map((id) => ratings.get(`${task}/${id}`));
    return {
      item,
      labeler: name,
      purpose,
      ranks: order.map((id) => given[shown.indexOf(id)] ?? null),
      ratings: rated.every((one) => one !== undefined) ? (rated as number[]) : undefined,
      right: known === null ? undefined : JSON.parse(known),
    };
  });
}

function labelerRows(
  database: Database,
  all: readonly Ranked[],
  agreement: ReadonlyMap<LabeledRanking['labeler'], Agreement>,
): LabelerRow[] {
  const rows = database.prepare('SELECT id, name, done, skipped FROM labelers ORDER BY id').all() as {
    readonly id: number;
    readonly name: string;
    readonly done: number;
    readonly skipped: number;
  }[];
  const rankings = groupBy(all, ({ labeler }) => labeler);
  const findSeconds = database
    .prepare(
      `SELECT json_extract(draft, '$.seconds') AS seconds FROM tasks WHERE labeler = ? AND state = 'done' AND seconds IS NOT NULL`,
    )
    .pluck();
  return rows.map(({ id, name, done, skipped }) => {
    const own = rankings.get(name) ?? [];
    const attention = own.filter(({ right }) => right !== undefined);
    return {
      name,
      done,
      skipped,
      seconds: median(findSeconds.all(id) as number[]),
      agreement: agreement.get(name)?.withTies,
      self: selfAgreement(
        own.filter(({ purpose }) => purpose !== 'attention'),
        kResamples,
      )?.withTies,
      attention: { passed: attention.filter(passes).length, shown: attention.length },
      ratings: ownRatings(own.filter(({ purpose }) => purpose === 'label')),
    };
  });
}

/** Whether every response that is better is ranked before those that are worse. */
function passes({ ranks, right }: Ranked): boolean {
  return right!.every((a, i) =>
    right!.every((b, j) => a >= b || ranks[i] === null || ranks[j] === null || ranks[i]! < ranks[j]!),
  );
}

/** How often a person's ratings of two outputs say the same as the ranking: on other data only about 40 % did (Bansal et al. 2023). */
function ownRatings(rankings: readonly Ranked[]): Estimate | undefined {
  const counts = rankings.flatMap(({ ranks, ratings }) =>
    ratings
      ? [
          compareOrders(
            ranks,
            ratings.map((rating) => -rating),
          ),
        ]
      : [],
  );
  const found = bootstrapRatio(
    counts.map(({ alike }) => alike),
    counts.map(({ pairs }) => pairs),
    kResamples,
  );
  return found && notCertain(found, counts.length);
}

function disagreementsOf(store: Store, labels: readonly Ranked[]): Disagreement[] {
  const found: { item: number; agreement: number; some: readonly Ranked[] }[] = [];
  for (const [item, some] of groupBy(labels, (one) => one.item)) {
    let [pairs, alike] = [0, 0];
    some.forEach((a, i) => {
      for (const b of some.slice(i + 1)) {
        const one = compareOrders(a.ranks, b.ranks);
        pairs += one.pairs;
        alike += one.alike;
      }
    });
    if (alike < pairs) found.push({ item, agreement: alike / pairs, some });
  }
  const find = store.sql(
    'SELECT prompts.prompt, responses FROM items JOIN prompts ON prompts.id = items.prompt WHERE items.id = ?',
  );
  return found
    .sort((a, b) => a.agreement - b.agreement || a.item - b.item)
    .slice(0, kDisagreements)
    .map(({ item, agreement, some }) => {
      const { prompt, responses } = find.get(item) as { readonly prompt: string; readonly responses: string };
      return {
        prompt: JSON.parse(prompt),
        responses: store.texts(JSON.parse(responses)),
        labels: some.map(({ labeler, ranks }) => ({ labeler, ranks })),
        agreement,
      };
    });
}

function groupBy<K>(rankings: readonly Ranked[], keyOf: (one: Ranked) => K): Map<K, Ranked[]> {
  const groups = new Map<K, Ranked[]>();
  for (const one of rankings) {
    const group = groups.get(keyOf(one));
    if (group) group.push(one);
    else groups.set(keyOf(one), [one]);
  }
  return groups;
}

function median(values: readonly number[]): number | undefined {
  if (values.length === 0) return undefined;
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}
