// The ids that were sampled go with an export: what trains on the rows trains on what was judged, if its tokenizer is the same.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { readFeedback, readRankings } from '../../lib/data/index.js';
import { openFeedback } from '../../lib/feedback/database.js';
import { feedbackRows } from '../../lib/feedback/rows.js';
import { Engine } from '../../lib/runtime/engine.js';
import { LanguageModel } from '../../lib/runtime/model.js';
import { Tokenizer } from '../../lib/tokenizer/tokenizer.js';
import { heed, rowsOf } from '../cli/heed.js';
import { folder, openDesk } from './desk.js';

const base = join(process.cwd(), 'models/base');

test('rows of a file of labels hold ids and log-probabilities, and train as the file itself does', async () => {
  const dir = folder();
  const engine = await Engine.create({ maxTokens: 2048, threads: 1 });
  const model = await LanguageModel.load(engine, base);
  const tokenizer = await Tokenizer.load(base);
  const desk = await openDesk({
    out: join(dir, 'labels.db'),
    k: 2,
    ahead: 4,
    rates: false,
    models: [{ name: 'base', model, tokenizer }],
    maxNewTokens: 12,
    prompts: Array.from({ length: 8 }, (_, i) => ({ prompt: `User: Tell me about the number ${i}.\nAssistant:` })),
  });
  const ada = await desk.person('Ada');
  let done = 0;
  while (done < 4) {
    const next = await ada.next();
    if ('task' in next) {
      const ranks = next.task.responses.map((_, k) => k);
      expect((await ada.submit(next.task, { ranks })).status).toBe(200);
      done++;
    } else if (next.waiting === 'done') throw new Error(`only ${done} prompts got distinct responses`);
    else await new Promise((again) => setTimeout(again, 50));
  }
  await desk.close();

  const { stdout, stderr } = await heed(['label', 'labels.db', '--export', '-'], { cwd: dir });
  expect(stderr).not.toContain('token ids');
  const rows = rowsOf(stdout) as {
    prompt: string;
    responses: string[];
    prompt_tokens: number[];
    tokens: number[][];
    logprobs: number[][];
    finish: string[];
    sampling: object[];
  }[];
  expect(rows).toHaveLength(4);
  for (const row of rows) {
    expect(tokenizer.decode(Int32Array.from(row.prompt_tokens), false)).toContain(row.prompt);
    row.tokens.forEach((ids, k) => {
      expect(tokenizer.decodeAfter(Int32Array.from(row.prompt_tokens), Int32Array.from(ids))).toContain(
        row.responses[k]!.trim(),
      );
      expect(row.logprobs[k]).toHaveLength(ids.length);
      expect(Math.max(...row.logprobs[k]!)).toBeLessThanOrEqual(0);
    });
    expect(new Set(row.finish).size).toBeGreaterThan(0);
    expect(row.sampling).toMatchObject([{ temperature: 1 }, {}]);
  }
  // Each token's log-probability is that of the model.
  const [first] = rows;
  const again = await model.generate(
    [
      {
        prompt: Int32Array.from(first!.prompt_tokens),
        seed: (first!.sampling[0] as { seed: number }).seed,
        samples: 4,
      },
    ],
    {
      maxNewTokens: 12,
      stopTokens: [tokenizer.endOfText],
    },
  );
  const same = again.find(({ tokens }) => tokens.join() === first!.tokens[0]!.join());
  expect(same && [...same.logprobs]).toEqual(first!.logprobs[0]!.map(Math.fround));

  writeFileSync(join(dir, 'labels.jsonl'), stdout);
  const options = { tokenizer, maxLength: 256 };
  const [ofFile, ofRows] = [
    await readRankings([join(dir, 'labels.db')], options),
    await readRankings([join(dir, 'labels.jsonl')], options),
  ];
  expect([...ofRows.items]).toEqual([...ofFile.items]);
  expect(ofRows.report.otherTokens).toBe(0);
  expect([...ofRows.items].map(({ responses }) => responses.map((ids) => [...ids]))).toEqual(
    rows.map(({ tokens }) => tokens),
  );
  // Ids of another tokenizer do not decode to the texts: the texts are encoded, and counted.
  const shifted = rows.map((row) => ({ ...row, tokens: row.tokens.map((ids) => ids.map((id) => (id + 7) % 200)) }));
  writeFileSync(join(dir, 'other.jsonl'), shifted.map((row) => `${JSON.stringify(row)}\n`).join(''));
  const other = await readRankings([join(dir, 'other.jsonl')], options);
  expect([other.items.length, other.report.otherTokens]).toEqual([4, 4]);
  expect([...other.items].map(({ responses }) => tokenizer.decode(responses[0]!))).toEqual(
    rows.map(({ responses }) => responses[0]),
  );

  // Back in a file, with every bit.
  expect((await heed(['label', 'copy.db', '--import', 'labels.jsonl'], { cwd: dir })).stderr).toContain(
    '4 of 4 rankings are new',
  );
  const [copy, original] = await Promise.all(
    ['copy.db', 'labels.db'].map((name) => openFeedback(join(dir, name), { readOnly: true })),
  );
  const all = (database: typeof copy) => [...feedbackRows(database!, 'rankings', { all: true })];
  expect(all(copy)).toEqual(all(original));
  const blobs = (database: typeof copy) =>
    database!
      .prepare('SELECT text, model, prompt_tokens, tokens, logprobs, sampling, finish FROM responses ORDER BY text')
      .all();
  const ranked = new Set(rows.flatMap(({ responses }) => responses));
  expect(blobs(copy)).toEqual((blobs(original) as { text: string }[]).filter(({ text }) => ranked.has(text)));
  copy!.close();
  original!.close();
  const said = await heed(
    ['dpo', '--model', base, '--data', 'labels.jsonl', '--validation-fraction', '0', '--out', 'dpo', '--epochs', '1'],
    { cwd: dir },
  );
  expect([said.status, said.stderr]).toEqual([0, expect.stringContaining('4 rows, 4 kept')]);
  await engine.dispose();
});

test('repetitions of a thumb are not trained on, neither by the file nor by its rows', async () => {
  const dir = folder();
  const prompts = Array.from({ length: 12 }, (_, i) => ({ prompt: `Prompt ${i}:`, responses: [` answer to ${i}`] }));
  const desk = await openDesk({ out: join(dir, 'labels.db'), mode: 'thumb', k: 1, prompts, repeats: 0.6 });
  const ada = await desk.person('Ada');
  const seen = new Set<string>();
  let repeats = 0;
  for (let next = await ada.next(); 'task' in next; next = await ada.next()) {
    const isAgain = seen.has(String(next.task.prompt));
    if (isAgain) repeats++;
    seen.add(String(next.task.prompt));
    await ada.submit(next.task, { thumbs: [!isAgain] }); // good at first, bad when it comes again
  }
  await desk.close();
  expect(repeats).toBeGreaterThan(2);
  const { stdout } = await heed(['label', 'labels.db', '--export', '-'], { cwd: dir });
  writeFileSync(join(dir, 'labels.jsonl'), stdout);
  expect(rowsOf(stdout)).toHaveLength(12 + repeats);
  const options = { tokenizer: await Tokenizer.load(base), maxLength: 256 };
  for (const [name, checks] of [
    ['labels.db', 0],
    ['labels.jsonl', repeats],
  ] as const) {
    const { items, report } = await readFeedback([join(dir, name)], options);
    expect([name, items.length, report.checks]).toEqual([name, 12, checks]);
    expect([...items].every(({ desirable }) => desirable)).toBe(true);
  }
});
