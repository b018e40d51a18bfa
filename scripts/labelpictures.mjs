// The pictures of docs/labelling.md, from the real page: `node scripts/labelpictures.mjs`. Needs Chromium (HEED_CHROMIUM, /usr/bin/chromium).
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import { createServer, listen } from '../dist/lib/http/server.js';
import { labelling } from '../dist/lib/label/index.js';
import { Engine } from '../dist/lib/runtime/engine.js';
import { LanguageModel } from '../dist/lib/runtime/model.js';
import { Tokenizer } from '../dist/lib/tokenizer/tokenizer.js';
import { LABELERS, Random, rank, rankingCandidates, trainPrompts } from '../dist/lib/world/index.js';
import { root } from './tools.mjs';

const guidelines = `## What counts

Help the person who asks. An answer that is **true and to the point** beats a long one.

1. Rate each answer alone. *7*: you would send it as it is.
2. Then rank all of them. Equally good answers share a rank.

### An example

> Which is larger, 20 or 12?

“20 is larger.” beats “I think it is hard to say.”, which beats “12 is larger.”`;

const known = new Map(trainPrompts({ seed: 'pictures', count: 200 }).map((prompt) => [prompt.prompt, prompt]));
const prompts = [...known.values()].map((prompt) => ({
  prompt: prompt.prompt,
  responses: rankingCandidates(prompt, [], new Random(prompt.prompt), 4),
}));
const dir = mkdtempSync(join(tmpdir(), 'heed-pictures-'));
const engine = await Engine.create();
const model = await LanguageModel.load(engine, join(root, 'models/base'));
const tokenizer = await Tokenizer.load(join(root, 'models/base'));
const page = labelling({
  out: join(dir, 'labels.db'),
  prompts,
  models: [{ name: 'base', model, tokenizer }],
  k: 2,
  guidelines,
  owner: 'Ada',
  double: 0.3,
  repeats: 0.1,
  learning: { ensemble: 3, learningRate: 1e-3, batchSize: 8, epochs: 3 },
});
const app = createServer();
await app.register(page);
const url = await listen(app, { host: '127.0.0.1', port: 0 });

/** The embedded world's labelers at work. */
async function label(name, count) {
  const cookie = (await fetch(`${url}/${await page.invite(name)}`)).headers.get('set-cookie').split(';')[0];
  const post = async (path, body) =>
    (
      await fetch(`${url}/${path}`, {
        method: 'POST',
        headers: { cookie, 'content-type': 'application/json' },
        body: JSON.stringify(body),
      })
    ).json();
  const labeler = LABELERS.filter((one) => one.name === name);
  const random = new Random(name);
  for (let i = 0; i < count; i++) {
    const { task } = await post('api/next', {});
    const ranks = rank(known.get(task.prompt), task.responses, random, labeler);
    const ratings = ranks.map((own) => ({ rating: Math.max(1, Math.min(7, 7 - 2 * own - random.int(2))), flags: [] }));
    await post(`api/tasks/${task.id}/submit`, { ratings, ranks, confidence: 2, seconds: 12 + random.int(30) });
  }
}
for (let round = 0; round < 8; round++) {
  for (const name of ['Ada', 'Bea', 'Cem']) await label(name, 6);
  while ((await page.overview()).learning.isTraining) await new Promise((done) => setTimeout(done, 100));
}

const executablePath = process.env.HEED_CHROMIUM ?? '/usr/bin/chromium';
const browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] });
const shot = async (window, name, options = {}) =>
  window.screenshot({ path: join(root, `docs/pictures/label-${name}.png`), ...options });
const window = await browser.newPage({ viewport: { width: 1240, height: 720 } });
await window.goto(`${url}/${await page.invite('Ada')}`);
await window.locator('.scale').waitFor();
await window.keyboard.press('6');
await shot(window, 'rate');
const texts = [];
const step = window.locator('.step + .card .text');
while ((await step.count()) > 0) {
  texts.push(` ${await step.innerText()}`);
  await window.keyboard.press('5');
  await window.keyboard.press('Enter');
  await window.waitForTimeout(100);
}
await window.locator('.board').waitFor();
const shown = await window.locator('.prompt .text').innerText();
const prompt = [...known.values()].find(({ prompt }) => prompt.trim() === shown);
const ranks = rank(prompt, texts, new Random('shown'), LABELERS.slice(0, 1));
for (const own of ranks.slice(0, -1)) {
  await window.keyboard.press(String(own + 1));
  await window.waitForTimeout(100);
}
await shot(window, 'rank');
await window.goto(`${url}/#overview`);
await window.locator('.curve').waitFor();
await shot(window, 'overview', { fullPage: false });
const phone = await browser.newPage({ viewport: { width: 390, height: 760 }, isMobile: true, hasTouch: true });
await phone.goto(`${url}/${await page.invite('Ada')}`);
await phone.locator('.board, .scale').first().waitFor();
await shot(phone, 'phone');
await browser.close();
await app.close();
await engine.dispose();
rmSync(dir, { recursive: true });
