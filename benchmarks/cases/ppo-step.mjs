// The policy loss of PPO from token ids on, through the public API: heed never holds the logits whole, nor does TRL's chunked function.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { alternate, compare, hasPython, measureLimits, Peer, threads, timesOf } from '../measure.mjs';
import { flopsPerToken, gpt2Config, randomBatch } from './shapes.mjs';

const CLIP_RANGE = 0.2;
const FULL = { layers: 1, heads: 12, channels: 768, vocab: 50257, length: 256, batch: 4 };
const QUICK = { layers: 1, heads: 2, channels: 32, vocab: 97, length: 16, batch: 2 };

export async function ppoStep({ rounds, seconds, quick, heed }) {
  const shape = quick ? QUICK : FULL;
  const { layers, channels, vocab, length, batch } = shape;
  const tokens = length * batch;
  const dir = await mkdtemp(join(tmpdir(), 'heed-bench-'));
  const engine = await heed.Engine.create({ threads, maxTokens: tokens });
  const peers = startPeers();
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

    const [torch] = await Promise.all(peers.map((peer) => peer.start()));
    for (const peer of peers) {
      const theirs = await peer.ask({ do: 'prepare', folder: dir, clipRange: CLIP_RANGE, threads });
      if (
        !(
          Math.abs(theirs.loss - loss) < 1e-4 * Math.abs(loss) && Math.abs(theirs.gradNorm - gradNorm) < 1e-3 * gradNorm
        )
      ) {
        throw new Error(
          `${peer.name}: loss ${theirs.loss}, gradient norm ${theirs.gradNorm}; heed's are ${loss}, ${gradNorm}`,
        );
      }
    }
    const others = peers.map((peer) => ({ run: async () => (await peer.ask({ do: 'run', seconds })).seconds }));
    const [ours, ...theirs] = await alternate([{ run: () => timesOf(step, seconds) }, ...others], rounds);
    const limits = measureLimits();
    return {
      torch,
      cases: [
        {
          name: `L${layers} C${channels} V${vocab}, ${tokens} rows`,
          level: engine.info.device,
          ms: 1e3 * ours.median,
          bestMs: 1e3 * ours.best,
          rate: tokens / ours.median,
          rateUnit: 'rows/s',
          percentOfBound: (1e-7 * flopsPerToken(shape) * tokens) / ours.median / limits.gflops,
          bound: 'float32 peak',
          peers: compare(ours, peers, theirs),
        },
      ],
    };
  } finally {
    for (const peer of peers) peer.end();
    engine.dispose();
    await rm(dir, { recursive: true });
  }
}

function startPeers() {
  if (!hasPython('torch', 'safetensors')) return [];
  return [
    ...Peer.both('eager PyTorch', 'ppo_step.py', ['eager']),
    ...Peer.both('torch.compile', 'ppo_step.py', ['compile']),
    ...(hasPython('trl.losses.fused_linear_ppo') ? Peer.both('TRL', 'ppo_step.py', ['trl']) : []),
  ];
}
