import { describe, expect, test } from '@jest/globals';
import { openFeedback } from '../../lib/feedback/database.js';
import { feedbackRows } from '../../lib/feedback/rows.js';
import { labelling } from '../../lib/label/index.js';
import { fullAnswer, items, numberOf, onEnd, openDesk } from './desk.js';

describe('an answer', () => {
  test('is kept with who gave it, the order shown, ratings, flags, confidence and time', async () => {
    const desk = await openDesk({ prompts: items(1) });
    const ada = await desk.person('Ada');
    const task = await ada.task();
    expect([...task.responses].sort()).toEqual(items(1)[0]!.responses);
    const ranks = task.responses.map((text) => (numberOf(text) === 2 ? 0 : 3)); // gaps are closed
    const ratings = task.responses.map((_, k) => ({ rating: k + 2, flags: k === 1 ? ['opinion', 'violent'] : [] }));
    const reply = await ada.post(`api/tasks/${task.id}/submit`, { ratings, ranks, confidence: 3, seconds: 4.5 });
    expect(reply.json()).toEqual({ progress: { done: 1, skipped: 0, left: 0 } });
    expect([...feedbackRows(await desk.database(), 'rankings')]).toEqual([
      {
        prompt: 'Prompt 0:',
        responses: task.responses,
        ranks: ranks.map((rank) => (rank === 0 ? 0 : 1)),
        labeler: 'Ada',
        created: expect.stringMatching(/^20\d\d-/),
        confidence: 3,
        seconds: 4.5,
        models: ['given', 'given', 'given'],
        ratings: [2, 3, 4],
        flags: [[], ['violent', 'opinion'], []],
      },
    ]);
    expect(await ada.next()).toEqual({ waiting: 'done', unusable: 0 });
  });

  const wrong: readonly [string, object, string][] = [
    ['no ranks', { ranks: undefined }, 'ranks is missing'],
    ['too few ranks', { ranks: [0, 1] }, 'ranks has length 2, expected 3'],
    ['a rank that is no integer', { ranks: [0, 1, 0.5] }, 'ranks.2 is 0.5, expected an integer from 0 to 8'],
    ['a rank beyond the last', { ranks: [0, 1, 9] }, 'ranks.2 is 9, expected an integer from 0 to 8'],
    [
      'a rating of 8',
      { ratings: [1, 8, 1].map((rating) => ({ rating, flags: [] })) },
      'ratings.1.rating is 8, expected an integer from 1 to 7',
    ],
    [
      'an unknown flag',
      { ratings: [1, 1, 1].map((rating) => ({ rating, flags: ['silly'] })) },
      'ratings.0.flags.0 is "silly", expected the name of a flag',
    ],
    ['no ratings', { ratings: undefined }, 'ratings is missing'],
    ['a field of another mode', { thumbs: [true, true, true] }, 'thumbs is given'],
    ['an unknown field', { extra: 1 }, 'extra is given, expected no such field'],
    ['confidence beyond the scale', { confidence: 4 }, 'confidence is 4, expected an integer from 1 to 3'],
    ['a text as a rating', { ratings: [{ rating: '7', flags: [] }] }, 'ratings.0.rating is "7", expected an integer'],
    ['too many ranks', { ranks: Array(10).fill(0) }, 'expected a list of at most 9, one per response'],
    ['negative seconds', { seconds: -1 }, 'seconds is -1, expected a number from 0 to 86400'],
  ];
  test('that is not complete or not valid is refused, and nothing is written', async () => {
    const desk = await openDesk({ prompts: items(1) });
    const ada = await desk.person('Ada');
    const task = await ada.task();
    for (const [what, change, message] of wrong) {
      const reply = await ada.submit(task, { ...fullAnswer(task, numberOf), ...change });
      expect([what, reply.status, reply.json().error.message]).toEqual([what, 400, expect.stringContaining(message)]);
    }
    const database = await desk.database();
    for (const table of ['rankings', 'ratings'])
      expect(database.prepare(`SELECT count(*) FROM ${table}`).pluck().get()).toBe(0);
    expect((await ada.task()).id).toBe(task.id);
  });

  test('to a closed task or to another person’s is refused', async () => {
    const desk = await openDesk({ prompts: items(3) });
    const [ada, bea] = [await desk.person('Ada'), await desk.person('Bea')];
    const task = await ada.label(numberOf);
    expect((await ada.submit(task, fullAnswer(task, numberOf))).status).toBe(409);
    expect((await ada.post(`api/tasks/${task.id}/draft`, {})).status).toBe(409);
    const other = await ada.task();
    for (const path of ['submit', 'draft', 'skip'])
      expect((await bea.post(`api/tasks/${other.id}/${path}`, {})).status).toBe(404);
    expect((await ada.post(`api/tasks/999/submit`, {})).status).toBe(404);
  });
});

