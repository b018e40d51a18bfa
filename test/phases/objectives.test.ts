/** Objectives on given responses: each against TRL's code in float64 (test/fixtures/objectives.py), and on toy data. */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import type { Feedback, RankedResponses } from '../../lib/data/index.js';
import { planDpo, trainDpo } from '../../lib/phases/dpo.js';
import type { Environment } from '../../lib/phases/environment.js';
import type { Episode } from '../../lib/phases/episodes.js';
import { grpoAdvantages, grpoLoss, trainGrpo } from '../../lib/phases/grpo.js';
import { planKto, trainKto } from '../../lib/phases/kto.js';
import { finish } from '../../lib/phases/loop.js';
import type { OfflineMetrics, OnlineMetrics, StepMetrics } from '../../lib/phases/metrics.js';
import type { OfflinePlan, OfflineResult } from '../../lib/phases/offline.js';
import type { OnlineBatch, OnlineLoss, OnlineOptions } from '../../lib/phases/online.js';
import { planOrpo, trainOrpo } from '../../lib/phases/orpo.js';
import { rlooAdvantages, rlooLoss, trainRloo } from '../../lib/phases/rloo.js';
import { planSimpo, trainSimpo } from '../../lib/phases/simpo.js';
import { RunFolder } from '../../lib/runs/runfolder.js';
import { packResponses, type Tree } from '../../lib/runtime/batch.js';
import { Engine } from '../../lib/runtime/engine.js';
import { LanguageModel } from '../../lib/runtime/model.js';
import type { LanguageTrainer } from '../../lib/runtime/trainer.js';
import { kEnd, prompts, rankings, shareOf3, tinyModel } from './support/toy.js';

let engine: Engine;
beforeAll(async () => {
  engine = await Engine.create({ threads: 2, maxTokens: 512 });
});
afterAll(() => engine.dispose());

