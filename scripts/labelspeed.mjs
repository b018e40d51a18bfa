// How long the labelling page takes with many prompts: `node scripts/labelspeed.mjs 20000 200000`. Milliseconds, of the built package.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createServer, listen } from '../dist/lib/http/server.js';
import { labelling } from '../dist/lib/label/index.js';

const kTasks = 40;
const sizes = process.argv.slice(2).map(Number);

for (const size of sizes.length > 0 ? sizes : [20_000, 200_000]) {
  const dir = mkdtempSync(join(tmpdir(), 'heed-speed-'));
  const prompts = Array.from({ length: size }, (_, i) => ({
    prompt: `Prompt ${i}: which of these answers is the best one, and why?`,
    responses: [1, 2, 3].map((j) => ` answer ${j} to ${i}`),
  }));
  const options = { out: join(dir, 'labels.db'), k: 3, double: 0.2, repeats: 0.05, attention: 0 };
  const began = performance.now();
  const first = labelling({ ...options, prompts });
  await first.invite('Ada');
  console.log(`${size} prompts: ${seconds(began)} s to add them`);
  await first.close();
  for (const share of [0, 0.5]) {
    if (share > 0) await labelled(options.out, Math.round(size * share));
    const opening = performance.now();
    const page = labelling(options);
    const app = createServer();
    await app.register(page);
    const url = await listen(app, { host: '127.0.0.1', port: 0 });
    const opened = seconds(opening);
    const { headers } = await fetch(`${url}/${await page.invite('Ada')}`);
    const cookie = headers.get('set-cookie').split(';')[0];
    const times = { session: [], next: [], submit: [], undo: [] };
    const ask = async (what, path, body) => {
      const start = performance.now();
      const post = {
        method: 'POST',
        headers: { cookie, 'content-type': 'application/json' },
        body: JSON.stringify(body),
      };
      const reply = await fetch(`${url}/${path}`, body === undefined ? { headers: { cookie } } : post);
      const found = await reply.json();
      if (!reply.ok) throw new Error(found.error.message);
      times[what].push(performance.now() - start);
      return found;
    };
    const page0 = performance.now();
    await ask('next', 'api/next', {});
    await ask('session', 'api/session');
    const firstPage = performance.now() - page0;
    for (let i = 0; i < kTasks; i++) {
      const { task } = await ask('next', 'api/next', {});
      const ranks = task.responses.map((_, k) => k);
      const ratings = ranks.map((k) => ({ rating: 7 - k, flags: [] }));
      await ask('submit', `api/tasks/${task.id}/submit`, { ratings, ranks, seconds: 5 });
      if (i % 4 === 0) {
        await ask('undo', 'api/undo', {});
        await ask('submit', `api/tasks/${task.id}/submit`, { ratings, ranks, seconds: 5 });
      }
      await ask('session', 'api/session');
    }
    const middle = Object.entries(times).map(([what, list]) => `${what} ${median(list)}`);
    const overview = performance.now();
    await ask('session', 'api/session');
    await page.overview();
    console.log(
      `  ${100 * share} % labelled: open ${opened} s, first page ${firstPage.toFixed(1)}, medians: ${middle.join(', ')}, overview ${(performance.now() - overview).toFixed(0)}`,
    );
    await app.close();
  }
  rmSync(dir, { recursive: true });
}

/** As if people had labelled the first prompts in the order of labelling: Ada a quarter of them. */
async function labelled(file, count) {
  const { openFeedback } = await import('../dist/lib/feedback/database.js');
  const database = await openFeedback(file);
  database
    .transaction(() => {
      database.exec(
        "INSERT OR IGNORE INTO labelers (name, created) VALUES ('Ada', 0), ('Bea', 0), ('Cem', 0), ('Dora', 0)",
      );
      const people = database.prepare("SELECT id FROM labelers WHERE name <> 'owner' ORDER BY id").pluck().all();
      const tasks = database.prepare(
        "INSERT INTO tasks (item, labeler, purpose, shown, state, opened, closed) VALUES (?, ?, 'label', ?, 'done', 0, ?)",
      );
      const rankings = database.prepare(
        "INSERT INTO rankings (prompt, labeler, task, responses, ranks, created) VALUES (?, ?, ?, ?, '[0,1,2]', ?)",
      );
      const items = database
        .prepare('SELECT id, prompt, responses, wanted FROM items ORDER BY place LIMIT ?')
        .all(count);
      items.forEach(({ id, prompt, responses, wanted }, i) => {
        for (let w = 0; w < wanted; w++) {
          const labeler = people[(i + w) % people.length];
          const { lastInsertRowid } = tasks.run(id, labeler, responses, i);
          rankings.run(prompt, labeler, lastInsertRowid, responses, i);
        }
      });
    })
    .immediate();
  database.close();
}

function seconds(since) {
  return ((performance.now() - since) / 1000).toFixed(1);
}

function median(list) {
  return list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)].toFixed(1);
}