test('a draft survives, undo brings an answer back and removes its rows, a skip has a reason', async () => {
  const desk = await openDesk({ prompts: items(4) });
  const ada = await desk.person('Ada');
  const database = await desk.database();
  const count = () => database.prepare('SELECT count(*) FROM rankings').pluck().get();
  const first = await ada.task();
  const draft = { ratings: [{ rating: 3, flags: ['opinion'] }, null, null], step: 1, seconds: 2 };
  await ada.post(`api/tasks/${first.id}/draft`, draft);
  expect((await ada.task()).draft).toEqual(draft);

  const answer = fullAnswer(first, numberOf);
  await ada.submit(first, answer);
  const second = await ada.task(); // open while the first is taken back
  expect(second.id).not.toBe(first.id);
  expect(count()).toBe(1);
  const undone = (await ada.post('api/undo', {})).json();
  expect(undone.task).toMatchObject({ id: first.id, draft: answer });
  expect([count(), database.prepare('SELECT count(*) FROM ratings').pluck().get()]).toEqual([0, 0]);
  expect((await ada.task()).id).toBe(first.id);
  await ada.submit(first, answer);
  expect(count()).toBe(1);

  expect((await ada.task()).id).toBe(second.id);
  expect((await ada.post(`api/tasks/${second.id}/skip`, { reason: '  ' })).status).toBe(400);
  await ada.post(`api/tasks/${second.id}/skip`, { reason: 'unclear' });
  const session = (await ada.get('api/session')).json();
  expect(session).toMatchObject({ labeler: 'Ada', progress: { done: 1, skipped: 1, left: 2 }, canUndo: true });
  expect((await desk.page.overview()).skips).toEqual([{ reason: 'unclear', count: 1 }]);
  // A skipped item is somebody else's.
  const bea = await desk.person('Bea');
  const prompts = [];
  for (let i = 0; i < 3; i++) prompts.push((await bea.label(numberOf)).prompt);
  expect(prompts).toContain(second.prompt);
  expect(prompts).not.toContain(first.prompt);
});

test('orders are shuffled anew for each person, and nothing says which model answered', async () => {
  const desk = await openDesk({ prompts: items(40, 4), k: 4, double: 0.999 });
  const orders: string[] = [];
  for (const name of ['Ada', 'Bea']) {
    const person = await desk.person(name);
    const text = (await person.post('api/next', {})).text;
    expect(text).not.toContain('given');
    const { task } = JSON.parse(text);
    expect(Object.keys(task).sort()).toEqual(['draft', 'id', 'prompt', 'responses']);
    for (let i = 0; i < 30; i++) orders.push((await person.label(numberOf)).responses.map(numberOf).join(''));
  }
  const first = orders.map((order) => order[0]);
  for (const digit of '0123') {
    const share = first.filter((one) => one === digit).length;
    expect(share).toBeGreaterThan(4); // of 60, 15 on average
    expect(share).toBeLessThan(28);
  }
  const both = orders.slice(0, 30).filter((order, i) => order === orders[30 + i]).length;
  expect(both).toBeLessThan(10); // 1 in 24 by chance
});