describe('the loss and its gradients are those of TRL', () => {
  const fixtures = join(import.meta.dirname, '../fixtures');
  const { beta, items, labels, cases, ...online } = JSON.parse(
    readFileSync(join(fixtures, 'objectives.json'), 'utf8'),
  ) as {
    beta: number;
    items: { prompt: number[]; responses: [number[], number[]] }[];
    labels: boolean[];
    cases: Record<string, { loss: number; gradients: Record<string, number[]>; kl?: number }>;
    maxNewTokens: number;
    noise: number[][];
    scores: number[][];
    advantages: Record<'group' | 'batch' | 'none', number[][]>;
  };
  const expectAsTrl = async (trainer: LanguageTrainer, loss: number, expected: (typeof cases)[string]) => {
    expect(Math.abs(loss - expected.loss)).toBeLessThan(1e-5 * Math.abs(expected.loss) + 1e-6);
    for (const [parameter, values] of Object.entries(expected.gradients)) {
      const found = await trainer.gradient(parameter);
      const norm = (x: Iterable<number>) => Math.hypot(...x);
      expect(norm(Array.from(found, (each, i) => each - values[i]!)) / norm(values)).toBeLessThan(3e-5);
    }
  };
  const ints = (x: readonly number[]) => Int32Array.from(x);
  const pairs = items.map(({ prompt, responses }): RankedResponses => {
    return { prompt: ints(prompt), responses: responses.map(ints), ranks: Int32Array.of(0, 1) };
  });
  const triples = items.map(({ prompt, responses: [worst, middle] }): RankedResponses => {
    const best = [...worst.toReversed(), 5];
    return { prompt: ints(prompt), responses: [worst, middle, best].map(ints), ranks: Int32Array.of(2, 1, 0) };
  });
  const feedback = items.map(({ prompt, responses }, i): Feedback => {
    return { prompt: ints(prompt), response: ints(responses[0]), desirable: labels[i]! };
  });
  const ranked = { rankings: pairs, batchSize: pairs.length, beta };
  const plans: Record<string, OfflinePlan<never>> = {
    'dpo sigmoid': planDpo(ranked),
    'dpo sigmoidNorm': planDpo({ ...ranked, loss: 'sigmoidNorm' }),
    'dpo robust': planDpo({ ...ranked, loss: 'robust', labelSmoothing: 0.1 }),
    'dpo hinge': planDpo({ ...ranked, loss: 'hinge' }),
    'dpo ipo': planDpo({ ...ranked, loss: 'ipo' }),
    'dpo smoothed': planDpo({ ...ranked, labelSmoothing: 0.1 }),
    'dpo plackettLuce': planDpo({ ...ranked, rankings: triples, loss: 'plackettLuce' }),
    kto: planKto({ feedback, batchSize: 5, beta, undesirableWeight: 1.5 }),
    orpo: planOrpo({ ...ranked, oddsRatioCoef: beta }),
    simpo: planSimpo({ ...ranked, margin: 0.4, labelSmoothing: 0.1 }),
  } as unknown as Record<string, OfflinePlan<never>>;

  const sampled = (batch: OnlineBatch): Record<string, () => OnlineLoss> => {
    const common = { clipRange: 0.2, clipRangeHigh: 0.2, maxNewTokens: online.maxNewTokens };
    return {
      'grpo grpo': () => grpoLoss(batch, { ...common, loss: 'grpo', klCoef: 0.3 }),
      'grpo dapo': () => grpoLoss(batch, { ...common, loss: 'dapo', klCoef: 0, clipRangeHigh: 0.28 }),
      'grpo drGrpo': () => grpoLoss(batch, { ...common, loss: 'drGrpo', klCoef: 0.1 }),
      rloo: () => rlooLoss(batch, 0.2),
    };
  };
  const scales = { 'grpo grpo': 'group', 'grpo dapo': 'batch', 'grpo drGrpo': 'none', rloo: 'group' } as const;

  test('for every case', () => expect([...Object.keys(plans), ...Object.keys(scales)]).toEqual(Object.keys(cases)));

  test.each(['group', 'batch', 'none'] as const)('advantages scaled by the %s', (scale) => {
    const found = grpoAdvantages(online.scores, scale);
    found.flat().forEach((each, i) => {
      expect(each).toBeCloseTo(online.advantages[scale].flat()[i]!, 12);
    });
  });

  test.each(Object.entries(scales))('%s', async (name, scale) => {
    const model = await LanguageModel.load(engine, join(fixtures, 'gpt2'));
    const reference = await LanguageModel.load(engine, join(fixtures, 'llama'));
    const trainer = await model.trainer();
    const batch = packResponses(items);
    const { cuRows } = batch;
    const { logprobs: refLogprobs } = await reference.logprobs(batch);
    const { loss, clipped, count } = await trainer.policyGradient(batch, (logprobs) => {
      const noise = online.noise.flatMap((row, s) => row.slice(0, cuRows[s + 1]! - cuRows[s]!));
      const oldLogprobs = logprobs.map((each, r) => each - noise[r]!);
      const advantages = online.advantages[scale].flat();
      const learnt = new Float32Array(logprobs.length).fill(1);
      return sampled({ logprobs, oldLogprobs, refLogprobs, learnt, cuRows, advantages })[name]!();
    });
    expect(clipped).toBeGreaterThan(0);
    expect(count).toBe(name === 'rloo' ? 10 : batch.rows.length);
    await expectAsTrl(trainer, loss, cases[name]!);
    for (const object of [trainer, model, reference]) await object.dispose();
  });

  test.each(Object.keys(plans))('%s', async (name) => {
    const model = await LanguageModel.load(engine, join(fixtures, 'gpt2'));
    const reference = await LanguageModel.load(engine, join(fixtures, 'llama'));
    const { objective, items: given } = plans[name]! as unknown as OfflinePlan<Tree>;
    const trees = [...given];
    const likelihoods = async (some: readonly Tree[], logprobs?: Float32Array) => {
      const batch = packResponses(some);
      const own = logprobs ?? (await model.logprobs(batch)).logprobs;
      const known = (await reference.logprobs(batch)).logprobs;
      const sum = (x: Float32Array, s: number) =>
        x.subarray(batch.cuRows[s], batch.cuRows[s + 1]).reduce((total, each) => total + each, 0);
      let s = 0;
      return some.map(({ responses }) =>
        responses.map(({ length }) => ({
          logprob: sum(own, s),
          reference: objective.usesReference ? sum(known, s++) : 0 * s++,
          tokens: length,
        })),
      );
    };
    const others = objective.constantsOf ? await likelihoods(trees.map(objective.constantsOf)) : trees.map(() => []);
    const trainer = await model.trainer();
    const batch = packResponses(trees);
    const { loss, metrics } = await trainer.policyGradient(batch, async (logprobs) => {
      const found = objective.loss(trees, await likelihoods(trees, logprobs), others);
      const gradient = found.gradient
        .flat()
        .flatMap((each, s) => new Array<number>(batch.cuRows[s + 1]! - batch.cuRows[s]!).fill(each));
      return { ...found, gradient };
    });
    if (cases[name]!.kl !== undefined) expect(metrics.kl).toBeCloseTo(cases[name]!.kl!, 4);
    await expectAsTrl(trainer, loss, cases[name]!);
    for (const object of [trainer, model, reference]) await object.dispose();
  });
});

