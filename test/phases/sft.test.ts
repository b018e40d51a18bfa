import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { packSequences } from '../../lib/data/index.js';
import { DivergenceError, finish, takeStep } from '../../lib/phases/loop.js';
import type { SupervisedMetrics } from '../../lib/phases/metrics.js';
import { keyedSeed } from '../../lib/phases/order.js';
import { trainPretrain } from '../../lib/phases/pretrain.js';
import { scoreTrees, trainReward } from '../../lib/phases/reward.js';
import { meanReward } from '../../lib/phases/selection.js';
import { trainSft } from '../../lib/phases/sft.js';
import { meanLoss } from '../../lib/phases/supervised.js';
import { Engine } from '../../lib/runtime/engine.js';
import { ScalarModel } from '../../lib/runtime/model.js';
import { documents, kEnd, kVocab, rankings, sequencesToMemorise, tinyModel } from './support/toy.js';

let engine: Engine;
beforeAll(async () => {
  engine = await Engine.create({ threads: 2, maxTokens: 256 });
});
afterAll(() => engine.dispose());

const eight = sequencesToMemorise(8);
const sequences = eight.map(({ sequence }) => sequence);
const toy = { sequences, batchSize: 4, learningRate: 1e-2, dropout: 0, seed: 1 } as const;

test('memorises eight sequences and generates them', async () => {
  const model = await tinyModel(engine);
  const metrics: SupervisedMetrics[] = [];
  await finish(trainSft({ ...toy, model, epochs: 60 }), (m) => void metrics.push(m));
  expect(metrics).toHaveLength(120);
  expect(metrics[0]!.loss).toBeGreaterThan(0.8 * Math.log(kVocab));
  expect(metrics.at(-1)!.loss).toBeLessThan(0.05);
  const completions = await model.generate(
    eight.map(({ prompt }) => ({ prompt, seed: 0 })),
    { maxNewTokens: 20, temperature: 0, stopTokens: [kEnd] },
  );
  expect(completions.map(({ tokens }) => [...tokens])).toEqual(eight.map(({ response }) => [...response]));
  expect(completions.every(({ finished }) => finished)).toBe(true);
  await model.dispose();
});

test('the loss is the mean over response tokens: that of the model before the step', async () => {
  const model = await tinyModel(engine);
  const responses = sequences.reduce((sum, { spans }) => sum + spans[1]! - spans[0]!, 0);
  const before = await meanLoss(model, sequences);
  const { logprobs } = await model.logprobs(packSequences(sequences));
  expect(before).toBeCloseTo(-logprobs.reduce((sum, x) => sum + x, 0) / responses, 5);
  const [first] = await collect(trainSft({ ...toy, model, batchSize: 8, steps: 1 }));
  expect(first).toMatchObject({ step: 1, tokens: responses, epoch: 1 });
  expect(first!.loss).toBeCloseTo(before, 5);
  expect(first!.tokensComputed).toBe(sequences.reduce((sum, { tokens }) => sum + tokens.length, 0));
  await model.dispose();
});

test('keeps the best checkpoint, by validation loss or by a user-defined metric', async () => {
  const validation = sequencesToMemorise(16)
    .slice(8)
    .map(({ sequence }) => sequence);
  const model = await tinyModel(engine);
  const seen: number[] = [];
  const options = { ...toy, model, epochs: 20, validation, validateEvery: 4 };
  const { best } = await finish(trainSft(options), (m) => {
    if (m.validationLoss !== undefined) seen.push(m.validationLoss);
  });
  expect(seen).toHaveLength(10);
  expect(best!.validationLoss).toBe(Math.min(...seen));
  expect(best!.step).toBeLessThan(40); // random responses: memorising some makes the others worse
  expect(await meanLoss(model, validation)).toBe(best!.validationLoss);

  const byUser = await finish(trainSft({ ...options, evaluate: (_model, { step }) => -Math.abs(step - 12) }));
  expect(byUser.best).toMatchObject({ step: 12, validationMetric: -0 });
  await model.dispose();
});