test('of several labelers each item goes to one, and of a share to two', async () => {
  const desk = await openDesk({ prompts: items(40), double: 0.5 });
  const people = await Promise.all(['Ada', 'Bea', 'Cem'].map((name) => desk.person(name)));
  const counts = new Map<string, number>();
  const taken = new Set<string>();
  for (let isOpen = true; isOpen; ) {
    isOpen = false;
    for (const [p, person] of people.entries()) {
      const next = await person.next();
      if (!('task' in next)) continue;
      isOpen = true;
      const { task } = next;
      const key = `${p}/${task.prompt}`;
      expect(taken.has(key)).toBe(false);
      taken.add(key);
      await person.submit(task, fullAnswer(task, numberOf));
      counts.set(String(task.prompt), (counts.get(String(task.prompt)) ?? 0) + 1);
    }
  }
  const twice = [...counts.values()].filter((n) => n === 2).length;
  expect([counts.size, [...counts.values()].every((n) => n <= 2)]).toEqual([40, true]);
  expect(twice).toBeGreaterThan(10);
  expect(twice).toBeLessThan(30);
  const { items: found, agreement } = await desk.page.overview();
  expect(found).toMatchObject({ total: 40, finished: 40 });
  expect(agreement).toMatchObject({ value: 1 });
});

test('an item that somebody has open is nobody else’s, until it is forgotten', async () => {
  const desk = await openDesk({ prompts: items(2) });
  const [ada, bea, cem] = await Promise.all(['Ada', 'Bea', 'Cem'].map((name) => desk.person(name)));
  const [first, second] = [await ada!.task(), await bea!.task()];
  expect(first.prompt).not.toBe(second.prompt);
  expect(await cem!.next()).toEqual({ waiting: 'done', unusable: 0 });
  const database = await openFeedback(desk.file);
  onEnd(() => void database.close());
  database.prepare('UPDATE tasks SET opened = ? WHERE id = ?').run(Date.now() - 31 * 60_000, first.id);
  expect((await cem!.task()).prompt).toBe(first.prompt);
  // Who had it open may still answer.
  expect((await ada!.submit(first, fullAnswer(first, numberOf))).status).toBe(200);
});

test('an attention item is passed by the known order alone: no tie in its place', async () => {
  const attention = { prompt: 'Which is best?', responses: ['good', 'fair', 'bad'], ranks: [0, 1, 1] };
  const desk = await openDesk({ prompts: [attention], attention: 0.999 });
  const passed = async (name: string, ranks: Readonly<Record<string, number>>) => {
    await (await desk.person(name)).label((text) => ranks[text]!);
    return (await desk.page.overview()).labelers.find((row) => row.name === name)!.attention.passed;
  };
  expect(await passed('Ada', { good: 0, fair: 1, bad: 2 })).toBe(1); // those that are equal may be ordered
  expect(await passed('Bea', { good: 0, fair: 0, bad: 1 })).toBe(0);
  expect(await passed('Cem', { good: 1, fair: 0, bad: 2 })).toBe(0);
});

test('repeats come later, once each, shuffled anew; attention items are checked; neither is trained on', async () => {
  const attention = { prompt: 'Which is best?', responses: ['good', 'bad'], ranks: [0, 1] };
  const desk = await openDesk({ prompts: [...items(30), attention], repeats: 0.3, attention: 0.2 });
  const ada = await desk.person('Ada');
  const seen: string[] = [];
  for (;;) {
    const next = await ada.next();
    if (!('task' in next)) break;
    seen.push(String(next.task.prompt));
    await ada.submit(
      next.task,
      fullAnswer(next.task, (text) => (text === 'bad' ? 0 : text === 'good' ? 1 : numberOf(text))),
    );
  }
  expect(seen.filter((prompt) => prompt === attention.prompt)).toHaveLength(1);
  const repeated = [...new Set(seen)].filter((prompt) => seen.indexOf(prompt) !== seen.lastIndexOf(prompt));
  expect(repeated.length).toBeGreaterThan(2);
  for (const prompt of repeated) {
    expect(seen.filter((one) => one === prompt)).toHaveLength(2);
    expect(seen.lastIndexOf(prompt) - seen.indexOf(prompt)).toBeGreaterThanOrEqual(5);
  }
  expect(new Set(seen).size).toBe(31);
  const database = await desk.database();
  expect([...feedbackRows(database, 'rankings')]).toHaveLength(30);
  const all = [...feedbackRows(database, 'rankings', { all: true })];
  expect(all).toHaveLength(31 + repeated.length);
  const [row] = (await desk.page.overview()).labelers;
  expect(row).toMatchObject({
    name: 'Ada',
    done: seen.length,
    seconds: 5,
    self: { value: 1 },
    attention: { passed: 0, shown: 1 },
    ratings: { value: 1 },
    agreement: undefined,
  });
});

