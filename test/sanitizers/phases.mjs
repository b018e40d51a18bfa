// What the addon is run through under AddressSanitizer (scripts/sanitize.mjs): each phase, in both number formats, and what real
// programs do besides: abort, fail, drop models, dispose of engines that have work, terminate a worker.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import {
  demonstration,
  document,
  Engine,
  LanguageModel,
  modelConfig,
  packResponses,
  RunFolder,
  ScalarModel,
  trainPpo,
  trainPretrain,
  trainReward,
  trainSft,
} from '../../dist/lib/index.js';

const END = 0;
const VOCAB = 48;
const sizes = { numLayers: 2, numHeads: 4, channels: 32, vocabSize: VOCAB, maxPositions: 64 };
const configs = [
  modelConfig('gpt2', { ...sizes, headDim: 8 }),
  modelConfig('mistral', { ...sizes, numKvHeads: 2, headDim: 6, slidingWindow: { size: 9, fullLayers: [] } }),
];
const ids = (length, seed) => Int32Array.from({ length }, (_, i) => 1 + ((7 * seed + 13 * i * i + i) % (VOCAB - 1)));

function check(ok, what) {
  if (!ok) throw new Error(what);
}
async function rejects(promise, name) {
  const error = await promise.then(
    () => undefined,
    (reason) => reason,
  );
  check(error?.code === name || error?.name === name, `expected ${name}, got ${error}`);
}
async function drain(steps) {
  let count = 0;
  for await (const { loss } of steps) {
    check(Number.isFinite(loss), `the loss is ${loss}`);
    count++;
  }
  check(count > 0, 'no step was taken');
}

async function phases(dtype, config, dir) {
  const engine = await Engine.create({ threads: 2, maxTokens: 96, dtype }); // several passes a step
  const policy = await LanguageModel.init(engine, config, { seed: 1 });
  const documents = [6, 41, 18, 2].map((length, i) => document(ids(length, i)));
  await drain(trainPretrain({ model: policy, documents, epochs: 2, batchTokens: 50, dropout: 0.1 }));

  const prompts = [5, 20, 1, 9].map((length, i) => ids(length, 10 + i));
  const sequences = prompts.map((prompt, i) => demonstration(prompt, Int32Array.of(...ids(4 + 5 * i, 20 + i), END)));
  const options = { model: policy, sequences, epochs: 3, batchSize: 3, validation: sequences };
  // Stopped after a checkpoint, then resumed.
  const run = await RunFolder.open(join(dir, 'sft'));
  const first = trainSft({ ...options, run, saveEvery: 1 });
  await first.next();
  await first.next();
  await first.return();
  await run.close();
  const resumed = await RunFolder.open(join(dir, 'sft'), { resume: true });
  await drain(trainSft({ ...options, run: resumed, saveEvery: 1 }));
  await resumed.close();

  const rankings = prompts.map((prompt, i) => ({
    prompt,
    responses: [3, 1, 7].map((length, k) => Int32Array.of(...ids(length, 30 + 3 * i + k), END)),
    ranks: [i % 3, (i + 1) % 3, 1],
  }));
  const reward = await ScalarModel.from(policy, { seed: 2 });
  await drain(trainReward({ model: reward, rankings, epochs: 2, batchSize: 2 }));

  const ppo = { policy, reward, prompts, pretrain: documents, stopTokens: [END], maxNewTokens: 12, slots: 3 };
  await drain(trainPpo({ ...ppo, iterations: 2, batchSize: 4, minibatches: 2, samplesPerPrompt: 2, ema: 0.9 }));

  const copy = join(dir, 'model');
  await policy.save(copy);
  const loaded = await LanguageModel.load(engine, copy);
  const batch = packResponses(rankings);
  const [a, b] = [await policy.logprobs(batch), await loaded.logprobs(batch)];
  check(Buffer.from(a.logprobs.buffer).equals(Buffer.from(b.logprobs.buffer)), 'a saved model is another one');
  await rejects(LanguageModel.load(engine, join(dir, 'nothing')), 'ERR_IO');
  await rejects(
    policy.logits({ ...batch, tokens: Int32Array.from(batch.tokens, () => VOCAB) }),
    'ERR_INVALID_ARGUMENT',
  );

  const requests = prompts.map((prompt, seed) => ({ prompt, seed, samples: 3 }));
  const sampling = { maxNewTokens: 30, stopTokens: [END], temperature: 0.8, topK: 20, topP: 0.9, slots: 5 };
  check((await policy.generate(requests, sampling)).length === 12, 'responses are missing');
  for await (const _ of policy.stream([{ prompt: prompts[0], seed: 1 }], { maxNewTokens: 30, stopTokens: [END] }))
    break;
  const stop = new AbortController();
  const aborted = policy.generate(requests, { ...sampling, signal: stop.signal });
  stop.abort();
  await rejects(aborted, 'AbortError');

  // Work outstanding, a model that nothing holds, and an engine that goes.
  const outstanding = [policy.logits(batch), reward.clone(), policy.clone()].map((promise) => promise.catch(() => {}));
  await policy.dispose();
  await rejects(policy.logits(batch), 'ERR_DISPOSED');
  await engine.dispose();
  await Promise.all(outstanding);
}

/** A worker that is terminated in the middle of a job. */
async function terminate() {
  const url = new URL('../../dist/lib/index.js', import.meta.url).href;
  const program = `
    import('${url}').then(async ({ Engine, LanguageModel, modelConfig, packDocuments }) => {
      const engine = await Engine.create({ threads: 2 });
      const model = await LanguageModel.init(engine, modelConfig('gpt2', ${JSON.stringify({ ...sizes, maxPositions: 1024 })}), { seed: 1 });
      const batch = packDocuments(Array.from({ length: 4 }, () => new Int32Array(1000)));
      require('node:worker_threads').parentPort.postMessage('working');
      for (;;) await model.logprobs(batch);
    });`;
  const worker = new Worker(program, { eval: true });
  await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject));
  await worker.terminate();
}

const dir = await mkdtemp(join(tmpdir(), 'heed-sanitizers-'));
try {
  for (const dtype of ['f32', 'bf16'])
    for (const config of configs) await phases(dtype, config, join(dir, `${config.family}-${dtype}`));
  await terminate();
  globalThis.gc?.();
} finally {
  await rm(dir, { recursive: true });
}
console.log('every phase ran');
