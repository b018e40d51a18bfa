/**
 * device: 'cuda' through the whole library, on the CUDA module whose kernels run on the emulator.
 * @jest-environment ./test/api/cuda.environment.mjs
 */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from '@jest/globals';
import { trainPpo } from '../../lib/phases/ppo/index.js';
import { trainReward } from '../../lib/phases/reward.js';
import { trainSft } from '../../lib/phases/sft.js';
import { packResponses } from '../../lib/runtime/batch.js';
import { Engine } from '../../lib/runtime/engine.js';
import { type LanguageModel, ScalarModel } from '../../lib/runtime/model.js';
import { computeTogether } from '../../lib/runtime/together.js';
import { kEnd, prompts, rankings, sequencesToMemorise, shareOf3, tinyModel } from '../phases/support/toy.js';
import { plain } from './support.js';

const module = fileURLToPath(new URL('../../cmake-build/Release/heed_cuda_emulated.so', import.meta.url));

const devices = ['cpu', 'cuda'] as const;
type Device = (typeof devices)[number];
async function withModel<T>(device: Device, dtype: 'f32' | 'bf16', body: (model: LanguageModel) => Promise<T>) {
  const engine = await Engine.create({ device, dtype, maxTokens: 256 });
  try {
    expect(engine.info.device).toMatch(device === 'cuda' ? /^cuda emulated/ : /^cpu/);
    return await body(await tinyModel(engine, 3));
  } finally {
    await engine.dispose();
  }
}
async function metricsOf<Metrics>(phase: AsyncIterable<Metrics>): Promise<Metrics[]> {
  const all: Metrics[] = [];
  for await (const metrics of phase) all.push(metrics);
  return all;
}
/** By how much two numbers differ, of the larger. */
const apart = (a: number, b: number) => Math.abs(a - b) / Math.max(Math.abs(a), Math.abs(b), 1e-3);

const trees = [
  { prompt: Int32Array.of(3, 4, 5), responses: [Int32Array.of(6, 7, 0), Int32Array.of(8, 0)] },
  { prompt: Int32Array.of(1, 2), responses: [Int32Array.of(9, 10, 11, 0)] },
];

