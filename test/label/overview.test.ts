// The owner's overview: its figures are those that looking at every pair finds, and nobody waits while it is computed.
import { join } from 'node:path';
import { afterEach, expect, jest, test } from '@jest/globals';
import { type Database, openFeedback } from '../../lib/feedback/database.js';
import { measuresOf } from '../../lib/label/overview.js';
import { Overviewer } from '../../lib/label/overviewer.js';
import { Store } from '../../lib/label/store.js';
// @ts-expect-error plain JavaScript
import { randomOf } from './attack.mjs';
import { folder, items, onEnd, openDesk } from './desk.js';

afterEach(() => void jest.restoreAllMocks());

type Ranks = readonly (number | null)[];

/** What somebody said, in the order of the item's responses. */
interface Said {
  readonly item: number;
  readonly labeler: string;
  readonly purpose: 'label' | 'repeat' | 'attention';
  readonly ranks: Ranks;
  readonly ratings: readonly number[] | undefined;
  readonly seconds: number;
}

const people = ['Ada', 'Bea', 'Cem'];

/** A file in which each item is ranked by some people, some twice. Every seventh is an attention item, whose first response is best. */
async function fileOf(count: number, seed: number): Promise<{ database: Database; said: Said[] }> {
  const database = await openFeedback(join(folder(), 'labels.db'));
  onEnd(() => void database.close());
  const store = new Store(database);
  const random = randomOf(seed);
  const known = items(count).map((item, i) => (i % 7 === 3 ? { ...item, ranks: [0, 1, 1] } : item));
  store.add(known, { seed: 0, heldOut: 0, needed: 3, most: 3 });
  const ids = people.map((name) => store.labeler(name));
  const task = database.prepare(
    "INSERT INTO tasks (item, labeler, purpose, shown, state, draft, opened, closed) VALUES (?, ?, ?, ?, 'done', ?, 0, 0)",
  );
  const ranking = database.prepare(
    'INSERT INTO rankings (prompt, labeler, task, responses, ranks, purpose, created) VALUES (?, ?, ?, ?, ?, ?, 0)',
  );
  const said: Said[] = [];
  const rows = database.prepare('SELECT id, prompt, responses, ranks FROM items ORDER BY id').all() as {
    readonly id: number;
    readonly prompt: number;
    readonly responses: string;
    readonly ranks: string | null;
  }[];
  database.transaction(() => {
    for (const { id, prompt, responses, ranks: right } of rows) {
      const own = JSON.parse(responses) as number[];
      people.forEach((labeler, p) => {
        const times = random.pick([0, 1, 1, 2]);
        for (let time = 0; time < times; time++) {
          const purpose = right !== null ? 'attention' : time === 0 ? 'label' : 'repeat';
          const ranks = own.map(() => random.pick([0, 1, 2]) as number);
          const ratings = random.next() < 0.7 ? own.map(() => random.pick([1, 4, 7]) as number) : undefined;
          const seconds = random.pick([1, 5, 8, 20]) as number;
          const shown = [2, 0, 1];
          const ids3 = JSON.stringify(shown.map((k) => own[k]));
          const { lastInsertRowid } = task.run(id, ids[p], purpose, ids3, JSON.stringify({ seconds }));
          ranking.run(prompt, ids[p], lastInsertRowid, ids3, JSON.stringify(shown.map((k) => ranks[k])), purpose);
          const by = { labeler: ids[p]!, task: Number(lastInsertRowid), created: 0 };
          if (ratings)
            store.addRatings(
              by,
              own,
              ratings.map((rating) => ({ rating, flags: [] })),
            );
          said.push({ item: id, labeler, purpose, ranks, ratings, seconds });
        }
      });
    }
  })();
  return { database, said };
}

/** Of pairs of responses, how many two people order alike. */
function alike(comparisons: readonly (readonly [Ranks, Ranks])[], isStrict = false) {
  let [same, count] = [0, 0];
  for (const [a, b] of comparisons)
    for (const [i, j] of [
      [0, 1],
      [0, 2],
      [1, 2],
    ] as const) {
      const [ours, theirs] = [a, b].map((ranks) => Math.sign(ranks[i]! - ranks[j]!));
      if (isStrict && (ours === 0 || theirs === 0)) continue;
      count++;
      if (ours === theirs) same++;
    }
  return count === 0 ? undefined : { value: same / count, count };
}