describe('policyGradient', () => {
  const trees = rankings(3, 'trees');
  const batch = packResponses(trees);

  test('of the mean negative log-likelihood is the gradient of sft', async () => {
    const model = await tinyModel(engine);
    const trainer = await model.trainer();
    const scale = 1 / batch.rows.length;
    const { logprobs } = await trainer.policyGradient(batch, (given) => ({ gradient: given.map(() => -scale) }));
    expect(logprobs).toEqual((await model.logprobs(batch)).logprobs);
    const own = await trainer.gradient('model.norm.weight');
    await trainer.zero();
    await trainer.sft(batch, { scale });
    const sft = await trainer.gradient('model.norm.weight');
    expect(Math.hypot(...own.map((each, i) => each - sft[i]!)) / Math.hypot(...sft)).toBeLessThan(1e-5);
    await model.dispose();
  });

  test('is by the given temperature', async () => {
    const model = await tinyModel(engine);
    const trainer = await model.trainer();
    const gradient = new Float32Array(batch.rows.length).fill(-1);
    const found = await trainer.policyGradient(batch, () => ({ gradient, extra: 7 }), { temperature: 2 });
    expect(found.extra).toBe(7);
    expect(found.logprobs).toEqual((await model.logprobs(batch, { temperature: 2 })).logprobs);
    await model.dispose();
  });

  test('refuses another length, what is not finite, and a model that was changed meanwhile', async () => {
    const model = await tinyModel(engine);
    const trainer = await model.trainer();
    const rows = batch.rows.length;
    const zeros = new Float32Array(rows);
    await expect(trainer.policyGradient(batch, () => ({ gradient: [1] }))).rejects.toThrow(
      `gradient has length 1, expected ${rows}: one per row`,
    );
    await expect(trainer.policyGradient(batch, () => undefined as never)).rejects.toThrow('gradient has length none');
    await expect(
      trainer.policyGradient(batch, () => ({ gradient: new Float64Array(rows).fill(1e39) })),
    ).rejects.toThrow('gradient[0] is 1e+39, expected a finite number');
    await expect(trainer.policyGradient(batch, () => ({ gradient: zeros.with(2, Number.NaN) }))).rejects.toThrow(
      'gradient[2] is NaN, expected a finite number',
    );
    await trainer.sft(batch, { scale: 1 });
    const changing = trainer.policyGradient(batch, async () => {
      await trainer.step({ learningRate: 0.1 });
      return { gradient: zeros };
    });
    await expect(changing).rejects.toThrow('the model was changed while the loss was computed');
    await model.dispose();
  });
});

