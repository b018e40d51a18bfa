/** How the labelling goes: speed, agreement, and where people disagree. */
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
import type { Store } from './store.js';
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

interface ItemRow {
  readonly id: number;
  readonly prompt: string;
  readonly responses: string;
  readonly ranks: string | null;
}

export function overviewOf(store: Store, mode: Mode, learning: Overview['learning']): Overview {
  const { database } = store;
  const items = new Map(
    (
      database
        .prepare(
          'SELECT items.id, prompts.prompt, responses, items.ranks FROM items JOIN prompts ON prompts.id = items.prompt',
        )
        .all() as ItemRow[]
    ).map((row) => [row.id, row]),
  );
  const all = rankingsOf(store, items);
  const labels = all.filter(({ purpose }) => purpose === 'label');
  const compared = all.filter(({ purpose }) => purpose !== 'attention');
  const { units, clusters } = rankUnits(labels);
  const agreement = pairwiseAgreement(labels, kResamples);
  const ofEach = labelerAgreement(labels, kResamples);
  const count = (sql: string) => database.prepare(sql).pluck().get() as number;
  const people = count('SELECT count(*) FROM labelers');
  return {
    mode,
    items: {
      total: count('SELECT count(*) FROM items WHERE ranks IS NULL'),
      waiting: count("SELECT count(*) FROM items WHERE state = 'waiting'"),
      ready: count("SELECT count(*) FROM items WHERE state = 'ready' AND ranks IS NULL"),
      unusable: count("SELECT count(*) FROM items WHERE state = 'unusable'"),
      finished: database
        .prepare(
          `SELECT count(*) FROM items WHERE ranks IS NULL AND (SELECT count(*) FROM tasks WHERE item = items.id
           AND purpose = 'label' AND state = 'done') >= min(wanted, ?)`,
        )
        .pluck()
        .get(Math.max(1, people)) as number,
    },
    labels: count("SELECT count(*) FROM tasks WHERE state = 'done'"),
    skips: database
      .prepare(
        "SELECT reason, count(*) AS count FROM tasks WHERE state = 'skipped' GROUP BY reason ORDER BY count DESC LIMIT 20",
      )
      .all() as { reason: string; count: number }[],
    labelers: labelerRows(store, all, ofEach),
    agreement: agreement?.withTies,
    agreementWithoutTies: agreement?.withoutTies,
    alpha: krippendorffAlpha(units, { metric: 'ordinal', clusters, ...kResamples }),
    self: selfAgreement(compared, kResamples)?.withTies,
    ratings: ownRatings(labels),
    disagreements: disagreementsOf(store, labels, items),
    learning,
  };
}

function rankingsOf(store: Store, items: ReadonlyMap<number, ItemRow>): Ranked[] {
  const { database } = store;
  const rows = database
    .prepare(
      `SELECT tasks.item, rankings.task, name, rankings.responses, rankings.ranks, rankings.purpose FROM rankings
       JOIN tasks ON tasks.id = rankings.task JOIN labelers ON labelers.id = rankings.labeler ORDER BY rankings.id`,
    )
    .all() as { item: number; task: number; name: string; responses: string; ranks: string; purpose: string }[];
  const ratings = new Map<string, number>();
  for (const { task, response, rating } of database
    .prepare('SELECT task, response, rating FROM ratings WHERE task IS NOT NULL')
    .all() as { task: number; response: number; rating: number }[])
    ratings.set(`${task}/${response}`, rating);
  return rows.map(({ item, task, name, responses, ranks, purpose }) => {
    const { responses: own, ranks: right } = items.get(item)!;
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
      right: right === null ? undefined : JSON.parse(right),
    };
  });
}

function labelerRows(
  { database }: Store,
  all: readonly Ranked[],
  agreement: ReadonlyMap<LabeledRanking['labeler'], Agreement>,
): LabelerRow[] {
  const rows = database
    .prepare(
      `SELECT name, (SELECT count(*) FROM tasks WHERE labeler = labelers.id AND state = 'done') AS done,
         (SELECT count(*) FROM tasks WHERE labeler = labelers.id AND state = 'skipped') AS skipped FROM labelers ORDER BY id`,
    )
    .all() as { name: string; done: number; skipped: number }[];
  const times = database
    .prepare(
      `SELECT name, json_extract(draft, '$.seconds') AS seconds FROM tasks JOIN labelers ON labelers.id = tasks.labeler
       WHERE state = 'done'`,
    )
    .all() as { name: string; seconds: number | null }[];
  return rows.map(({ name, done, skipped }) => {
    const own = all.filter(({ labeler }) => labeler === name);
    const seconds = times.flatMap((one) => (one.name === name && one.seconds !== null ? [one.seconds] : []));
    const attention = own.filter(({ right }) => right !== undefined);
    return {
      name,
      done,
      skipped,
      seconds: median(seconds),
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

function disagreementsOf(store: Store, labels: readonly Ranked[], items: ReadonlyMap<number, ItemRow>): Disagreement[] {
  const byItem = groupBy(labels);
  const found: { item: number; agreement: number; some: readonly Ranked[] }[] = [];
  for (const [item, some] of byItem) {
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
  return found
    .sort((a, b) => a.agreement - b.agreement || a.item - b.item)
    .slice(0, kDisagreements)
    .map(({ item, agreement, some }) => {
      const { prompt, responses } = items.get(item)!;
      return {
        prompt: JSON.parse(prompt),
        responses: store.texts(JSON.parse(responses)),
        labels: some.map(({ labeler, ranks }) => ({ labeler, ranks })),
        agreement,
      };
    });
}

function groupBy(labels: readonly Ranked[]): Map<number, Ranked[]> {
  const groups = new Map<number, Ranked[]>();
  for (const one of labels) groups.set(one.item, [...(groups.get(one.item) ?? []), one]);
  return groups;
}

function median(values: readonly number[]): number | undefined {
  if (values.length === 0) return undefined;
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}
