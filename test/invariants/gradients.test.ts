// Splitting a batch or sharing prompts changes gradients at most by rounding: relative L2 ≤ 1e-6 per tensor; threads change nothing.
import { describe, expect, test } from '@jest/globals';
import { Random } from '../../lib/core/random.js';
import { packResponses, packScores, packValues, type Tree } from '../../lib/runtime/batch.js';
import type { Engine } from '../../lib/runtime/engine.js';
import { ScalarModel } from '../../lib/runtime/model.js';
import { randomTokens, tinyModel } from '../phases/support/toy.js';
import { bits, gradients, relativeError, withEngine } from './support/compare.js';

const kTolerance = 1e-6;
const random = new Random('gradients');
const trees: Tree[] = Array.from({ length: 24 }, () => ({
  prompt: randomTokens(random, 1 + random.int(16)),
  responses: Array.from({ length: 2 + random.int(3) }, () => randomTokens(random, 1 + random.int(16))),
}));
const copies: Tree[] = trees.flatMap(({ prompt, responses }) =>
  responses.map((response) => ({ prompt, responses: [response] })),
);
const rows = packResponses(trees).rows.length;
const numResponses = copies.length;
const oldLogprobs = Float32Array.from({ length: rows }, () => -2.5 + 0.5 * random.normal());
const advantages = Float32Array.from({ length: rows }, () => random.normal());
const oldValues = Float32Array.from({ length: rows }, () => 0.3 * random.normal());
const returns = Float32Array.from({ length: rows }, () => random.normal());
const ranks = Int32Array.from({ length: numResponses }, () => random.int(3));
const { cuGroups } = packScores(trees);

type Loss = (engine: Engine, batch: readonly Tree[], halves?: boolean) => Promise<Map<string, Float32Array>>;

describe.each(['llama', 'gpt2'] as const)('%s', (architecture) => {
  /** The batch in one call, or in two that add to the same gradient. */
  const parts = (batch: readonly Tree[], halves: boolean) => {
    const middle = Math.floor(batch.length / 2);
    return halves ? [batch.slice(0, middle), batch.slice(middle)] : [batch];
  };
  const policyLoss: Loss = async (engine, batch, halves = false) => {
    const model = await tinyModel(engine, 3, architecture);
    const trainer = await model.trainer();
    let row = 0;
    for (const part of parts(batch, halves)) {
      const packed = packResponses(part);
      const end = row + packed.rows.length;
      const rowsOf = (x: Float32Array) => x.slice(row, end);
      const options = {
        oldLogprobs: rowsOf(oldLogprobs),
        advantages: rowsOf(advantages),
        entropyCoef: 0.1,
        scale: 1 / rows,
      };
      await trainer.ppo(packed, options);
      row = end;
    }
    return gradients(model, trainer);
  };
  const sftLoss =
    (dropout: number): Loss =>
    async (engine, batch, halves = false) => {
      const model = await tinyModel(engine, 3, architecture);
      const trainer = await model.trainer({ dropout });
      for (const part of parts(batch, halves))
        await trainer.sft(packResponses(part), { scale: 1 / rows, dropoutSeed: 7 });
      return gradients(model, trainer);
    };
  const valueLoss: Loss = async (engine, batch, halves = false) => {
    const model = await ScalarModel.from(await tinyModel(engine, 3, architecture), { seed: 4 });
    const trainer = await model.trainer();
    let row = 0;
    for (const part of parts(batch, halves)) {
      const packed = packValues(part);
      const end = row + packed.rows.length;
      const options = { oldValues: oldValues.slice(row, end), returns: returns.slice(row, end), scale: 1 / rows };
      await trainer.value(packed, options);
      row = end;
    }
    return gradients(model, trainer);
  };
  const rewardLoss: Loss = async (engine, batch) => {
    const model = await ScalarModel.from(await tinyModel(engine, 3, architecture), { seed: 4 });
    const trainer = await model.trainer();
    await trainer.reward(packScores(batch), { ranks, cuGroups, scale: 1 / trees.length });
    // The pairwise loss does not depend on the offset, so the gradient of GPT-2's final bias is only rounding.
    const found = await gradients(model, trainer);
    return new Map([...found].filter(([name]) => !name.endsWith('ln_f.bias')));
  };
  const losses: readonly (readonly [string, Loss])[] = [
    ['policy', policyLoss],
    ['sft', sftLoss(0)],
    ['value', valueLoss],
    ['reward', rewardLoss],
  ];

  describe.each(losses)('the %s loss', (name, loss) => {
    const whole = () => withEngine({}, (engine) => loss(engine, trees));

    test('several passes add up to one', async () => {
      const cut = await withEngine({ maxTokens: 90 }, (engine) => loss(engine, trees));
      expect(relativeError(cut, await whole()).error).toBeLessThanOrEqual(kTolerance);
    });
    test('a shared prompt gives the gradient of K complete sequences', async () => {
      const copied = await withEngine({}, (engine) => loss(engine, copies));
      expect(relativeError(copied, await whole()).error).toBeLessThanOrEqual(kTolerance);
    });
    if (name !== 'reward') {
      test('accumulated over two calls it is the same', async () => {
        const halves = await withEngine({}, (engine) => loss(engine, trees, true));
        expect(relativeError(halves, await whole()).error).toBeLessThanOrEqual(kTolerance);
      });
    } else {
      test('groups that span several passes give the same', async () => {
        const cut = await withEngine({ maxTokens: 90 }, (engine) => loss(engine, copies));
        expect(relativeError(cut, await whole()).error).toBeLessThanOrEqual(kTolerance);
      });
    }
    test('one thread is bit-identical to two', async () => {
      const one = await withEngine({ threads: 1 }, (engine) => loss(engine, trees));
      for (const [tensor, gradient] of await whole())
        expect([tensor, bits(one.get(tensor)!)]).toEqual([tensor, bits(gradient)]);
    });
  });

  test('dropout masks do not depend on how the batch is split', async () => {
    const whole = await withEngine({}, (engine) => sftLoss(0.3)(engine, trees));
    const cut = await withEngine({ maxTokens: 90 }, (engine) => sftLoss(0.3)(engine, trees));
    expect(relativeError(cut, whole).error).toBeLessThanOrEqual(kTolerance);
    const none = await withEngine({}, (engine) => sftLoss(0)(engine, trees));
    expect(relativeError(none, whole).error).toBeGreaterThan(0.1);
  });

  test('a gradient that was set aside is added back, and its norm is returned', async () => {
    await withEngine({}, async (engine) => {
      const model = await tinyModel(engine, 3, architecture);
      const trainer = await model.trainer();
      const norm = (found: Map<string, Float32Array>) =>
        Math.sqrt([...found.values()].reduce((sum, g) => sum + g.reduce((s, x) => s + x * x, 0), 0));
      const options = { oldLogprobs, advantages, scale: 1 / rows };
      await trainer.ppo(packResponses(trees), options);
      const first = norm(await gradients(model, trainer));
      expect(await trainer.setAside()).toBeCloseTo(first, 5);
      await trainer.sft(packResponses(trees), { scale: 1 / rows });
      const second = norm(await gradients(model, trainer));
      const stepped = await trainer.step({ learningRate: 0 });
      expect(stepped.lastNorm).toBeCloseTo(second, 5);

      await trainer.ppo(packResponses(trees), options);
      await trainer.sft(packResponses(trees), { scale: 1 / rows });
      const both = await trainer.step({ learningRate: 0 });
      expect(stepped.gradNorm).toBeCloseTo(both.gradNorm, 5);
    });
  });
});
