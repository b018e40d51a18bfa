// A whole iteration of PPO by trainPpo: sampling, scoring by four models, and the updates of two; against PyTorch with transformers.
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Random } from '../../dist/lib/core/random.js';
import { deal } from '../../dist/lib/phases/order.js';
import { Bound } from '../limits.mjs';
import { contest, inFolder, threads } from '../measure.mjs';
import { hasPython, startPeers } from '../peer.mjs';
import { causalPairs, countParameters, forwardFlops, gpt2Config, trainingPhase } from './shapes.mjs';

const FULL = {
  name: 'small', layers: 6, heads: 6, channels: 384, vocab: 4096, positions: 128, prompt: 64, newTokens: 64, batch: 64, minibatches: 4,
}; // biome-ignore format: a table
const QUICK = {
  name: 'quick', layers: 2, heads: 2, channels: 32, vocab: 97, positions: 16, prompt: 6, newTokens: 6, batch: 4, minibatches: 2,
}; // biome-ignore format: a table
const SEED = 1;
// So small that the policy stays where it is, however many iterations are timed.
const OPTIONS = {
  learningRate: 1e-6,
  valueLearningRate: 1e-6,
  klCoef: 0.02,
  lambda: 0.95,
  clipRange: 0.2,
  valueClipRange: 0.2,
};

export const ppoIteration = ({ quick, ...options }) => inFolder((dir) => measure(quick ? QUICK : FULL, dir, options));

async function measure(shape, dir, { rounds, seconds, heed }) {
  const { name, layers, channels, vocab, prompt, newTokens, batch, minibatches } = shape;
  const engine = await heed.Engine.create({ threads, maxTokens: 4096 });
  let peers = [];
  let training;
  try {
    const init = (seed) => heed.LanguageModel.init(engine, gpt2Config(shape), { seed });
    const [policy, reference] = [await init(1), await init(2)];
    const reward = await heed.ScalarModel.from(reference, { seed: 3 });
    await policy.save(join(dir, 'policy'));
    await reference.save(join(dir, 'reference'));
    await reward.save(join(dir, 'reward'));
    const stopToken = vocab - 1;
    const prompts = Array.from({ length: batch }, (_, i) =>
      Int32Array.from({ length: prompt }, (_, t) => (i * 7919 + t * 104729) % (vocab - 1)),
    );
    let episodes;
    training = heed.trainPpo({
      policy, reference, reward, prompts, stopTokens: [stopToken], maxNewTokens: newTokens, batchSize: batch, minibatches,
      iterations: 1e6, shuffle: false, seed: SEED, slots: batch, warmupSteps: 0, cutOff: 'none', maxKl: 1e4, weightDecay: 0.1,
      adamEps: 1e-8, maxGradNorm: 1, ...OPTIONS,
      onEpisodes: (sampled) => {
        episodes = sampled;
      },
    }); // biome-ignore format: a table
    const iteration = async () => {
      const steps = [];
      for (let i = 0; i < minibatches; i++) steps.push((await training.next()).value);
      return steps;
    };
    const first = await iteration();
    // The first iteration is done again by the peers, with heed's samples and minibatches.
    const order = new Random(`${SEED}/minibatches/0/0`).shuffle(prompts.map((_, i) => i));
    const settings = {
      prompts: prompts.map((ids) => [...ids]),
      responses: episodes.map(({ response }) => [...response]),
      minibatches: deal(order, minibatches),
      maxNewTokens: newTokens,
      stopToken,
      ...OPTIONS,
    };
    await writeFile(join(dir, 'settings.json'), JSON.stringify(settings));

    const value = await reward.clone();
    const parameters = { policy: countParameters(policy), value: countParameters(value) };
    await value.dispose();
    const specs = hasPython('torch', 'transformers')
      ? [{ name: 'PyTorch with transformers', script: 'ppo_iteration.py', args: [] }]
      : [];
    const started = await startPeers(specs, false, async (peer) => {
      requireAlike(peer.name, first, await peer.ask({ do: 'prepare', folder: dir, threads }));
    });
    peers = started.peers;
    const result = await contest({
      name: `${name}: L${layers} C${channels} V${vocab}, ${batch} prompts, ${prompt} + ${newTokens} tokens, ${minibatches} minibatches`,
      level: engine.info.device,
      run: iteration,
      peers,
      bound: new Bound(phases(shape, parameters)),
      work: batch,
      unit: 'episodes',
      rounds,
      seconds,
    });
    return {
      torch: started.torch,
      cases: [result],
      bound: 'for sampling, scoring and updates one by one, the multiply-adds or the bytes',
    };
  } finally {
    for (const peer of peers) await peer.end();
    await training?.return();
    await engine.dispose();
  }
}

// Sampling (whose log-probabilities are the old ones), the reference, values and scores, then the updates.
function phases(shape, parameters) {
  const { layers, channels, vocab, prompt, newTokens, batch, minibatches } = shape;
  const length = prompt + newTokens;
  const count = (tokens, pairs, rows, outputs) => forwardFlops(shape, { tokens, pairs, rows, outputs });
  const weights = 4 * (12 * layers * channels ** 2 + vocab * channels);
  const steps = newTokens - 1;
  const keys = batch * causalPairs(steps, prompt);
  const rows = batch * newTokens;
  const whole = (outputs, how) => count(batch * length, batch * causalPairs(length), how, outputs);
  const update = (flops, parameters) => {
    const { bytes, set } = trainingPhase(0, parameters, 'f32');
    return { flops: 3 * flops, bytes: minibatches * bytes, set };
  };
  return [
    { flops: count(batch * prompt, batch * causalPairs(prompt), batch, vocab), bytes: weights },
    {
      flops: count(batch * steps, keys, batch * steps, vocab),
      bytes: steps * weights + 8 * layers * channels * keys,
      set: weights,
    },
    { flops: whole(vocab, rows) + whole(1, rows) + whole(1, batch), bytes: 3 * weights },
    update(whole(vocab, rows), parameters.policy),
    update(whole(1, rows), parameters.value),
  ];
}

function requireAlike(name, steps, { score, kl, steps: theirs }) {
  const close = (what, ours, other, tolerance) => {
    if (!(Math.abs(ours - other) < tolerance)) throw new Error(`${name}: ${what} ${other}, heed's is ${ours}`);
  };
  close('score', steps[0].score, score, 1e-3 * steps[0].scoreStd);
  close('KL', steps[0].kl, kl, 1e-3 * Math.abs(kl));
  steps.forEach((step, i) => {
    close(`loss of step ${i + 1}`, step.loss, theirs[i].loss, 1e-3);
    for (const metric of ['valueLoss', 'gradNorm', 'valueGradNorm'])
      close(`${metric} of step ${i + 1}`, step[metric], theirs[i][metric], 5e-3 * theirs[i][metric]);
  });
}
