// What the order of labelling is worth: `node scripts/labelling.mjs [SEEDS]`. The embedded world's simulated labelers rank responses in
// random order, or where an ensemble of reward models disagrees most; held-out pair accuracy is compared at the same number of labels.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openFeedback } from '../dist/lib/feedback/database.js';
import { Learner } from '../dist/lib/label/learning.js';
import { Queue } from '../dist/lib/label/queue.js';
import { Store } from '../dist/lib/label/store.js';
import { Engine } from '../dist/lib/runtime/engine.js';
import { LanguageModel } from '../dist/lib/runtime/model.js';
import { bootstrapMean } from '../dist/lib/statistics/index.js';
import { Tokenizer } from '../dist/lib/tokenizer/tokenizer.js';
import { Random, rank, rankingCandidates, trainPrompts } from '../dist/lib/world/index.js';
import { root } from './tools.mjs';

const seeds = Number(process.argv[2] ?? 8);
const kPool = 400;
const kHeld = 200;
const kResponses = 4;
const labels = [16, 32, 64, 128, 256];
const learning = { ensemble: 3, learningRate: 1e-3, batchSize: 8, epochs: 3 };

const engine = await Engine.create({ maxTokens: 4096 });
const model = await LanguageModel.load(engine, join(root, 'models/base'));
const base = { name: 'base', model, tokenizer: await Tokenizer.load(join(root, 'models/base')) };
const dir = mkdtempSync(join(tmpdir(), 'heed-order-'));

/** @returns held-out accuracy at each number of labels */
async function curveOf(seed, order) {
  const database = await openFeedback(join(dir, `${order}-${seed}.db`));
  const store = new Store(database);
  const queue = new Queue(store, { seed, mode: 'rank', order, repeats: 0, attention: 0 });
  const asked = new Map();
  for (const prompt of trainPrompts({ seed: `order/${seed}`, count: 2 * (kPool + kHeld) }))
    asked.set(prompt.prompt, prompt);
  const judged = (prompt, responses) => {
    // The same labeler with the same noise for a prompt, whenever it comes.
    const ordered = [...responses].sort();
    const ranks = rank(prompt, ordered, new Random(`${seed}/labeler/${prompt.prompt}`));
    return responses.map((text) => ranks[ordered.indexOf(text)]);
  };
  const candidates = [...asked.values()].map((prompt) => ({
    prompt: prompt.prompt,
    responses: rankingCandidates(prompt, [], new Random(`${seed}/responses/${prompt.prompt}`), kResponses),
  }));
  const items = candidates.filter(({ responses }) => responses.length > 1).slice(0, kPool + kHeld);
  const add = { seed, needed: 2, most: 9 };
  store.add(items.slice(0, kPool), { ...add, heldOut: 0 });
  store.add(items.slice(kPool), { ...add, heldOut: 0.999999 });
  for (const { prompt, responses } of items.slice(kPool))
    store.addRanking({ prompt, responses, ranks: judged(asked.get(prompt), responses), labeler: 'test' });
  const learner = new Learner(store, base, { ...learning, seed });
  const labeler = store.labeler('simulated');
  const accuracy = [];
  let done = 0;
  for (const count of labels) {
    for (; done < count; done++) {
      const { task } = queue.next(labeler);
      queue.submit(labeler, task.id, { ranks: judged(asked.get(task.prompt), task.responses), seconds: 1 });
    }
    await learner.learn();
    accuracy.push(learner.curve().at(-1).accuracy);
  }
  database.close();
  return accuracy;
}

const runs = [];
for (let seed = 0; seed < seeds; seed++) {
  const run = { random: await curveOf(seed, 'random'), uncertain: await curveOf(seed, 'uncertain') };
  runs.push(run);
  console.error(seed, JSON.stringify(run));
}
const percent = (share) => (100 * share).toFixed(1);
console.log('| labels | random | where the ensemble disagrees | difference |');
console.log('|---|---|---|---|');
labels.forEach((count, i) => {
  const mean = (order) => runs.reduce((sum, run) => sum + run[order][i], 0) / seeds;
  const { value, low, high } = bootstrapMean(runs.map(({ random, uncertain }) => uncertain[i] - random[i]));
  console.log(
    `| ${count} | ${percent(mean('random'))} % | ${percent(mean('uncertain'))} % | ${percent(value)} [${percent(low)}, ${percent(high)}] |`,
  );
});
rmSync(dir, { recursive: true });
await engine.dispose();