test('keeps the checkpoint whose answers the reward model scores highest, not that of the lowest loss', async () => {
  const reward = await ScalarModel.from(await tinyModel(engine, 2), { seed: 3 });
  await finish(
    trainReward({ model: reward, rankings: rankings(80, 'selection'), epochs: 4, batchSize: 8, learningRate: 5e-3 }),
  );
  const model = await tinyModel(engine);
  const prompts = sequencesToMemorise(24)
    .slice(8)
    .map(({ prompt }) => prompt);
  const score = meanReward({ reward, prompts, maxNewTokens: 8, stopTokens: [kEnd], seed: 1 });
  const seen: number[] = [];
  const { best } = await finish(trainSft({ ...toy, model, epochs: 20, validateEvery: 4, evaluate: score }), (m) => {
    if (m.validationMetric !== undefined) seen.push(m.validationMetric);
  });
  expect(seen).toHaveLength(10);
  expect(new Set(seen).size).toBeGreaterThan(5);
  expect(best).toEqual({ step: 4 * (seen.indexOf(Math.max(...seen)) + 1), validationMetric: Math.max(...seen) });
  // The kept weights are those that were scored, and their score is reproducible.
  expect(await score(model, { step: 0, signal: undefined })).toBe(best!.validationMetric);

  // By hand: the mean over the answers, where those that are cut off score at most -1.
  const byHand = async (maxNewTokens: number) => {
    const completions = await model.generate(
      prompts.map((prompt, i) => ({ prompt, seed: keyedSeed(1, 'selection', i) })),
      { maxNewTokens, temperature: 1, stopTokens: [kEnd] },
    );
    let sum = 0;
    for (const { request, tokens, finished } of completions) {
      const tree = { prompt: prompts[request]!, responses: [tokens] };
      const [[own]] = (await scoreTrees(reward, [tree])) as [Float32Array];
      sum += finished ? own! : Math.min(own!, -1);
    }
    return { mean: sum / prompts.length, cut: completions.filter(({ finished }) => !finished).length };
  };
  expect(best!.validationMetric).toBeCloseTo((await byHand(8)).mean, 6);
  await reward.shiftScores(100);
  const short = meanReward({ reward, prompts, maxNewTokens: 1, stopTokens: [kEnd], seed: 1 });
  const { mean, cut } = await byHand(1);
  expect(cut).toBeGreaterThan(0);
  expect(await short(model, { step: 1, signal: undefined })).toBeCloseTo(mean, 4);

  const filling = { reward, prompts: [new Int32Array(64).fill(1)], maxNewTokens: 8, stopTokens: [kEnd] };
  await expect(meanReward(filling)(model, { step: 1, signal: undefined })).rejects.toThrow(
    'prompt 0 has 64 tokens, expected less than 64, to leave room for a response',
  );
  expect(() => meanReward({ ...filling, prompts: [] })).toThrow('prompts is empty');
  await reward.dispose();
  await model.dispose();
});

test('pretrain keeps what the base knows', async () => {
  const base = await tinyModel(engine);
  const prose = documents(200);
  await finish(
    trainPretrain({ model: base, documents: prose, batchTokens: 200, epochs: 8, learningRate: 1e-2, seed: 1 }),
  );
  const known = await meanLoss(base, prose);
  expect(known).toBeLessThan(0.5);
  const losses = [];
  for (const coefficient of [0, 1]) {
    const model = await base.clone();
    const mix = { pretrain: prose, ptxCoef: coefficient, ptxTokens: 100 };
    const metrics = await collect(trainSft({ ...toy, model, epochs: 40, ...mix }));
    expect(metrics[0]!.ptxLoss).toBeLessThan(2 * known + 0.2);
    expect(metrics.at(-1)!.loss).toBeLessThan(0.3);
    losses.push(await meanLoss(model, prose));
    await model.dispose();
  }
  const [without, mixed] = losses as [number, number];
  expect(mixed).toBeLessThan(known + 0.2);
  expect(without).toBeGreaterThan(mixed + 0.5);
  await base.dispose();
});

