import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { Episode } from '../../lib/phases/episodes.js';
import { finish } from '../../lib/phases/loop.js';
import type { PpoMetrics, StepMetrics } from '../../lib/phases/metrics.js';
import { type PpoOptions, trainPpo } from '../../lib/phases/ppo/index.js';
import { rolloutFromJson, rolloutToJson } from '../../lib/phases/ppo/rollout.js';
import { trainReward } from '../../lib/phases/reward.js';
import { meanLoss } from '../../lib/phases/supervised.js';
import { RunFolder } from '../../lib/runs/runfolder.js';
import { Engine } from '../../lib/runtime/engine.js';
import { LanguageModel, ScalarModel } from '../../lib/runtime/model.js';
import { documents, kEnd, prompts, rankings, shareOf3, tinyModel } from './support/toy.js';

let engine: Engine;
let sft: LanguageModel;
beforeAll(async () => {
  engine = await Engine.create({ threads: 2, maxTokens: 512 });
  sft = await tinyModel(engine);
});
afterAll(() => engine.dispose());

const countThrees = (episodes: readonly Episode[]) => episodes.map(({ response }) => shareOf3(response));
const toy = {
  prompts: prompts(40),
  reward: countThrees,
  batchSize: 32,
  minibatches: 4,
  maxNewTokens: 8,
  stopTokens: [kEnd],
  cutOff: 'none',
  learningRate: 3e-3,
  valueLearningRate: 3e-3,
  seed: 1,
} as const;

async function train(options: Partial<PpoOptions> = {}) {
  const policy = options.policy ?? (await sft.clone());
  const metrics: (PpoMetrics & StepMetrics)[] = [];
  const result = await finish(trainPpo({ ...toy, policy, ...options }), (m) => void metrics.push(m));
  return { policy, metrics, result };
}

test('raises the frequency of a token from 0.1 to 0.9 with bounded KL', async () => {
  const { policy, metrics } = await train({ iterations: 40, klCoef: 0.005 });
  expect(metrics).toHaveLength(160);
  expect(metrics[0]!.score).toBeLessThan(0.2);
  expect(metrics.at(-1)!.score).toBeGreaterThan(0.9);
  const kls = metrics.map(({ kl }) => kl);
  // Saying one of twelve tokens every time for eight tokens costs 8 · log 12 = 19.9 nats.
  expect(Math.max(...kls)).toBeLessThan(20);
  expect(metrics.at(-1)!.klK3).toBeGreaterThan(0);
  const completions = await policy.generate(
    toy.prompts.map((prompt, i) => ({ prompt, seed: 1000 + i })),
    { maxNewTokens: 8, stopTokens: [kEnd] },
  );
  const share = completions.reduce((sum, { tokens }) => sum + shareOf3(tokens), 0) / completions.length;
  expect(share).toBeGreaterThan(0.85);
  await policy.dispose();
});

test('a higher KL coefficient keeps the policy nearer to the reference', async () => {
  const free = await train({ iterations: 12, klCoef: 0 });
  const held = await train({ iterations: 12, klCoef: 1 });
  expect(free.metrics.at(-1)!.kl).toBeGreaterThan(1);
  expect(held.metrics.at(-1)!.kl).toBeLessThan(0.3 * free.metrics.at(-1)!.kl);
});

describe('in the first minibatch of an iteration the ratio is exactly 1', () => {
  test.each([1, 0.7])('at temperature %d', async (temperature) => {
    const { metrics } = await train({ iterations: 3, temperature, samplesPerPrompt: 3, batchSize: 8 });
    for (const m of metrics.filter((_, i) => i % 4 === 0)) {
      expect(m).toMatchObject({ ratioMean: 1, ratioMax: 1, approxKl: 0, clipFraction: 0 });
    }
    expect(metrics[1]!.approxKl).toBeGreaterThan(0);
    // Before the first step policy and reference are equal: the penalty is exactly 0.
    expect(metrics[0]).toMatchObject({ kl: 0, klK2: 0, klK3: 0 });
  });
});

test('the same seed gives the same numbers, another seed others', async () => {
  const strip = ({ metrics }: { metrics: (PpoMetrics & StepMetrics)[] }) =>
    metrics.map((m) => ({ ...m, seconds: 0, percentOfPeak: 0 }));
  const [a, b, c] = [
    await train({ iterations: 2 }),
    await train({ iterations: 2 }),
    await train({ iterations: 2, seed: 2 }),
  ];
  expect(strip(b)).toEqual(strip(a));
  expect(c.metrics[0]!.score).not.toBe(a.metrics[0]!.score);
});

