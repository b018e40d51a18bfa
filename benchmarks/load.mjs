// `heed serve` under load: clients that ask, read slowly, leave, and say what they think.
//
//   node benchmarks/load.mjs [--model DIR] [--clients 64] [--seconds 600] [--slots 16] [--threads N] [--adapters N]
//
// Prints tokens per second beside those of one call of generate() with as many slots, the event loop's 99th percentile, and memory.
// With --adapters the clients ask the model and so many random adapters to it, which share its batch.
// Without --model a model of 25 million random weights is made, whose step takes about as long as that of small models that people serve.
import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const root = join(import.meta.dirname, '..');

/** Random numbers that are the same in every run. */
const randomFrom = (seed) => () => {
  seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
  return seed / 2 ** 32;
};

const words = 'the dog a cow says red blue what is why how tell me about colour sound bread song and then'.split(' ');

/** Asks a service for so many seconds, each client one of the models. @returns what came of it */
export async function load({ url, clients, seconds, seed = 1, models = [undefined] }) {
  const until = performance.now() + 1000 * seconds;
  const counts = { answers: 0, aborted: 0, refused: 0, feedback: 0, failed: [] };
  const client = async (number) => {
    const random = randomFrom(seed * 1000 + number);
    while (performance.now() < until) {
      const prompt = Array.from(
        { length: 4 + Math.floor(random() * 40) },
        () => words[Math.floor(random() * words.length)],
      ).join(' ');
      const stream = random() < 0.5;
      const leaves = random() < 0.2;
      const controller = new AbortController();
      const timer = leaves ? setTimeout(() => controller.abort(), random() * 1000) : undefined;
      const post = (path, body, signal) =>
        fetch(url + path, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify(body),
          signal,
        });
      try {
        const response = await post(
          '/v1/completions',
          { model: models[number % models.length], prompt, stream, max_tokens: 32 + Math.floor(random() * 96) },
          controller.signal,
        );
        const text = await response.text();
        if (response.status === 429) {
          counts.refused++;
          await sleep(1000 * Number(response.headers.get('retry-after')));
          continue;
        }
        if (response.status !== 200) throw new Error(`${response.status}: ${text}`);
        if (stream && !text.endsWith('data: [DONE]\n\n')) throw new Error(`a stream ended with ${text.slice(-200)}`);
        counts.answers++;
        const { id } = JSON.parse(stream ? text.slice(6, text.indexOf('\n')) : text);
        if (random() < 0.3) {
          const said = await post('/feedback', { id, thumb: random() < 0.5 });
          if (said.status !== 200) throw new Error(`feedback: ${said.status}: ${await said.text()}`);
          await said.arrayBuffer();
          counts.feedback++;
        }
      } catch (error) {
        if (controller.signal.aborted) counts.aborted++;
        else counts.failed.push(String(error?.cause ?? error));
      } finally {
        clearTimeout(timer);
      }
    }
  };
  await Promise.all(Array.from({ length: clients }, (_, number) => client(number)));
  return counts;
}

/** Numbers at /metrics, by name with labels. */
export async function metricsOf(url) {
  const text = await (await fetch(`${url}/metrics`)).text();
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return Object.fromEntries(
    lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ')))]),
  );
}

async function randomModel(dir) {
  const heed = await import('../dist/lib/index.js');
  const tokenizer = await heed.Tokenizer.load(join(root, 'models/base'));
  const engine = await heed.Engine.create();
  const config = heed.modelConfig('llama', {
    numLayers: 8,
    numHeads: 8,
    numKvHeads: 8,
    headDim: 64,
    channels: 512,
    mlpChannels: 1408,
    vocabSize: tokenizer.vocabSize,
    maxPositions: 512,
  });
  const model = await heed.LanguageModel.init(engine, config, { seed: 1, specialTokens: {} });
  await model.save(dir, { tokenizerFrom: join(root, 'models/base') });
  await engine.dispose();
}

async function randomAdapters(model, dir, names) {
  const heed = await import('../dist/lib/index.js');
  const engine = await heed.Engine.create();
  const base = await heed.LanguageModel.load(engine, model);
  for (const [i, name] of names.entries()) {
    const adapter = await base.adapter({ rank: 16, seed: i });
    const trainer = await adapter.trainer(); // until then it would change nothing
    await trainer.sft(heed.packDocuments([[5 + i, 6, 7, 8]]), { scale: 1 });
    await trainer.step({ learningRate: 0.01 });
    await trainer.dispose();
    await adapter.save(join(dir, name), { tokenizerFrom: model });
  }
  await engine.dispose();
}

