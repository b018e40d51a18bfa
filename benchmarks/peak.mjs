// The peak memory of a process that takes four training steps and nothing else: `node peak.mjs FOLDER f32|bf16 LEARNING_RATE THREADS`.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Engine, LanguageModel } from '../dist/lib/index.js';
import { packed } from './cases/shapes.mjs';

const [folder, dtype, learningRate, threads] = process.argv.slice(2);
const { ids, targets } = JSON.parse(readFileSync(join(folder, 'batch.json'), 'utf8'));
const batch = packed(ids, targets);
const tokens = batch.tokens.length;
const engine = await Engine.create({ threads: Number(threads), maxTokens: tokens, dtype });
const model = await LanguageModel.load(engine, folder);
const trainer = await model.trainer({ weightDecay: 0.1 });
const losses = [];
for (let step = 0; step < 4; step++) {
  const { loss } = await trainer.sft(batch, { scale: 1 / tokens });
  await trainer.step({ learningRate: Number(learningRate), maxGradNorm: 1 });
  losses.push(loss / tokens);
}
const [, kib] = /^VmHWM:\s*(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'));
console.log(JSON.stringify({ losses, peakBytes: 1024 * Number(kib) }));
await engine.dispose();