test('dropout changes the training loss, not the validation, and is the same for a seed', async () => {
  const run = async (dropout: number, seed: number) => {
    const model = await tinyModel(engine);
    const metrics = await collect(
      trainSft({ ...toy, model, steps: 3, dropout, seed, validation: sequences, validateEvery: 1 }),
    );
    await model.dispose();
    return metrics.map(({ loss, validationLoss }) => ({ loss, validationLoss }));
  };
  const [plain, dropped, again, other] = [await run(0, 1), await run(0.3, 1), await run(0.3, 1), await run(0.3, 2)];
  expect(again).toEqual(dropped);
  expect(dropped[0]!.loss).not.toBe(plain[0]!.loss);
  expect(other[0]!.loss).not.toBe(dropped[0]!.loss);
});

test('a loss that is not finite is an error that names the step', async () => {
  const model = await tinyModel(engine);
  const phase = trainSft({ ...toy, model, steps: 50, learningRate: 1e30, maxGradNorm: 0 });
  await expect(finish(phase)).rejects.toThrow(/step \d+: the loss is NaN|not finite/);
  await model.dispose();
});

test('a gradient that is not finite is the same error', async () => {
  const model = await tinyModel(engine);
  const trainer = await model.trainer();
  const batch = packSequences(sequences);
  const advantages = new Float32Array(batch.rows.length).fill(Number.NaN);
  await trainer.ppo(batch, { oldLogprobs: new Float32Array(batch.rows.length), advantages, scale: 1 });
  const error = await takeStep(trainer, 6, { learningRate: 1e-3 }).catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(DivergenceError);
  expect(error).toMatchObject({
    step: 7,
    code: 'ERR_DIVERGED',
    message: expect.stringContaining('step 7: the gradient of the language model is not finite'),
  });
  await expect(takeStep(trainer, 6, { learningRate: 1e-3 })).rejects.not.toBeInstanceOf(DivergenceError);
  await model.dispose();
});

test('a validation that is not a number is an error: it would remain the best', async () => {
  const model = await tinyModel(engine);
  const evaluate = (_model: unknown, { step }: { step: number }) => (step === 2 ? Number.NaN : step);
  await expect(finish(trainSft({ ...toy, model, steps: 4, validateEvery: 1, evaluate }))).rejects.toThrow(
    'evaluate returned NaN after step 2, expected a finite number',
  );
  const wild = { learningRate: 1e10, maxGradNorm: 0, steps: 1, validation: sequences };
  await expect(finish(trainSft({ ...toy, ...wild, model }))).rejects.toThrow('step 1: the validation loss is NaN');
  await model.dispose();
});

test('an abort ends the phase with the reason of the signal', async () => {
  const model = await tinyModel(engine);
  const controller = new AbortController();
  const reason = new Error('enough');
  let steps = 0;
  const phase = finish(trainSft({ ...toy, model, steps: 1000, signal: controller.signal }), () => {
    if (++steps === 3) controller.abort(reason);
  });
  await expect(phase).rejects.toBe(reason);
  expect(steps).toBe(3);
  await model.dispose();
});

test('impossible options are refused by name before anything is trained', async () => {
  const model = await tinyModel(engine);
  const long = { tokens: new Int32Array(100).fill(1), spans: Int32Array.of(1, 100) };
  for (const [options, message] of [
    [{ sequences: [] }, 'the sft data is empty'],
    [{ batchSize: 0 }, 'batchSize is 0'],
    [{ epochs: -1 }, 'epochs is -1'],
    [{ dropout: 1 }, 'dropout is 1'],
    [{ learningRate: Number.NaN }, 'learningRate is NaN'],
    [{ sequences: [...sequences, long] }, 'sequence 8 has 100 tokens, expected at most 64'],
    [{ saveEvery: -1 }, 'saveEvery is -1'],
    [{ validateEvery: 0 }, 'validateEvery is 0'],
  ] as const) {
    await expect(finish(trainSft({ ...toy, model, steps: 1, ...options }))).rejects.toThrow(message);
  }
  await model.dispose();
});

async function collect<T>(phase: AsyncGenerator<T, unknown, void>): Promise<T[]> {
  const metrics: T[] = [];
  await finish(phase, (m) => void metrics.push(m));
  return metrics;
}
