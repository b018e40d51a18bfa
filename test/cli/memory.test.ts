// The memory that --dry-run prints is what the engine holds during the run.
import { expect, test } from '@jest/globals';
import {
  describeMemory,
  type PlannedWork,
  parameterCount,
  ppoWork,
  requireMemory,
  rewardWork,
  supervisedWork,
} from '../../lib/cli/memory.js';
import { modelConfig } from '../../lib/huggingface/config.js';
import { finish } from '../../lib/phases/loop.js';
import { trainPpo } from '../../lib/phases/ppo/index.js';
import { trainReward } from '../../lib/phases/reward.js';
import { trainSft } from '../../lib/phases/sft.js';
import { Engine, type EngineUsage } from '../../lib/runtime/engine.js';
import { type LanguageModel, ScalarModel } from '../../lib/runtime/model.js';
import { documents, kEnd, prompts, rankings, sequencesToMemorise, tinyModel } from '../phases/support/toy.js';

const options = { threads: 2, maxTokens: 256 };

async function onRealEngine(work: PlannedWork): Promise<EngineUsage> {
  const engine = await Engine.create(options);
  try {
    await work(engine);
    return engine.usage();
  } finally {
    await engine.dispose();
  }
}

async function configOf(make: (engine: Engine) => Promise<LanguageModel>) {
  let config: LanguageModel['config'] | undefined;
  await Engine.plan(options, async (engine) => {
    ({ config } = await make(engine));
  });
  return config!;
}

test.each(['llama', 'gpt2'] as const)(
  'a plan of any work comes to what the work itself does: %s',
  async (architecture) => {
    const config = await configOf((engine) => tinyModel(engine, 1, architecture));
    const sampling = { promptLength: 5, maxNewTokens: 7, count: 9, slots: 4 };
    for (const work of [
      supervisedWork({
        config,
        dropout: 0.1,
        stepTokens: 200,
        maxLength: 30,
        pretrainTokens: 90,
        keepsBest: true,
        chooser: { config, ...sampling },
      }),
      rewardWork({ config, stepTokens: 1000, maxLength: 20 }),
      ppoWork({
        config,
        reward: { config },
        minibatchTokens: 150,
        maxLength: 12,
        sampling,
        ema: true,
        pretrain: { tokens: 100, maxLength: 40 },
      }),
    ]) {
      const planned = await Engine.plan(options, work);
      // Nothing is computed, and the cache is gone at the end: its most is looked at below.
      expect(planned).toEqual({
        ...(await onRealEngine(work)),
        tokensComputed: 0,
        multiplyAdds: 0,
        cacheBytes: planned.cacheBytes,
      });
      expect(planned.optimizerBytes).toBeGreaterThan((2 * planned.parameterBytes) / 4);
    }
  },
);

/** The peak memory of an engine while a phase runs on it. */
async function peakOf(run: (engine: Engine, look: () => void) => Promise<unknown>): Promise<EngineUsage> {
  const engine = await Engine.create(options);
  const peak: Record<string, number> = {};
  const look = () => {
    for (const [key, bytes] of Object.entries(engine.usage())) peak[key] = Math.max(peak[key] ?? 0, bytes);
  };
  try {
    await run(engine, look);
    return peak as unknown as EngineUsage;
  } finally {
    await engine.dispose();
  }
}

const kBytes = ['parameterBytes', 'optimizerBytes', 'cacheBytes', 'arenaBytes', 'packedBytes'] as const;

