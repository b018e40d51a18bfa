// Phases in a run folder: the files they write, how they resume, and errors.
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, expect, jest, test } from '@jest/globals';
import { finish } from '../../lib/phases/loop.js';
import { type PpoOptions, trainPpo } from '../../lib/phases/ppo/index.js';
import { heldOut, scoreTrees, trainReward } from '../../lib/phases/reward.js';
import { type SftOptions, trainSft } from '../../lib/phases/sft.js';
import { meanLoss } from '../../lib/phases/supervised.js';
import { RunFolder } from '../../lib/runs/runfolder.js';
import { Engine } from '../../lib/runtime/engine.js';
import { LanguageModel, ScalarModel } from '../../lib/runtime/model.js';
import { kEnd, prompts, rankings, sequencesToMemorise, shareOf3, tinyModel } from './support/toy.js';

let engine: Engine;
let dir: string;
beforeAll(async () => {
  engine = await Engine.create({ threads: 2, maxTokens: 256 });
});
afterAll(() => engine.dispose());
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'heed-phase-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const sequences = sequencesToMemorise(12).map(({ sequence }) => sequence);
const lines = (folder = dir) =>
  readFileSync(join(folder, 'metrics.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);

async function inRun<T>(work: (run: RunFolder) => Promise<T>, folder = dir): Promise<T> {
  const run = await RunFolder.open(folder, { resume: true });
  try {
    return await work(run);
  } finally {
    await run.close();
  }
}

async function sft(options: Partial<SftOptions> = {}, folder = dir) {
  const model = await tinyModel(engine);
  const toy = { model, sequences, batchSize: 4, steps: 12, learningRate: 1e-2, dropout: 0.1, saveEvery: 5 };
  return inRun(async (run) => ({ model, ...(await finish(trainSft({ ...toy, run, ...options }))) }), folder);
}

async function ppo(options: Partial<PpoOptions> = {}) {
  const policy = await tinyModel(engine);
  const toy = {
    policy,
    reward: (episodes) => episodes.map(({ response }) => shareOf3(response)),
    prompts: prompts(10),
    batchSize: 8,
    minibatches: 2,
    iterations: 3,
    maxNewTokens: 6,
    stopTokens: [kEnd],
    learningRate: 3e-3,
    saveEvery: 1,
  } satisfies Partial<PpoOptions>;
  return inRun((run) => finish(trainPpo({ ...toy, run, ...options })));
}

test('without saveEvery a checkpoint is saved once a minute, and less often if that is slow', async () => {
  let now = 0;
  const clock = jest.spyOn(performance, 'now').mockImplementation(() => now);
  try {
    const saved: number[] = [];
    const run = await RunFolder.open(dir);
    const save = run.save.bind(run);
    let took = 100;
    run.save = async (state, ...rest) => {
      await save(state, ...rest);
      saved.push(state.step);
      now += took;
      took = 6000; // from the second save on: twenty times as long is two minutes
    };
    const model = await tinyModel(engine);
    for await (const { step } of trainSft({ model, sequences, batchSize: 4, steps: 20, run }))
      now += step > 0 ? 15_000 : 0;
    // Due after four steps of a quarter of a minute, twice; then after eight; and the end.
    expect(saved).toEqual([5, 9, 17, 20]);
    await run.close();
  } finally {
    clock.mockRestore();
  }
});

test('fine-tuning leaves metrics, checkpoints and the final model', async () => {
  const { model } = await sft();
  expect(readdirSync(dir).sort()).toEqual(['metrics.jsonl', 'model', 'result.json', 'step-000010', 'step-000012']);
  expect(lines().map(({ step }) => step)).toEqual(Array.from({ length: 12 }, (_, i) => i + 1));
  for (const line of lines()) {
    expect(Object.keys(line)).toEqual(
      expect.arrayContaining([
        'step',
        'loss',
        'tokens',
        'gradNorm',
        'learningRate',
        'epoch',
        'tokensComputed',
        'percentOfPeak',
        'seconds',
      ]),
    );
  }
  const saved = await LanguageModel.load(engine, join(dir, 'model'));
  expect(await meanLoss(saved, sequences)).toBe(await meanLoss(model, sequences));
  // A finished run that is resumed ends again with the same result.
  const again = await sft();
  expect(await meanLoss(again.model, sequences)).toBe(await meanLoss(model, sequences));
  expect(lines()).toHaveLength(12);
});

test('every step is published once its metrics are on disk', async () => {
  const seen: unknown[] = [];
  const listener = (message: unknown) => {
    seen.push(message);
    expect((message as { metrics: object }).metrics).toEqual(lines().at(-1));
  };
  subscribe('heed:step', listener);
  try {
    await sft({ steps: 3 });
  } finally {
    unsubscribe('heed:step', listener);
  }
  expect(seen).toEqual(lines().map((metrics) => ({ phase: 'sft', run: dir, metrics })));
});

test('the final model is the best one, also when the run was resumed after it', async () => {
  const evaluate: SftOptions['evaluate'] = (_model, { step }) => 10 - Math.abs(step - 4);
  const { best, model } = await sft({ evaluate, validateEvery: 2, learningRate: 1e-2 });
  expect(best!.step).toBe(4);
  const other = join(dir, 'other');
  const controller = new AbortController();
  const stopAt9: SftOptions['evaluate'] = (m, c) => {
    if (c.step === 8) controller.abort(new Error('stop'));
    return evaluate(m, c);
  };
  const aborted = sft({ evaluate: stopAt9, validateEvery: 2, signal: controller.signal }, other);
  await expect(aborted).rejects.toThrow('stop');
  const resumed = await sft({ evaluate, validateEvery: 2 }, other);
  expect(resumed.best).toEqual(best);
  expect(await meanLoss(resumed.model, sequences)).toBe(await meanLoss(model, sequences));
});

test('a validation that was aborted is repeated, and its step logged once', async () => {
  const controller = new AbortController();
  const evaluate = (_: LanguageModel, { step, signal }: { step: number; signal: AbortSignal | undefined }) => {
    if (step === 6 && signal) {
      controller.abort(new Error('in the middle'));
      signal.throwIfAborted();
    }
    return step;
  };
  const alone = join(dir, 'alone');
  await sft({ evaluate, validateEvery: 3 }, alone);
  await expect(sft({ evaluate, validateEvery: 3, signal: controller.signal })).rejects.toThrow('in the middle');
  expect(lines().map(({ step }) => step)).toEqual([1, 2, 3, 4, 5]);
  expect(readdirSync(dir)).toContain('step-000006');
  await sft({ evaluate, validateEvery: 3 });
  const simple = (folder: string) => lines(folder).map((line) => ({ ...line, seconds: 0, percentOfPeak: 0 }));
  expect(simple(dir)).toEqual(simple(alone));
  // The checkpoint whose validation was missing may be resumed from twice.
  for (const name of ['step-000010', 'step-000012']) rmSync(join(dir, name), { recursive: true, force: true });
  if (existsSync(join(dir, 'step-000006'))) {
    await sft({ evaluate, validateEvery: 3 });
    expect(simple(dir)).toEqual(simple(alone));
  }
});

test('other data and another phase are refused, other options are reported', async () => {
  await sft({ steps: 6 });
  await expect(sft({ sequences: sequences.slice(1) })).rejects.toMatchObject({
    code: 'ERR_INVALID_ARGUMENT',
    message: expect.stringContaining('was saved with other data'),
  });
  await expect(ppo()).rejects.toThrow('is a checkpoint of sft, expected a checkpoint of ppo');
  await sft({ steps: 8, seed: 3 });
  const warnings = lines()[6]!.warnings as string[];
  expect(warnings.map((warning) => warning.split(' was ')[0])).toEqual(['seed', 'totalSteps']);
  expect(lines()[7]!.warnings).toBeUndefined();
});

test('PPO goes on with the initial policy and the reward model that it began with', async () => {
  const models = async (policySeed: number, rewardSeed: number) => {
    const policy = await tinyModel(engine, policySeed);
    return { policy, reward: await ScalarModel.from(await tinyModel(engine, 7), { seed: rewardSeed }) };
  };
  const options = { prompts: prompts(4), batchSize: 4, minibatches: 1, maxNewTokens: 3, stopTokens: [kEnd] };
  const train = async (iterations: number, policySeed = 1, rewardSeed = 1) =>
    inRun(async (run) => finish(trainPpo({ ...options, ...(await models(policySeed, rewardSeed)), iterations, run })));
  await train(1);
  for (const seeds of [
    [2, 1],
    [1, 2],
  ] as const) {
    await expect(train(3, ...seeds)).rejects.toMatchObject({
      code: 'ERR_INVALID_ARGUMENT',
      message: expect.stringContaining('was saved with another initial policy or reward model'),
    });
  }
  expect((await train(3)).steps).toBe(3);
});

test('a run resumed with keepBest keeps the best weights from then on', async () => {
  const evaluate: SftOptions['evaluate'] = (_model, { step }) => -step;
  await sft({ evaluate, validateEvery: 2, keepBest: false, steps: 6 });
  const { best } = await sft({ evaluate, validateEvery: 2, steps: 10 });
  expect(best!.step).toBe(8);
  expect((lines()[6]!.warnings as string[]).join()).toContain('keepBest was false');
});

test('a resumed run may use another criterion: reported, and its first value is the best', async () => {
  await sft({ validation: sequences.slice(0, 4), validateEvery: 2, steps: 6 });
  const evaluate: SftOptions['evaluate'] = (_model, { step }) => -step;
  const { best } = await sft({ validation: sequences.slice(0, 4), evaluate, validateEvery: 2, steps: 10 });
  expect(best).toMatchObject({ step: 8, validationMetric: -8 });
  expect((lines()[6]!.warnings as string[]).join()).toContain('bestBy was "loss"');
});

test('the demonstrations of the offset are part of the data, the normalisation is an option', async () => {
  const model = await ScalarModel.from(await tinyModel(engine), { seed: 2 });
  const options = { model, rankings: rankings(30, 'train'), batchSize: 8, learningRate: 3e-3 };
  const train = (o: object) => inRun((run) => finish(trainReward({ ...options, ...o, run })));
  const demonstrations = sequences.slice(0, 6);
  await train({ demonstrations, steps: 2 });
  await expect(train({ demonstrations: sequences.slice(6) })).rejects.toThrow('was saved with other data');
  await expect(train({ demonstrations, samples: sequences })).rejects.toThrow('was saved with other data');
  await train({ demonstrations, steps: 3, normalize: 'none' });
  expect((lines()[2]!.warnings as string[]).join()).toContain('normalize was "bias"');
});

test('PPO resumed with other minibatches, which puts it within an iteration, rolls out again and reports it', async () => {
  await ppo({ iterations: 2 });
  await ppo({ iterations: 3, minibatches: 3 });
  expect(lines().map(({ iteration }) => iteration)).toEqual([1, 1, 2, 2, 2, 2, 3, 3, 3]);
  expect((lines()[4]!.warnings as string[]).join()).toContain('minibatches was 2');
});

test('a failing callback leaves a checkpoint of the last complete step', async () => {
  const simple = (folder: string) => lines(folder).map((line) => ({ ...line, seconds: 0, percentOfPeak: 0 }));
  const [alone, failing] = [join(dir, 'alone'), join(dir, 'failing')];
  const policy = () => tinyModel(engine);
  const options = {
    prompts: prompts(10),
    batchSize: 8,
    minibatches: 2,
    iterations: 4,
    maxNewTokens: 6,
    stopTokens: [kEnd],
    learningRate: 3e-3,
  };
  const reward: PpoOptions['reward'] = (episodes) => episodes.map(({ response }) => shareOf3(response));
  const asleep: PpoOptions['reward'] = (episodes, context) => {
    if (context.iteration === 2) throw new Error('the judge is asleep');
    return reward(episodes, context);
  };
  const train = async (folder: string, by: PpoOptions['reward']) => {
    const trained = await policy();
    return inRun((run) => finish(trainPpo({ ...options, policy: trained, reward: by, run })), folder);
  };
  await train(alone, reward);
  await expect(train(failing, asleep)).rejects.toThrow('the judge is asleep');
  expect(readdirSync(failing)).toContain('step-000004');
  await train(failing, reward);
  expect(simple(failing)).toEqual(simple(alone));

  const [sftAlone, sftFailing] = [join(dir, 'sft-alone'), join(dir, 'sft-failing')];
  const evaluate: SftOptions['evaluate'] = (_model, { step }) => step;
  const broken: SftOptions['evaluate'] = (_model, { step }) => (step === 9 ? Number.NaN : step);
  await sft({ evaluate, validateEvery: 3, saveEvery: 0 }, sftAlone);
  await expect(sft({ evaluate: broken, validateEvery: 3, saveEvery: 0 }, sftFailing)).rejects.toThrow('returned NaN');
  expect(lines(sftFailing)).toHaveLength(8);
  expect(readdirSync(sftFailing)).toContain('step-000009');
  await sft({ evaluate, validateEvery: 3, saveEvery: 0 }, sftFailing);
  expect(simple(sftFailing)).toEqual(simple(sftAlone));
});

test('a run that diverges keeps the last good checkpoint and reports it', async () => {
  let calls = 0;
  const reward: PpoOptions['reward'] = (episodes) => episodes.map(() => (++calls > 20 ? Number.NaN : 0.5));
  await expect(ppo({ reward })).rejects.toThrow(/prompt \d+ is NaN.*iteration 3/);
  expect(readdirSync(dir).filter((name) => name.startsWith('step-'))).toEqual(['step-000003', 'step-000004']);
  expect(lines()).toHaveLength(4);

  const wild = join(dir, 'wild');
  const run = await RunFolder.open(wild);
  const policy = await tinyModel(engine);
  const options = { reward, prompts: prompts(10), batchSize: 8, minibatches: 4, maxNewTokens: 6, stopTokens: [kEnd] };
  const shares: PpoOptions['reward'] = (episodes) => episodes.map(({ response }) => shareOf3(response));
  const phase = finish(
    trainPpo({
      ...options,
      reward: shares,
      policy,
      run,
      learningRate: 30,
      warmupSteps: 0,
      maxGradNorm: 0,
      iterations: 9,
      saveEvery: 1,
    }),
  );
  await expect(phase).rejects.toThrow(/^step \d+: .*; the last good checkpoint in .*wild is kept$/);
  await run.close();
  const [checkpoint] = readdirSync(wild).filter((name) => name.startsWith('step-'));
  await (await LanguageModel.load(engine, join(wild, checkpoint!, 'policy'))).dispose();
});

test('a run ended by stopAtKl ends there again, and continues with another limit', async () => {
  const options = { klCoef: 0, iterations: 12, learningRate: 1e-2, saveEvery: 0 };
  const { stopped, steps } = await ppo({ ...options, stopAtKl: 0.5 });
  expect(stopped).toBe(true);
  expect(lines()).toHaveLength(steps);
  expect(await ppo({ ...options, stopAtKl: 0.5 })).toMatchObject({ stopped, steps });
  expect(await ppo({ ...options, stopAtKl: 50 })).toMatchObject({ stopped: false, steps: 24 });
  expect(lines()).toHaveLength(24);
});

test('a KL out of bounds keeps the last good checkpoint and reports it', async () => {
  const phase = ppo({ klCoef: 0, iterations: 60, learningRate: 2e-2, maxKl: 2 });
  await expect(phase).rejects.toThrow(/^step \d+: the KL .*; the last good checkpoint in .* is kept$/);
  const saved = readdirSync(dir).filter((name) => name.startsWith('step-'));
  expect(Number(saved.at(-1)!.slice(5))).toBe(lines().length);
});

test('a run that diverges before its first checkpoint says that there is none', async () => {
  const phase = ppo({ klCoef: 0, iterations: 60, learningRate: 2e-2, maxKl: 2, saveEvery: 0 });
  await expect(phase).rejects.toThrow(/^step \d+: the KL .*; there is no checkpoint in .* yet/);
  expect(readdirSync(dir)).toEqual(['metrics.jsonl']);
});

test('the average of the weights is that of every step', async () => {
  const policy = await tinyModel(engine);
  const name = policy.parameters().find(({ shape }) => shape.length === 2)!.name;
  let wanted = Float64Array.from(await policy.parameter(name));
  await inRun(async (run) => {
    const options = {
      prompts: prompts(10),
      batchSize: 8,
      minibatches: 2,
      iterations: 3,
      maxNewTokens: 6,
      stopTokens: [kEnd],
    };
    const reward: PpoOptions['reward'] = (episodes) => episodes.map(({ response }) => shareOf3(response));
    const phase = trainPpo({ ...options, policy, reward, run, ema: 0.75, learningRate: 3e-3 });
    for await (const _ of phase) {
      const now = await policy.parameter(name);
      wanted = wanted.map((x, i) => x + 0.25 * (now[i]! - x));
    }
  });
  const ema = await LanguageModel.load(engine, join(dir, 'ema'));
  const found = await ema.parameter(name);
  let apart = 0;
  for (const [i, x] of wanted.entries()) apart = Math.max(apart, Math.abs(x - found[i]!));
  expect(apart).toBeLessThan(1e-6);
  const last = await policy.parameter(name);
  expect(Math.max(...last.map((x, i) => Math.abs(x - found[i]!)))).toBeGreaterThan(1e-4);
});

test('reward modelling writes its result; the model in the folder has the offset', async () => {
  const options = { rankings: rankings(60, 'train'), validation: rankings(20, 'held out'), batchSize: 8 };
  for (const architecture of ['llama', 'gpt2'] as const) {
    const folder = join(dir, architecture);
    const model = await ScalarModel.from(await tinyModel(engine, 1, architecture), { seed: 2 });
    const train = () => inRun((run) => finish(trainReward({ ...options, model, run, learningRate: 3e-3 })), folder);
    const result = await train();
    expect(JSON.parse(readFileSync(join(folder, 'result.json'), 'utf8'))).toEqual(result);
    const saved = await ScalarModel.load(engine, join(folder, 'model'));
    const [here, there] = [await scoreTrees(model, options.validation), await scoreTrees(saved, options.validation)];
    expect(there.map((scores) => [...scores])).toEqual(here.map((scores) => [...scores]));
    expect((await heldOut(saved, options.validation)).accuracy).toBe(result.validation!.accuracy);
    // Resumed at its end, the offset is not added twice.
    expect((await train()).offset).toBe(result.offset);
    const again = await scoreTrees(model, options.validation);
    expect(again.map((scores) => [...scores])).toEqual(here.map((scores) => [...scores]));
  }
});

test('a consumer that stops reading leaves a checkpoint of the last step it saw', async () => {
  const model = await tinyModel(engine);
  await inRun(async (run) => {
    for await (const { step } of trainSft({ model, sequences, batchSize: 4, steps: 12, run })) {
      if (step === 7) break;
    }
  });
  expect(readdirSync(dir)).toContain('step-000007');
  expect(existsSync(join(dir, 'model'))).toBe(false);
});
