// Adapters against PEFT: what it writes heed loads, with the logits, gradients and optimizer steps of PyTorch in float64; what heed
// writes PEFT loads, with the same logits.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { type LoraOptions, packResponses, packScores } from '../../lib/index.js';
import { Engine } from '../../lib/runtime/engine.js';
import { LanguageModel, ScalarModel } from '../../lib/runtime/model.js';
import { FIXTURES, readJson, readTensors, relativeError, sequences } from './fixture.js';
import { runPython, testWithPython } from './python.js';

const ADAPTERS = join(FIXTURES, 'adapters');
const LANGUAGE = {
  'gpt2-all': 'gpt2',
  'gpt2-rslora': 'gpt2',
  'llama-all': 'llama',
  'llama-patterns': 'llama',
  'llama-regex': 'llama',
} as const;
const SCALAR = { 'llama-scalar': 'llama-scalar', 'gpt2-head': 'gpt2' } as const;

// float32 against float64. A gradient of a few numbers is small beside the terms of its sum, so that rounding weighs more.
const TOLERANCE = 3e-6;
const GRADIENT_TOLERANCE = 1e-5;
const STEP_TOLERANCE = 1e-5;
const STEP = { learningRate: 0.01 };

let engine: Engine;
beforeAll(async () => {
  engine = await Engine.create({ threads: 2 });
});
afterAll(() => engine.dispose());

/** Compares an adapter's gradients and parameters, before and after the step. */
async function compareTraining(
  name: string,
  model: LanguageModel | ScalarModel,
  trainer: { gradient(name: string): Promise<Float32Array>; step(o: typeof STEP): Promise<unknown> },
): Promise<void> {
  const expected = readTensors(join(ADAPTERS, name, 'expected.safetensors'));
  const names = model.parameters().map((parameter) => parameter.name);
  expect(names.sort()).toEqual(
    [...expected.keys()]
      .filter((key) => key.startsWith('grad.'))
      .map((key) => key.slice(5))
      .sort(),
  );
  for (const parameter of names) {
    const error = relativeError(await trainer.gradient(parameter), expected.get(`grad.${parameter}`)!);
    expect({ parameter, error: Math.max(0, error - GRADIENT_TOLERANCE) }).toEqual({ parameter, error: 0 });
  }
  await trainer.step(STEP);
  for (const parameter of names) {
    const error = relativeError(await model.parameter(parameter), expected.get(`step.${parameter}`)!);
    expect({ parameter, error: Math.max(0, error - STEP_TOLERANCE) }).toEqual({ parameter, error: 0 });
  }
}

test.each(Object.entries(LANGUAGE))('%s: logits, gradients, a step', async (name, base) => {
  const expected = readTensors(join(ADAPTERS, name, 'expected.safetensors'));
  const model = await LanguageModel.load(engine, join(FIXTURES, base), { adapter: join(ADAPTERS, name) });
  const batch = packResponses(sequences().trees);
  const before = await model.base!.parameter(model.base!.parameters()[3]!.name);
  expect(relativeError(await model.logits(batch), expected.get('logits')!)).toBeLessThan(TOLERANCE);
  expect(relativeError(await (model.base as LanguageModel).logits(batch), expected.get('logits')!)).toBeGreaterThan(
    1e-2,
  );
  const merged = await model.merge();
  expect(relativeError(await merged.logits(batch), expected.get('logits')!)).toBeLessThan(TOLERANCE);

  const trainer = await model.trainer({ weightDecay: 0.1 });
  const scale = 1 / batch.rows.length;
  const { loss } = await trainer.sft(batch, { scale });
  expect(relativeError([loss * scale], expected.get('loss')!)).toBeLessThan(TOLERANCE);
  await compareTraining(name, model, trainer);
  expect(await model.base!.parameter(model.base!.parameters()[3]!.name)).toEqual(before);
  await model.dispose();
  await merged.dispose();
});

test.each(Object.entries(SCALAR))('%s: scores, gradients, a step', async (name, base) => {
  const expected = readTensors(join(ADAPTERS, name, 'expected.safetensors'));
  const model = await ScalarModel.load(engine, join(FIXTURES, base), { adapter: join(ADAPTERS, name) });
  const { ranked } = sequences();
  const batch = packScores(ranked);
  expect(relativeError(await model.scores(batch), expected.get('scores')!)).toBeLessThan(TOLERANCE);
  const merged = await model.merge();
  expect(relativeError(await merged.scores(batch), expected.get('scores')!)).toBeLessThan(TOLERANCE);
  const trainer = await model.trainer({ weightDecay: 0.1 });
  const ranks = Int32Array.from(ranked.flatMap((prompt) => prompt.ranks));
  await trainer.reward(batch, { ranks, cuGroups: batch.cuGroups, scale: 1 / ranked.length });
  await compareTraining(name, model, trainer);
  await model.dispose();
  await merged.dispose();
});