test('agreement, alpha and disagreements are of the responses, whatever order each person saw', async () => {
  const desk = await openDesk({ prompts: items(8), double: 0.999 });
  const [ada, bea] = [await desk.person('Ada'), await desk.person('Bea')];
  for (let i = 0; i < 8; i++) {
    await ada.label(numberOf);
    // Bea reverses the answers to prompt 3 and calls two of prompt 4 equal.
    await bea.label((text, prompt) =>
      prompt === 'Prompt 3:'
        ? 2 - numberOf(text)
        : prompt === 'Prompt 4:'
          ? Math.min(1, numberOf(text))
          : numberOf(text),
    );
  }
  const found = await desk.page.overview();
  expect(found.agreement).toMatchObject({ value: 20 / 24, count: 24 });
  expect(found.agreementWithoutTies).toMatchObject({ value: 20 / 23, count: 23 });
  expect(found.alpha!.value).toBeGreaterThan(0.5);
  expect(found.alpha!.value).toBeLessThan(1);
  expect(found.disagreements.map(({ prompt, agreement }) => [prompt, agreement])).toEqual([
    ['Prompt 3:', 0],
    ['Prompt 4:', 2 / 3],
  ]);
  expect(found.disagreements[0]!.labels).toEqual([
    { labeler: 'Ada', ranks: [0, 1, 2] },
    { labeler: 'Bea', ranks: [2, 1, 0] },
  ]);
});

test('ratings against the rankings of the same person', async () => {
  const desk = await openDesk({ prompts: items(2) });
  const ada = await desk.person('Ada');
  for (let i = 0; i < 2; i++) {
    const task = await ada.task();
    const answer = fullAnswer(task, numberOf);
    // All rated alike the second time: three ties against three strict orders.
    const ratings = i === 0 ? answer.ratings : answer.ratings!.map(() => ({ rating: 4, flags: [] }));
    await ada.submit(task, { ...answer, ratings });
    const { value, low } = (await desk.page.overview()).ratings!;
    if (i === 0) expect([value, low]).toEqual([1, expect.closeTo(0.2065, 3)]); // Wilson's of one item, which a bootstrap finds certain
  }
  expect((await desk.page.overview()).ratings).toMatchObject({ value: 0.5, count: 6 });
});

test('three people label each item if they are asked to, and the item on the screen is left', async () => {
  const desk = await openDesk({ prompts: items(2), double: 1, labelersPerItem: 3 });
  for (const name of ['Ada', 'Bea', 'Cem']) {
    const person = await desk.person(name);
    const left = async () => (await person.get('api/session')).json().progress.left;
    for (const expected of [2, 1]) {
      await person.task();
      expect(await left()).toBe(expected);
      await person.label(numberOf);
    }
    expect(await left()).toBe(0);
  }
  expect(await (await desk.person('Dee')).next()).toEqual({ waiting: 'done', unusable: 0 });
});

test('a file whose items do not fit the mode is refused at the start', async () => {
  const desk = await openDesk({ prompts: items(2, 4) });
  await desk.close();
  const written = await openDesk({ prompts: [{ prompt: 'p' }], mode: 'demonstrate', k: 0 });
  await written.close();
  await expect(openDesk({ out: written.file })).rejects.toThrow('1 prompts with 0 responses, expected at least 2');
  await (await openDesk({ out: desk.file, mode: 'thumb', k: 4 })).close();
});