const train = rankings(300, 'train');
const validation = rankings(60, 'held out');
const feedbackOf = (some: readonly RankedResponses[]): Feedback[] =>
  some.flatMap(({ prompt, responses, ranks }) => {
    const worst = Math.max(...ranks);
    return responses.flatMap((response, k) =>
      ranks[k] === 0 || ranks[k] === worst ? [{ prompt, response, desirable: ranks[k] === 0 }] : [],
    );
  });
const comparisonsIn = (some: readonly RankedResponses[]) =>
  some.reduce(
    (sum, { ranks }) => sum + ranks.reduce((n, rank) => n + ranks.filter((other) => other > rank).length, 0),
    0,
  );
const toy = { learningRate: 2e-3, seed: 1, batchSize: 16 } as const;
type Phase = AsyncGenerator<OfflineMetrics & StepMetrics, OfflineResult, void>;
type Common = Pick<Parameters<typeof trainDpo>[0], 'model' | 'run' | 'steps' | 'signal' | 'saveEvery' | 'reference'>;
const phases: Record<string, (o: Common) => Phase> = {
  dpo: (o) => trainDpo({ ...toy, rankings: train, validation, ...o }),
  ipo: (o) => trainDpo({ ...toy, loss: 'ipo', rankings: train, validation, ...o }),
  'plackett-luce': (o) => trainDpo({ ...toy, loss: 'plackettLuce', rankings: train, validation, ...o }),
  kto: (o) => trainKto({ ...toy, feedback: feedbackOf(train), validation: feedbackOf(validation), ...o }),
  orpo: (o) => trainOrpo({ ...toy, rankings: train, validation, ...o }),
  simpo: (o) => trainSimpo({ ...toy, rankings: train, validation, ...o }),
};

describe.each(Object.entries(phases))('%s', (name, phase) => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'heed-objective-'));
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  test('learns the rule of the rankings', async () => {
    const model = await tinyModel(engine);
    const before: (OfflineMetrics & StepMetrics)[] = [];
    const result = await finish(phase({ model, steps: 60 }), (m) => void before.push(m));
    expect(before.length).toBe(60);
    expect(before[0]!.accuracy).toBeLessThan(0.85);
    expect(result.validation!.accuracy).toBeGreaterThan(0.85);
    expect(before.at(-1)).toMatchObject({
      validationAccuracy: result.validation!.accuracy,
      validationLoss: result.validation!.loss,
      validationLow: result.validation!.low,
      validationHigh: result.validation!.high,
      validationPairs: result.validation!.pairs,
    });
    const { accuracy, low, high, pairs } = result.validation!;
    expect(pairs).toBe(name === 'kto' ? feedbackOf(validation).length : comparisonsIn(validation));
    expect([low <= accuracy, accuracy <= high, high - low < 0.5]).toEqual([true, true, true]);
    expect(before.at(-1)!.loss).toBeLessThan(before[0]!.loss);
    await model.dispose();
  });

  test('goes on from its checkpoint to the bits of a run that was not stopped', async () => {
    const runTo = async (folder: string, stopAfter?: number) => {
      const model = await tinyModel(engine);
      const run = await RunFolder.open(folder, { resume: existsSync(folder) });
      const controller = new AbortController();
      const steps = phase({ model, run, steps: 7, signal: controller.signal });
      await finish(steps, ({ step }) => {
        if (step === stopAfter) controller.abort(new Error('stop'));
      }).catch((error) => {
        if (error.message !== 'stop') throw error;
      });
      await run.close();
      await model.dispose();
    };
    await runTo(join(dir, 'whole'));
    await runTo(join(dir, 'halves'), 3);
    await runTo(join(dir, 'halves'));
    const weights = (folder: string) => readFileSync(join(dir, folder, 'model', 'model.safetensors'));
    expect(weights('halves').equals(weights('whole'))).toBe(true);
    const losses = (folder: string) =>
      readFileSync(join(dir, folder, 'metrics.jsonl'), 'utf8')
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line).loss);
    expect(losses('halves')).toEqual(losses('whole'));
  });
});

