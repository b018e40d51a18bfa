// The main job on a base too small to learn much: its files, that it depends on the seed alone, and that it can be resumed.
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { type AlignConfig, type AlignLog, align, alignConfig, SILENT } from '../../lib/align/index.js';
import { modelConfig } from '../../lib/huggingface/config.js';
import type { AlignReport } from '../../lib/report/types.js';
import { Engine } from '../../lib/runtime/engine.js';
import { LanguageModel } from '../../lib/runtime/model.js';
import { countWords, toTokenizerJson, trainBpe } from '../../lib/tokenizer/bpe.js';
import { tokenizerText } from '../../lib/world/index.js';

let engine: Engine;
let root: string;
let config: AlignConfig;

beforeAll(async () => {
  engine = await Engine.create({ maxTokens: 4096 });
  root = await mkdtemp(join(tmpdir(), 'heed-align-'));
  const counts = new Map<string, number>();
  for (const text of tokenizerText({ seed: 0, count: 400 })) countWords(text, counts);
  await mkdir(join(root, 'tokenizer'));
  const json = toTokenizerJson(trainBpe(counts, { vocabSize: 700 }));
  await writeFile(join(root, 'tokenizer', 'tokenizer.json'), JSON.stringify(json));
  const model = await LanguageModel.init(
    engine,
    modelConfig('llama', {
      numLayers: 1,
      numHeads: 2,
      numKvHeads: 1,
      channels: 32,
      mlpChannels: 64,
      vocabSize: 700,
      maxPositions: 256,
    }),
    { seed: 1 },
  );
  await model.save(join(root, 'base'), { tokenizerFrom: join(root, 'tokenizer') });
  await model.dispose();
  config = alignConfig({
    seed: 5,
    base: join(root, 'base'),
    sft: { demonstrations: 64, validation: 16, batchSize: 16, epochs: 1 },
    rankings: { prompts: 16, heldOut: 8, samples: 2, k: 4 },
    reward: { epochs: 1, batchSize: 8 },
    ppo: { iterations: 2, batchSize: 16, minibatches: 2, prompts: 64, maxNewTokens: 8 },
    evaluation: { perFamily: 1, bestOf: 2, every: 1, perFamilyEvery: 1, proseDocuments: 10 },
  });
});

afterAll(async () => {
  await engine.dispose();
  await rm(root, { recursive: true, force: true });
});

const run = (
  name: string,
  over: Partial<AlignConfig> = {},
  more: { resume?: boolean; signal?: AbortSignal; log?: AlignLog } = {},
) => align(engine, { ...config, ...over }, { out: join(root, name), command: 'test', log: SILENT, ...more });

/** The report without dates and times. */
function numbers(report: AlignReport): unknown {
  const { timing, setup, curves, ...rest } = report;
  const withoutSeconds = curves.map(({ phase, points }) => ({
    phase,
    points: points.map(({ seconds, percentOfPeak, ...p }) => p),
  }));
  return { ...rest, curves: withoutSeconds };
}

test('writes a report with every comparison, the curves and the data it was trained on', async () => {
  const report = await run('first');
  const onDisk = JSON.parse(await readFile(join(root, 'first', 'report.json'), 'utf8')) as AlignReport;
  expect(onDisk).toEqual(JSON.parse(JSON.stringify(report)));
  const pairs = report.winRates.map(({ model, against }) => `${model} > ${against}`);
  expect(pairs).toEqual(expect.arrayContaining(['sft > base-few-shot', 'ppo-ptx > sft', 'ppo > sft', 'sft > base']));
  for (const { rate, low, high, wins, ties, losses } of report.winRates) {
    expect(rate).toBeCloseTo((wins + ties / 2) / (wins + ties + losses), 12);
    expect(low).toBeLessThanOrEqual(rate);
    expect(high).toBeGreaterThanOrEqual(rate);
  }
  expect(report.curves.map(({ phase, points }) => [phase, points.length])).toEqual([
    ['sft', 4],
    ['reward', 2],
    ['ppo', 4],
    ['ppo-ptx', 4],
  ]);
  expect(report.overoptimisation.policies.map(({ run: name, iteration }) => `${name} ${iteration}`)).toEqual([
    'ppo 1',
    'ppo 2',
    'ppo-ptx 1',
    'ppo-ptx 2',
  ]);
  expect(report.behaviour.find(({ model, temperature }) => model === 'sft' && temperature === 1)!.kl).toBe(0);
  for (const file of [
    'report.html',
    'data/demonstrations.jsonl',
    'data/rankings.jsonl',
    'ppo-ptx/model/model.safetensors',
  ]) {
    expect(existsSync(join(root, 'first', file))).toBe(true);
  }
});

