// The numbers that a file keeps are those that counting finds, whatever happens to it, and no request looks through all prompts.
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import Sqlite from 'better-sqlite3';
import { type Database, openFeedback } from '../../lib/feedback/database.js';
import { migrations } from '../../lib/feedback/schema.js';
import { Queue } from '../../lib/label/queue.js';
import { Store } from '../../lib/label/store.js';
// @ts-expect-error plain JavaScript
import { randomOf } from './attack.mjs';
import { folder, items, onEnd } from './desk.js';

const kAvailable = `state = 'ready' AND ranks IS NULL AND (SELECT count(*) FROM tasks WHERE item = items.id
  AND purpose = 'label' AND tasks.state <> 'skipped') < wanted`;

/** What the file should say, by counting. */
function counted(database: Database) {
  const count = (from: string) => database.prepare(`SELECT count(*) FROM ${from}`).pluck().get() as number;
  const touched = 'EXISTS (SELECT 1 FROM tasks WHERE item = items.id)';
  return {
    totals: {
      available: count(`items WHERE ${kAvailable}`),
      touched: count(`items WHERE ${kAvailable} AND ${touched}`),
      ready: count("items WHERE state = 'ready' AND ranks IS NULL"),
      waiting: count("items WHERE state = 'waiting'"),
      unusable: count("items WHERE state = 'unusable'"),
      labels: count("tasks WHERE purpose = 'label'"),
    },
    labelers: (database.prepare('SELECT id FROM labelers ORDER BY id').pluck().all() as number[]).map((id) => ({
      id,
      opened: count(`tasks WHERE labeler = ${id} AND state = 'open'`),
      done: count(`tasks WHERE labeler = ${id} AND state = 'done'`),
      skipped: count(`tasks WHERE labeler = ${id} AND state = 'skipped'`),
      met: count(
        `items WHERE ${kAvailable} AND EXISTS (SELECT 1 FROM tasks WHERE item = items.id AND labeler = ${id})`,
      ),
    })),
  };
}

const kept = (database: Database) => ({
  totals: database.prepare('SELECT * FROM totals').get(),
  labelers: database.prepare('SELECT id, opened, done, skipped, met FROM labelers ORDER BY id').all(),
});

/** What a person can label, by looking at every item: what the page did before there were counters. */
function left(database: Database, labeler: number, fresh: number): number {
  return database
    .prepare(
      `SELECT count(*) FROM items WHERE state = 'waiting' OR (state = 'ready' AND ranks IS NULL
       AND NOT EXISTS (SELECT 1 FROM tasks WHERE item = items.id AND labeler = :labeler)
       AND (SELECT count(*) FROM tasks WHERE item = items.id AND purpose = 'label'
            AND (state = 'done' OR (state = 'open' AND opened > :fresh))) < wanted)`,
    )
    .pluck()
    .get({ labeler, fresh }) as number;
}

test.each(['random', 'uncertain'] as const)('after 600 random changes, items in %s order', async (order) => {
  const database = await openFeedback(join(folder(), 'labels.db'));
  onEnd(() => void database.close());
  const store = new Store(database);
  const random = randomOf(order === 'random' ? 7 : 8);
  const queue = new Queue(store, { seed: 1, mode: 'pair', order, repeats: 0.2, attention: 0.1 });
  const add = (from: number, needed: number) =>
    store.add(
      items(60)
        .slice(from, from + 20)
        .map((item, i) => (i === 0 ? { ...item, ranks: [0, 1, 2] } : item)),
      { seed: 1, heldOut: 0.3, needed, most: 9 },
    );
  add(0, 3);
  const people = ['Ada', 'Bea', 'Cem'].map((name) => store.labeler(name));
  const actions: readonly (() => unknown)[] = [
    () => add(20, 3),
    () => add(40, 4), // these wait for responses
    () => store.share(random.next(), random.pick([1, 2, 3])),
    () => store.giveUpAll('none'),
    () => store.retry(),
    () => {
      const waiting = store.nextWaiting();
      if (waiting)
        random.next() < 0.7 ? store.fill(waiting, [{ model: 'm', text: 'x' }]) : store.giveUp(waiting.id, 'no');
    },
    // Half an hour later, a task that was opened and forgotten.
    () => database.prepare('UPDATE tasks SET opened = opened - 3600000 WHERE state = ? AND id % 3 = 0').run('open'),
    () => database.prepare('UPDATE items SET uncertainty = id % 7 WHERE id % 2 = 0').run(),
  ];
  const seen = new Set<string>();
  for (let i = 0; i < 600; i++) {
    const labeler = random.pick(people);
    const what = random.next();
    if (what < 0.12) random.pick(actions)();
    else if (what < 0.2 && queue.canUndo(labeler)) queue.undo(labeler);
    else {
      const next = queue.next(labeler);
      if (!('task' in next)) {
        expect(left(database, labeler, Date.now() - 1_800_000)).toBe(store.totals().waiting);
        seen.add(next.waiting);
      } else if (what < 0.35) queue.skip(labeler, next.task.id, 'why');
      else if (what < 0.9) queue.submit(labeler, next.task.id, { ranks: [0, 1] });
    }
    expect(kept(database)).toEqual(counted(database));
    const { opened } = database.prepare('SELECT opened FROM labelers WHERE id = ?').get(labeler) as { opened: number };
    expect(queue.progress(labeler).left).toBe(left(database, labeler, Date.now() - 1_800_000) + opened);
  }
  // Rows that somebody deletes by hand.
  database.pragma('foreign_keys = OFF');
  database.prepare('DELETE FROM tasks WHERE id % 3 = 0').run();
  expect(kept(database)).toEqual(counted(database));
  database
    .prepare('DELETE FROM items WHERE NOT EXISTS (SELECT 1 FROM tasks WHERE item = items.id) AND id % 2 = 0')
    .run();
  expect(kept(database)).toEqual(counted(database));
  expect(counted(database).totals.labels).toBeGreaterThan(20);
});

