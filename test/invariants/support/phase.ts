// phase.ts NAME DIR [DIE]: one phase on a toy task in the run folder DIR, resumed if it exists; in the middle of saving step DIE it
// kills itself. Every option that a checkpoint must carry is on.

import { finish } from '../../../lib/phases/loop.js';
import { trainPpo } from '../../../lib/phases/ppo/index.js';
import { trainPretrain } from '../../../lib/phases/pretrain.js';
import { trainReward } from '../../../lib/phases/reward.js';
import { trainSft } from '../../../lib/phases/sft.js';
import { RunFolder } from '../../../lib/runs/runfolder.js';
import { Engine } from '../../../lib/runtime/engine.js';
import { ScalarModel } from '../../../lib/runtime/model.js';
import {
  documents,
  kEnd,
  prompts,
  rankings,
  sequencesToMemorise,
  shareOf3,
  tinyModel,
} from '../../phases/support/toy.js';

/** Runs a phase to its end in an open run: 'ppo', or 'ppo bf16' in that number format. */
export async function runPhase(title: string, run: RunFolder, signal?: AbortSignal): Promise<void> {
  const [name, dtype] = title.split(' ') as [string, 'bf16'?];
  const engine = await Engine.create({ threads: 2, maxTokens: 256, dtype });
  try {
    const model = await tinyModel(engine, 1, name === 'reward' ? 'gpt2' : 'llama');
    const common = { run, seed: 5, saveEvery: 5, signal };
    if (name === 'pretrain') {
      const options = {
        documents: documents(80),
        batchTokens: 64,
        epochs: 2,
        validation: documents(10),
        validateEvery: 4,
      };
      await finish(trainPretrain({ ...common, ...options, model, schedule: 'cosine' }));
    } else if (name === 'sft') {
      const sequences = sequencesToMemorise(16).map(({ sequence }) => sequence);
      await finish(
        trainSft({
          ...common,
          model,
          sequences: sequences.slice(0, 12),
          validation: sequences.slice(12),
          validateEvery: 4,
          batchSize: 4,
          epochs: 12,
          learningRate: 1e-2,
          dropout: 0.2,
          weightDecay: 0.1,
          pretrain: documents(30),
          ptxCoef: 0.5,
          ptxTokens: 40,
        }),
      );
    } else if (name === 'reward') {
      const reward = await ScalarModel.from(model, { seed: 2 });
      const options = { rankings: rankings(160, 'train'), validation: rankings(20, 'held out'), validateEvery: 3 };
      await finish(trainReward({ ...common, ...options, model: reward, batchSize: 4, learningRate: 3e-3 }));
    } else {
      const reward = await ScalarModel.from(model, { seed: 2 });
      await finish(
        trainPpo({
          ...common,
          policy: model,
          value: reward,
          reward: (episodes) => episodes.map(({ response }) => shareOf3(response)),
          prompts: prompts(20),
          batchSize: 12,
          samplesPerPrompt: 2,
          minibatches: 3,
          innerEpochs: 2,
          iterations: 7,
          maxNewTokens: 8,
          stopTokens: [kEnd],
          learningRate: 3e-3,
          valueLearningRate: 3e-3,
          klCoef: 0.1,
          klTarget: 1,
          ...(dtype === 'bf16' && { ema: 0.99 }),
          klHorizon: 200,
          pretrain: documents(30),
          ptxTokens: 60,
          ema: 0.9,
        }),
      );
    }
  } finally {
    await engine.dispose();
  }
}

if (process.argv[1]?.endsWith('phase.ts')) {
  const [name, dir, die] = process.argv.slice(2) as [string, string, string?];
  const run = await RunFolder.open(dir, { resume: true, config: { name } });
  const save = run.save.bind(run);
  run.save = (state, device, write) =>
    save(state, device, async (folder) => {
      await write(folder);
      if (state.step === Number(die)) process.kill(process.pid, 'SIGKILL');
    });
  await runPhase(name, run);
  await run.close();
}
