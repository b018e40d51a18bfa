// heed against transformers: no result and no gradient is further from float64 than three times transformers' own float32 results are,
// and half of them no further than one and a half times.
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { packResponses, packScores } from '../../lib/runtime/batch.js';
import { Engine } from '../../lib/runtime/engine.js';
import { LanguageModel, ScalarModel } from '../../lib/runtime/model.js';
import { expected, FIXTURES, LANGUAGE_MODELS, numbers, relativeError, SCALAR_MODELS, sequences } from './fixture.js';

// Minimum tolerance, for values that transformers happens to compute exactly: half a unit in the last place of float32. A loss is one
// number, in which the errors of its rows may cancel by chance, in transformers' result as in ours: some units.
const FLOOR = 2 ** -24;
const LOSS_FLOOR = 1e-6;
// A gradient is a sum over all tokens, of which each instruction-set level has its own order: some units, too. A wrong formula is off by
// a hundred times more.
const GRADIENT_FLOOR = 2e-6;

// Instruction-set levels round differently: all levels of this machine are tested.
const LEVELS: string[] = [];
for (const level of ['avx512_bf16', 'avx512', 'avx2', 'portable']) {
  const found = await Engine.create({ threads: 1, level }).catch(() => undefined);
  if (found) LEVELS.push(level);
  await found?.dispose();
}

test('the portable level is always available', () => expect(LEVELS).toContain('portable'));

/** Collects what is compared, so that one failure shows every tensor that is off. */
function comparison(model: string) {
  const reference = expected(model);
  const { float32Error } = numbers(model);
  const seen = new Set<string>();
  const off: string[] = [];
  const ratios: number[] = []; // heed's error to transformers'
  return {
    reference,
    compare(name: string, value: ArrayLike<number>): void {
      const error = relativeError(value, reference.get(name)!);
      const floor = name.endsWith('.loss') ? LOSS_FLOOR : name.includes('.grad.') ? GRADIENT_FLOOR : FLOOR;
      const limit = Math.max(3 * float32Error[name]!, floor);
      seen.add(name);
      if (value.length >= 64) ratios.push(error / Math.max(float32Error[name]!, FLOOR)); // errors of few numbers vary more
      if (!(error <= limit)) off.push(`${name}: ${error.toExponential(2)}, at most ${limit.toExponential(2)}`);
    },
    names: (loss: string) =>
      [...reference.keys()]
        .filter((name) => name.startsWith(`${loss}.grad.`))
        .map((name) => name.slice(loss.length + 6)),
    finish(): void {
      expect(off).toEqual([]);
      ratios.sort((a, b) => a - b);
      expect(ratios[ratios.length >> 1]).toBeLessThan(1.5);
      expect([...seen].sort()).toEqual(Object.keys(float32Error).sort()); // everything in the fixture was compared
    },
  };
}

// The prompt once with all its responses, and every response as a separate sequence: the same numbers.
const PACKINGS = {
  'prompts shared': () => sequences().trees,
  'prompts copied': () =>
    sequences().trees.flatMap(({ prompt, responses }) =>
      responses.map((response) => ({ prompt, responses: [response] })),
    ),
};

describe.each(LEVELS)('%s', (level) => {
  let engine: Engine;
  beforeAll(async () => {
    engine = await Engine.create({ threads: 2, level });
  });
  afterAll(() => engine.dispose());

  describe.each(LANGUAGE_MODELS)('%s', (name) => {
    test.each(Object.keys(PACKINGS) as (keyof typeof PACKINGS)[])('logits, losses, gradients, %s', async (packing) => {
      const { temperature, clipRange, entropyCoef } = sequences();
      const batch = packResponses(PACKINGS[packing]());
      const { reference, compare, names, finish } = comparison(name);
      const model = await LanguageModel.load(engine, join(FIXTURES, name));
      try {
        compare('logits', await model.logits(batch));
        const { logprobs, entropy } = await model.logprobs(batch);
        compare('logprobs', logprobs);
        compare('entropy', entropy);
        compare('logprobs_temperature', (await model.logprobs(batch, { temperature })).logprobs);

        const trainer = await model.trainer({});
        const scale = 1 / batch.rows.length;
        const sft = await trainer.sft(batch, { scale });
        compare('sft.loss', [sft.loss * scale]);
        for (const parameter of names('sft')) compare(`sft.grad.${parameter}`, await trainer.gradient(parameter));

        await trainer.zero();
        const oldLogprobs = Float32Array.from(reference.get('old_logprobs')!);
        const advantages = Float32Array.from(reference.get('advantages')!);
        const ppo = await trainer.ppo(batch, { oldLogprobs, advantages, clipRange, entropyCoef, scale });
        compare('ppo.loss', [ppo.loss * scale]);
        for (const parameter of names('ppo')) compare(`ppo.grad.${parameter}`, await trainer.gradient(parameter));
        finish();
      } finally {
        await model.dispose();
      }
    });

    test('greedy responses', async () => {
      const { trees, end } = sequences();
      const model = await LanguageModel.load(engine, join(FIXTURES, name));
      try {
        const completions = await model.generate(
          trees.map(({ prompt }) => ({ prompt: Int32Array.from(prompt), seed: 0 })),
          { maxNewTokens: 12, temperature: 0, stopTokens: [end] },
        );
        expect(completions.map(({ tokens }) => [...tokens])).toEqual(numbers(name).greedy);
      } finally {
        await model.dispose();
      }
    });
  });

  describe.each(SCALAR_MODELS)('%s', (name) => {
    test('scores, pairwise loss, gradients', async () => {
      const { ranked } = sequences();
      const batch = packScores(ranked);
      const { compare, names, finish } = comparison(name);
      const model = await ScalarModel.load(engine, join(FIXTURES, name));
      try {
        compare('scores', await model.scores(batch));
        const trainer = await model.trainer({});
        const ranks = Int32Array.from(ranked.flatMap((prompt) => prompt.ranks));
        const scale = 1 / ranked.length;
        const { groupStats } = await trainer.reward(batch, { ranks, cuGroups: batch.cuGroups, scale });
        compare('reward.loss', [ranked.reduce((sum, _, group) => sum + groupStats[3 * group]!, 0) * scale]);
        for (const parameter of names('reward')) compare(`reward.grad.${parameter}`, await trainer.gradient(parameter));
        finish();
      } finally {
        await model.dispose();
      }
    });
  });
});
