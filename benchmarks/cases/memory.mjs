// Peak memory of a training step: the whole process, the program and its libraries included; against lean PyTorch and transformers.
import { spawnSync } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { inFolder, root, threads } from '../measure.mjs';
import { hasPython, Peer } from '../peer.mjs';
import { bytesPer, countParameters, gpt2Config, randomBatch } from './shapes.mjs';

const LEARNING_RATE = 1e-3;
const CASES = [
  { name: 'small', layers: 6, heads: 6, channels: 384, vocab: 4096, length: 256, batch: 8 },
  { name: '124M', layers: 12, heads: 12, channels: 768, vocab: 50257, length: 1024, batch: 1 },
];
const QUICK = [{ name: 'quick', layers: 2, heads: 2, channels: 32, vocab: 96, length: 16, batch: 2 }];

export async function memory({ quick, heed }) {
  const cases = [];
  let torch;
  for (const shape of quick ? QUICK : CASES) {
    for (const dtype of ['f32', 'bf16']) {
      const measured = await inFolder((dir) => measure({ ...shape, dtype }, dir, heed));
      torch ??= measured.torch;
      cases.push(measured.result);
    }
  }
  return { torch, cases, bound: 'weights, gradients and moments' };
}

async function measure(shape, dir, heed) {
  const { name, layers, channels, vocab, length, batch, dtype } = shape;
  const engine = await heed.Engine.create({ threads, maxTokens: length * batch, dtype });
  const model = await heed.LanguageModel.init(engine, gpt2Config(shape), { seed: 1 });
  const parameters = countParameters(model);
  await model.save(dir, { dtype: 'f32' });
  await engine.dispose();
  await writeFile(join(dir, 'batch.json'), JSON.stringify(randomBatch(batch, length, vocab).json));

  const script = join(root, 'benchmarks/peak.mjs');
  const args = [script, dir, dtype, String(LEARNING_RATE), String(threads)];
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`peak.mjs failed: ${stderr}`);
  const { losses, peakBytes } = JSON.parse(stdout);

  const specs = [
    { name: dtype === 'f32' ? 'lean PyTorch' : 'lean PyTorch, autocast', args: ['lean', dtype] },
    ...(dtype === 'f32' ? [{ name: 'transformers', args: ['hf', dtype] }] : []),
  ];
  const peers = [];
  let torch;
  for (const spec of hasPython('torch', 'transformers', 'safetensors') ? specs : []) {
    const peaks = [];
    for (const peer of Peer.both(spec.name, 'sft_step.py', spec.args)) {
      torch = await peer.start();
      const theirs = await peer.ask({ do: 'prepare', folder: dir, learningRate: LEARNING_RATE, threads });
      const tolerance = dtype === 'f32' ? 2e-4 : 5e-3;
      if (!losses.every((loss, i) => Math.abs(loss - theirs.losses[i]) < tolerance * loss))
        throw new Error(`${spec.name}: losses ${theirs.losses.join(', ')}, heed's are ${losses.join(', ')}`);
      peaks.push((await peer.ask({ do: 'peak' })).peakBytes);
      await peer.end();
    }
    peers.push({ name: spec.name, ratio: Math.min(...peaks) / peakBytes });
  }
  // In bf16 the rounded weights stand beside those in float32.
  const least = (16 + (dtype === 'bf16' ? bytesPer.bf16 : 0)) * parameters;
  const result = {
    name: `sft-step, ${name} ${dtype}: L${layers} C${channels} V${vocab}, T${length} B${batch}`,
    rate: peakBytes / 2 ** 20,
    rateUnit: 'MiB',
    percentOfBound: (100 * least) / peakBytes,
    limitedBy: 'memory',
    peers,
  };
  return { torch, result };
}