test('DPO stays closer to its reference with a larger beta, and does not change the reference', async () => {
  const movedBy = async (beta: number) => {
    const model = await tinyModel(engine);
    const reference = await model.clone();
    await finish(trainDpo({ ...toy, rankings: train, model, reference, beta, steps: 150 }));
    const batch = packResponses(validation);
    const [own, known] = [await model.logprobs(batch), await reference.logprobs(batch)];
    expect(known.logprobs).toEqual((await (await tinyModel(engine)).logprobs(batch)).logprobs);
    return own.logprobs.reduce((sum, each, r) => sum + Math.abs(each - known.logprobs[r]!), 0);
  };
  expect(await movedBy(5)).toBeLessThan(0.7 * (await movedBy(0.05)));
});

test("KTO's estimate of the KL is that of each prompt with the next prompt's response", async () => {
  const feedback = feedbackOf(train).slice(0, 5);
  const policy = await tinyModel(engine, 1);
  const reference = await tinyModel(engine, 2);
  const others = packResponses(
    feedback.map(({ prompt }, i) => ({ prompt, responses: [feedback[(i + 1) % feedback.length]!.response] })),
  );
  const sum = async (model: LanguageModel) =>
    (await model.logprobs(others)).logprobs.reduce((total, each) => total + each, 0);
  const expected = ((await sum(policy)) - (await sum(reference))) / feedback.length;
  const kls: number[] = [];
  const measure = async (model: LanguageModel, other: LanguageModel) =>
    finish(
      trainKto({ ...toy, model, reference: other, feedback, batchSize: 5, steps: 1 }),
      ({ kl }) => void kls.push(kl!),
    );
  await measure(await policy.clone(), reference);
  await measure(await reference.clone(), policy);
  expect(Math.abs(expected)).toBeGreaterThan(0.01);
  expect(kls[0]).toBeCloseTo(Math.max(0, expected), 4);
  expect(kls[1]).toBeCloseTo(Math.max(0, -expected), 4);
  for (const model of [policy, reference]) await model.dispose();
});

test('items that cannot be used are named before the first step', async () => {
  const model = await tinyModel(engine);
  const [good] = train;
  const long = {
    ...good!,
    responses: [new Int32Array(62).fill(1), new Int32Array(2).fill(1)],
    ranks: Int32Array.of(0, 1),
  };
  const tied = { ...good!, responses: long.responses, ranks: Int32Array.of(3, 3) };
  await expect(finish(trainDpo({ model, rankings: [good!, long] }))).rejects.toThrow(
    "dpo item 1 ends at token 65, expected at most the model's 64 positions",
  );
  await expect(finish(trainDpo({ model, rankings: [good!], validation: [long] }))).rejects.toThrow(
    'held-out dpo item 0 ends at token 65',
  );
  expect(() => trainDpo({ model, rankings: [tied] })).toThrow('all 1 rankings are ties');
  expect(() => trainDpo({ model, rankings: [good!], labelSmoothing: 0.5 })).toThrow('labelSmoothing is 0.5');
  expect(() => trainDpo({ model, rankings: [good!], labelSmoothing: 0.1, loss: 'hinge' })).toThrow(
    'labelSmoothing is 0.1, expected 0: the loss hinge has none',
  );
  expect(() => trainKto({ model, feedback: feedbackOf([good!]).slice(0, 1) })).toThrow('expected at least 2');
  const small = await Engine.create({ threads: 1, maxTokens: 70 });
  const wide = {
    ...good!,
    responses: Array.from({ length: 4 }, () => new Int32Array(20).fill(1)),
    ranks: Int32Array.of(0, 1, 2, 3),
  };
  await expect(finish(trainOrpo({ model: await tinyModel(small), rankings: [wide] }))).rejects.toThrow(
    "orpo item 0 has 83 tokens, expected at most the engine's maxTokens, 70",
  );
  await small.dispose();
  await model.dispose();
});

