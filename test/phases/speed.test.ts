// percentOfPeak: what a step needs, over its time and the device's peak.
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { packSequences } from '../../lib/data/index.js';
import { finish } from '../../lib/phases/loop.js';
import type { StepMetrics } from '../../lib/phases/metrics.js';
import { trainPpo } from '../../lib/phases/ppo/index.js';
import { trainPretrain } from '../../lib/phases/pretrain.js';
import { trainReward } from '../../lib/phases/reward.js';
import { trainSft } from '../../lib/phases/sft.js';
import { Speed } from '../../lib/phases/speed.js';
import { Engine } from '../../lib/runtime/engine.js';
import { ScalarModel } from '../../lib/runtime/model.js';
import { documents, kEnd, prompts, rankings, sequencesToMemorise, shareOf3, tinyModel } from './support/toy.js';

let engine: Engine;
beforeEach(async () => {
  engine = await Engine.create({ threads: 2, maxTokens: 256 });
});
afterEach(() => engine.dispose());

test('every step of every phase has a share of the peak', async () => {
  const model = await tinyModel(engine);
  const scalar = await ScalarModel.from(model, { seed: 1 });
  const sequences = sequencesToMemorise(8).map(({ sequence }) => sequence);
  const phases: Record<string, AsyncIterable<StepMetrics>> = {
    pretrain: trainPretrain({ model, documents: documents(12), batchTokens: 60, steps: 2 }),
    sft: trainSft({ model, sequences, validation: sequences, batchSize: 4, steps: 2 }),
    reward: trainReward({ model: scalar, rankings: rankings(8, 'train'), batchSize: 4 }),
    ppo: trainPpo({
      policy: model,
      value: scalar,
      reward: (episodes) => episodes.map(({ response }) => shareOf3(response)),
      prompts: prompts(6),
      batchSize: 6,
      minibatches: 2,
      iterations: 2,
      maxNewTokens: 5,
      stopTokens: [kEnd],
    }),
  };
  for (const phase of Object.values(phases)) {
    for await (const { percentOfPeak } of phase) {
      expect(percentOfPeak).toBeGreaterThan(0);
      expect(percentOfPeak).toBeLessThanOrEqual(100);
    }
  }
});

test('a training step needs three times its forward pass', async () => {
  const model = await tinyModel(engine);
  const sequences = sequencesToMemorise(4).map(({ sequence }) => sequence);
  const counted = async (work: () => Promise<unknown>) => {
    const before = engine.usage().multiplyAdds;
    await work();
    return engine.usage().multiplyAdds - before;
  };
  const forward = await counted(() => model.logprobs(packSequences(sequences)));
  expect(forward).toBeGreaterThan(0);
  expect(await counted(() => finish(trainSft({ model, sequences, batchSize: 4, steps: 1 })))).toBe(3 * forward);
});

/** A device whose peak is measured as one number after the other, and whose work takes at least a millisecond. */
function device(peaks: number[]) {
  let multiplyAdds = 0;
  const fake = {
    measured: 0,
    peakFlops: async () => peaks[Math.min(fake.measured++, peaks.length - 1)]!,
    usage: () => ({ multiplyAdds }),
    work: async () => {
      await new Promise((resolve) => setTimeout(resolve, 10));
      multiplyAdds += 1e6;
      return 'done';
    },
  };
  return fake;
}

test('the peak is measured once, and again where work was faster than it', async () => {
  const busy = device([1e6, 1e12, 1e9]); // the first is too low: 2e6 operations in some 10 ms are more
  const speed = new Speed(busy);
  const { result, percentOfPeak } = await speed.of(busy.work);
  expect(result).toBe('done');
  expect(busy.measured).toBe(2);
  expect(percentOfPeak).toBeGreaterThan(0);
  expect(percentOfPeak).toBeLessThan(1); // of 1e12
  await speed.of(busy.work);
  expect(busy.measured).toBe(2);
});

test('a peak that stays too low is 100 %', async () => {
  const low = device([1]);
  expect((await new Speed(low).of(low.work)).percentOfPeak).toBe(100);
  expect(low.measured).toBe(4);
});