test('metrics of an iteration are those of its episodes', async () => {
  const seen: { episodes: readonly Episode[]; scores: ArrayLike<number> }[] = [];
  const { metrics } = await train({
    iterations: 2,
    samplesPerPrompt: 2,
    rewardScale: 2,
    cutOff: 'subtract',
    cutOffPenalty: 0.5,
    onEpisodes: (episodes, scores) => void seen.push({ episodes, scores }),
  });
  expect(metrics.map(({ step, iteration }) => [step, iteration])).toEqual(
    [1, 2, 3, 4, 5, 6, 7, 8].map((s) => [s, s > 4 ? 2 : 1]),
  );
  for (const [i, { episodes, scores }] of seen.entries()) {
    const m = metrics[4 * i]!;
    const mean = (f: (episode: Episode, e: number) => number) =>
      episodes.reduce((sum, x, e) => sum + f(x, e), 0) / episodes.length;
    expect(episodes).toHaveLength(64);
    expect(m.episodes).toBe(64);
    expect(m.length).toBeCloseTo(
      mean(({ response }) => response.length),
      10,
    );
    expect(m.finished).toBeCloseTo(
      mean(({ finished }) => (finished ? 1 : 0)),
      10,
    );
    expect(m.rawScore).toBeCloseTo(
      mean((_, e) => scores[e]!),
      10,
    );
    expect(m.score).toBeCloseTo(
      mean(({ finished }, e) => 2 * scores[e]! - (finished ? 0 : 0.5)),
      10,
    );
    expect(m.reward).toBeCloseTo(m.score - 0.02 * m.kl, 10);
    const tokens = metrics.slice(4 * i, 4 * i + 4).reduce((sum, step) => sum + step.tokens, 0);
    expect(tokens).toBe(episodes.reduce((sum, { response }) => sum + response.length, 0));
    for (const { response, finished } of episodes) {
      expect(finished).toBe(response.at(-1) === kEnd);
      expect(response.indexOf(kEnd)).toBe(finished ? response.length - 1 : -1);
    }
  }
});

test('a value gradient that is not finite changes neither the policy, nor its average, nor the checkpoint', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'heed-ppo-'));
  const run = await RunFolder.open(dir);
  const policy = await sft.clone();
  const value = await ScalarModel.from(sft, { seed: 4 });
  const trainerOf = value.trainer.bind(value);
  let losses = 0;
  value.trainer = async (options) => {
    const trainer = await trainerOf(options);
    const loss = trainer.value.bind(trainer);
    trainer.value = async (batch, o) => {
      const result = await loss(batch, o);
      // A finite loss with a gradient that is not: only the second optimizer's norm shows it.
      if (++losses === 3)
        await loss(batch, { ...o, returns: new Float32Array(batch.rows.length).fill(1e30), scale: 1e30 });
      return result;
    };
    return trainer;
  };
  const weights = async (model: LanguageModel | ScalarModel) =>
    (await model.parameter(model.parameters()[0]!.name)).join();
  const phase = trainPpo({ ...toy, policy, value, run, saveEvery: 1, ema: 0.5, iterations: 2 });
  await phase.next();
  await phase.next();
  const before = [await weights(policy), await weights(value)];
  await expect(phase.next()).rejects.toMatchObject({
    name: 'DivergenceError',
    step: 3,
    message: expect.stringContaining('the gradient of the scalar model is not finite'),
  });
  expect([await weights(policy), await weights(value)]).toEqual(before);
  await run.close();
  const again = await RunFolder.open(dir, { resume: true });
  await again.close();
  expect(again.checkpoint?.step).toBe(2);
  const saved = await LanguageModel.load(engine, join(again.checkpoint!.dir, 'policy'));
  expect(await weights(saved)).toBe(before[0]);
  for (const model of [policy, value, saved]) await model.dispose();
  rmSync(dir, { recursive: true });
});

describe('against a reward model', () => {
  let reward: ScalarModel;
  let rewardScale: number;
  beforeAll(async () => {
    reward = await ScalarModel.from(sft, { seed: 3 });
    const { validation, scale } = await finish(
      trainReward({
        model: reward,
        rankings: rankings(300, 'train'),
        validation: rankings(50, 'held out'),
        batchSize: 16,
        epochs: 2,
        learningRate: 5e-3,
        normalize: 'meanStd',
      }),
    );
    expect(validation!.accuracy).toBeGreaterThan(0.9);
    rewardScale = scale;
  });

  test('the policy learns what the reward model rewards', async () => {
    const { metrics } = await train({ reward, rewardScale, iterations: 15, cutOff: 'min' });
    expect(metrics.at(-1)!.score).toBeGreaterThan(metrics[0]!.score + 1);
  });
});

test('the value network learns to predict the returns', async () => {
  const reward = (episodes: readonly Episode[]) => episodes.map(({ prompt }) => (prompt[0]! > 6 ? 1 : 0));
  const { metrics } = await train({ reward, iterations: 20, learningRate: 0 });
  expect(metrics[0]!.explainedVariance).toBeLessThan(0.1);
  expect(metrics.at(-1)!.explainedVariance).toBeGreaterThan(0.9);
  expect(metrics.at(-1)!.valueLoss).toBeLessThan(0.02);
});