test('the plan of a phase is the one that is trained', () => {
  const { options, totalSteps, optimizer } = planDpo({ rankings: train, batchSize: 30, epochs: 2, beta: 0.3 });
  expect(options).toMatchObject({ batchSize: 30, beta: 0.3, loss: 'sigmoid', labelSmoothing: 0 });
  expect(totalSteps).toBe(2 * Math.ceil((300 - planDpo({ rankings: train }).skipped) / 30));
  expect(optimizer).toMatchObject({ learningRate: 1e-6, schedule: 'linear' });
});

describe.each([
  ['grpo', (o: OnlineOptions) => trainGrpo({ samplesPerPrompt: 6, klCoef: 0.01, ...o })],
  [
    'dr. grpo',
    (o: OnlineOptions) => trainGrpo({ samplesPerPrompt: 4, loss: 'drGrpo', scaleRewards: 'none', klCoef: 0, ...o }),
  ],
  ['rloo', (o: OnlineOptions) => trainRloo({ samplesPerPrompt: 4, klCoef: 0.01, ...o })],
])('%s', (_name, phase) => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'heed-online-'));
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));
  const options = {
    prompts: prompts(40),
    stopTokens: [kEnd],
    reward: (episodes: readonly Episode[]) => episodes.map(({ response }) => shareOf3(response)),
    maxNewTokens: 8,
    batchSize: 16,
    minibatches: 2,
    learningRate: 3e-3,
    seed: 3,
    cutOff: 'none',
  } as const;

  test('learns what is rewarded; the first ratio of an iteration is exactly 1', async () => {
    const policy = await tinyModel(engine);
    const metrics: (OnlineMetrics & StepMetrics)[] = [];
    await finish(phase({ ...options, policy, iterations: 15 }), (m) => void metrics.push(m));
    expect(metrics).toHaveLength(30);
    expect(metrics.at(-1)!.score).toBeGreaterThan(2.5 * metrics[0]!.score);
    for (const { ratioMax, ratioMean, approxKl } of metrics.filter((_, i) => i % 2 === 0))
      expect([ratioMax, ratioMean, approxKl]).toEqual([1, 1, 0]);
    expect(metrics.some(({ ratioMax }) => ratioMax > 1)).toBe(true);
    expect(metrics[0]!.kl).toBe(0);
    expect(metrics.at(-1)!.kl).toBeGreaterThan(0);
    await policy.dispose();
  });

  test('goes on within an iteration to the bits of a run that was not stopped', async () => {
    const runTo = async (folder: string, stopAfter?: number) => {
      const policy = await tinyModel(engine);
      const run = await RunFolder.open(folder, { resume: existsSync(folder) });
      const controller = new AbortController();
      await finish(phase({ ...options, policy, run, steps: 6, signal: controller.signal }), ({ step }) => {
        if (step === stopAfter) controller.abort(new Error('stop'));
      }).catch((error) => {
        if (error.message !== 'stop') throw error;
      });
      await run.close();
      await policy.dispose();
    };
    await runTo(join(dir, 'whole'));
    await runTo(join(dir, 'parts'), 3);
    await runTo(join(dir, 'parts'));
    const weights = (folder: string) => readFileSync(join(dir, folder, 'model', 'model.safetensors'));
    expect(weights('parts').equals(weights('whole'))).toBe(true);
  });

  test('a reward of null skips the prompt and is counted', async () => {
    const policy = await tinyModel(engine);
    const metrics: (OnlineMetrics & StepMetrics)[] = [];
    const reward = (episodes: readonly Episode[]) =>
      episodes.map(({ promptIndex, response }) => (promptIndex % 4 === 0 ? null : shareOf3(response)));
    await finish(phase({ ...options, policy, reward, iterations: 4, shuffle: false }), (m) => void metrics.push(m));
    expect(metrics[0]).toMatchObject({ skipped: 4, warnings: [expect.stringContaining('prompts were skipped')] });
    expect(metrics[0]!.episodes % 12).toBe(0);
    await expect(finish(phase({ ...options, policy, reward: (all) => all.map(() => null) }))).rejects.toThrow(
      'the reward was null for every prompt of iteration 1',
    );
    await policy.dispose();
  });
});

