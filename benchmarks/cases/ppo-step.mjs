// The policy loss of PPO from token ids on, through the public API: heed never holds the logits whole, nor does TRL's chunked function.
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Bound } from '../limits.mjs';
import { contest, inFolder, threads } from '../measure.mjs';
import { hasPython, startPeers } from '../peer.mjs';
import { causalPairs, countParameters, forwardFlops, gpt2Config, randomBatch, trainingPhase } from './shapes.mjs';

const CLIP_RANGE = 0.2;
const FULL = { layers: 1, heads: 12, channels: 768, vocab: 50257, length: 256, batch: 4 };
const QUICK = { layers: 1, heads: 2, channels: 32, vocab: 97, length: 16, batch: 2 };

export const ppoStep = ({ quick, ...options }) =>
  inFolder((dir) => measure(quick ? QUICK : FULL, dir, { ...options, quick }));

async function measure(shape, dir, { rounds, seconds, quick, heed }) {
  const { layers, channels, vocab, length, batch } = shape;
  const tokens = length * batch;
  const engine = await heed.Engine.create({ threads, maxTokens: tokens });
  let peers = [];
  try {
    const model = await heed.LanguageModel.init(engine, gpt2Config(shape), { seed: 1 });
    await model.save(dir);
    const { packed, json } = randomBatch(batch, length, vocab);
    // As after some updates: some ratios are beyond the clip.
    const { logprobs } = await model.logprobs(packed);
    const oldLogprobs = logprobs.map((logprob, i) => logprob + 0.3 * Math.sin(i));
    const advantages = Float32Array.from(oldLogprobs, (_, i) => 0.5 + Math.cos(1.7 * i));
    await writeFile(
      join(dir, 'batch.json'),
      JSON.stringify({ ...json, oldLogprobs: [...oldLogprobs], advantages: [...advantages] }),
    );
    const trainer = await model.trainer();
    const step = async () => {
      await trainer.zero();
      const { loss } = await trainer.ppo(packed, { oldLogprobs, advantages, clipRange: CLIP_RANGE, scale: 1 / tokens });
      return loss / tokens;
    };
    const loss = await step();
    const { gradNorm } = await trainer.step({ learningRate: 0 });

    const started = await startPeers(specs(quick), false, async (peer) => {
      const theirs = await peer.ask({ do: 'prepare', folder: dir, clipRange: CLIP_RANGE, threads });
      const agrees =
        Math.abs(theirs.loss - loss) < 1e-4 * Math.abs(loss) && Math.abs(theirs.gradNorm - gradNorm) < 1e-3 * gradNorm;
      if (!agrees) {
        throw new Error(
          `${peer.name}: loss ${theirs.loss}, gradient norm ${theirs.gradNorm}; heed's are ${loss}, ${gradNorm}`,
        );
      }
    });
    peers = started.peers;
    const flops = forwardFlops(shape, { tokens, pairs: batch * causalPairs(length), rows: tokens, outputs: vocab });
    const result = await contest({
      name: `L${layers} C${channels} V${vocab}, ${tokens} rows`,
      level: engine.info.device,
      run: step,
      peers,
      bound: new Bound([trainingPhase(flops, countParameters(model), 'f32', { update: false })]),
      work: tokens,
      unit: 'rows',
      rounds,
      seconds,
    });
    return { torch: started.torch, cases: [result], bound: 'the multiply-adds, or the weights and gradients' };
  } finally {
    for (const peer of peers) await peer.end();
    await engine.dispose();
  }
}

function specs(quick) {
  if (!hasPython('torch', 'safetensors')) return [];
  const script = 'ppo_step.py';
  return [
    { name: 'eager PyTorch', script, args: ['eager'] },
    ...(quick ? [] : [{ name: 'torch.compile', script, args: ['compile'] }]),
    ...(hasPython('trl.losses.fused_linear_ppo') ? [{ name: 'TRL', script, args: ['trl'] }] : []),
  ];
}