/** But for rounding. */
const near = (found: ReturnType<typeof alike>) => ({ ...found!, value: expect.closeTo(found!.value, 12) });

/** All pairs of what was said of one item. */
const pairs = (said: readonly Said[], is: (a: Said, b: Said) => boolean) =>
  said.flatMap((a, i) =>
    said.slice(i + 1).flatMap((b) => (a.item === b.item && is(a, b) ? [[a.ranks, b.ranks] as const] : [])),
  );

/** Krippendorff's, by his definition: disagreement within units over disagreement of any two values, ordinal. */
function alphaOf(units: readonly (readonly number[])[]): number {
  const paired = units.filter((unit) => unit.length > 1);
  const values = paired.flat();
  const howMany = (level: number) => values.filter((value) => value === level).length;
  const apart = (a: number, b: number) => {
    const [low, high] = [Math.min(a, b), Math.max(a, b)];
    let between = -(howMany(low) + howMany(high)) / 2;
    for (let level = low; level <= high; level++) between += howMany(level);
    return a === b ? 0 : between ** 2;
  };
  let [observed, expected] = [0, 0];
  for (const unit of paired)
    unit.forEach((a, i) => {
      unit.forEach((b, j) => {
        if (i !== j) observed += apart(a, b) / (unit.length - 1);
      });
    });
  values.forEach((a, i) => {
    values.forEach((b, j) => {
      if (i !== j) expected += apart(a, b);
    });
  });
  return 1 - ((values.length - 1) * observed) / expected;
}

test.each([3, 4, 5])('its figures are those of every pair, random file %i', async (seed) => {
  const { database, said } = await fileOf(14, seed);
  const labels = said.filter(({ purpose }) => purpose === 'label');
  const compared = said.filter(({ purpose }) => purpose !== 'attention');
  const found = measuresOf(database, 'rank');
  const others = pairs(labels, (a, b) => a.labeler !== b.labeler);
  expect(found.agreement).toMatchObject(near(alike(others)));
  expect(found.agreementWithoutTies).toMatchObject(near(alike(others, true)));
  expect(found.self).toMatchObject(near(alike(pairs(compared, (a, b) => a.labeler === b.labeler))));
  const ofRatings = (some: readonly Said[]) =>
    alike(some.flatMap(({ ranks, ratings }) => (ratings ? [[ranks, ratings.map((rating) => -rating)] as const] : [])));
  expect(found.ratings).toMatchObject(near(ofRatings(labels)));
  const units = [...new Set(labels.map(({ item }) => item))].flatMap((item) =>
    [0, 1, 2].map((k) => labels.filter((one) => one.item === item).map(({ ranks }) => ranks[k]!)),
  );
  expect(found.alpha!.value).toBeCloseTo(alphaOf(units), 10);
  for (const { value, low, high } of [found.agreement!, found.alpha!, found.ratings!]) {
    expect(low).toBeLessThan(value);
    expect(high).toBeGreaterThan(value);
  }

  expect(found.labels).toBe(said.length);
  expect(found.items).toMatchObject({ total: 12, ready: 12, waiting: 0, unusable: 0 });
  expect(found.items.finished).toBe(new Set(labels.map(({ item }) => item)).size);
  for (const [p, name] of people.entries()) {
    const own = said.filter(({ labeler }) => labeler === name);
    const attention = own.filter(({ purpose }) => purpose === 'attention');
    const seconds = own.map((one) => one.seconds).sort((a, b) => a - b);
    const row = found.labelers[p]!;
    expect(row).toMatchObject({ name, done: own.length, skipped: 0 });
    expect(row.seconds).toBe(
      (seconds[Math.floor((seconds.length - 1) / 2)]! + seconds[Math.ceil((seconds.length - 1) / 2)]!) / 2,
    );
    expect(row.attention).toEqual({
      passed: attention.filter(({ ranks: [a, b, c] }) => a! < b! && a! < c!).length,
      shown: attention.length,
    });
    const theirs = pairs(labels, (a, b) => a.labeler !== b.labeler && (a.labeler === name || b.labeler === name));
    expect(row.agreement).toMatchObject(near(alike(theirs)));
    const again = alike(
      pairs(
        compared.filter(({ labeler }) => labeler === name),
        () => true,
      ),
    );
    again ? expect(row.self).toMatchObject(near(again)) : expect(row.self).toBeUndefined();
    expect(row.ratings).toMatchObject(near(ofRatings(own.filter(({ purpose }) => purpose === 'label'))));
  }

  const shares = [...new Set(labels.map(({ item }) => item))].flatMap((item) => {
    const own = labels.filter((one) => one.item === item);
    const share = alike(pairs(own, () => true));
    return share && share.value < 1 ? [{ item, share: share.value }] : [];
  });
  const order = shares.sort((a, b) => a.share - b.share || a.item - b.item);
  expect(found.disagreements.map(({ prompt }) => prompt)).toEqual(order.map(({ item }) => `Prompt ${item - 1}:`));
  found.disagreements.forEach(({ labels: shown, responses, prompt }, i) => {
    const own = labels.filter(({ item }) => item === order[i]!.item);
    expect(shown).toEqual(own.map(({ labeler, ranks }) => ({ labeler, ranks })));
    expect(responses).toEqual([0, 1, 2].map((k) => ` answer ${k} to ${/\d+/.exec(String(prompt))![0]}`));
  });
});

