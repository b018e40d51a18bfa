// Scaled rotary positions: frequencies and factors as transformers 5.18 computes them (`ROPE_INIT_FUNCTIONS`).
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { configFromHf, configToHf, requireOfFamily } from '../../lib/huggingface/config.js';
import { contextOf, ropeFactor, ropeFrequencies } from '../../lib/huggingface/rope.js';
import { packResponses } from '../../lib/runtime/batch.js';
import { Engine } from '../../lib/runtime/engine.js';
import { LanguageModel } from '../../lib/runtime/model.js';

const sizes = {
  num_hidden_layers: 1, hidden_size: 64, num_attention_heads: 4, intermediate_size: 8, vocab_size: 9, max_position_embeddings: 256,
}; // biome-ignore format: a table
const read = (json: object) => configFromHf({ model_type: 'llama', ...sizes, ...json }, 'config.json');
const ropeOf = (parameters: object, others: object = {}) =>
  read({ rope_parameters: { rope_theta: 1e4, ...parameters }, ...others }).config.rope!;

const usual = [1, 0.2371708, 0.05, 0.007905695, 0.0025, 0.0007905695, 0.00025, 7.905695e-5];
const short = [1, 0.3162278, 0.1, 0.01581139, 0.003333333, 0.0007905695, 0.0002, 5.270463e-5];
const lists = {
  short_factor: [1, 1, 1, 2, 3, 4, 5, 6],
  long_factor: Array(8).fill(2),
  original_max_position_embeddings: 64,
};

describe.each([
  ['yarn', { factor: 4, original_max_position_embeddings: 64 }, usual, 1.138629436111989],
  [
    'yarn',
    {
      factor: 4,
      original_max_position_embeddings: 64,
      mscale: 0.7,
      mscale_all_dim: 1.3,
      beta_fast: 8,
      beta_slow: 2,
      truncate: false,
    },
    [1, 0.1605892, 0.025, ...usual.slice(3)],
    0.9295234923939468,
  ],
  // Both count, or none.
  ['yarn', { factor: 4, original_max_position_embeddings: 64, mscale: 0.7 }, usual, 1.138629436111989],
  ['yarn', { factor: 4, original_max_position_embeddings: 64, mscale_all_dim: 1.3 }, usual, 1.138629436111989],
  [
    'yarn',
    { factor: null, original_max_position_embeddings: 64, beta_fast: 0, beta_slow: 0 },
    usual,
    1.138629436111989,
  ],
  ['yarn', { factor: 4, original_max_position_embeddings: 64, attention_factor: 1.5 }, usual, 1.5],
  // No frequency is between the bounds, which are both 0; all are, the upper bound being the last channel.
  [
    'yarn',
    { factor: 4, original_max_position_embeddings: 4 },
    [1, 0.07905694, 0.025, 0.007905694, 0.0025, 0.0007905694, 0.00025, 7.905694e-5],
    1.138629436111989,
  ],
  [
    'yarn',
    { factor: 4, rope_theta: 2, original_max_position_embeddings: 64 },
    Array.from({ length: 8 }, (_, j) => 2 ** (-j / 8) * (1 - 0.75 * (j / 15))),
    1.138629436111989,
  ],
  ['longrope', lists, short, 1.1547005383792517],
  ['longrope', { ...lists, factor: 9 }, short, 1.2362527385505437],
  ['longrope', { ...lists, attention_factor: 1.19 }, short, 1.19],
])('%s with %j', (rope_type, parameters, frequencies, factor) => {
  const rope = ropeOf({ rope_type, ...parameters });

  test('has these frequencies', () => {
    const found = ropeFrequencies(rope, 16);
    expect(found).toHaveLength(8);
    for (const [j, frequency] of found.entries()) expect(frequency / frequencies[j]!).toBeCloseTo(1, 6);
    expect(ropeFactor(rope)).toBeCloseTo(factor, 12);
  });

  test('is read back as it was written', () => {
    const { config, kind, specialTokens, scoreOffset } = read({
      rope_parameters: { rope_theta: 1e4, rope_type, ...parameters },
    });
    const written = configToHf({ config, kind, specialTokens, scoreOffset }, 'F32');
    expect(configFromHf(JSON.parse(JSON.stringify(written)), 'config.json').config).toEqual(config);
    expect(written.max_position_embeddings).toBe(256);
    expect(() => requireOfFamily(config)).not.toThrow();
  });
});

test('original_max_position_embeddings beside the parameters comes first, within them else, then the context', () => {
  const yarn = { rope_type: 'yarn', factor: 4 };
  const original = (parameters: object, others: object = {}) => ropeOf(parameters, others).scaling;
  expect(
    original({ ...yarn, original_max_position_embeddings: 64 }, { original_max_position_embeddings: 128 }),
  ).toMatchObject({
    originalMaxPositions: 128,
  });
  expect(original({ ...yarn, original_max_position_embeddings: 64 })).toMatchObject({ originalMaxPositions: 64 });
  expect(original(yarn)).toMatchObject({ originalMaxPositions: 256 });
  const llama3 = { rope_type: 'llama3', factor: 8, low_freq_factor: 1, high_freq_factor: 4 };
  expect(original(llama3, { original_max_position_embeddings: 32 })).toMatchObject({ originalMaxPositions: 32 });
  const { ignored } = read({ rope_parameters: llama3, original_max_position_embeddings: 32 });
  expect(ignored).toEqual([]);
});