testWithPython('PEFT loads what heed writes, and computes the same', async () => {
  const { trees } = sequences();
  const folder = mkdtempSync(join(tmpdir(), 'heed-adapters-'));
  const written: { base: string; dir: string; results: Float32Array }[] = [];
  const options: Record<string, LoraOptions> = {
    all: { rank: 3, alpha: 5, dropout: 0.1 },
    rslora: { rank: 4, targets: ['c_attn', 'q_proj', 'v_proj'], rslora: true },
    patterns: {
      rank: 2,
      targets: '.*(c_proj|o_proj|down_proj|attention.dense)',
      rankPattern: { 'h.1.attn.c_proj': 3, 'self_attn.o_proj': 3 },
      alphaPattern: { c_proj: 7, o_proj: 7 },
    },
  };
  try {
    const fused: Record<string, string[]> = { gpt2: ['c_attn'], gpt_neox: ['query_key_value'], phi3: ['qkv_proj'] };
    for (const base of ['gpt2', 'llama', 'qwen2', 'gpt_neox', 'phi3']) {
      const model = await LanguageModel.load(engine, join(FIXTURES, base));
      const batch = packResponses(trees);
      for (const [name, lora] of Object.entries(options)) {
        const own = lora.targets === options.rslora!.targets;
        const targets = own ? (fused[base] ?? ['q_proj', 'v_proj']) : lora.targets;
        const adapter = await model.adapter({ ...lora, targets, seed: 1 });
        const trainer = await adapter.trainer();
        for (let step = 0; step < 2; step++) {
          await trainer.sft(batch, { scale: 1 / batch.rows.length, dropoutSeed: step });
          await trainer.step({ learningRate: 0.02 });
        }
        const dir = join(folder, `${base}-${name}`);
        await adapter.save(dir);
        const results = await adapter.logits(batch);
        expect(relativeError(results, await model.logits(batch))).toBeGreaterThan(1e-2);
        const read = await model.adapter({ from: dir });
        expect(await read.logits(batch)).toEqual(results);
        written.push({ base: join(FIXTURES, base), dir, results });
        await adapter.dispose();
        await read.dispose();
      }
      const scalar = await model.scalarAdapter({ ...options.all!, seed: 2 });
      const dir = join(folder, `${base}-scalar`);
      await scalar.save(dir);
      written.push({ base: join(FIXTURES, base), dir, results: await scalar.scores(packScores(trees)) });
    }
    const output = runPython(join(import.meta.dirname, 'load_adapters.py'), [
      join(FIXTURES, 'sequences.json'),
      ...written.map(({ base, dir }) => `${base},${dir}`),
    ]);
    const loaded = JSON.parse(output) as { results: number[]; targets: string[]; base: string }[];
    expect(loaded).toHaveLength(written.length);
    loaded.forEach((theirs, i) => {
      const { base, dir, results } = written[i]!;
      const error = relativeError(results, theirs.results);
      expect({ dir, base: theirs.base, error: Math.max(0, error - TOLERANCE) }).toEqual({ dir, base, error: 0 });
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
});

testWithPython('fixtures remade', () => {
  const folder = mkdtempSync(join(tmpdir(), 'heed-fixtures-'));
  try {
    runPython(join(FIXTURES, 'adapters.py'), [folder]);
    for (const name of [...Object.keys(LANGUAGE), ...Object.keys(SCALAR)]) {
      const both = (file: string) => [join(folder, name, file), join(ADAPTERS, name, file)] as const;
      const [config, committed] = both('adapter_config.json').map(readJson<Record<string, unknown>>);
      if (config!.peft_version === committed!.peft_version) expect(config).toEqual(committed);
      const [weights, committedWeights] = both('adapter_model.safetensors').map((file) => readTensors(file));
      expect(weights).toEqual(committedWeights);
      const [results, committedResults] = both('expected.safetensors').map((file) => readTensors(file));
      for (const [key, values] of results!) {
        const error = relativeError(values, committedResults!.get(key)!);
        expect({ name, key, error: error < 1e-10 ? 0 : error }).toEqual({ name, key, error: 0 });
      }
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});

// Files that are not what they should be: each is refused by the name of the file and of what is wrong.
test('hostile files', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'heed-hostile-'));
  const base = await LanguageModel.load(engine, join(FIXTURES, 'llama'));
  const config = readJson<Record<string, unknown>>(join(ADAPTERS, 'llama-all', 'adapter_config.json'));
  const weights = readFileSync(join(ADAPTERS, 'llama-all', 'adapter_model.safetensors'));
  const file = join(folder, 'adapter_model.safetensors');
  const message = async (changes: Record<string, unknown>, bytes: Uint8Array = weights, on = base) => {
    writeFileSync(join(folder, 'adapter_config.json'), JSON.stringify({ ...config, ...changes }));
    writeFileSync(file, bytes);
    const failure = await on.adapter({ from: folder }).then(
      () => undefined,
      (error: Error) => error,
    );
    return failure?.message.replaceAll(folder, 'DIR') ?? 'no error';
  };
  try {
    expect(await message({})).toBe('no error');
    expect(await message({ peft_type: 'IA3' })).toBe(
      'DIR/adapter_config.json: peft_type is "IA3", heed implements only "LORA"',
    );
    expect(await message({ peft_type: null })).toMatch('peft_type is missing');
    expect(await message({ use_dora: true })).toMatch('use_dora is true, heed implements only false');
    expect(await message({ bias: 'all' })).toMatch('bias is "all", heed implements only "none"');
    expect(await message({ init_lora_weights: 'pissa' })).toMatch('init_lora_weights is "pissa"');
    expect(await message({ layers_to_transform: [0] })).toMatch('layers_to_transform is [0]');
    expect(await message({ modules_to_save: ['lm_head'] })).toMatch('modules_to_save has "lm_head"');
    expect(await message({ task_type: 'TOKEN_CLS' })).toMatch('task_type is "TOKEN_CLS"');
    expect(await message({ task_type: 'SEQ_CLS' })).toMatch('is the adapter of a scalar model');
    expect(await message({ target_modules: ['lm_head'] })).toMatch(
      'target_modules: targets is ["lm_head"], which matches no linear layer of the blocks; expected some of q_proj',
    );
    expect(await message({ target_modules: '(' })).toMatch('which is not a regular expression that heed can read');
    expect(await message({ target_modules: 3 })).toMatch('target_modules is 3, expected names');
    expect(await message({ r: 0 })).toMatch('r is 0, expected a whole number above 0');
    expect(await message({ rank_pattern: { q_proj: -1 } })).toMatch('rank_pattern.q_proj is -1');
    expect(await message({ lora_dropout: 1 })).toMatch('lora_dropout is 1, expected 0 or more and less than 1');
    expect(await message({ r: 5 })).toMatch(
      /tensor base_model\.model\.model\.layers\.0\.self_attn\.q_proj\.lora_A\.weight has the shape \(2, 24\), expected \(5, 24\)/,
    );
    expect(await message({ target_modules: ['q_proj'] })).toMatch(/tensor .* is not part of the model/);
    const lacking = Buffer.from(weights);
    lacking.write('lora_Q', lacking.indexOf('lora_A'));
    expect(await message({}, lacking)).toMatch(/tensor .*lora_A\.weight is missing/);
    const head = Buffer.from(weights);
    head.write('self_att.lm_head', head.indexOf('self_attn.q_proj'));
    expect(await message({}, head)).toMatch(
      /^DIR\/adapter_model\.safetensors: has .*\.lm_head\.lora_A\.weight, heed implements adapters of the linear layers of blocks$/,
    );
    expect(await message({}, weights.subarray(0, weights.length - 9))).toMatch('it is truncated');
    expect(await message({}, new TextEncoder().encode('<!doctype html><html>'))).toMatch(/HTML/);
    const poisoned = Buffer.from(weights);
    poisoned.writeUInt32LE(0x7fc00000, poisoned.length - 8);
    expect(await message({}, poisoned)).toMatch(/^DIR\/adapter_model\.safetensors: tensor .* has NaN at \d+, expected/);
    const other = await LanguageModel.load(engine, join(FIXTURES, 'gpt2'));
    expect(await message({}, weights, other)).toMatch('matches no linear layer of the blocks; expected some of c_attn');
    const narrow = await LanguageModel.load(engine, join(FIXTURES, 'qwen2'));
    expect(await message({}, weights, narrow)).toMatch(
      /has the shape \(2, 24\), expected \(2, 16\).*: the adapter is for another base than .*qwen2, or adapter_config\.json is not its own/,
    );
  } finally {
    rmSync(folder, { recursive: true });
    await base.dispose();
  }
});