test('a file of the first version is counted when it is opened', async () => {
  const file = join(folder(), 'labels.db');
  const old = new Sqlite(file);
  old.exec(migrations[0]!);
  old.pragma('application_id = 1751475556');
  old.pragma('user_version = 1');
  old.exec(`INSERT INTO labelers (id, name, created) VALUES (1, 'Ada', 0), (2, 'Bea', 0)`);
  const prompt = old.prepare('INSERT INTO prompts (prompt, created) VALUES (?, 0)');
  const item = old.prepare(
    "INSERT INTO items (prompt, state, responses, ranks, wanted, place, created) VALUES (?, ?, '[]', ?, ?, ?, 0)",
  );
  const task = old.prepare(
    "INSERT INTO tasks (item, labeler, purpose, shown, state, opened) VALUES (?, ?, ?, '[]', ?, 0)",
  );
  for (let i = 1; i <= 12; i++) {
    prompt.run(`"${i}"`);
    item.run(i, ['ready', 'waiting', 'unusable', 'ready'][i % 4], i === 8 ? '[]' : null, 1 + (i % 3), i);
    if (i % 4 === 0) task.run(i, 1, i % 3 === 0 ? 'repeat' : 'label', ['open', 'done', 'skipped'][i % 3]);
    if (i % 4 === 3) task.run(i, 2, 'label', ['open', 'done', 'skipped'][i % 3]);
  }
  old.close();
  const readOnly = await openFeedback(file, { readOnly: true }); // its rows train as they are
  readOnly.close();
  const database = await openFeedback(file);
  onEnd(() => void database.close());
  expect(kept(database)).toEqual(counted(database));
  expect(counted(database)).toMatchObject({
    totals: { ready: 5, waiting: 3, unusable: 3 },
    labelers: [{ done: 1 }, {}],
  });
});

test('no request of a page looks through items, tasks or rankings', async () => {
  const database = await openFeedback(join(folder(), 'labels.db'));
  onEnd(() => void database.close());
  const asked = new Set<string>();
  const spied = new Proxy(database, {
    get(target, name) {
      const value = Reflect.get(target, name) as unknown;
      if (name === 'prepare')
        return (sql: string) => {
          asked.add(sql);
          return target.prepare(sql);
        };
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
  const store = new Store(spied);
  store.add([...items(40), { prompt: 'known', responses: ['a', 'b'], ranks: [0, 1] }], {
    seed: 1,
    heldOut: 0.2,
    needed: 2,
    most: 9,
  });
  store.share(0.5, 2);
  const people = ['Ada', 'Bea'].map((name) => store.labeler(name));
  asked.clear();
  for (const order of ['random', 'uncertain'] as const) {
    const queue = new Queue(store, { seed: 1, mode: 'pair', order, repeats: 0, attention: 0.3 });
    for (let i = 0; i < 16; i++)
      for (const labeler of people) {
        const next = queue.next(labeler);
        if (!('task' in next)) continue;
        queue.submit(labeler, next.task.id, { ranks: [0, 1] });
        if (i % 4 === 0) queue.undo(labeler);
        queue.canUndo(labeler);
        queue.progress(labeler);
        store.readyAhead();
        store.nextWaiting();
      }
  }
  const plans = [...asked]
    .filter((sql) => /^\s*(SELECT|UPDATE|DELETE)/i.test(sql))
    .map((sql) => {
      const names = [...new Set(sql.match(/:\w+/g) ?? [])].map((name) => [name.slice(1), 1]);
      const values = names.length > 0 ? [Object.fromEntries(names)] : (sql.match(/\?/g) ?? []).map(() => 1);
      const steps = database.prepare(`EXPLAIN QUERY PLAN ${sql}`).all(...values) as { detail: string }[];
      return { sql, steps: steps.map(({ detail }) => detail) };
    });
  expect(plans.length).toBeGreaterThan(15);
  expect(plans.some(({ steps }) => steps.some((step) => step.includes('items_untouched')))).toBe(true);
  // An index of what is looked for may be read in its order, up to the first that fits.
  const slow = plans.filter(({ steps }) =>
    steps.some((step) =>
      /^SCAN (items|tasks|rankings|prompts|responses)\b(?!.* USING (COVERING )?INDEX (items|tasks)_)/.test(step),
    ),
  );
  expect(slow).toEqual([]);
});
