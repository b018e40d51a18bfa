// A training step through the public API: forward, backward, clipping, AdamW; against lean PyTorch and transformers.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { alternate, compare, hasPython, measureLimits, Peer, threads, timesOf } from '../measure.mjs';
import { flopsPerToken, gpt2Config, randomBatch } from './shapes.mjs';

const LEARNING_RATE = 1e-3;
const CASES = [
  { name: 'small', layers: 6, heads: 6, channels: 384, vocab: 4096, length: 256, batch: 8 },
  { name: 'tiny', layers: 4, heads: 4, channels: 128, vocab: 512, length: 128, batch: 16 },
];
const QUICK = [{ name: 'quick', layers: 2, heads: 2, channels: 32, vocab: 96, length: 16, batch: 2 }];

export async function sftStep({ rounds, seconds, quick, heed }) {
  const engine = await heed.Engine.create({ threads, maxTokens: 4096 });
  const cases = [];
  let torch;
  try {
    for (const shape of quick ? QUICK : CASES) {
      const dir = await mkdtemp(join(tmpdir(), 'heed-bench-'));
      try {
        const measured = await measure(shape, dir, engine, { rounds, seconds, heed });
        torch ??= measured.torch;
        cases.push(measured.result);
      } finally {
        await rm(dir, { recursive: true });
      }
    }
  } finally {
    engine.dispose();
  }
  return { torch, cases };
}

async function measure(shape, dir, engine, { rounds, seconds, heed }) {
  const { name, layers, heads, channels, vocab, length, batch } = shape;
  const config = gpt2Config(shape);
  const model = await heed.LanguageModel.init(engine, config, { seed: 1 });
  await model.save(dir);
  const { packed, json } = randomBatch(batch, length, vocab);
  await writeFile(join(dir, 'batch.json'), JSON.stringify(json));
  const trainer = await model.trainer({ weightDecay: 0.1 });
  const tokens = batch * length;
  const step = async () => {
    const { loss } = await trainer.sft(packed, { scale: 1 / tokens });
    await trainer.step({ learningRate: LEARNING_RATE, maxGradNorm: 1 });
    return loss / tokens;
  };
  const losses = [await step(), await step(), await step(), await step()];

  const peers = hasPython('torch', 'transformers', 'safetensors')
    ? [...Peer.both('lean PyTorch', 'sft_step.py', ['lean']), ...Peer.both('transformers', 'sft_step.py', ['hf'])]
    : [];
  try {
    const [torch] = await Promise.all(peers.map((peer) => peer.start()));
    for (const peer of peers) {
      const theirs = await peer.ask({ do: 'prepare', folder: dir, learningRate: LEARNING_RATE, threads });
      requireEqual(peer.name, losses, theirs.losses);
    }
    const others = peers.map((peer) => ({ run: async () => (await peer.ask({ do: 'run', seconds })).seconds }));
    const [ours, ...theirs] = await alternate([{ run: () => timesOf(step, seconds) }, ...others], rounds);
    const limits = measureLimits();
    const gflops = (1e-9 * flopsPerToken(shape) * tokens) / ours.median;
    return {
      torch,
      result: {
        name: `${name}: L${layers} H${heads} C${channels} V${vocab}, T${length} B${batch}`,
        level: engine.info.device,
        ms: 1e3 * ours.median,
        bestMs: 1e3 * ours.best,
        rate: tokens / ours.median,
        rateUnit: 'tokens/s',
        percentOfBound: (100 * gflops) / limits.gflops,
        bound: 'float32 peak',
        peers: compare(ours, peers, theirs),
      },
    };
  } finally {
    for (const peer of peers) peer.end();
    await model.dispose();
  }
}

// The same weights, data and optimizer: the first losses agree, or something else is being timed.
function requireEqual(name, losses, theirs) {
  losses.forEach((loss, i) => {
    if (!(Math.abs(loss - theirs[i]) < 2e-4 * loss)) {
      throw new Error(`${name}: losses ${theirs.join(', ')}, heed's are ${losses.join(', ')}`);
    }
  });
}