test('dynamic scaling is none within the context', () => {
  const rope = ropeOf({ rope_type: 'dynamic', factor: 4 });
  expect(rope.scaling).toEqual({ type: 'dynamic', factor: 4 });
  expect(ropeFrequencies(rope, 16)).toEqual(ropeFrequencies({ theta: 1e4, scaling: null }, 16));
  expect(ropeFactor(rope)).toBe(1);
  expect(contextOf(rope, 256)).toBe(256);
});

test('longrope ends the context where the long factors would begin, with a notice', () => {
  const { config, notices } = read({ rope_parameters: { rope_type: 'longrope', rope_theta: 1e4, ...lists } });
  expect(config.maxPositions).toBe(64);
  expect(notices).toEqual([
    expect.stringMatching(/^max_position_embeddings of config\.json is 256, but texts may have 64 tokens/),
  ]);
  const whole = { ...lists, original_max_position_embeddings: 512 };
  expect(read({ rope_parameters: { rope_type: 'longrope', ...whole } })).toMatchObject({
    config: { maxPositions: 256 },
    notices: [],
  });
});

test("Phi-3's older names of longrope, and its default", () => {
  for (const type of ['su', 'yarn']) {
    const { config } = read({
      model_type: 'phi3',
      rope_scaling: { type, ...lists },
      original_max_position_embeddings: 64,
    });
    expect(config.rope!.scaling).toMatchObject({ type: 'longrope', originalMaxPositions: 64 });
  }
  // Its class has 4096 where the key is missing, which comes before what the parameters say.
  const { config } = read({ model_type: 'phi3', rope_scaling: { type: 'longrope', ...lists } });
  expect(config.rope!.scaling).toMatchObject({ originalMaxPositions: 4096 });
});

test('a key that transformers would look for elsewhere is refused', () => {
  const yarn = { rope_type: 'yarn', factor: 4, truncate: false };
  const rope_parameters = { full_attention: yarn, sliding_attention: { rope_type: 'default' } };
  expect(() => read({ model_type: 'gemma3_text', rope_parameters })).toThrow(
    'config.json: rope_parameters.full_attention.truncate is false, heed implements only true',
  );
});

test('a wrong number of factors is named by its key', () => {
  const rope = ropeOf({ rope_type: 'longrope', ...lists, short_factor: [1, 1] });
  expect(() => ropeFrequencies(rope, 16)).toThrow('rope.scaling.shortFactor is [1,1], expected 8 positive numbers');
});

test.each([
  [{ rope_type: 'yarn', factor: 0.5 }, 'rope.scaling.factor is 0.5, expected 1 or more'],
  [
    { rope_type: 'yarn', factor: 2, attention_factor: -1 },
    'rope.scaling.attentionFactor is -1, expected a positive number',
  ],
  [
    { rope_type: 'yarn', factor: 2, beta_fast: 1, beta_slow: 2 },
    'rope.scaling.betaFast is 1, expected at least betaSlow (2)',
  ],
  [{ rope_type: 'yarn', factor: 2, beta_slow: -2 }, 'rope.scaling.betaSlow is -2, expected a positive number'],
])('%j is refused', (parameters, message) => {
  const rope = ropeOf(parameters);
  expect(() => [ropeFrequencies(rope, 16), ropeFactor(rope)]).toThrow(message);
});

test('GPT-2 has two names for its sizes', () => {
  const json = {
    model_type: 'gpt2',
    hidden_size: 32,
    num_attention_heads: 2,
    num_hidden_layers: 3,
    max_position_embeddings: 48,
  };
  const { config, ignored } = configFromHf(json, 'config.json');
  expect(config).toMatchObject({ channels: 32, numHeads: 2, numLayers: 3, maxPositions: 48 });
  expect(ignored).toEqual([]);
});

test('layers with windows have their own frequencies and factor', async () => {
  const source = resolve('test/fixtures/gemma3');
  const engine = await Engine.create({ threads: 1 });
  const yarn = { rope_type: 'yarn', rope_theta: 500, factor: 4, original_max_position_embeddings: 16 };
  const plain = { rope_type: 'default', rope_theta: 900 };
  const logprobs = async (type: string, full: object, sliding: object) => {
    const dir = mkdtempSync(join(tmpdir(), 'heed-rope-'));
    try {
      cpSync(source, dir, { recursive: true });
      const json = JSON.parse(readFileSync(join(source, 'config.json'), 'utf8')) as object;
      const rope_parameters = { full_attention: full, sliding_attention: sliding };
      const changed = { ...json, rope_parameters, sliding_window: 96, layer_types: Array(3).fill(type) };
      writeFileSync(join(dir, 'config.json'), JSON.stringify(changed));
      const model = await LanguageModel.load(engine, dir);
      const responses = [Int32Array.from({ length: 30 }, (_, i) => (7 * i) % 60)];
      return await model.logprobs(packResponses([{ prompt: Int32Array.of(3, 4), responses }]));
    } finally {
      rmSync(dir, { recursive: true });
    }
  };
  try {
    // A window that no text fills: the kinds of layers differ by their positions alone.
    const inFull = await logprobs('full_attention', yarn, plain);
    expect(await logprobs('sliding_attention', plain, yarn)).toEqual(inFull);
    expect(await logprobs('sliding_attention', yarn, plain)).not.toEqual(inFull);
    const larger = await logprobs('full_attention', { ...yarn, attention_factor: 1.5 }, plain);
    expect(larger).not.toEqual(inFull);
    expect(await logprobs('sliding_attention', plain, { ...yarn, attention_factor: 1.5 })).toEqual(larger);
  } finally {
    await engine.dispose();
  }
});
