// `phases.mjs [tiny]`: a model's log-probabilities and a few steps of each phase on the CPU and on the GPU, in both number formats, as
// JSON lines. They must follow each other, PPO's first ratio must be 1 exactly, and on the GPU a step that is repeated must give the same
// numbers. Models are the base that heed ships; `tiny` is for trying this on the emulated module (docs/cuda.md).
import { fileURLToPath } from 'node:url';
import {
  Engine,
  LanguageModel,
  modelConfig,
  packDocuments,
  readDemonstrations,
  readDocuments,
  readPrompts,
  readRankings,
  ScalarModel,
  Tokenizer,
  trainPpo,
  trainReward,
  trainSft,
} from '../../dist/lib/index.js';

const root = fileURLToPath(new URL('../../', import.meta.url));
const base = `${root}models/base`;
const tiny = process.argv[2] === 'tiny';
const steps = tiny ? 2 : 12;
const rows = tiny ? 2 : 32;
const maxNewTokens = tiny ? 4 : 32;

const tokenizer = await Tokenizer.load(base);
const config = modelConfig('llama', {
  numLayers: 1,
  numHeads: 1,
  channels: 64,
  mlpChannels: 64,
  vocabSize: tokenizer.vocabSize,
  maxPositions: 256,
});
const read = { tokenizer, maxLength: 256 };
const few = async (reading) => [...(await reading).items].slice(0, steps * rows);
const file = (name) => [`${root}examples/data/${name}.jsonl`];
const sequences = await few(readDemonstrations(file('demos'), read));
const rankings = await few(readRankings(file('rankings'), read));
const prompts = await few(readPrompts(file('prompts'), { ...read, maxNewTokens }));
const documents = await few(readDocuments(file('prose'), read));

async function all(phase) {
  const metrics = [];
  for await (const one of phase) metrics.push(one);
  return metrics;
}

async function run(device, dtype) {
  const engine = await Engine.create({ device, dtype });
  const began = performance.now();
  try {
    const policy = tiny
      ? await LanguageModel.init(engine, config, { seed: 1 })
      : await LanguageModel.load(engine, base);
    const batch = packDocuments(documents.slice(0, rows).map(({ tokens }) => tokens));
    const { logprobs } = await policy.logprobs(batch);
    const common = { steps, batchSize: rows, learningRate: 3e-4, seed: 1 };
    const sft = await all(trainSft({ ...common, model: policy, sequences, dropout: 0.1, gradientCheckpointing: true }));
    const reward = await ScalarModel.from(policy, { seed: 1 });
    const ranked = await all(trainReward({ ...common, model: reward, rankings }));
    const ppo = await all(
      trainPpo({
        ...common,
        policy,
        reward,
        prompts: prompts.map(({ tokens }) => tokens),
        pretrain: documents,
        minibatches: 1,
        ema: 0.9,
        maxNewTokens,
        stopTokens: [tokenizer.endOfText],
        valueLearningRate: 1e-3,
      }),
    );
    return {
      device: engine.info.device,
      logprobs,
      sft,
      reward: ranked,
      ppo,
      seconds: (performance.now() - began) / 1000,
    };
  } finally {
    await engine.dispose();
  }
}

/** By how much two curves differ at most, of the larger value. */
const apart = (a, b, key) =>
  Math.max(
    ...a.map((one, i) => Math.abs(one[key] - b[i][key]) / Math.max(Math.abs(one[key]), Math.abs(b[i][key]), 1e-2)),
  );

/** The L2 norm of the difference of two lists, of the first one's. */
function relativeNorm(expected, actual) {
  const norm = (values) => Math.sqrt(values.reduce((sum, x) => sum + x * x, 0));
  return norm(expected.map((x, i) => x - actual[i])) / norm(expected);
}

let failed = false;
for (const dtype of ['f32', 'bf16']) {
  const cpu = await run('cpu', dtype);
  const gpu = await run('cuda', dtype);
  const again = await run('cuda', dtype);
  const times = ({ seconds, percentOfPeak, ...rest }) => rest;
  const differences = {
    logprobs: relativeNorm(cpu.logprobs, gpu.logprobs),
    sftLoss: apart(cpu.sft, gpu.sft, 'loss'),
    sftGradNorm: apart(cpu.sft, gpu.sft, 'gradNorm'),
    rewardLoss: apart(cpu.reward, gpu.reward, 'loss'),
    ppoPtxLoss: apart(cpu.ppo, gpu.ppo, 'ptxLoss'), // of the same documents; rollouts differ as soon as one token does
  };
  const limit = dtype === 'f32' ? 0.01 : 0.1;
  const checks = {
    sameModel: differences.logprobs <= (dtype === 'f32' ? 1e-5 : 2e-2),
    follows: Object.values(differences).every((difference) => difference <= limit),
    firstRatioIsOne: gpu.ppo.every(({ ratioMean, ratioMax }) => ratioMean === 1 && ratioMax === 1),
    finite: gpu.ppo.every(({ score, kl, valueLoss }) => [score, kl, valueLoss].every(Number.isFinite)),
    repeats: ['sft', 'reward', 'ppo'].every(
      (phase) => JSON.stringify(gpu[phase].map(times)) === JSON.stringify(again[phase].map(times)),
    ),
  };
  const passed = Object.values(checks).every(Boolean);
  failed ||= !passed;
  const curve = (metrics, key) => metrics.map((one) => Number(one[key].toPrecision(4)));
  console.log(
    JSON.stringify({
      case: `phases-${dtype}`,
      passed,
      ...checks,
      ...differences,
      devices: [cpu.device, gpu.device],
      seconds: { cpu: cpu.seconds, gpu: gpu.seconds },
      curves: {
        sft: [cpu, gpu].map(({ sft }) => curve(sft, 'loss')),
        reward: [cpu, gpu].map(({ reward }) => curve(reward, 'accuracy')),
        score: [cpu, gpu].map(({ ppo }) => curve(ppo, 'score')),
        kl: [cpu, gpu].map(({ ppo }) => curve(ppo, 'kl')),
        percentOfPeak: [cpu, gpu].map(({ sft }) => curve(sft, 'percentOfPeak')),
      },
    }),
  );
}
process.exit(failed ? 1 : 0);