test.each([
  [{ repeats: 0.6, attention: 0.6 }, 'repeats is 0.6 and attention 0.6, expected at most 1 together'],
  [{ double: 1.1 }, 'double is 1.1, expected from 0 to 1'],
  [{ labelersPerItem: 0 }, 'labelersPerItem is 0, expected an integer of at least 1'],
])('%j is refused', (options, message) => {
  expect(() => labelling({ out: 'labels.db', ...options })).toThrow(message);
});

describe('other modes', () => {
  test('one of two', async () => {
    const desk = await openDesk({ prompts: items(1), mode: 'pair', k: 2 });
    const ada = await desk.person('Ada');
    const task = await ada.task();
    expect(task.responses).toHaveLength(2);
    expect((await ada.submit(task, { ranks: [0, 1], ratings: [] })).status).toBe(400);
    await ada.submit(task, { ranks: [1, 1], confidence: 1 });
    const [row] = [...feedbackRows(await desk.database(), 'rankings')];
    expect(row).toMatchObject({ responses: task.responses, ranks: [0, 0], confidence: 1 });
    expect(row).not.toHaveProperty('ratings');
  });

  test('one of two, of a file with more: a pair each', async () => {
    const first = await openDesk({ prompts: items(3, 4), k: 4 });
    await first.close();
    const desk = await openDesk({ out: first.file, mode: 'pair', k: 2, double: 0.999 });
    const [ada, bea] = [await desk.person('Ada'), await desk.person('Bea')];
    for (const [person, sign] of [
      [ada, 1],
      [bea, -1],
    ] as const)
      for (let i = 0; i < 3; i++) {
        const task = await person.task();
        expect(task.responses).toHaveLength(2);
        const [a, b] = task.responses.map(numberOf) as [number, number];
        expect((await person.submit(task, { ranks: sign * (a - b) < 0 ? [0, 1] : [1, 0] })).status).toBe(200);
      }
    const { disagreements, agreement } = await desk.page.overview();
    expect(agreement?.value ?? 0).toBe(0); // wherever both saw the same pair
    for (const { labels } of disagreements)
      for (const { ranks } of labels) expect(ranks.filter((rank) => rank === null)).toHaveLength(2);
  });

  test('good or bad', async () => {
    const desk = await openDesk({ prompts: items(1, 2), mode: 'thumb', k: 2 });
    const ada = await desk.person('Ada');
    const task = await ada.task();
    expect((await ada.submit(task, { thumbs: [true] })).status).toBe(400);
    await ada.submit(task, { thumbs: task.responses.map((text) => numberOf(text) === 0) });
    const rows = [...feedbackRows(await desk.database(), 'feedback')];
    expect(rows.map(({ response, label }) => [response, label]).sort()).toEqual([
      [' answer 0 to 0', true],
      [' answer 1 to 0', false],
    ]);
  });

  test('an answer of one’s own, with the space that the prompt lacks', async () => {
    const prompts = [{ prompt: 'Say it:' }, { prompt: [{ role: 'user', content: 'Say it' }] }];
    const desk = await openDesk({ prompts, mode: 'demonstrate', k: 0 });
    const ada = await desk.person('Ada');
    for (let i = 0; i < 2; i++) {
      const task = await ada.task();
      expect((await ada.submit(task, { text: ' \n' })).status).toBe(400);
      expect((await ada.submit(task, { text: 'it', edited: 0 })).status).toBe(400);
      await ada.submit(task, { text: 'it' });
    }
    const rows = [...feedbackRows(await desk.database(), 'demonstrations')];
    expect(rows.map(({ prompt, response }) => ({ prompt, response }))).toEqual(
      expect.arrayContaining([
        { prompt: 'Say it:', response: ' it' },
        { prompt: prompts[1]!.prompt, response: 'it' },
      ]),
    );
  });
});