test('the baseline of a response is the mean of the others, after the KL penalty', () => {
  expect(rlooAdvantages([[1, 4, 7]], [[0, 10, 0]], 0.1)).toEqual([[1 - 5, 3 - 4, 7 - 2]]);
  expect(() => trainGrpo({ prompts: [], stopTokens: [], policy: undefined as never, reward: () => [] })).toThrow(
    'stopTokens is empty',
  );
});

describe('an environment', () => {
  const tokenizer = {
    encode: async (text: string) => Int32Array.from(text, (letter) => Number.parseInt(letter, 16)),
    decodeAfter: (_before: ArrayLike<number>, ids: ArrayLike<number>) =>
      Array.from(ids, (id) => id.toString(16)).join(''),
  };
  const asked = prompts(6);
  const common = {
    prompts: asked,
    stopTokens: [kEnd],
    samplesPerPrompt: 3,
    batchSize: 6,
    maxNewTokens: 20,
    learningRate: 3e-3,
    klCoef: 0.02,
    cutOff: 'none',
    shuffle: false,
    seed: 5,
  } as const;

  test('answers between the turns of the policy; only its own tokens are learnt', async () => {
    const policy = await tinyModel(engine);
    const seen: string[][] = [];
    const listened: Episode[] = [];
    const phase = trainGrpo({
      ...common,
      policy,
      iterations: 1,
      environment: {
        tokenizer,
        async *play({ promptIndex, sample }) {
          const turns = ['5'];
          turns.push(yield '5');
          turns.push('67');
          turns.push(yield '67');
          seen[3 * promptIndex + sample] = turns;
          return turns[1]!.length;
        },
      },
      onEpisodes: (episodes) => void listened.push(...episodes),
    });
    const metrics: (OnlineMetrics & StepMetrics)[] = [];
    await finish(phase, (m) => void metrics.push(m));
    expect(listened).toHaveLength(18);
    let own = 0;
    for (const [i, { response, finished }] of listened.entries()) {
      if (!finished) continue;
      // A turn ends with the end token, whose text is 0.
      expect(tokenizer.decodeAfter([], response)).toBe(seen[i]!.join(''));
      own += seen[i]![1]!.length + seen[i]![3]!.length;
    }
    const ended = listened.filter(({ finished }) => finished).length;
    expect(ended).toBeGreaterThan(2);
    expect(metrics[0]!.turns).toBeGreaterThan(1);
    expect(metrics[0]).toMatchObject({ ratioMax: 1, ratioMean: 1, kl: 0, finished: ended / 18 });
    expect(metrics[0]!.tokens).toBe(Math.round(18 * metrics[0]!.length));
    expect(metrics[0]!.tokens).toBeGreaterThanOrEqual(own);
    expect(metrics[0]!.tokens).toBeLessThan(listened.reduce((sum, { response }) => sum + response.length, 0));
    await policy.dispose();
  });

  test("the gradient of a token is that of the policy's own alone", () => {
    const x = Float32Array.of(-1, -2, -3, -4);
    const batch = (learnt: readonly number[]): OnlineBatch => ({
      logprobs: x,
      oldLogprobs: x.map((each) => each - 0.1),
      refLogprobs: x.map((each) => each + 0.5),
      learnt: Float32Array.from(learnt),
      cuRows: Int32Array.of(0, 3, 4),
      advantages: [1, -1],
    });
    const o = { clipRange: 0.2, clipRangeHigh: 0.2, maxNewTokens: 8, klCoef: 0.1 } as const;
    for (const loss of ['grpo', 'dapo', 'drGrpo'] as const) {
      const masked = grpoLoss(batch([1, 0, 1, 1]), { ...o, loss });
      expect(masked.gradient[1]).toBe(0);
      expect(masked.count).toBe(3);
      const shorter = grpoLoss(
        {
          ...batch([1, 1, 1]),
          logprobs: Float32Array.of(-1, -3, -4),
          oldLogprobs: Float32Array.of(x[0]! - 0.1, x[2]! - 0.1, x[3]! - 0.1),
          refLogprobs: Float32Array.of(-0.5, -2.5, -3.5),
          cuRows: Int32Array.of(0, 2, 3),
        },
        { ...o, loss },
      );
      expect(masked.loss).toBeCloseTo(shorter.loss, 12);
      expect([...masked.gradient].filter((each) => each !== 0)).toEqual([...shorter.gradient]);
    }
    const rloo = rlooLoss(batch([1, 0, 1, 1]), 0.5);
    expect(rloo.gradient[1]).toBe(0);
    expect(rloo.gradient[0]).toBeCloseTo(-Math.exp(0.2) / 2, 6);
  });

  test('teaches what it rewards, and goes on within an iteration', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'heed-environment-'));
    const play: Environment = async function* () {
      const first = yield '';
      const second = yield '89';
      return (first.split('3').length - 1) / first.length + (second.split('4').length - 1) / second.length;
    };
    const runTo = async (name: string, stopAfter?: number) => {
      const policy = await tinyModel(engine);
      const run = await RunFolder.open(join(folder, name), { resume: existsSync(join(folder, name)) });
      const controller = new AbortController();
      const scores: number[] = [];
      const options = { ...common, iterations: 20, minibatches: 2, samplesPerPrompt: 8, maxNewTokens: 40 };
      const phase = trainGrpo({ ...options, policy, run, environment: { tokenizer, play }, signal: controller.signal });
      await finish(phase, ({ step, score }) => {
        scores.push(score);
        if (step === stopAfter) controller.abort(new Error('stop'));
      }).catch((error) => {
        if (error.message !== 'stop') throw error;
      });
      await run.close();
      await policy.dispose();
      return scores;
    };
    const scores = await runTo('whole');
    expect(scores.at(-1)).toBeGreaterThan(scores[0]! + 0.3);
    await runTo('parts', 5);
    await runTo('parts');
    const weights = (name: string) => readFileSync(join(folder, name, 'model', 'model.safetensors'));
    expect(weights('parts').equals(weights('whole'))).toBe(true);
    rmSync(folder, { recursive: true });
  });

  test('that fails, gives no number, or ends before the first turn is named; all are closed', async () => {
    const policy = await tinyModel(engine);
    let open = 0;
    const playing = (play: Environment) => {
      const counted: Environment = async function* (start) {
        open++;
        try {
          return yield* play(start);
        } finally {
          open--;
        }
      };
      return finish(trainGrpo({ ...common, policy, iterations: 1, environment: { tokenizer, play: counted } }));
    };
    await expect(
      playing(async function* () {
        yield '';
        throw new Error('tool broke');
      }),
    ).rejects.toThrow('tool broke');
    expect(open).toBe(0);
    await expect(
      playing(async function* () {
        yield '';
        return Number.NaN;
      }),
    ).rejects.toThrow('the reward of an episode of prompt 0 is NaN, expected a finite number');
    await expect(
      // biome-ignore lint/correctness/useYield: it ends at once
      playing(async function* () {
        return 1;
      }),
    ).rejects.toThrow("ended an episode of prompt 0 before the model's first turn");
    await expect(finish(trainGrpo({ ...common, policy }))).rejects.toThrow('expected a reward or an environment');
    const skipping: (OnlineMetrics & StepMetrics)[] = [];
    const phase = trainGrpo({
      ...common,
      policy,
      iterations: 1,
      environment: {
        tokenizer,
        async *play({ promptIndex }) {
          yield '';
          return promptIndex === 2 ? null : 1;
        },
      },
    });
    await finish(phase, (m) => void skipping.push(m));
    expect(skipping[0]!.episodes).toBeLessThanOrEqual(18);
    await policy.dispose();
  });
});