test('PPO-ptx holds no more than was planned, and not much less', async () => {
  const asked = prompts(20);
  const longest = Math.max(...asked.map(({ length }) => length));
  const peak = await peakOf(async (engine, look) => {
    const policy = await tinyModel(engine);
    const reward = await ScalarModel.from(policy, { seed: 1 });
    const phase = trainPpo({
      policy,
      reward,
      prompts: asked,
      batchSize: 16,
      minibatches: 2,
      iterations: 2,
      maxNewTokens: 8,
      stopTokens: [kEnd],
      slots: 8,
      ema: 0.9,
      pretrain: documents(30),
      ptxTokens: 60,
      onProgress: look, // while there is a cache
    });
    await finish(phase, look);
  });
  const config = await configOf(tinyModel);
  const work = (pretrain: boolean) =>
    ppoWork({
      config,
      reward: { config },
      minibatchTokens: 8 * (longest + 8),
      maxLength: longest + 8,
      sampling: { promptLength: longest, maxNewTokens: 8, count: 16, slots: 8 },
      ema: true,
      ...(pretrain ? { pretrain: { tokens: 60, maxLength: 20 } } : {}),
    });
  const planned = await Engine.plan(options, work(true));
  for (const key of kBytes) {
    expect(peak[key]).toBeLessThanOrEqual(planned[key]);
    expect(peak[key]).toBeGreaterThanOrEqual(0.7 * planned[key]);
  }
  expect(peak.cacheBytes).toBe(planned.cacheBytes);
  expect(planned.cacheBytes).toBeGreaterThan(0);
  expect(peak.optimizerBytes).toBe(planned.optimizerBytes); // including the gradient that is set aside
  expect((await Engine.plan(options, work(false))).optimizerBytes).toBeLessThan(planned.optimizerBytes);
});

test('fine-tuning and reward modelling hold no more than was planned', async () => {
  const config = await configOf(tinyModel);
  const sequences = sequencesToMemorise(24).map(({ sequence }) => sequence);
  const length = Math.max(...sequences.map(({ tokens }) => tokens.length));
  const sft = await peakOf(async (engine, look) => {
    const model = await tinyModel(engine);
    await finish(trainSft({ model, sequences, validation: sequences, batchSize: 16, steps: 3, dropout: 0.1 }), look);
  });
  const planned = await Engine.plan(
    options,
    supervisedWork({ config, dropout: 0.1, stepTokens: 16 * length, maxLength: length, keepsBest: true }),
  );
  const ranked = rankings(40, 'train');
  const largest = Math.max(
    ...ranked.map(({ prompt, responses }) => responses.reduce((n, r) => n + r.length, prompt.length)),
  );
  const reward = await peakOf(async (engine, look) => {
    const model = await ScalarModel.init(engine, config, { seed: 1 });
    await finish(trainReward({ model, rankings: ranked, batchSize: 8, steps: 3 }), look);
  });
  const plannedReward = await Engine.plan(options, rewardWork({ config, stepTokens: 8 * largest, maxLength: 8 }));
  for (const key of kBytes) {
    expect(sft[key]).toBeLessThanOrEqual(planned[key]);
    expect(reward[key]).toBeLessThanOrEqual(plannedReward[key]);
  }
});

test('a plan needs neither memory nor time: GPT-2 and Llama 3 8B', async () => {
  const rest = { maxPositions: 1024, vocabSize: 50257 };
  const gpt2 = modelConfig('gpt2', { numLayers: 12, numHeads: 12, channels: 768, ...rest });
  const of8B = { numLayers: 32, numHeads: 32, numKvHeads: 8, channels: 4096, mlpChannels: 14336 };
  const llama = modelConfig('llama', { ...of8B, vocabSize: 128_256, maxPositions: 131_072, tiedHead: false });
  const of500M = { numLayers: 24, numHeads: 14, numKvHeads: 2, channels: 896, mlpChannels: 4864, tiedHead: true };
  const qwen = modelConfig('qwen2', { ...of500M, vocabSize: 151_936, maxPositions: 32_768 });
  const counts: number[] = [];
  const usage = await Engine.plan({ ...options, maxTokens: 1024 }, async (engine) => {
    for (const config of [gpt2, llama, qwen]) counts.push(await parameterCount(engine, config));
  });
  expect(counts).toEqual([124_439_808, 8_030_261_248, 494_032_768]);
  expect(usage.parameterBytes).toBeGreaterThanOrEqual(4 * 8_154_701_056);
  const before = process.memoryUsage.rss();
  const planned = await Engine.plan(
    { ...options, maxTokens: 1024 },
    supervisedWork({ config: llama, dropout: 0, stepTokens: 1024, maxLength: 1024, keepsBest: false }),
  );
  expect(planned.optimizerBytes).toBeGreaterThanOrEqual(3 * 4 * 8_030_261_248);
  expect(process.memoryUsage.rss() - before).toBeLessThan(1e9);
  expect(describeMemory(planned)).toMatch(/^\d+ GB: weights \d+, optimizer 96, activations \d\.\d GB$/);
});

