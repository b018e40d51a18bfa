// Batches of several models that share one base, in the same passes: each gets what it gets alone, bit by bit.
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { Random } from '../../lib/core/random.js';
import {
  computeTogether,
  type LogprobsRequest,
  type PackedBatch,
  packResponses,
  packScores,
  packValues,
  type ScoresRequest,
} from '../../lib/index.js';
import { Engine } from '../../lib/runtime/engine.js';
import { LanguageModel, ScalarModel } from '../../lib/runtime/model.js';
import { FIXTURES, readTensors, relativeError, sequences } from '../parity/fixture.js';
import { ids, plain, rejection } from './support.js';

const adapter = (name: string) => join(FIXTURES, 'adapters', name);
const lora = { rank: 4, alpha: 16 };

/** An adapter that is not its base: new ones are. */
async function stirred<M extends LanguageModel | ScalarModel>(model: M, seed: number): Promise<M> {
  const batch = packResponses([{ prompt: ids(9, seed), responses: [ids(7, seed + 1)] }]);
  const rows = batch.rows.length;
  if (model instanceof LanguageModel) {
    const trainer = await model.trainer();
    await trainer.sft(batch, { scale: 1 });
    await trainer.step({ learningRate: 0.05 });
    await trainer.dispose();
  } else {
    const trainer = await model.trainer();
    const numbers = { oldValues: new Float32Array(rows), returns: new Float32Array(rows).fill(1), scale: 1 };
    await trainer.value({ ...batch, targets: new Int32Array() }, { ...numbers, clipRange: Number.POSITIVE_INFINITY });
    await trainer.step({ learningRate: 0.05 });
    await trainer.dispose();
  }
  return model;
}

type Request = LogprobsRequest | ScoresRequest;
const alone = async (request: Request) =>
  request.model instanceof ScalarModel
    ? plain(await request.model.scores(request.batch))
    : shown(await request.model.logprobs(request.batch, { temperature: (request as LogprobsRequest).temperature }));
const shown = (result: Float32Array | { logprobs: Float32Array; entropy: Float32Array }) =>
  'logprobs' in result ? [plain(result.logprobs), plain(result.entropy)] : plain(result);

async function expectSameBits(requests: readonly Request[]): Promise<void> {
  const expected = [];
  for (const request of requests) expected.push(await alone(request));
  expect((await computeTogether(requests)).map(shown)).toEqual(expected);
}

test("PEFT's adapters with other ranks, scales and layers: its log-probabilities in float64", async () => {
  const engine = await Engine.create({ threads: 2 });
  try {
    const base = await LanguageModel.load(engine, join(FIXTURES, 'llama'));
    const names = ['llama-all', 'llama-patterns', 'llama-regex'];
    const models = await Promise.all(names.map((name) => base.adapter({ from: adapter(name) })));
    const batch = packResponses(sequences().trees);
    const results = await computeTogether([...models, base].map((model) => ({ model, batch })));
    const exact = [
      ...names.map((name) => readTensors(join(adapter(name), 'expected.safetensors')).get('logits')!),
      readTensors(join(FIXTURES, 'llama', 'expected.safetensors')).get('logits')!,
    ];
    const { vocabSize } = base.config;
    for (const [i, logits] of exact.entries()) {
      const expected = plain(batch.targets).map((target, row) => {
        const own = logits.subarray(row * vocabSize, (row + 1) * vocabSize);
        return own[target]! - Math.log(own.reduce((sum, x) => sum + Math.exp(x), 0));
      });
      expect(relativeError(results[i]!.logprobs, expected)).toBeLessThan(3e-6);
      for (const other of results.filter((_, k) => k !== i))
        expect(relativeError(other.logprobs, expected)).toBeGreaterThan(1e-3);
    }
  } finally {
    await engine.dispose();
  }
});