// `npm test` builds the module; without it there is nothing to run on.
const describeCuda = existsSync(module) ? describe : describe.skip;
describeCuda.each(['f32', 'bf16'] as const)('%s', (dtype) => {
  const tolerance = dtype === 'f32' ? 1e-4 : 3e-2;

  test('log-probabilities are those of the CPU, and those that the sampler returns are bit-identical to them', async () => {
    const [cpu, cuda] = await Promise.all(
      devices.map((device) =>
        withModel(device, dtype, async (model) => plain((await model.logprobs(packResponses(trees))).logprobs)),
      ),
    );
    cuda!.forEach((logprob, i) => {
      expect(Math.abs(logprob - cpu![i]!)).toBeLessThan(tolerance);
    });
    await withModel('cuda', dtype, async (model) => {
      const requests = prompts(4).map((prompt, seed) => ({ prompt, seed, samples: 2 }));
      const completions = await model.generate(requests, { maxNewTokens: 6, stopTokens: [kEnd], slots: 3 });
      for (const { request, tokens, logprobs } of completions) {
        const whole = packResponses([{ prompt: requests[request]!.prompt, responses: [tokens] }]);
        expect(plain((await model.logprobs(whole)).logprobs)).toEqual(plain(logprobs));
      }
    });
  });

  test('a running call may be asked about', async () => {
    await withModel('cuda', dtype, async (model) => {
      const packed = packResponses(trees);
      const alone = plain((await model.logprobs(packed)).logprobs);
      let running = true;
      const all = Promise.all(Array.from({ length: 8 }, () => model.logprobs(packed))).finally(() => {
        running = false;
      });
      while (running) {
        expect(model.engine.usage().parameterBytes).toBeGreaterThan(0);
        await new Promise(setImmediate);
      }
      for (const { logprobs } of await all) expect(plain(logprobs)).toEqual(alone);
    });
  });

  test('adapters of one base in one pass and in one batch have the bits that each has alone', async () => {
    await withModel('cuda', dtype, async (base) => {
      const models = [base];
      for (const [seed, rank] of [3, 8].entries()) {
        const adapter = await base.adapter({ rank, alpha: 4 * rank, seed });
        const trainer = await adapter.trainer();
        await trainer.sft(packResponses(trees), { scale: 0.2 });
        await trainer.step({ learningRate: 0.05 });
        await trainer.dispose();
        models.push(adapter);
      }
      const requests = [0, 1, 2, 1, 0].map((m, i) => ({ model: models[m]!, batch: packResponses([trees[i % 2]!]) }));
      const together = await computeTogether(requests);
      for (const [i, { model, batch }] of requests.entries()) {
        const { logprobs, entropy } = await model.logprobs(batch);
        expect([plain(together[i]!.logprobs), plain(together[i]!.entropy)]).toEqual([plain(logprobs), plain(entropy)]);
      }
      const ask = (model: LanguageModel) =>
        model.generate(
          prompts(3).map((prompt, seed) => ({ prompt, seed })),
          { maxNewTokens: 8, stopTokens: [kEnd] },
        );
      const mixed = await Promise.all(models.map(ask));
      const texts = new Set<string>();
      for (const [m, model] of models.entries()) {
        const shown = (all: typeof mixed) => all[m]!.map(({ tokens, logprobs }) => [plain(tokens), plain(logprobs)]);
        const alone = await ask(model);
        expect(shown(mixed)).toEqual(shown(models.map(() => alone)));
        texts.add(JSON.stringify(shown(mixed)));
      }
      expect(texts.size).toBe(3);
    });
  });

  test('two steps of fine-tuning follow the CPU', async () => {
    const sequences = sequencesToMemorise(8).map(({ sequence }) => sequence);
    const [cpu, cuda] = await Promise.all(
      devices.map((device) =>
        withModel(device, dtype, (model) =>
          metricsOf(trainSft({ model, sequences, batchSize: 4, epochs: 1, learningRate: 1e-2, dropout: 0.1, seed: 5 })),
        ),
      ),
    );
    expect(cuda).toHaveLength(2);
    cuda!.forEach((metrics, i) => {
      expect(apart(metrics.loss, cpu![i]!.loss)).toBeLessThan(tolerance);
      expect(apart(metrics.gradNorm, cpu![i]!.gradNorm)).toBeLessThan(5 * tolerance);
    });
  });

  test('checkpointing changes no bit of fine-tuning', async () => {
    const sequences = sequencesToMemorise(4).map(({ sequence }) => sequence);
    const options = { sequences, batchSize: 4, steps: 2, learningRate: 1e-2, dropout: 0.1, seed: 5 };
    const train = (gradientCheckpointing: boolean) =>
      withModel('cuda', dtype, (model) => metricsOf(trainSft({ ...options, model, gradientCheckpointing })));
    const [whole, checkpointed] = await Promise.all([train(false), train(true)]); // two engines at once
    const bits = (all: Awaited<ReturnType<typeof train>>) => all.map(({ loss, gradNorm }) => [loss, gradNorm]);
    expect(bits(checkpointed)).toEqual(bits(whole));
    expect(whole[0]!.percentOfPeak).toBeGreaterThan(0);
  });

  test('two steps of reward modelling follow the CPU', async () => {
    const [cpu, cuda] = await Promise.all(
      devices.map((device) =>
        withModel(device, dtype, async (language) => {
          const model = await ScalarModel.from(language, { seed: 2 });
          return metricsOf(
            trainReward({ model, rankings: rankings(8, 'train'), batchSize: 4, learningRate: 3e-3, seed: 5 }),
          );
        }),
      ),
    );
    expect(cuda).toHaveLength(2);
    cuda!.forEach((metrics, i) => {
      expect(apart(metrics.loss, cpu![i]!.loss)).toBeLessThan(tolerance);
    });
  });

  test('two steps of PPO: the first ratio is exactly 1, with an average of the weights', async () => {
    const metrics = await withModel('cuda', dtype, async (policy) =>
      metricsOf(
        trainPpo({
          policy,
          value: await ScalarModel.from(policy, { seed: 2 }),
          reward: (episodes) => episodes.map(({ response }) => shareOf3(response)),
          prompts: prompts(6),
          batchSize: 6,
          minibatches: 1,
          iterations: 2,
          maxNewTokens: 5,
          stopTokens: [kEnd],
          learningRate: 3e-3,
          ema: 0.9,
          pretrain: sequencesToMemorise(4).map(({ sequence }) => sequence),
          seed: 5,
        }),
      ),
    );
    expect(metrics).toHaveLength(2);
    for (const { loss, valueLoss, ptxLoss, kl, ratioMean, ratioMax } of metrics) {
      expect([loss, valueLoss, ptxLoss, kl].every(Number.isFinite)).toBe(true);
      expect([ratioMean, ratioMax]).toEqual([1, 1]);
    }
  });
});