test('PPO-ptx keeps the loss on pretraining documents and reports both gradients', async () => {
  const prose = documents(100);
  const before = await meanLoss(sft, prose);
  const plain = await train({ iterations: 10, klCoef: 0 });
  const ptx = await train({
    iterations: 10,
    klCoef: 0,
    pretrain: prose,
    ptxCoef: 1,
    ptxTokens: 200,
  });
  expect(await meanLoss(plain.policy, prose)).toBeGreaterThan(before);
  expect(await meanLoss(ptx.policy, prose)).toBeLessThan(before);
  expect(ptx.metrics[0]!.ptxLoss).toBeCloseTo(before, 0);
  expect(plain.metrics[0]!.ptxGradNorm).toBeUndefined();
  for (const { gradNorm, policyGradNorm, ptxGradNorm } of ptx.metrics) {
    expect(policyGradNorm).toBeGreaterThan(0);
    expect(ptxGradNorm).toBeGreaterThan(0);
    expect(gradNorm).toBeLessThanOrEqual((policyGradNorm + ptxGradNorm!) * (1 + 1e-5));
    expect(gradNorm).toBeGreaterThanOrEqual(Math.abs(policyGradNorm - ptxGradNorm!) * (1 - 1e-5));
  }
  // The first rollout does not depend on the documents: the policy's own gradient is the same.
  expect(ptx.metrics[0]!.policyGradNorm).toBe(plain.metrics[0]!.gradNorm);
});

test('there are never more minibatches than prompts; the last iteration may be cut short', async () => {
  const { metrics } = await train({ batchSize: 3, minibatches: 8, steps: 5, samplesPerPrompt: 2 });
  expect(metrics.map(({ iteration, episodes }) => [iteration, episodes])).toEqual([
    [1, 6],
    [1, 6],
    [1, 6],
    [2, 6],
    [2, 6],
  ]);
});

test('a learning rate of 0 changes nothing', async () => {
  const { policy } = await train({ iterations: 2, learningRate: 0 });
  const batch = { maxNewTokens: 8, stopTokens: [kEnd] };
  const requests = toy.prompts.map((prompt, i) => ({ prompt, seed: i }));
  const [a, b] = [await policy.generate(requests, batch), await sft.generate(requests, batch)];
  expect(a.map(({ logprobs }) => [...logprobs])).toEqual(b.map(({ logprobs }) => [...logprobs]));
});

test('the value network may warm up alone, and the adaptive coefficient changes', async () => {
  const { metrics } = await train({ iterations: 4, valueWarmup: 2, klCoef: 0.1, klTarget: 1, klHorizon: 320 });
  expect(metrics.slice(0, 12).map(({ kl }) => kl)).toEqual(new Array(12).fill(0));
  expect(metrics[12]!.kl).not.toBe(0);
  expect(metrics[8]!.explainedVariance).not.toBe(metrics[0]!.explainedVariance);
  expect(metrics[4]!.klCoef).toBeCloseTo(0.1 * (1 - 0.2 * 0.1), 10);
});

test('stops when the KL exceeds the limit it was given', async () => {
  const { metrics, result } = await train({ iterations: 60, klCoef: 0, stopAtKl: 2 });
  expect(result.stopped).toBe(true);
  expect(result.steps).toBe(metrics.length);
  expect(metrics.length).toBeLessThan(240);
  expect(metrics.length % 4).toBe(0);
  for (const { kl } of metrics) expect(kl).toBeLessThanOrEqual(2);
});