describe.each([
  ['gpt2', 'f32', false],
  ['llama', 'f32', false],
  ['llama', 'bf16', false],
  ['llama', 'f32', true],
] as const)('%s %s, in 8 bits: %s', (name, dtype, int8) => {
  let engine: Engine;
  let small: Engine; // its passes have few tokens
  const families: { language: LanguageModel[]; scalar: ScalarModel[] }[] = [];
  beforeAll(async () => {
    engine = await Engine.create({ threads: 2, dtype });
    small = await Engine.create({ threads: 1, dtype, maxTokens: 40 });
    for (const e of [engine, small]) {
      const base = await LanguageModel.load(e, join(FIXTURES, name), { int8 });
      const targets = name === 'gpt2' ? ['c_attn', 'c_fc'] : ['q_proj', 'down_proj', 'v_proj'];
      const language = [
        base,
        await base.adapter({ from: adapter(`${name}-all`) }),
        await stirred(await base.adapter({ ...lora, targets, seed: 1 }), 1),
        await stirred(await base.adapter({ ...lora, rank: 1, rslora: true, seed: 2 }), 2),
      ];
      const scalar = [
        await stirred(await base.scalarAdapter({ ...lora, seed: 3 }), 3),
        await ScalarModel.from(language[1]!, { seed: 4 }),
      ];
      await scalar[1]!.shiftScores(0.5);
      families.push({ language, scalar });
    }
  });
  afterAll(async () => {
    await engine.dispose();
    await small.dispose();
  });

  test('sixteen sequences under four models, in any order and in any passes', async () => {
    for (const { language, scalar } of families) {
      const sequence = (i: number) => packResponses([{ prompt: ids(1 + (i % 5), i), responses: [ids(2 + i, i)] }]);
      const requests = Array.from({ length: 16 }, (_, i) => ({ model: language[i % 4]!, batch: sequence(i) }));
      await expectSameBits(requests);
      const scores = requests.map(({ batch }, i) => ({
        model: scalar[i % 2]!,
        batch: { ...batch, targets: new Int32Array() },
      }));
      await expectSameBits(
        [...scores, ...requests].sort((a, b) => (a.batch.rows.length % 3) - (b.batch.rows.length % 3)),
      );
    }
  });

  test('random mixes of trees, temperatures and roles', async () => {
    const random = new Random(7);
    for (let trial = 0; trial < 12; trial++) {
      const { language, scalar } = families[trial % 2]!;
      const tree = () => ({
        prompt: ids(1 + random.int(6), random.int(100)),
        responses: Array.from({ length: 1 + random.int(3) }, () => ids(1 + random.int(6), random.int(100))),
      });
      const requests: Request[] = Array.from({ length: 1 + random.int(8) }, () => {
        const trees = Array.from({ length: random.int(4) }, tree);
        const model = [...language, ...scalar][random.int(6)]!;
        if (model instanceof ScalarModel)
          return { model, batch: random.int(2) ? packScores(trees) : packValues(trees) } satisfies ScoresRequest;
        return { model, batch: packResponses(trees), temperature: [undefined, 0.5, 2][random.int(3)] };
      });
      await expectSameBits(requests);
    }
  });

  test('the four roles of PPO: types, and one pass', async () => {
    const { language, scalar } = families[0]!;
    const trees = sequences().trees;
    const batch = packResponses(trees);
    const before = engine.usage();
    const [policy, reference, values, rewards] = await computeTogether([
      { model: language[2]!, batch },
      { model: language[2]!.base as LanguageModel, batch, temperature: 1 },
      { model: scalar[0]!, batch: packValues(trees) },
      { model: scalar[1]!, batch: packScores(trees) },
    ]);
    expect(engine.usage().tokensComputed - before.tokensComputed).toBe(4 * batch.tokens.length);
    const lengths: number[] = [policy.logprobs, reference.logprobs, policy.entropy, values, rewards].map(
      ({ length }) => length,
    );
    const { length } = batch.rows;
    expect(lengths).toEqual([length, length, length, length, trees.flatMap(({ responses }) => responses).length]);
  });
});

test('padding is read as by scores()', async () => {
  const engine = await Engine.create({ threads: 2 });
  try {
    const base = await ScalarModel.load(engine, join(FIXTURES, 'llama-scalar'));
    const model = await base.adapter({ from: adapter('llama-scalar') });
    const { pad } = model.specialTokens;
    const padded = packScores([{ prompt: [1, 2], responses: [[3, 4, pad!, pad!], [5, pad!], [6]] }]);
    await expectSameBits([
      { model, batch: padded },
      { model: base, batch: packScores(sequences().ranked) },
    ]);
  } finally {
    await engine.dispose();
  }
});

test('what cannot be is refused by the number of the request; a pass can be aborted', async () => {
  const engine = await Engine.create({ threads: 1 });
  try {
    const load = () => LanguageModel.load(engine, join(FIXTURES, 'llama'));
    const [base, other] = [await load(), await load()];
    const [a, b] = [await base.adapter({ ...lora, seed: 1 }), await other.adapter({ ...lora, seed: 1 })];
    const batch = packResponses([{ prompt: [1, 2], responses: [[3, 4]] }]);
    const refused = (...requests: Request[]) => rejection(computeTogether(requests));
    const apart =
      "request 1: its model is neither the base of request 0's model nor an adapter to it, expected models that share one base";
    expect(await refused({ model: a, batch }, { model: b, batch })).toMatchObject({
      code: 'ERR_INVALID_ARGUMENT',
      message: apart,
    });
    expect((await refused({ model: base, batch }, { model: await a.merge(), batch })).message).toBe(apart);
    const wrong: PackedBatch = { ...batch, tokens: Int32Array.of(1, 2, 3, 999) };
    expect((await refused({ model: a, batch }, { model: base, batch: wrong })).message).toMatch(
      /^request 1: token 3 is 999, expected an id below the vocabulary's \d+$/,
    );
    expect((await refused({ model: base, batch, temperature: 0 })).message).toMatch(/temperature/);
    expect((await refused({ model: {} as LanguageModel, batch })).message).toBe(
      'expected a model of heed: create one with the methods of LanguageModel or ScalarModel',
    );
    const elsewhere = await Engine.create({ threads: 1 });
    const far = await LanguageModel.load(elsewhere, join(FIXTURES, 'llama'));
    expect((await refused({ model: a, batch }, { model: far, batch })).message).toBe(
      'the models belong to different engines',
    );
    await elsewhere.dispose();
    expect(await computeTogether([])).toEqual([]);
    const reason = new Error('enough');
    const much = packResponses(
      Array.from({ length: 3000 }, (_, i) => ({ prompt: ids(10, i), responses: [ids(20, i)] })),
    );
    const controller = new AbortController();
    const running = rejection(
      computeTogether(
        [
          { model: a, batch: much },
          { model: base, batch: much },
        ],
        { signal: controller.signal },
      ),
    );
    setTimeout(() => controller.abort(reason), 5);
    expect(await running).toBe(reason);
    await a.dispose();
    expect((await refused({ model: base, batch }, { model: a, batch })).code).toBe('ERR_DISPOSED');
    expect(await computeTogether([{ model: base, batch }])).toHaveLength(1);
  } finally {
    await engine.dispose();
  }
});
