// Every phase with adapters: the base stays as it is, a resumed run is bit-identical, and PPO needs the memory of one model.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { modelConfig } from '../../lib/huggingface/config.js';
import { finish } from '../../lib/phases/loop.js';
import { trainPpo } from '../../lib/phases/ppo/index.js';
import { trainReward } from '../../lib/phases/reward.js';
import { trainSft } from '../../lib/phases/sft.js';
import { RunFolder } from '../../lib/runs/runfolder.js';
import { packResponses } from '../../lib/runtime/batch.js';
import { Engine } from '../../lib/runtime/engine.js';
import { LanguageModel, ScalarModel } from '../../lib/runtime/model.js';
import { documents, kEnd, prompts, rankings, sequencesToMemorise, tinyModel } from './support/toy.js';

const lora = { rank: 4, alpha: 8, seed: 1 };

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'heed-adapters-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** Every parameter, bit for bit. */
async function parametersOf(model: LanguageModel | ScalarModel): Promise<Float32Array[]> {
  const all: Float32Array[] = [];
  for (const { name } of model.parameters()) all.push(await model.parameter(name));
  return all;
}

const reward = (base: LanguageModel) => base.scalarAdapter({ ...lora, seed: 3 });

/** A phase on a new adapter, and the models whose parameters are its result. */
const phases = {
  async sft(base: LanguageModel, run: RunFolder) {
    const model = await base.adapter({ ...lora, dropout: 0.2 });
    const sequences = sequencesToMemorise(24).map(({ sequence }) => sequence);
    const options = { model, run, sequences, validation: sequences.slice(0, 4), batchSize: 8, steps: 4 };
    return { phase: trainSft({ ...options, learningRate: 0.01, validateEvery: 2 }), models: [model] };
  },
  async reward(base: LanguageModel, run: RunFolder) {
    const model = await reward(base);
    const options = { model, run, rankings: rankings(24, 'train'), batchSize: 8, steps: 4 };
    return { phase: trainReward({ ...options, learningRate: 0.01 }), models: [model] };
  },
  async ppo(base: LanguageModel, run: RunFolder) {
    const policy = await base.adapter(lora);
    const scores = await reward(base);
    const value = await scores.clone();
    const options = { prompts: prompts(16), batchSize: 8, minibatches: 2, maxNewTokens: 6, stopTokens: [kEnd] };
    const rates = { learningRate: 0.01, valueLearningRate: 0.01, warmupSteps: 0 };
    const pretrain = documents(12);
    const models = { policy, value, reward: scores, reference: base };
    return {
      phase: trainPpo({ ...options, ...rates, ...models, run, pretrain, ema: 0.9, steps: 4 }),
      models: [policy, value],
    };
  },
};

describe.each(['llama', 'gpt2'] as const)('%s', (family) => {
  describe.each(['f32', 'bf16'] as const)('%s', (dtype) => {
    let engine: Engine;
    beforeAll(async () => {
      engine = await Engine.create({ threads: 2, maxTokens: 512, dtype });
    });
    afterAll(() => engine.dispose());

    test.each(['sft', 'reward', 'ppo'] as const)('%s', async (name) => {
      const base = await tinyModel(engine, 1, family);
      const before = await parametersOf(base);
      const at = (run: string) => join(folder, `${family}-${dtype}-${name}-${run}`);

      const whole = await phases[name](base, await RunFolder.open(at('whole')));
      const begun = await parametersOf(whole.models[0]!);
      const metrics: object[] = [];
      await finish(whole.phase as AsyncGenerator<object, unknown, void>, (m) => void metrics.push(m));
      const trained = await parametersOf(whole.models[0]!);
      expect(trained).not.toEqual(begun);
      expect(await parametersOf(base)).toEqual(before);
      // The first minibatch's ratios are exactly 1: sampling and training agree bit for bit.
      if (name === 'ppo') expect(metrics[0]).toMatchObject({ ratioMean: 1, ratioMax: 1, approxKl: 0, kl: 0 });

      const first = await RunFolder.open(at('cut'));
      const cut = await phases[name](base, first);
      for (let step = 0; step < 2; step++) await cut.phase.next();
      await cut.phase.return(undefined as never);
      await first.close();
      const second = await RunFolder.open(at('cut'), { resume: true });
      const resumed = await phases[name](base, second);
      await finish(resumed.phase as AsyncGenerator<object, unknown, void>);
      for (const [i, model] of resumed.models.entries())
        expect(await parametersOf(model)).toEqual(await parametersOf(whole.models[i]!));
      const file = (run: string) => readFileSync(join(at(run), 'model', 'adapter_model.safetensors'));
      expect(file('cut').equals(file('whole'))).toBe(true);
      expect(await parametersOf(base)).toEqual(before);
      await base.dispose();
    });
  });
});

