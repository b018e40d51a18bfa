// Runs a program in a child process, since these tests look for crashes.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '../..');
const url = (path: string) => JSON.stringify(pathToFileURL(join(root, path)).href);

/** The beginning of every program: a small model, and a job that takes seconds. */
export const preamble = `
  import { Worker } from 'node:worker_threads';
  import { readFileSync } from 'node:fs';
  const { Engine } = await import(${url('dist/lib/runtime/engine.js')});
  const { LanguageModel } = await import(${url('dist/lib/runtime/model.js')});
  const { packDocuments } = await import(${url('dist/lib/runtime/batch.js')});
  const { modelConfig } = await import(${url('dist/lib/huggingface/config.js')});
  const { nativeConfig } = await import(${url('dist/lib/runtime/nativeconfig.js')});
  const config = modelConfig('llama', { numLayers: 2, numHeads: 4, numKvHeads: 2, channels: 128, mlpChannels: 384,
    vocabSize: 512, maxPositions: 1024 });
  const documents = (count, length) => packDocuments(Array.from({ length: count }, (_, d) =>
    Int32Array.from({ length }, (_, t) => (31 * d + 7 * t) % 512)));
  const short = documents(1, 64);
  const long = documents(256, 1024);
  const make = async (options) => LanguageModel.init(await Engine.create(options), config, { seed: 1 });
  const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
  const threads = () => Number(/Threads:\\s+(\\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]);
  const settled = async (limit, until) => { for (let i = 0; i < limit && !until(); i++) { gc(); await sleep(10); } };
  const check = (ok, message) => { if (!ok) throw new Error(message); };
`;

/** The program's end: it must not be a signal, and its status must be `status`. Returns what it printed and how long it took. */
export function program(body: string, { status = 0, flags = [] as string[], withPreamble = true } = {}) {
  if (!existsSync(join(root, 'dist/lib/index.js'))) throw new Error('dist/ is missing: npm run build:ts');
  const cwd = mkdtempSync(join(tmpdir(), 'heed-lifecycle-')); // removed with all files that it writes
  const begin = performance.now();
  const child = spawnSync(
    process.execPath,
    [...flags, '--input-type=module', '-e', (withPreamble ? preamble : '') + body],
    { cwd, encoding: 'utf8', timeout: 300_000 },
  );
  const end = performance.now();
  rmSync(cwd, { recursive: true, force: true });
  if (child.signal !== null || child.status !== status) {
    throw new Error(
      `ended with ${child.signal ?? child.status}, expected ${status}:\n${child.stdout.slice(-2000)}\n${child.stderr.slice(-4000)}`,
    );
  }
  return { stdout: child.stdout, stderr: child.stderr, ms: end - begin, endedAt: performance.timeOrigin + end };
}
