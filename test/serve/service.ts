// A service in this process, on a free port.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { afterAll, afterEach } from '@jest/globals';
import { createServer, listen } from '../../lib/http/server.js';
import { packResponses } from '../../lib/runtime/batch.js';
import { Engine } from '../../lib/runtime/engine.js';
import { LanguageModel } from '../../lib/runtime/model.js';
import { type Serving, type ServingOptions, serving } from '../../lib/serve/index.js';
import { Tokenizer } from '../../lib/tokenizer/tokenizer.js';

export const base = join(import.meta.dirname, '../../models/base');

const folders: string[] = [];
const ends: (() => unknown)[] = [];
let engine: Promise<Engine> | undefined;
let model: Promise<LanguageModel> | undefined;

afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});
afterAll(async () => {
  await (await engine)?.dispose();
  for (const dir of folders) rmSync(dir, { recursive: true });
});

export const theEngine = () => (engine ??= Engine.create({ threads: 2 }));
export const theModel = () => (model ??= theEngine().then((e) => LanguageModel.load(e, base)));

export function folder(): string {
  const dir = mkdtempSync(join(tmpdir(), 'heed-serve-'));
  folders.push(dir);
  return dir;
}

export interface Started {
  readonly url: string;
  readonly service: Serving;
  readonly feedback: string;
  close(): Promise<void>;
}

/** Serves the embedded base model; with a file of feedback. It ends with the test. @param log gets the lines of its log */
export async function start(
  more: Partial<ServingOptions> = {},
  host = '127.0.0.1',
  log?: Record<string, unknown>[],
): Promise<Started> {
  const feedback = more.feedback ?? join(folder(), 'feedback.db');
  const service = serving({
    name: 'base',
    model: await theModel(),
    tokenizer: await Tokenizer.load(base),
    feedback,
    ...more,
  });
  const logTo = new Writable({
    write(line, _encoding, done) {
      log?.push(JSON.parse(String(line)));
      done();
    },
  });
  const app = createServer(log ? { logTo } : {});
  await app.register(service);
  const url = await listen(app, { host, port: 0 });
  const close = () => app.close();
  ends.push(close);
  return { url, service, feedback, close };
}

/** An adapter to the model that answers otherwise. */
export async function taughtAdapter(seed: number, rank: number): Promise<LanguageModel> {
  const adapter = await (await theModel()).adapter({ rank, alpha: 4 * rank, seed });
  const trainer = await adapter.trainer();
  const batch = packResponses([{ prompt: [10 * seed, 3, 4], responses: [[5 * seed, 6, 7, 8]] }]);
  for (let step = 0; step < 3; step++) {
    await trainer.sft(batch, { scale: 1 / batch.rows.length });
    await trainer.step({ learningRate: 0.02 });
  }
  await trainer.dispose();
  return adapter;
}

/** The errors of the table in docs/service.md: `status type code`. */
export function documentedErrors(): string[] {
  const text = readFileSync(join(import.meta.dirname, '../../docs/service.md'), 'utf8');
  return [...text.matchAll(/^\| (\d+) \| `(\w+)` \| `(\w+)` \|/gm)].map(([, ...row]) => row.join(' '));
}
