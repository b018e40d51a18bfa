// A model's results for a sequence are bit-identical whatever else is computed with it.
import { describe, expect, test } from '@jest/globals';
import { Random } from '../../lib/core/random.js';
import { packResponses, packScores, packValues, type Tree } from '../../lib/runtime/batch.js';
import type { Engine, EngineOptions } from '../../lib/runtime/engine.js';
import { ScalarModel } from '../../lib/runtime/model.js';
import { kEnd, prompts, randomTokens, tinyModel } from '../phases/support/toy.js';
import { bits, withEngine as withEngineOf } from './support/compare.js';

const random = new Random('forward');
/** Prompts of 1 to 20 tokens with 1 to 5 responses of 1 to 30. */
const trees: Tree[] = Array.from({ length: 30 }, () => ({
  prompt: randomTokens(random, 1 + random.int(20)),
  responses: Array.from({ length: 1 + random.int(5) }, () => randomTokens(random, 1 + random.int(30))),
}));
const copies: Tree[] = trees.flatMap(({ prompt, responses }) =>
  responses.map((response) => ({ prompt, responses: [response] })),
);

describe.each([
  ['llama', 'f32'],
  ['gpt2', 'f32'],
  ['mistral', 'f32'],
  ['llama', 'bf16'],
  ['gpt2', 'bf16'],
  ['mistral', 'bf16'],
] as const)('%s, %s', (architecture, dtype) => {
  const withEngine = <T>(options: EngineOptions, body: (engine: Engine) => Promise<T>) =>
    withEngineOf({ ...options, dtype }, body);
  async function everything(engine: Engine, batches: readonly (readonly Tree[])[]) {
    const model = await tinyModel(engine, 3, architecture);
    const scalar = await ScalarModel.from(model, { seed: 4 });
    const found = { logprobs: [] as number[], entropy: [] as number[], scores: [] as number[], values: [] as number[] };
    for (const batch of batches) {
      const { logprobs, entropy } = await model.logprobs(packResponses(batch));
      found.logprobs.push(...bits(logprobs));
      found.entropy.push(...bits(entropy));
      found.scores.push(...bits(await scalar.scores(packScores(batch))));
      found.values.push(...bits(await scalar.scores(packValues(batch))));
    }
    return found;
  }
  const whole = () => withEngine({}, (engine) => everything(engine, [trees]));

  test('a shared prompt equals K complete sequences', async () => {
    expect(await withEngine({}, (engine) => everything(engine, [copies]))).toEqual(await whole());
  });
  test('a sequence alone equals the same one in a batch', async () => {
    const alone = copies.map((tree) => [tree]);
    expect(await withEngine({}, (engine) => everything(engine, alone))).toEqual(await whole());
  });
  test('several passes equal one', async () => {
    const engine = { maxTokens: 170 };
    expect(
      trees.reduce((sum, { prompt, responses }) => sum + prompt.length + responses.flat().length, 0),
    ).toBeGreaterThan(170);
    expect(await withEngine(engine, (e) => everything(e, [trees]))).toEqual(await whole());
  });
  test('one thread equals two', async () => {
    expect(await withEngine({ threads: 1 }, (engine) => everything(engine, [trees]))).toEqual(await whole());
  });

  test('cached decoding equals the full forward pass, and responses do not depend on the rest of the batch', async () => {
    await withEngine({}, async (engine) => {
      const model = await tinyModel(engine, 3, architecture);
      const options = { maxNewTokens: 20, stopTokens: [kEnd] };
      const requests = prompts(40).map((prompt, i) => ({ prompt, seed: i, samples: 1 + (i % 3) }));
      const together = await model.generate(requests, { ...options, slots: 64 });
      const own = requests.map((_, i) => ({
        prompt: requests[i]!.prompt,
        responses: together.filter(({ request }) => request === i).map(({ tokens }) => tokens),
      }));
      const { logprobs } = await model.logprobs(packResponses(own));
      expect(together.flatMap((completion) => bits(completion.logprobs))).toEqual(bits(logprobs));

      const few = await model.generate(requests, { ...options, slots: 3 });
      const backwards = await model.generate([...requests].reverse(), { ...options, slots: 7 });
      const simple = (completion: (typeof together)[number]) => [[...completion.tokens], bits(completion.logprobs)];
      expect(few.map(simple)).toEqual(together.map(simple));
      const sorted = backwards.map((completion) => ({
        ...completion,
        request: requests.length - 1 - completion.request,
      }));
      sorted.sort((a, b) => a.request - b.request || a.sample - b.sample);
      expect(sorted.map(simple)).toEqual(together.map(simple));
    });
  });

  test("the training forward pass reproduces the sampler's log-probabilities: every ratio is exactly 1", async () => {
    await withEngine({ maxTokens: 200 }, async (engine) => {
      const model = await tinyModel(engine, 3, architecture);
      const trainer = await model.trainer();
      for (const temperature of [1, 0.6]) {
        const requests = prompts(30).map((prompt, i) => ({ prompt, seed: i, samples: 3 }));
        const completions = await model.generate(requests, { maxNewTokens: 12, temperature, stopTokens: [kEnd] });
        const sampled = requests.map(({ prompt }, i) => ({
          prompt,
          responses: completions.slice(3 * i, 3 * i + 3).map(({ tokens }) => tokens),
        }));
        const oldLogprobs = Float32Array.from(completions.flatMap(({ logprobs }) => [...logprobs]));
        const { ratio, logprobs, clipped } = await trainer.ppo(packResponses(sampled), {
          oldLogprobs,
          advantages: new Float32Array(oldLogprobs.length).fill(1),
          temperature,
          scale: 1 / oldLogprobs.length,
        });
        expect(new Set(ratio)).toEqual(new Set([1]));
        expect(bits(logprobs)).toEqual(bits(oldLogprobs));
        expect(clipped).toBe(0);
        await trainer.zero();
      }
    });
  });
});