test('a thread finds the same', async () => {
  const { database } = await fileOf(60, 1);
  const overviewer = new Overviewer(database, 'rank', () => {});
  onEnd(() => overviewer.close());
  const found = await overviewer.measure();
  expect(found.labels).toBeGreaterThan(100);
  expect(found).toEqual({ ...measuresOf(database, 'rank'), at: expect.any(Number) });
});

test('the page answers while the overview of many labels is computed', async () => {
  const { database } = await fileOf(1500, 2);
  const desk = await openDesk({ out: database.name });
  const owner = await desk.person('owner');
  const order: string[] = [];
  const overview = owner.get('api/overview').then((reply) => {
    order.push('overview');
    return reply;
  });
  for (let i = 0; i < 3; i++) {
    expect((await owner.get('api/session')).status).toBe(200);
    order.push('session');
  }
  expect((await overview).json().labels).toBeGreaterThan(2000);
  expect(order).toEqual(['session', 'session', 'session', 'overview']);
});

test('a page that closes ends the thread', async () => {
  const { database } = await fileOf(1500, 2);
  const overviewer = new Overviewer(database, 'rank', () => {});
  const ended = expect(overviewer.read()).rejects.toMatchObject({ code: 'ERR_ABORTED' });
  await overviewer.close();
  await ended;
});

test('figures that took long are shown again while new ones are computed', async () => {
  const { database } = await fileOf(8, 3);
  const failures: unknown[] = [];
  const overviewer = new Overviewer(database, 'rank', (error) => failures.push(error));
  let now = 0;
  let cost = 10;
  jest.spyOn(performance, 'now').mockImplementation(() => now);
  const measure = overviewer.measure.bind(overviewer);
  jest.spyOn(overviewer, 'measure').mockImplementation(async () => {
    const found = await measure();
    now += cost;
    return found;
  });
  const skip = () => {
    database
      .prepare(
        "UPDATE tasks SET state = 'skipped', reason = 'x' WHERE id = (SELECT max(id) FROM tasks WHERE state = 'done')",
      )
      .run();
  };
  const first = (await overviewer.read()).labels;
  skip();
  now += 999;
  expect((await overviewer.read()).labels).toBe(first);
  now += 1;
  cost = 2000;
  expect((await overviewer.read()).labels).toBe(first - 1); // it was quick the last time
  skip();
  now += 9_999;
  expect((await overviewer.read()).labels).toBe(first - 1);
  now += 1;
  expect((await overviewer.read()).labels).toBe(first - 1);
  await new Promise(setImmediate);
  expect((await overviewer.read()).labels).toBe(first - 2);

  now += 50_000;
  jest.spyOn(overviewer, 'measure').mockRejectedValueOnce(new Error('no disk'));
  expect((await overviewer.read()).labels).toBe(first - 2);
  await new Promise(setImmediate);
  expect(failures).toEqual([new Error('no disk')]);
  skip();
  expect((await overviewer.read()).labels).toBe(first - 3);
});

test('a ranking that was imported for a prompt without responses is looked at', async () => {
  const { database } = await fileOf(2, 3);
  database.prepare("UPDATE items SET state = 'waiting', responses = NULL").run();
  expect(measuresOf(database, 'rank')).toMatchObject({ agreement: undefined, items: { waiting: 2, total: 2 } });
});