test('checkpointing keeps one block of activations in place of all', async () => {
  const config = await configOf((engine) => tinyModel(engine, 1, 'gpt2'));
  const sizes = { config: { ...config, numLayers: 12 }, stepTokens: 250, maxLength: 25 };
  const plans = (gradientCheckpointing: boolean) => [
    supervisedWork({ ...sizes, dropout: 0.1, keepsBest: true, gradientCheckpointing }),
    rewardWork({ ...sizes, gradientCheckpointing }),
    ppoWork({
      config: sizes.config,
      reward: { config: sizes.config },
      minibatchTokens: 250,
      maxLength: 25,
      sampling: { promptLength: 5, maxNewTokens: 7, count: 9, slots: 4 },
      ema: false,
      gradientCheckpointing,
    }),
  ];
  const whole = plans(false);
  for (const [i, work] of plans(true).entries()) {
    const checkpointed = await Engine.plan(options, work);
    const all = await Engine.plan(options, whole[i]!);
    expect(checkpointed.arenaBytes).toBeLessThan(0.4 * all.arenaBytes);
    expect({ ...checkpointed, arenaBytes: 0 }).toEqual({ ...all, arenaBytes: 0 });
    expect((await onRealEngine(work)).arenaBytes).toBe(checkpointed.arenaBytes);
  }
});

test('what does not fit on the device is refused, with what to lower', () => {
  const none = {
    tokensComputed: 0,
    multiplyAdds: 0,
    parameterBytes: 0,
    packedBytes: 0,
    optimizerBytes: 0,
    arenaBytes: 0,
    cacheBytes: 0,
  };
  expect(() => requireMemory({ ...none, arenaBytes: 8e10 }, undefined)).not.toThrow();
  expect(() => requireMemory({ ...none, arenaBytes: 8e10 }, 8e10)).not.toThrow();
  const refused = (usage: Partial<EngineUsage>) => () => requireMemory({ ...none, ...usage }, 2e10);
  expect(refused({ parameterBytes: 1e10, arenaBytes: 3e10 })).toThrow(
    "this needs 40 GB: weights 10, activations 30 GB, but 20.0 GB of the device's memory are free: lower --max-tokens, or give --gradient-checkpointing",
  );
  expect(refused({ parameterBytes: 3e10 })).toThrow(/: use --dtype bf16 or a smaller model$/);
  expect(refused({ optimizerBytes: 3e10 })).toThrow(/: use a smaller model$/);
  expect(refused({ cacheBytes: 3e10 })).toThrow(/: lower --slots or --max-new-tokens$/);
});

test('formatted memory', () => {
  const usage = {
    tokensComputed: 0,
    multiplyAdds: 0,
    parameterBytes: 5e5,
    packedBytes: 1e6,
    optimizerBytes: 2e6,
    arenaBytes: 3e6,
    cacheBytes: 0,
  };
  expect(describeMemory(usage)).toBe('6.5 MB: weights 1.5, optimizer 2.0, activations 3.0 MB');
  expect(describeMemory({ ...usage, cacheBytes: 4e10 })).toBe(
    '40 GB: weights 0.0, optimizer 0.0, activations 0.0, cache 40 GB',
  );
});
