// crash.ts DIR: serves and learns once, keeping what the folder of versions holds before every file operation (as kill -9 would leave it);
// then starts a service from each of these states, and prints as JSON what each served, and what a promotion in it was numbered.
import fs from 'node:fs';
import { join } from 'node:path';
import { watchDisk } from '../../invariants/support/disk.js';

const dir = process.argv[2]!;
const feedback = join(dir, 'feedback.db');
const versions = `${feedback}.versions`;
const states = new Map<string, string>(); // what the disk holds, and the folder with a copy of it
let watching = false;

function keepState(): void {
  if (!watching || !fs.existsSync(versions)) return;
  const names = (fs.readdirSync(versions, { recursive: true }) as string[]).map((file) => {
    const path = join(versions, file);
    const content = fs.statSync(path).isFile() && file.includes('json') ? fs.readFileSync(path, 'utf8') : '';
    return `${file} ${fs.statSync(path).size} ${content}`.replace(/tmp-\d+-[0-9a-f]+/, 'tmp');
  });
  const key = names.sort().join('\n');
  if (states.has(key)) return;
  const to = join(dir, `state-${states.size}`);
  states.set(key, to);
  fs.cpSync(versions, to, { recursive: true });
}

watchDisk(keepState);

const { createServer } = await import('../../../lib/http/server.js');
const { Engine } = await import('../../../lib/runtime/engine.js');
const { LanguageModel } = await import('../../../lib/runtime/model.js');
const { serving } = await import('../../../lib/serve/index.js');
const { Tokenizer } = await import('../../../lib/tokenizer/tokenizer.js');

const engine = await Engine.create({ threads: 1 });
const [model, tokenizer] = [await LanguageModel.load(engine, 'models/base'), await Tokenizer.load('models/base')];
const training = {
  when: 'continuous',
  leastHeldOut: 8,
  learningRate: 5e-3,
  epochs: 4,
  batchSize: 8,
  loraR: 4,
} as const;
const common = { name: 'base', model, tokenizer, feedback, slots: 32, queue: 128 };

async function open(more: object) {
  const app = createServer();
  await app.register(serving({ ...common, ...more }));
  const ask = async (url: string, payload?: object) =>
    (await app.inject(payload ? { method: 'POST', url, payload } : { method: 'GET', url })).json();
  return { app, ask };
}
type Opened = Awaited<ReturnType<typeof open>>;

async function trained({ ask }: Opened) {
  for (;;) {
    const found = await ask('/admin/versions');
    if (found.training !== 'training') return found;
    await new Promise((done) => setTimeout(done, 20));
  }
}

const textOf = async ({ ask }: Opened) =>
  (await ask('/v1/completions', { prompt: 'The dog', max_tokens: 12, seed: 3 })).choices[0].text as string;

const alone = await open({ training: { ...training, every: 150 } });
const texts = [await textOf(alone)];
watching = true;
for (let i = 0; i < 150; i++) {
  const body = { prompt: `User: Question ${i}?\nAssistant:`, max_tokens: 1, seed: i, temperature: 1.5, n: 4 };
  const { id, choices } = await alone.ask('/v1/completions', body);
  const rankOf = ({ text, index }: { text: string; index: number }) => ({
    id,
    index,
    rank: /^ ?[a-m]/i.test(text) ? 0 : 1,
  });
  await alone.ask('/feedback', { ranking: choices.map(rankOf) });
}
const { current } = await trained(alone);
await alone.ask('/admin/versions', { version: 0 });
await alone.ask('/admin/versions', { version: 1 });
watching = false;
texts.push(await textOf(alone));
await alone.app.close();

let hasGoneOn = false;
/** A version that a kill left unlisted does not stand in the way of the next. */
async function goOn(folder: string) {
  hasGoneOn = true;
  const file = join(folder, 'versions.json');
  fs.writeFileSync(file, JSON.stringify({ ...JSON.parse(fs.readFileSync(file, 'utf8')), learnt: 0, attempts: 0 }));
  const next = await open({ training: { ...training, every: 150, folder } });
  const then = await trained(next);
  const isRight = (await textOf(next)) === texts[1];
  await next.app.close();
  return { next: then.current, isRight };
}

const found: object[] = [];
for (const folder of states.values()) {
  const again = await open({ training: { ...training, every: 1e9, folder } }).catch((error: Error) => error);
  if (again instanceof Error) {
    found.push({ folder, failed: again.message });
    continue;
  }
  const { current: served, versions: listed } = await again.ask('/admin/versions');
  const isRight = (await textOf(again)) === texts[served];
  await again.app.close();
  const leftover = listed.length === 1 && fs.readdirSync(folder).some((name) => name.startsWith('1'));
  found.push({
    served,
    listed: listed.length,
    isRight,
    leftover,
    ...(leftover && !hasGoneOn ? await goOn(folder) : {}),
  });
}
await engine.dispose();
console.log(JSON.stringify({ current, states: states.size, found }));