test('a scalar adapter keeps the offset of its scores, and its base its norm', async () => {
  const engine = await Engine.create({ threads: 2 });
  try {
    const base = await tinyModel(engine, 1, 'gpt2');
    const model = await reward(base);
    const batch = packResponses([{ prompt: [1, 2], responses: [[3, 4]] }]);
    const scores = await model.scores(batch);
    const before = await parametersOf(base);
    await model.shiftScores(0.5);
    expect(await model.scoreOffset()).toBe(0.5);
    expect(await parametersOf(base)).toEqual(before);
    await model.save(join(folder, 'offset'));
    const read = await base.scalarAdapter({ from: join(folder, 'offset') });
    expect([...(await read.scores(batch))]).toEqual([...scores].map((score) => Math.fround(score + 0.5)));
    expect(await (await model.merge()).scoreOffset()).toBe(0.5);
  } finally {
    await engine.dispose();
  }
});

test('an adapter of another base, or of another rank, is not mixed in', async () => {
  const engine = await Engine.create({ threads: 2 });
  try {
    const [base, other] = [await tinyModel(engine), await tinyModel(engine)];
    const adapter = await base.adapter(lora);
    await expect(adapter.copyFrom(await other.adapter(lora))).rejects.toThrow('another base or adapter');
    await expect(adapter.copyFrom(await base.adapter({ ...lora, rank: 3 }))).rejects.toThrow('another base or adapter');
    await expect(adapter.copyFrom(base)).rejects.toThrow('another base or adapter');
    await expect(adapter.adapter(lora)).rejects.toThrow(
      'the model is an adapter itself: merge() it, or adapt its base',
    );
    await expect(base.merge()).rejects.toThrow('the model has no adapter to merge');
    await expect(base.adapter({ ...lora, rank: 0 })).rejects.toThrow('rank is 0, expected a whole number above 0');
    await expect(base.adapter({ ...lora, targets: ['q_proj', 'lm_head'] })).rejects.toThrow(
      'targets has "lm_head", which is no linear layer of the blocks; expected some of q_proj, k_proj',
    );
    // Its memory is freed with the last of its adapters.
    const copy = await adapter.clone();
    await base.dispose();
    await adapter.dispose();
    expect(await copy.logits(packResponses([{ prompt: [1, 2], responses: [[3]] }]))).toHaveLength(12);
    await expect(base.adapter(lora)).rejects.toThrow('disposed');
  } finally {
    await engine.dispose();
  }
});

// Policy, value network, reward model and reference: four copies, or one with three adapters. A model with as many channels as small
// models of today, planned by the engine, which allocates nothing.
test('PPO with LoRA of rank 16 needs at most 1.4 times the memory of its base', async () => {
  const config = modelConfig('llama', {
    numLayers: 16,
    numHeads: 16,
    numKvHeads: 4,
    channels: 1024,
    mlpChannels: 2816,
    vocabSize: 32_000,
    maxPositions: 512,
  });
  const options = { threads: 2, maxTokens: 512 };
  const steps = (policy: LanguageModel, scores: ScalarModel) => ({
    policy,
    reward: scores,
    prompts: [new Int32Array(32), new Int32Array(32)],
    batchSize: 2,
    minibatches: 1,
    steps: 1,
    maxNewTokens: 32,
    stopTokens: [0],
    slots: 2,
  });
  const weights = (usage: { parameterBytes: number; optimizerBytes: number }) =>
    usage.parameterBytes + usage.optimizerBytes;
  const alone = await Engine.plan(options, (engine) => LanguageModel.init(engine, config, { seed: 0 }));
  const shared = await Engine.plan(options, async (engine) => {
    const base = await LanguageModel.init(engine, config, { seed: 0 });
    const policy = await base.adapter({ rank: 16, seed: 0 });
    await finish(trainPpo(steps(policy, await base.scalarAdapter({ rank: 16, seed: 0 }))));
  });
  // In 8 bits the weights that are frozen need no packed copies: with the head's, all of the device's memory counts.
  const int8 = await Engine.plan(options, async (engine) => {
    const base = await LanguageModel.init(engine, config, { seed: 0, int8: true });
    const policy = await base.adapter({ rank: 16, seed: 0 });
    await finish(trainPpo(steps(policy, await base.scalarAdapter({ rank: 16, seed: 0 }))));
  });
  const copies = await Engine.plan(options, async (engine) => {
    const policy = await LanguageModel.init(engine, config, { seed: 0 });
    await finish(trainPpo(steps(policy, await ScalarModel.from(policy, { seed: 0 }))));
  });
  const ratio = weights(shared) / weights(alone);
  process.stderr.write(
    `memory of PPO, in copies of the base: ${ratio.toFixed(2)} with adapters, ${(weights(copies) / weights(alone)).toFixed(1)} without; ` +
      `packed copies ${(shared.packedBytes / 1e6).toFixed(0)} and ${(copies.packedBytes / 1e6).toFixed(0)} MB, base ${(alone.parameterBytes / 1e6).toFixed(0)} MB\n`,
  );
  const all = (usage: typeof shared) => (weights(usage) + usage.packedBytes) / weights(alone);
  process.stderr.write(
    `with packed copies ${all(shared).toFixed(2)}, with the base in 8 bits ${all(int8).toFixed(2)} (weights alone ${(int8.parameterBytes / weights(alone)).toFixed(2)})\n`,
  );
  expect(ratio).toBeLessThan(1.4);
  expect(all(int8)).toBeLessThan(1.4);
  expect(int8.parameterBytes).toBeLessThan(0.5 * weights(alone));
  expect(weights(copies) / weights(alone)).toBeGreaterThan(9);
});