/** Tokens per second of one call whose samples are like the clients' requests. */
async function batched(dir, slots, threads) {
  const heed = await import('../dist/lib/index.js');
  const engine = await heed.Engine.create(threads ? { threads } : {});
  const model = await heed.LanguageModel.load(engine, dir);
  const random = randomFrom(1);
  const requests = Array.from({ length: 8 * slots }, (_, seed) => ({
    prompt: Int32Array.from({ length: 10 + Math.floor(random() * 50) }, () => 5 + Math.floor(random() * 200)),
    seed,
    maxNewTokens: 32 + Math.floor(random() * 96),
  }));
  const options = { maxNewTokens: 128, slots, stopTokens: [] };
  await model.generate(requests.slice(0, slots), options);
  const begin = performance.now();
  const tokens = (await model.generate(requests, options)).reduce((sum, each) => sum + each.tokens.length, 0);
  const rate = (1000 * tokens) / (performance.now() - begin);
  await engine.dispose();
  return rate;
}

async function main() {
  const { values } = parseArgs({
    options: {
      model: { type: 'string' },
      clients: { type: 'string', default: '64' },
      seconds: { type: 'string', default: '600' },
      slots: { type: 'string', default: '16' },
      threads: { type: 'string' },
      adapters: { type: 'string', default: '0' },
    },
  });
  const dir = await mkdtemp(join(tmpdir(), 'heed-load-'));
  let model = values.model;
  if (!model) {
    model = join(dir, 'model');
    await randomModel(model);
  }
  const slots = Number(values.slots);
  const before = await batched(model, slots, Number(values.threads));
  const arguments_ = [
    '--model',
    model,
    '--port',
    '0',
    '--slots',
    values.slots,
    '--no-log',
    '--feedback',
    join(dir, 'feedback.db'),
  ];
  const names = Array.from({ length: Number(values.adapters) }, (_, i) => `adapter${i}`);
  if (names.length > 0) await randomAdapters(model, dir, names);
  for (const name of names) arguments_.push('--adapter', `${name}=${join(dir, name)}`);
  if (values.threads) arguments_.push('--threads', values.threads);
  const child = spawn(process.execPath, [join(root, 'dist/lib/cli/main.js'), 'serve', ...arguments_], {
    stdio: ['ignore', 'inherit', 'pipe'],
  });
  try {
    const url = await new Promise((resolve, reject) => {
      child.on('exit', (code) => reject(new Error(`the service ended with ${code}`)));
      createInterface(child.stderr).on('line', (line) => {
        const found = line.match(/^(http:\S+) serves/);
        if (found) resolve(found[1]);
        else console.error(line);
      });
    });
    const seconds = Number(values.seconds);
    const samples = [];
    let isOver = false;
    await metricsOf(url);
    const watching = (async () => {
      while (!isOver) {
        await sleep(Math.min(10_000, 250 * seconds));
        if (isOver) break;
        const found = await metricsOf(url);
        samples.push({
          p99: 1000 * found.nodejs_eventloop_lag_p99_seconds,
          heap: found.nodejs_heap_size_used_bytes / 1e6,
          resident: found.process_resident_memory_bytes / 1e6,
          tokens: Object.entries(found)
            .filter(([name]) => name.startsWith('heed_tokens_total{kind="completion"'))
            .reduce((sum, [, count]) => sum + count, 0),
          time: performance.now(),
        });
      }
    })();
    const counts = await load({ url, clients: Number(values.clients), seconds, models: [undefined, ...names] });
    isOver = true;
    await watching;
    await sleep(500);
    const end = await metricsOf(url);
    const [first, last] = [samples[0], samples.at(-1)];
    const rate = (1000 * (last.tokens - first.tokens)) / (last.time - first.time);
    const after = await batched(model, slots, Number(values.threads));
    const sorted = samples.map(({ p99 }) => p99).sort((a, b) => a - b);
    console.log(
      JSON.stringify({
        ...counts,
        failed: counts.failed.length,
        failures: [...new Set(counts.failed)].slice(0, 5),
        tokensPerSecond: Math.round(rate),
        batchedBefore: Math.round(before),
        batchedAfter: Math.round(after),
        share: Number((rate / ((before + after) / 2)).toFixed(3)),
        eventLoopP99: {
          median: Number(sorted[sorted.length >> 1].toFixed(1)),
          worst: Number(sorted.at(-1).toFixed(1)),
        },
        residentMB: samples
          .map(({ resident }) => Math.round(resident))
          .filter((_, i) => i % Math.ceil(samples.length / 10) === 0),
        heapMB: samples.map(({ heap }) => Math.round(heap)).filter((_, i) => i % Math.ceil(samples.length / 10) === 0),
        slotsBusyAtEnd: end.heed_slots_busy,
      }),
    );
  } finally {
    child.kill();
    await rm(dir, { recursive: true, force: true });
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main();