describe('guards', () => {
  test('a reward that is NaN names the prompt', async () => {
    const reward = (episodes: readonly Episode[]) =>
      episodes.map(({ promptIndex }) => (promptIndex === 7 ? Number.NaN : 0));
    const describePrompt = (i: number) => `prompt number ${i}`;
    await expect(train({ reward, batchSize: 40, iterations: 1, describe: describePrompt })).rejects.toMatchObject({
      code: 'ERR_INVALID_ARGUMENT',
      message: expect.stringMatching(/to prompt 7 \("prompt number 7"\) is NaN/),
    });
  });

  test('a reward function may be asynchronous; one that returns too few, or not numbers, is refused', async () => {
    const { metrics } = await train({
      reward: async (episodes) => Float32Array.from(countThrees(episodes)),
      iterations: 1,
    });
    expect(metrics[0]!.score).toBeGreaterThan(0);
    await expect(train({ reward: () => [1], iterations: 1 })).rejects.toThrow('returned 1 scores for 32 episodes');
    const text = ((episodes: readonly Episode[]) => episodes.map(() => '1')) as unknown as () => number[];
    await expect(train({ reward: text, iterations: 1 })).rejects.toThrow('is 1, expected a finite number');
    const failing = () => Promise.reject(new Error('the judge is asleep'));
    await expect(train({ reward: failing, iterations: 1 })).rejects.toThrow('the judge is asleep');
  });

  test('a policy that diverges is an error that names the step or the KL', async () => {
    const wild = { learningRate: 10, warmupSteps: 0, maxGradNorm: 0, iterations: 20 };
    await expect(train(wild)).rejects.toThrow(
      /step \d+: the log ratio .* row \d+ \(prompt \d+, token \d+\)|run away|finite/,
    );
    await expect(train({ klCoef: 0, iterations: 40, maxKl: 3 })).rejects.toThrow(
      /^step \d+: the KL from the reference is 3\.\d+ nats per response, expected at most 3/,
    );
  });

  test('returns too large for the value clip are warned of', async () => {
    const { metrics } = await train({ reward: (episodes) => countThrees(episodes).map((x) => 20 * x), iterations: 1 });
    expect(metrics[0]!.warnings?.join()).toContain('more than 5 times valueClipRange, 0.2');
    expect(metrics[1]!.warnings).toBeUndefined();
    expect((await train({ iterations: 1 })).metrics[0]!.warnings).toBeUndefined();
  });

  test('impossible options are refused by name before anything is sampled', async () => {
    for (const [options, message] of [
      [{ prompts: [] }, 'the prompts data is empty'],
      [{ prompts: [new Int32Array(0)] }, 'prompt 0 is empty'],
      [
        { prompts: [new Int32Array(60).fill(1)] },
        "prompt 0 has 60 tokens: with maxNewTokens 8 expected at most 56, for the model's 64",
      ],
      [{ stopTokens: [] }, 'stopTokens is empty'],
      [{ minibatches: 1.5 }, 'minibatches is 1.5'],
      [{ temperature: 0 }, 'temperature is 0'],
      [{ gamma: 1.5 }, 'gamma is 1.5'],
      [{ ema: 1 }, 'ema is 1'],
      [{ cutOff: 'drop' as 'min' }, 'cutOff is "drop"'],
      [{ dualClip: 0.5 }, 'dualClip is 0.5, expected 0 (off) or a number above 1'],
      [{ maxGradNorm: -1 }, 'maxGradNorm is -1, expected a number of at least 0'],
      [{ klCoef: -1 }, 'klCoef is -1'],
      [{ samplesPerPrompt: 100 }, "expected at most the engine's maxTokens, 512"],
    ] as const) {
      await expect(train({ iterations: 1, ...options })).rejects.toThrow(message);
    }
  });
});

test('the value network starts from the reward model, scaled like the rewards', async () => {
  const reward = await ScalarModel.from(sft, { seed: 3 });
  await reward.shiftScores(0.5);
  const still = { reward, iterations: 1, learningRate: 0, valueClipRange: 100 };
  const plain = (await train(still)).metrics[0]!;
  const scaled = (await train({ ...still, rewardScale: 4 })).metrics[0]!;
  // Before the first update all its values are 4 times as large, with the same explained variance.
  expect(scaled.returnsMean / plain.returnsMean).toBeCloseTo(4, 4);
  expect(scaled.returnsStd / plain.returnsStd).toBeCloseTo(4, 4);
  expect(scaled.explainedVariance).toBeCloseTo(plain.explainedVariance, 4);
  expect(scaled.valueLoss / plain.valueLoss).toBeCloseTo(16, 2);
  await reward.dispose();
});

test('one model in two roles is refused: the KL would always be 0, the reward would be trained', async () => {
  const policy = await sft.clone();
  await expect(train({ policy, reference: policy, iterations: 1 })).rejects.toThrow('reference is the policy itself');
  const reward = await ScalarModel.from(sft, { seed: 3 });
  await expect(train({ reward, value: reward, iterations: 1 })).rejects.toThrow('value is the reward model itself');
});

test('a rollout is restored from a checkpoint bit-identically', () => {
  const rollout = {
    iteration: 3,
    prompts: [4, 2],
    trees: [{ prompt: Int32Array.of(1, 2), responses: [Int32Array.of(3, 0), Int32Array.of(5)] }],
    cuRows: Int32Array.of(0, 2, 3),
    oldLogprobs: Float32Array.of(-0.1, -1e-30, 3.4e38),
    oldValues: Float32Array.of(1, 2, 3),
    advantages: Float32Array.of(-0, 0.1, 0.2),
    returns: Float32Array.of(1 / 3, 2, 3),
    metrics: { iteration: 4, klCoef: 0.1 } as never,
    warnings: ['w'],
  };
  expect(rolloutFromJson(rolloutToJson(rollout))).toEqual(rollout);
});
