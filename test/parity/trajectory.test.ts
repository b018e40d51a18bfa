// Whole phases against the same training in PyTorch: every step's metrics, and the weights at the end.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from '@jest/globals';
import { demonstration, document } from '../../lib/data/index.js';
import type { Episode } from '../../lib/phases/episodes.js';
import { finish } from '../../lib/phases/loop.js';
import { trainPpo } from '../../lib/phases/ppo/index.js';
import { trainReward } from '../../lib/phases/reward.js';
import { trainSft } from '../../lib/phases/sft.js';
import { Engine } from '../../lib/runtime/engine.js';
import { LanguageModel, ScalarModel } from '../../lib/runtime/model.js';
import { FIXTURES, type Sequences, sequences } from './fixture.js';
import { runPython, testWithPython } from './python.js';

// Rounding in float32 amounts to 4e-6 after twelve steps, as it does in PyTorch; any other rule of the method to a thousand times that.
const TOLERANCE = 5e-5;

const optimizer = {
  weightDecay: 0.1,
  adamBetas: [0.9, 0.95],
  adamEps: 1e-5,
  warmupSteps: 2,
  maxGradNorm: 0.5,
} as const;

const ids = (numbers: ArrayLike<number>) => Int32Array.from(numbers);

testWithPython('fine-tuning, reward modelling and PPO-ptx take the steps that PyTorch takes', async () => {
  const data = sequences();
  const folder = mkdtempSync(join(tmpdir(), 'heed-trajectory-'));
  // Passes small enough that a step takes several.
  const engine = await Engine.create({ threads: 2, maxTokens: 100 });
  try {
    const runs = [];
    for (const name of ['gpt2', 'llama']) {
      runs.push(await sft(engine, data, name, join(folder, `${name}-sft`)));
      runs.push(await reward(engine, data, name, join(folder, `${name}-reward`)));
      runs.push(await ppo(engine, data, name, join(folder, `${name}-ppo`)));
    }
    const file = join(folder, 'runs.json');
    writeFileSync(file, JSON.stringify(runs));
    const errors = JSON.parse(runPython(join(import.meta.dirname, 'trajectory.py'), [file])) as Record<
      string,
      number
    >[];
    for (const [i, found] of errors.entries()) {
      const { phase, from } = runs[i]!;
      for (const [metric, error] of Object.entries(found)) {
        expect({ phase, from, metric, error: error < TOLERANCE ? 0 : error }).toEqual({
          phase,
          from,
          metric,
          error: 0,
        });
      }
    }
  } finally {
    await engine.dispose();
    rmSync(folder, { recursive: true });
  }
});

async function sft(engine: Engine, { trees }: Sequences, name: string, out: string) {
  const from = join(FIXTURES, name);
  const model = await LanguageModel.load(engine, from);
  const data = trees.flatMap(({ prompt, responses }) => responses.map((response) => [prompt, response] as const));
  const options = { ...optimizer, schedule: 'cosine', learningRate: 3e-3, batchSize: 3, steps: 12 } as const;
  const metrics: object[] = [];
  const all = data.map(([prompt, response]) => demonstration(prompt, response));
  await finish(
    trainSft({ ...options, model, sequences: all, shuffle: false, dropout: 0 }),
    (m) => void metrics.push(m),
  );
  await model.save(out);
  return { phase: 'sft', from, options, data, metrics, start: { update: from }, final: { update: out } };
}

async function reward(engine: Engine, { trees, ranked }: Sequences, name: string, out: string) {
  const from = join(FIXTURES, `${name}-scalar`);
  const model = await ScalarModel.load(engine, from);
  const ties = { ...ranked[0]!, ranks: ranked[0]!.ranks.map(() => 0) };
  const data = [...ranked, ties];
  const options = { ...optimizer, schedule: 'linear', learningRate: 3e-3, batchSize: 2, steps: 8 } as const;
  const rankings = data.map(({ prompt, responses, ranks }) => ({
    prompt: ids(prompt),
    responses: responses.map(ids),
    ranks: ids(ranks),
  }));
  const demonstrations = trees.map(({ prompt, responses }) => demonstration(prompt, responses[0]!));
  const metrics: Record<string, unknown>[] = [];
  const phase = trainReward({ ...options, model, rankings, demonstrations, shuffle: false });
  const { offset } = await finish(phase, (m) => void metrics.push({ ...m }));
  metrics.at(-1)!.offset = offset;
  await model.shiftScores(-offset); // GPT-2's offset is in a bias
  await model.save(out);
  const given = demonstrations.map(({ tokens }) => [...tokens]);
  return {
    phase: 'reward',
    from,
    options,
    data,
    demonstrations: given,
    metrics,
    start: { update: from },
    final: { update: out },
  };
}

async function ppo(engine: Engine, { trees, ranked, end }: Sequences, name: string, out: string) {
  const [from, scored] = [join(FIXTURES, name), join(FIXTURES, `${name}-scalar`)];
  const [policy, judge] = [await LanguageModel.load(engine, from), await ScalarModel.load(engine, scored)];
  const value = await judge.clone();
  const documents = ranked.map(({ prompt, responses }) => [...prompt.slice(0, 9), ...responses[0]!]);
  // One minibatch, and all documents in every step, so that their order does not matter.
  const options = {
    ...optimizer,
    schedule: 'constant',
    learningRate: 2e-3,
    valueLearningRate: 3e-3,
    klCoef: 0.1,
    minibatches: 1,
    innerEpochs: 3,
    temperature: 0.8,
    clipRange: 0.1,
    valueClipRange: 0.1,
    entropyCoef: 0.01,
    gamma: 0.98,
    lambda: 0.9,
    cutOffPenalty: 0.5,
    rewardScale: 0.7,
    steps: 6,
  } as const;
  const episodes: object[] = [];
  const phase = trainPpo({
    ...options,
    policy,
    reward: judge,
    value,
    prompts: trees.map(({ prompt }) => ids(prompt)),
    batchSize: 4,
    samplesPerPrompt: 3,
    maxNewTokens: 6,
    stopTokens: [end, 5, 13, 21, 34, 55], // enough for some responses of random models to end
    shuffle: false,
    pretrain: documents.map((tokens) => document(ids(tokens))),
    ptxCoef: 0.3,
    ptxTokens: 1000,
    onEpisodes: (all) => void episodes.push(all.map(plain)),
  });
  const metrics: object[] = [];
  await finish(phase, (m) => void metrics.push(m));
  await policy.save(out);
  await value.save(`${out}-value`);
  return {
    phase: 'ppo',
    from,
    reward: scored,
    options: { ...options, ptxCoef: 0.3 },
    episodes,
    documents,
    metrics,
    start: { update: from, valueUpdate: scored },
    final: { update: out, valueUpdate: `${out}-value` },
  };
}

const plain = ({ prompt, response, finished }: Episode) => ({ prompt: [...prompt], response: [...response], finished });
