// A training step through the public API: forward, backward, clipping, AdamW; against lean PyTorch and transformers.
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Bound } from '../limits.mjs';
import { contest, inFolder, threads } from '../measure.mjs';
import { hasPython, startPeers } from '../peer.mjs';
import { causalPairs, countParameters, forwardFlops, gpt2Config, randomBatch, trainingPhase } from './shapes.mjs';

const LEARNING_RATE = 1e-3;
const GPT2 = { layers: 12, heads: 12, channels: 768, vocab: 50257, isLarge: true };
const CASES = [
  { name: 'tiny', layers: 4, heads: 4, channels: 128, vocab: 512, length: 128, batch: 16, dtypes: ['f32'] },
  { name: 'small', layers: 6, heads: 6, channels: 384, vocab: 4096, length: 256, batch: 8, dtypes: ['f32', 'bf16'] },
  { name: '124M', ...GPT2, length: 256, batch: 4, dtypes: ['f32', 'bf16'] },
  { name: '124M', ...GPT2, length: 1024, batch: 1, dtypes: ['f32', 'bf16'] },
];
const QUICK = [
  { name: 'quick', layers: 2, heads: 2, channels: 32, vocab: 96, length: 16, batch: 2, dtypes: ['f32', 'bf16'] },
];

export async function sftStep({ quick, ...options }) {
  const cases = [];
  let torch;
  for (const shape of quick ? QUICK : CASES) {
    for (const dtype of shape.dtypes) {
      const measured = await inFolder((dir) => measure({ ...shape, dtype }, dir, options));
      torch ??= measured.torch;
      cases.push(measured.result);
    }
  }
  return { torch, cases, bound: 'the multiply-adds of forward and backward, or the weights, gradients and moments' };
}

async function measure(shape, dir, { rounds, seconds, heed }) {
  const { name, layers, heads, channels, vocab, length, batch, dtype, isLarge } = shape;
  const tokens = batch * length;
  const { packed, json } = randomBatch(batch, length, vocab);
  const engines = [];
  let peers = [];
  try {
    const start = async (type, make) => {
      const engine = await heed.Engine.create({ threads, maxTokens: tokens, dtype: type });
      engines.push(engine);
      const model = await make(engine);
      const trainer = await model.trainer({ weightDecay: 0.1 });
      const step = async () => {
        const { loss } = await trainer.sft(packed, { scale: 1 / tokens });
        await trainer.step({ learningRate: LEARNING_RATE, maxGradNorm: 1 });
        return loss / tokens;
      };
      return { engine, model, step };
    };
    const ours = await start(dtype, (engine) => heed.LanguageModel.init(engine, gpt2Config(shape), { seed: 1 }));
    await ours.model.save(dir, { dtype: 'f32' });
    await writeFile(join(dir, 'batch.json'), JSON.stringify(json));
    const losses = [await ours.step(), await ours.step(), await ours.step(), await ours.step()];
    const check = (whose, theirs) => requireEqual(whose, losses, theirs, dtype === 'f32' ? 2e-4 : 5e-3);

    const others = [];
    if (dtype !== 'f32') {
      const { step } = await start('f32', (engine) => heed.LanguageModel.load(engine, dir));
      check('heed f32', [await step(), await step(), await step(), await step()]);
      others.push({ name: 'heed f32', run: step });
    }
    const specs = hasPython('torch', 'transformers', 'safetensors')
      ? [
          {
            name: dtype === 'f32' ? 'lean PyTorch' : 'lean PyTorch, autocast',
            script: 'sft_step.py',
            args: ['lean', dtype],
          },
          ...(dtype === 'f32' ? [{ name: 'transformers', script: 'sft_step.py', args: ['hf', dtype] }] : []),
        ]
      : [];
    const started = await startPeers(specs, isLarge, async (peer) => {
      const theirs = await peer.ask({ do: 'prepare', folder: dir, learningRate: LEARNING_RATE, threads });
      check(peer.name, theirs.losses);
    });
    peers = started.peers;

    const flops = forwardFlops(shape, { tokens, pairs: batch * causalPairs(length), rows: tokens, outputs: vocab });
    const result = await contest({
      name: `${name} ${dtype}: L${layers} H${heads} C${channels} V${vocab}, T${length} B${batch}`,
      level: ours.engine.info.device,
      run: ours.step,
      peers,
      others,
      bound: new Bound([trainingPhase(flops, countParameters(ours.model), dtype)], { dtype }),
      work: tokens,
      unit: 'tokens',
      rounds,
      seconds,
    });
    return { torch: started.torch, result };
  } finally {
    for (const peer of peers) await peer.end();
    for (const engine of engines) await engine.dispose();
  }
}

// The same weights, data and optimizer: the first losses agree, or something else is being timed.
function requireEqual(name, losses, theirs, tolerance) {
  losses.forEach((loss, i) => {
    if (!(Math.abs(loss - theirs[i]) < tolerance * loss)) {
      throw new Error(`${name}: losses ${theirs.join(', ')}, heed's are ${losses.join(', ')}`);
    }
  });
}