test('the seed determines everything: the same seed gives the same result, another seed another one', async () => {
  const first = JSON.parse(await readFile(join(root, 'first', 'report.json'), 'utf8')) as AlignReport;
  const again = JSON.parse(JSON.stringify(await run('again'))) as AlignReport;
  expect(numbers(again)).toEqual(numbers(first));
  const other = await run('other', { seed: 6 });
  expect(other.curves[0]!.points[0]!.loss).not.toBe(first.curves[0]!.points[0]!.loss);
  expect(other.samples.items[0]!.prompt).not.toBe(first.samples.items[0]!.prompt);
});

test('continues where it was stopped, with the same report', async () => {
  const controller = new AbortController();
  const log: AlignLog = {
    line() {},
    stage: (name) => ({
      update(done) {
        if (name === 'PPO-ptx' && done === 1) controller.abort(new Error('stopped here'));
      },
      end() {},
    }),
  };
  await expect(run('stopped', {}, { signal: controller.signal, log })).rejects.toThrow('stopped here');
  expect(existsSync(join(root, 'stopped', 'report.json'))).toBe(false);
  await expect(run('stopped')).rejects.toThrow('already holds a run');
  const resumed = JSON.parse(JSON.stringify(await run('stopped', {}, { resume: true }))) as AlignReport;
  const first = JSON.parse(await readFile(join(root, 'first', 'report.json'), 'utf8')) as AlignReport;
  expect(numbers(resumed)).toEqual(numbers(first));
});

test('with an average of the weights, the average is judged', async () => {
  const moving = { ...config.ppo, valueWarmup: 0 };
  const plain = await run('plain', { ppo: moving });
  const averaged = await run('averaged', { ppo: { ...moving, ema: 0.9 } });
  const klOf = (report: AlignReport) =>
    report.behaviour.find(({ model, temperature }) => model === 'ppo-ptx' && temperature === 1)!.kl!;
  // The steps are the same; their average is nearer to the start.
  const lastLosses = ({ curves }: AlignReport) => curves.map(({ points }) => points.at(-1)!.loss);
  expect(lastLosses(averaged)).toEqual(lastLosses(plain));
  expect(Math.abs(klOf(averaged))).toBeLessThan(Math.abs(klOf(plain)));
  expect(existsSync(join(root, 'averaged', 'ppo-ptx', 'ema', 'model.safetensors'))).toBe(true);
});

test('another best-of-n is compared, and a base of another family counted', async () => {
  const base = await LanguageModel.init(
    engine,
    modelConfig('gpt2', {
      numLayers: 1,
      numHeads: 2,
      channels: 32,
      mlpChannels: 128,
      vocabSize: 700,
      maxPositions: 256,
    }),
    { seed: 1 },
  );
  await base.save(join(root, 'gpt2'), { tokenizerFrom: join(root, 'tokenizer') });
  await base.dispose();
  const report = await run('gpt2-run', {
    base: join(root, 'gpt2'),
    rankings: { ...config.rankings, heldOut: 1 }, // nothing to swap within one ranking
    evaluation: { ...config.evaluation, bestOf: 3 },
  });
  const pairs = report.winRates.map(({ model, against }) => `${model} > ${against}`);
  expect(pairs).toContain('sft-best-of-3 > sft');
  expect(pairs).toContain('ppo-ptx > sft-best-of-3');
  expect(report.overoptimisation.bestOfN.map(({ n }) => n)).toEqual([1, 2, 3]);
  const best = report.behaviour.find(({ model }) => model === 'sft-best-of-3')!;
  expect(best.kl).toBeCloseTo(Math.log(3) - 2 / 3, 12);
  expect(report.rewardModel.swap.count).toBe(1);
  // Embeddings and positions; two norms and four matrices with their biases; the last norm.
  const parameters = 700 * 32 + 256 * 32 + 4 * 32 + 32 * 96 + 96 + 32 * 32 + 32 + 2 * 32 * 128 + 128 + 32 + 2 * 32;
  expect(report.base[0]).toMatchObject({ name: 'parameters', value: parameters });
  expect(existsSync(join(root, 'gpt2-run', 'report.html'))).toBe(true);
});

test('with a learning rate of zero, PPO changes nothing', async () => {
  const still = await run('still', { ppo: { ...config.ppo, learningRate: 0 } });
  const { rate, wins, losses } = still.winRates.find(({ model, against }) => model === 'ppo-ptx' && against === 'sft')!;
  expect([rate, wins, losses]).toEqual([0.5, 0, 0]);
});
