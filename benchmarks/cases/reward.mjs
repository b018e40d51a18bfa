// Scoring and training a reward model, the K responses of a prompt together; against padded transformers, and a PyTorch loop that
// computes each prompt once as heed does.
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Bound } from '../limits.mjs';
import { contest, inFolder, threads } from '../measure.mjs';
import { hasPython, startPeers } from '../peer.mjs';
import { bytesPer, causalPairs, countParameters, forwardFlops, gpt2Config, trainingPhase } from './shapes.mjs';

const LEARNING_RATE = 1e-4;
const LARGE = { name: '124M', layers: 12, heads: 12, channels: 768, vocab: 50257 };
const SMALL = { name: 'small', layers: 6, heads: 6, channels: 384, vocab: 4096 };
const LENGTHS = { groups: 4, prompt: [96, 160], response: [32, 96], positions: 256 };
const QUICK = {
  name: 'quick', layers: 2, heads: 2, channels: 32, vocab: 97, groups: 2, prompt: [4, 8], response: [2, 6], positions: 32,
}; // biome-ignore format: a table
const sizes = (shape, dtypes) =>
  [4, 9].flatMap((responses) => dtypes.map((dtype) => ({ ...shape, ...LENGTHS, responses, dtype })));
const quickSizes = ['f32', 'bf16'].map((dtype) => ({ ...QUICK, responses: 3, dtype }));

const run = async (cases, options) => {
  const rows = [];
  let torch;
  for (const shape of cases) {
    const measured = await inFolder((dir) => measure(shape, dir, options));
    torch ??= measured.torch;
    rows.push(measured.result);
  }
  return { torch, cases: rows };
};

export const rewardScore = async ({ quick, ...options }) => ({
  ...(await run(quick ? quickSizes : sizes(LARGE, ['f32', 'bf16']), { ...options, training: false })),
  bound: 'the multiply-adds, each prompt computed once, or the weights once',
});

export const rewardStep = async ({ quick, ...options }) => ({
  ...(await run(quick ? quickSizes : sizes(SMALL, ['f32', 'bf16']), { ...options, training: true })),
  bound: 'the multiply-adds of forward and backward, each prompt computed once, or the weights, gradients and moments',
});

async function measure(shape, dir, { rounds, seconds, heed, training }) {
  const { name, responses, groups, dtype } = shape;
  const trees = makeTrees(shape);
  const batch = heed.packScores(trees);
  const ranks = Int32Array.from(trees.flatMap((tree) => tree.ranks));
  const engines = [];
  let peers = [];
  try {
    const start = async (type, make) => {
      const engine = await heed.Engine.create({ threads, maxTokens: 4096, dtype: type });
      engines.push(engine);
      const model = await make(engine);
      if (!training) return { engine, model, call: () => model.scores(batch) };
      const trainer = await model.trainer({ weightDecay: 0.1 });
      const call = async () => {
        const { scores } = await trainer.reward(batch, { ranks, cuGroups: batch.cuGroups, scale: 1 / groups });
        await trainer.step({ learningRate: LEARNING_RATE, maxGradNorm: 1 });
        return scores;
      };
      return { engine, model, call };
    };
    const ours = await start(dtype, async (engine) => {
      const trunk = await heed.LanguageModel.init(engine, gpt2Config(shape), { seed: 1 });
      const model = await heed.ScalarModel.from(trunk, { seed: 2 });
      await trunk.dispose();
      return model;
    });
    await ours.model.save(dir, { dtype: 'f32' });
    await writeFile(join(dir, 'trees.json'), JSON.stringify(trees));
    // Scores of a step are those before it: three steps show two updates.
    const found = training ? [await ours.call(), await ours.call(), await ours.call()] : [await ours.call()];
    const check = (whose, theirs) => requireClose(whose, found, theirs, dtype === 'f32' ? 1e-3 : 0.1);

    const others = [];
    if (dtype !== 'f32') {
      const { call } = await start('f32', (engine) => heed.ScalarModel.load(engine, dir));
      const theirs = [];
      for (const _ of found) theirs.push(await call());
      check('heed f32', theirs);
      others.push({ name: 'heed f32', run: call });
    }
    const suffix = dtype === 'f32' ? '' : training ? ', autocast' : ' bf16';
    const specs = hasPython('torch', 'transformers', 'safetensors')
      ? [
          { name: `padded transformers${suffix}`, script: 'reward.py', args: ['padded', dtype] },
          { name: `PyTorch, prompts shared${suffix}`, script: 'reward.py', args: ['shared', dtype] },
        ]
      : [];
    const started = await startPeers(specs, false, async (peer) => {
      const answer = await peer.ask({ do: 'prepare', folder: dir, threads, training, learningRate: LEARNING_RATE });
      check(peer.name, training ? answer.steps : [answer.scores]);
    });
    peers = started.peers;

    const tokens = batch.tokens.length;
    const flops = forwardFlops(shape, { tokens, pairs: pairsOf(trees), rows: groups * responses, outputs: 1 });
    const parameters = countParameters(ours.model);
    const phase = training
      ? trainingPhase(flops, parameters, dtype)
      : { flops, bytes: bytesPer[dtype] * 12 * shape.layers * shape.channels ** 2 };
    const result = await contest({
      name: `${name} K ${responses} ${dtype}: L${shape.layers} C${shape.channels}, ${groups} prompts, ${tokens} tokens`,
      level: ours.engine.info.device,
      run: ours.call,
      peers,
      others,
      bound: new Bound([phase], { dtype }),
      work: groups * responses,
      unit: 'responses',
      rounds,
      seconds,
    });
    return { torch: started.torch, result };
  } finally {
    for (const peer of peers) await peer.end();
    for (const engine of engines) await engine.dispose();
  }
}

// Lengths spread evenly between their bounds, ranks in turn: nothing is random but the ids.
function makeTrees({ groups, responses, prompt, response, vocab }) {
  let state = 99;
  const ids = (length) =>
    Array.from({ length }, () => {
      state = (Math.imul(state, 1103515245) + 12345) >>> 0;
      return 1 + ((state >>> 8) % (vocab - 1));
    });
  const between = ([low, high], part) => Math.round(low + (high - low) * part);
  return Array.from({ length: groups }, (_, g) => ({
    prompt: ids(between(prompt, g / (groups - 1))),
    responses: Array.from({ length: responses }, (_, k) =>
      ids(between(response, ((g + k) % responses) / (responses - 1))),
    ),
    ranks: Array.from({ length: responses }, (_, k) => (k + g) % responses),
  }));
}

const pairsOf = (trees) =>
  trees.reduce(
    (sum, { prompt, responses }) =>
      sum +
      causalPairs(prompt.length) +
      responses.reduce((own, { length }) => own + causalPairs(length, prompt.length), 0),
    0,
  );

// By the largest score: the scores of fresh models lie close together.
function requireClose(name, found, theirs, tolerance) {
  found.forEach((scores, call) => {
    const largest = Math.max(...[...scores].map(Math.abs));
    const worst = Math.max(...[...scores].map((score, i) => Math.abs(score - theirs[call][i])));
    if (!(worst < tolerance * largest)) {
      throw new Error(
        `${name}: call ${call} has scores ${theirs[call].join(', ')}; heed's are ${[...scores].join(', ')}`,
      );
    }
  });
}
