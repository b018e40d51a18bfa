import { mkdir, mkdtemp, readdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { DataError } from '../../lib/core/errors.js';
import { layOut, match, readHeader } from '../../lib/huggingface/safetensors.js';
import { packResponses, packScores } from '../../lib/runtime/batch.js';
import { Engine } from '../../lib/runtime/engine.js';
import { LanguageModel, ScalarModel } from '../../lib/runtime/model.js';
import { configs, gpt2, ids, language, llama, plain, rejection } from './support.js';

let dir: string;
let engine: Engine;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'heed-files-'));
  engine = await Engine.create();
});
afterAll(async () => {
  await engine.dispose();
  await rm(dir, { recursive: true });
});

const batch = packResponses([{ prompt: ids(4), responses: [ids(3, 2), ids(5, 3)] }]);
let files = 0;
async function fileOf(...parts: (string | Uint8Array)[]): Promise<string> {
  const path = join(dir, `file${files++}.safetensors`);
  await writeFile(path, Buffer.concat(parts.map((p) => Buffer.from(p as Uint8Array))));
  return path;
}
function headerOf(header: unknown): Uint8Array {
  const json = typeof header === 'string' ? Buffer.from(header) : Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  return Buffer.concat([length, json]);
}
const entry = (begin: number, end: number, shape = [(end - begin) / 4], dtype = 'F32') => ({
  dtype,
  shape,
  data_offsets: [begin, end],
});

describe('readHeader', () => {
  test('the output of layOut is read back', async () => {
    const tensors = [
      { name: 'a', shape: [2, 3] },
      { name: 'b', shape: [] },
      { name: 'empty', shape: [0, 4] },
    ];
    for (const dtype of ['F32', 'BF16'] as const) {
      const { prefix, places } = layOut(tensors, dtype, { note: 'x' });
      expect(prefix.length % 8).toBe(0);
      const bytes = dtype === 'F32' ? 28 : 14;
      const { tensors: read, metadata } = await readHeader(await fileOf(prefix, new Uint8Array(bytes)));
      expect(metadata).toEqual({ format: 'pt', note: 'x' });
      for (const { name, offset } of places) expect(read.get(name)).toMatchObject({ dtype, offset });
      expect(read.get('b')!.offset - prefix.length).toBe(bytes - bytes / 7);
    }
  });

  const two = { a: entry(0, 8), b: entry(8, 16) };
  test.each<[string, (string | Uint8Array)[], string]>([
    ['an empty file', [], 'has 0 bytes, expected at least 8'],
    ['four bytes', [new Uint8Array(4)], 'has 4 bytes, expected at least 8'],
    ['a header that ends after the file', [headerOf(two).subarray(0, 30)], 'is truncated'],
    ['a header of more than 100 MB', [new Uint8Array([0, 0, 0, 0, 1, 0, 0, 0, 123, 125])], 'expected at most 100 MB'],
    ['a length of all ones', [new Uint8Array(8).fill(255), '{}'], 'expected at most 100 MB'],
    ['a header that is not valid JSON', [headerOf('{"a": ')], 'is not valid JSON'],
    ['an array', [headerOf([])], 'is not a JSON object'],
    ['null', [headerOf(null)], 'is not a JSON object'],
    ['truncated data', [headerOf(two), new Uint8Array(12)], 'tensor b ends at byte'],
    ['no data', [headerOf(two)], 'tensor a ends at byte'],
    ['bytes at the end', [headerOf(two), new Uint8Array(20)], 'the last 4 bytes belong to no tensor'],
    [
      'a gap',
      [headerOf({ a: entry(0, 8), b: entry(12, 16) }), new Uint8Array(16)],
      '4 bytes before tensor b belong to no',
    ],
    [
      'overlapping tensors',
      [headerOf({ a: entry(0, 12), b: entry(8, 16) }), new Uint8Array(16)],
      'tensor b overlaps tensor a',
    ],
    ['the same bytes twice', [headerOf({ a: entry(0, 8), b: entry(0, 8) }), new Uint8Array(8)], 'overlaps tensor'],
    [
      'a shape that is too large',
      [headerOf({ a: entry(0, 8, [3]) }), new Uint8Array(8)],
      'tensor a has 8 bytes, but F32 of shape (3) takes 12',
    ],
    [
      'a shape that overflows',
      [headerOf({ a: entry(0, 8, [2 ** 40, 2 ** 40]) }), new Uint8Array(8)],
      'tensor a has 8 bytes, but',
    ],
    ['a negative shape', [headerOf({ a: entry(0, 8, [-2]) }), new Uint8Array(8)], 'tensor a has the shape [-2]'],
    [
      'a fractional shape',
      [headerOf({ a: entry(0, 8, [0.5, 4]) }), new Uint8Array(8)],
      'tensor a has the shape [0.5,4]',
    ],
    [
      'a shape that is not a list',
      [headerOf({ a: { ...entry(0, 8), shape: 2 } }), new Uint8Array(8)],
      'tensor a has the shape 2',
    ],
    ['an unknown dtype', [headerOf({ a: entry(0, 8, [2], 'F33') }), new Uint8Array(8)], 'tensor a has the dtype "F33"'],
    [
      'a dtype that is not a string',
      [headerOf({ a: { ...entry(0, 8), dtype: 4 } }), new Uint8Array(8)],
      'tensor a has the dtype 4',
    ],
    [
      'decreasing offsets',
      [headerOf({ a: { ...entry(0, 8), data_offsets: [8, 0] } }), new Uint8Array(8)],
      'data_offsets [8,0]',
    ],
    [
      'negative offsets',
      [headerOf({ a: { ...entry(0, 8), data_offsets: [-8, 0] } }), new Uint8Array(8)],
      'data_offsets [-8,0]',
    ],
    ['one offset', [headerOf({ a: { ...entry(0, 8), data_offsets: [0] } }), new Uint8Array(8)], 'data_offsets [0]'],
    [
      'an entry that is not an object',
      [headerOf({ a: [1, 2] }), new Uint8Array(8)],
      'tensor a is [1,2], expected an object',
    ],
    ['no entry', [headerOf({ a: null })], 'tensor a is null, expected an object'],
    ['metadata of numbers', [headerOf({ __metadata__: { steps: 4 } })], '__metadata__ is not an object of strings'],
    [
      'offsets beyond 2^53',
      [headerOf('{"a":{"dtype":"F32","shape":[2],"data_offsets":[9007199254740992,9007199254741000]}}')],
      'data_offsets',
    ],
  ])('refuses %s', async (_name, parts, message) => {
    const path = await fileOf(...parts);
    const error = await rejection(readHeader(path));
    expect(error).toBeInstanceOf(DataError);
    expect(error.message.startsWith(`${path}: `)).toBe(true);
    expect(error.message).toContain(message);
  });

  test('names of JavaScript properties are ordinary names', async () => {
    const { tensors } = await readHeader(
      await fileOf(headerOf('{"__proto__":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'), new Uint8Array(8)),
    );
    expect([...tensors.keys()]).toEqual(['__proto__']);
  });

  test('a missing file, and a folder', async () => {
    expect((await rejection(readHeader(join(dir, 'none')))).code).toBe('ERR_IO');
    expect((await rejection(readHeader(dir))).code).toBe('ERR_IO');
  });
});

describe('match', () => {
  const wanted = [{ name: 'x.w', shape: [2], fileNames: ['x.w', 'w'] }];
  const header = async (content: object, bytes = 8) => {
    const path = await fileOf(headerOf(content), new Uint8Array(bytes));
    return { path, header: await readHeader(path) };
  };
  const find = (h: Awaited<ReturnType<typeof header>>, ignored = (_: string) => false) =>
    match(h.path, h.header, wanted, ignored);

  test('finds a tensor under either name', async () => {
    for (const name of ['x.w', 'w'])
      expect(find(await header({ [name]: entry(0, 8) }))).toMatchObject([{ name: 'x.w' }]);
  });
  test.each([
    ['missing', { y: entry(0, 8) }, 'tensor x.w is missing'],
    [
      'of another shape',
      { w: entry(0, 8, [1, 2]) },
      'tensor w has the shape (1, 2), expected (2) by the configuration',
    ],
    ['of another dtype', { w: entry(0, 8, [1], 'F64') }, 'tensor w has the dtype F64, expected F32, BF16 or F16'],
    ['beside an unknown one', { w: entry(0, 4, [2], 'BF16'), y: entry(4, 8) }, 'tensor y is not part of the model'],
  ])('a tensor that is %s', async (_name, content, message) => {
    const h = await header(content);
    expect(() => find(h)).toThrow(DataError);
    expect(() => find(h)).toThrow(message);
  });
  test('ignored tensors may be present', async () => {
    const h = await header({ w: entry(0, 4, [2], 'BF16'), y: entry(4, 8) });
    expect(find(h, (name) => name === 'y')).toHaveLength(1);
  });
});

describe.each(configs)('folders of %s', (_name, config) => {
  test('a saved model is loaded bit-identically, with its special tokens', async () => {
    const model = await LanguageModel.init(engine, config, { seed: 1, specialTokens: { bos: 1, eos: [2, 3], pad: 4 } });
    const target = join(dir, `${config.family}-saved`);
    await model.save(target);
    const loaded = await LanguageModel.load(engine, target);
    expect(loaded.config).toEqual(model.config);
    expect(loaded.specialTokens).toEqual({ bos: 1, eos: [2, 3], pad: 4 });
    for (const { name } of model.parameters())
      expect(plain(await loaded.parameter(name))).toEqual(plain(await model.parameter(name)));
    expect((await readdir(target)).sort()).toEqual(['config.json', 'model.safetensors']);
  });

  test('BF16 rounds to nearest, and is read back exactly', async () => {
    const model = await language(engine, config);
    const target = join(dir, `${config.family}-bf16`);
    await model.save(target, { dtype: 'bf16' });
    const loaded = await LanguageModel.load(engine, target);
    const { name } = model.parameters()[0]!;
    const [x, y] = [plain(await model.parameter(name)), plain(await loaded.parameter(name))];
    x.forEach((value, i) => {
      expect(Math.abs(y[i]! - value)).toBeLessThanOrEqual(Math.abs(value) * 2 ** -8);
    });
    await loaded.save(target, { dtype: 'bf16' });
    expect(plain(await (await LanguageModel.load(engine, target)).parameter(name))).toEqual(y);
    expect(JSON.parse(await readFile(join(target, 'config.json'), 'utf8')).dtype).toBe('bfloat16');
  });

  test('a reward model whose padding ends its texts is read before the end, in training too, and stays so', async () => {
    const scalar = await ScalarModel.from(await language(engine, config), { seed: 2, specialTokens: { eos: 3 } });
    const target = join(dir, `${config.family}-padded`);
    await scalar.save(target);
    const file = join(target, 'config.json');
    const json = JSON.parse(await readFile(file, 'utf8'));
    await writeFile(file, JSON.stringify({ ...json, pad_token_id: 3 }));
    const padded = await ScalarModel.load(engine, target);
    const tree = (...responses: number[][]) => packScores([{ prompt: [5, 6], responses }]);
    const whole = tree([7, 3], [8, 9, 3, 3], [10]);
    const cut = tree([7], [8, 9], [10]);
    const scores = plain(await padded.scores(whole));
    expect(scores).toEqual(plain(await scalar.scores(cut)));
    expect(scores).not.toEqual(plain(await scalar.scores(whole)));
    const trainer = await padded.trainer();
    const ranked = await trainer.reward(whole, { ranks: Int32Array.of(0, 1, 2), cuGroups: whole.cuGroups, scale: 1 });
    expect(plain(ranked.scores)).toEqual(scores);
    const again = join(dir, `${config.family}-padded-again`);
    await padded.save(again);
    expect(plain(await (await ScalarModel.load(engine, again)).scores(whole))).toEqual(scores);
  });

  test('a scalar model keeps its scores, including the offset', async () => {
    const scalar = await ScalarModel.from(await language(engine, config), {
      seed: 2,
      specialTokens: { eos: 0, pad: 0 },
    });
    await scalar.shiftScores(-0.5);
    const trees = packScores([{ prompt: ids(4), responses: [ids(3, 2), ids(5, 3)] }]);
    const target = join(dir, `${config.family}-scalar`);
    await scalar.save(target);
    const loaded = await ScalarModel.load(engine, target);
    expect(plain(await loaded.scores(trees))).toEqual(plain(await scalar.scores(trees)));
    const json = JSON.parse(await readFile(join(target, 'config.json'), 'utf8'));
    expect(json.pad_token_id).toBe(1); // not the end token
    expect(json.heed).toEqual(config.norm === 'rms' ? { score_offset: -0.5 } : undefined);
    expect(plain(await (await ScalarModel.loadOrFrom(engine, target, { seed: 9 })).scores(trees))).toEqual(
      plain(await scalar.scores(trees)),
    );
    expect((await rejection(LanguageModel.load(engine, target))).message).toContain('ScalarModel.load()');
  });

  test('loadOrFrom gives a language model a fresh head; load does not', async () => {
    const target = join(dir, `${config.family}-language`);
    await (await language(engine, config)).save(target);
    const [a, b] = [
      await ScalarModel.loadOrFrom(engine, target, { seed: 1 }),
      await ScalarModel.loadOrFrom(engine, target, { seed: 2 }),
    ];
    expect(plain(await a.parameter('score.weight'))).not.toEqual(plain(await b.parameter('score.weight')));
    expect((await rejection(ScalarModel.load(engine, target))).message).toContain('loadOrFrom');
  });

  // A saved tied model whose tensors are written again, under other names and with others beside them.
  const rewritten = async (
    change: (put: (name: string, shape: readonly number[], data: Uint8Array) => void) => void,
    rename = (name: string) => name,
  ) => {
    const tied = await language(engine, { ...config, tiedHead: true });
    const target = join(dir, `${config.family}-rewritten${files++}`);
    await tied.save(target);
    const path = join(target, 'model.safetensors');
    const { tensors } = await readHeader(path);
    const bytes = await readFile(path);
    const header: Record<string, unknown> = {};
    const parts: Uint8Array[] = [];
    let end = 0;
    const put = (name: string, shape: readonly number[], data: Uint8Array) => {
      header[name] = { dtype: 'F32', shape, data_offsets: [end, end + data.length] };
      end += data.length;
      parts.push(data);
    };
    for (const [name, t] of tensors) put(rename(name), t.shape, bytes.subarray(t.offset, t.offset + t.bytes));
    change(put);
    await writeFile(path, Buffer.concat([headerOf(header), ...parts]));
    const notices: string[] = [];
    const load = () => LanguageModel.load(engine, target, { onNotice: (sentence) => notices.push(sentence) });
    return { tied, target, notices, load };
  };
  const logits = async (model: LanguageModel) => plain(await model.logits(batch));
  const embedding = async (model: LanguageModel) => await model.parameter(model.parameters()[0]!.name);
  const bytesOf = (values: Float32Array) => new Uint8Array(Float32Array.from(values).buffer);
  const shape = [config.vocabSize, config.channels];

  test('names without the prefix of the class, old buffers and a head saved twice are accepted', async () => {
    const head = bytesOf(await embedding(await language(engine, { ...config, tiedHead: true })));
    const { tied, load, notices } = await rewritten(
      (put) => {
        put(
          config.norm === 'layer' ? 'h.0.attn.bias' : 'layers.0.self_attn.rotary_emb.inv_freq',
          [1],
          new Uint8Array(4),
        );
        put('lm_head.weight', shape, head);
      },
      (name) => name.replace(/^(transformer|model)\./, ''),
    );
    const loaded = await load();
    expect(loaded.config.tiedHead).toBe(true);
    expect(await logits(loaded)).toEqual(await logits(tied));
    expect(notices).toEqual([]);
  });

  test('a tied model may have only the head', async () => {
    const name = (await language(engine, config)).parameters()[0]!.name;
    const { tied, load } = await rewritten(
      () => {},
      (given) => (given === name ? 'lm_head.weight' : given),
    );
    expect(await logits(await load())).toEqual(await logits(tied));
  });

  test('a head that is not the embedding is used, whatever config.json says, and saved as such', async () => {
    const other = await embedding(await language(engine, config, 5));
    const { tied, target, load, notices } = await rewritten((put) => put('lm_head.weight', shape, bytesOf(other)));
    const loaded = await load();
    expect(loaded.config.tiedHead).toBe(false);
    expect(await logits(loaded)).not.toEqual(await logits(tied));
    expect(plain(await loaded.parameter('lm_head.weight'))).toEqual(plain(other));
    expect(notices).toEqual([
      expect.stringContaining('ties the language head to the embedding, but the weights contain a different head'),
    ]);
    await loaded.save(target);
    expect(JSON.parse(await readFile(join(target, 'config.json'), 'utf8')).tie_word_embeddings).toBe(false);
    expect(await logits(await load())).toEqual(await logits(loaded));
  });

  test.each([
    ['_orig_mod.', (name: string) => `_orig_mod.${name}`, 'torch.compile'],
    ['module._orig_mod.', (name: string) => `module._orig_mod.${name}`, 'DataParallel'],
    ['within', (name: string) => name.replace('.0.', '.0._checkpoint_wrapped_module.'), 'activation checkpointing'],
  ])('names with the prefix of a training program: %s', async (_name, rename, program) => {
    const { tied, load, notices } = await rewritten(() => {}, rename);
    expect(await logits(await load())).toEqual(await logits(tied));
    expect(notices.join()).toContain(program);
  });

  test("TRL's value head is ignored, with a notice", async () => {
    const { tied, load, notices } = await rewritten((put) => put('v_head.summary.weight', [1], new Uint8Array(4)));
    expect(await logits(await load())).toEqual(await logits(tied));
    expect(notices).toEqual([expect.stringContaining('v_head.summary.weight')]);
  });

  test('a tensor with and without a prefix is refused', async () => {
    const name = (await language(engine, config)).parameters()[0]!.name;
    const { load } = await rewritten((put) => put(`module.${name}`, [1], new Uint8Array(4)));
    expect((await rejection(load())).message).toContain(
      `tensor module.${name} is present twice, the other time as ${name}`,
    );
  });

  test('several files of at most the given size, with an index', async () => {
    const model = await language(engine, config);
    const target = join(dir, `${config.family}-shards`);
    await model.save(target, { maxShardBytes: 4000 });
    const names = (await readdir(target)).sort();
    const count = names.filter((name) => name.endsWith('.safetensors')).length;
    expect(count).toBeGreaterThan(2);
    expect(names).toContain(`model-00001-of-${String(count).padStart(5, '0')}.safetensors`);
    const index = JSON.parse(await readFile(join(target, 'model.safetensors.index.json'), 'utf8'));
    const numbers = model.parameters().reduce((sum, p) => sum + p.shape.reduce((n, d) => n * d, 1), 0);
    expect(index.metadata.total_size).toBe(4 * numbers);
    expect(Object.keys(index.weight_map)).toEqual(model.parameters().map(({ name }) => name));
    for (const name of names.filter((n) => n.endsWith('.safetensors'))) {
      const { tensors } = await readHeader(join(target, name));
      const bytes = [...tensors.values()].map((t) => t.bytes);
      expect(bytes.length === 1 || bytes.reduce((a, b) => a + b, 0) <= 4000).toBe(true);
    }
    const loaded = await LanguageModel.load(engine, target);
    for (const { name } of model.parameters())
      expect(plain(await loaded.parameter(name))).toEqual(plain(await model.parameter(name)));
    await model.save(target); // replaces the earlier files
    expect((await readdir(target)).sort()).toEqual(['config.json', 'model.safetensors']);
  });

  test('F16 rounds to nearest, and is read back exactly; values outside its range are refused', async () => {
    const model = await language(engine, config);
    const target = join(dir, `${config.family}-f16`);
    await model.save(target, { dtype: 'f16' });
    const loaded = await LanguageModel.load(engine, target);
    const { name } = model.parameters()[0]!;
    const [x, y] = [plain(await model.parameter(name)), plain(await loaded.parameter(name))];
    x.forEach((value, i) => {
      expect(Math.abs(y[i]! - value)).toBeLessThanOrEqual(Math.max(Math.abs(value) * 2 ** -11, 2 ** -25));
    });
    await loaded.save(target, { dtype: 'f16' });
    expect(plain(await (await LanguageModel.load(engine, target)).parameter(name))).toEqual(y);
    expect(JSON.parse(await readFile(join(target, 'config.json'), 'utf8')).dtype).toBe('float16');
    const scalar = await ScalarModel.from(model, { seed: 1 });
    await scalar.scaleScores(1e7);
    const error = await rejection(scalar.save(target, { dtype: 'f16' }));
    expect(error.message).toMatch(/^score\.weight holds -?\d.*, outside the range of float16$/);
  });
});

describe('weights in several files', () => {
  const split = async (change: (shards: Record<string, string[]>) => void = () => {}) => {
    const folder = join(dir, `split${files++}`);
    const model = await language(engine, llama);
    await model.save(folder);
    const single = join(folder, 'model.safetensors');
    const { tensors } = await readHeader(single);
    const bytes = await readFile(single);
    await rm(single);
    const names = [...tensors.keys()];
    const shards = {
      'a.safetensors': names.filter((_, i) => i % 2 === 0),
      'b.safetensors': names.filter((_, i) => i % 2 === 1),
    };
    change(shards);
    const weightMap: Record<string, string> = {};
    for (const [file, held] of Object.entries(shards)) {
      let end = 0;
      const header: Record<string, unknown> = {};
      const parts = held.map((name) => {
        const t = tensors.get(name)!;
        header[name] = entry(end, end + t.bytes, [...t.shape]);
        end += t.bytes;
        weightMap[name] = file;
        return bytes.subarray(t.offset, t.offset + t.bytes);
      });
      await writeFile(join(folder, file), Buffer.concat([headerOf(header), ...parts]));
    }
    await writeFile(
      join(folder, 'model.safetensors.index.json'),
      JSON.stringify({ metadata: {}, weight_map: weightMap }),
    );
    return { folder, model };
  };

  test('are read as given by the index', async () => {
    const { folder, model } = await split();
    const loaded = await LanguageModel.load(engine, folder);
    expect(plain((await loaded.logprobs(batch)).logprobs)).toEqual(plain((await model.logprobs(batch)).logprobs));
  });

  test('are refused if one is missing or present twice', async () => {
    const lacking = await split((shards) => shards['a.safetensors']!.shift());
    expect((await rejection(LanguageModel.load(engine, lacking.folder))).message).toMatch(
      /index\.json: tensor \S+ is missing/,
    );
    const twice = await split((shards) => shards['b.safetensors']!.push(shards['a.safetensors']![0]!));
    expect((await rejection(LanguageModel.load(engine, twice.folder))).message).toMatch(
      /\.safetensors: tensor \S+ is also in .*\.safetensors$/,
    );
    const gone = await split();
    await rm(join(gone.folder, 'b.safetensors'));
    expect(await rejection(LanguageModel.load(engine, gone.folder))).toMatchObject({
      code: 'ERR_IO',
      message: expect.stringContaining('b.safetensors'),
    });
  });
});

describe('damaged folders', () => {
  const damaged = async (change: (folder: string, json: Record<string, unknown>) => Promise<void> | void) => {
    const folder = join(dir, `damaged${files++}`);
    await (await language(engine, gpt2)).save(folder);
    const file = join(folder, 'config.json');
    const json = JSON.parse(await readFile(file, 'utf8')) as Record<string, unknown>;
    await change(folder, json);
    await writeFile(file, JSON.stringify(json)).catch(() => {});
    return await rejection(LanguageModel.load(engine, folder));
  };

  test('a configuration that does not match the weights', async () => {
    const wider = await damaged((_, json) => {
      json.n_inner = 48;
    });
    expect(wider).toBeInstanceOf(DataError);
    expect(wider.message).toMatch(
      /model\.safetensors: tensor transformer\.h\.0\.mlp\.c_fc\.weight has the shape \(16, 40\), expected \(16, 48\) by the configuration/,
    );
    const deeper = await damaged((_, json) => {
      json.n_layer = 3;
    });
    expect(deeper.message).toContain('tensor transformer.h.2.ln_1.weight is missing');
    const shallower = await damaged((_, json) => {
      json.n_layer = 1;
    });
    expect(shallower.message).toContain('tensor transformer.h.1.ln_1.weight is not part of the model');
    const untied = await damaged((_, json) => {
      json.tie_word_embeddings = false;
    });
    expect(untied.message).toContain('tensor lm_head.weight is missing');
    const endless = await damaged((_, json) => {
      json.n_layer = 1e9;
    });
    expect(endless).toBeInstanceOf(DataError);
    expect(endless.message).toMatch(/config\.json: n_layer is 1000000000/);
  });

  test('files that are missing, truncated or not JSON', async () => {
    const cut = await damaged(async (folder) => {
      const path = join(folder, 'model.safetensors');
      await writeFile(path, (await readFile(path)).subarray(0, -100));
    });
    expect(cut.message).toMatch(/model\.safetensors: tensor .* is truncated/);
    const gone = await damaged((folder) => rm(join(folder, 'model.safetensors')));
    expect(gone.code).toBe('ERR_IO');
    expect(gone.message).toContain('model.safetensors');
    const split = await damaged(async (folder) => {
      await rm(join(folder, 'model.safetensors'));
      await writeFile(join(folder, 'model.safetensors.index.json'), '{}');
    });
    expect(split.message).toMatch(/model\.safetensors\.index\.json: weight_map is not a JSON object/);
    const outside = await damaged(async (folder) => {
      await rm(join(folder, 'model.safetensors'));
      await writeFile(join(folder, 'model.safetensors.index.json'), '{"weight_map":{"a":"../a.safetensors"}}');
    });
    expect(outside.message).toContain('weight_map.a is "../a.safetensors", expected the name of a file beside it');
    const pickled = await damaged((folder) =>
      rename(join(folder, 'model.safetensors'), join(folder, 'pytorch_model.bin')),
    );
    expect(pickled.message).toContain('heed does not read pytorch_model.bin');
    const none = await rejection(LanguageModel.load(engine, join(dir, 'nowhere')));
    expect([none.code, none.message.includes(join(dir, 'nowhere', 'config.json'))]).toEqual(['ERR_IO', true]);
    await mkdir(join(dir, 'text'), { recursive: true });
    await writeFile(join(dir, 'text/config.json'), 'model: gpt2');
    expect((await rejection(LanguageModel.load(engine, join(dir, 'text')))).message).toMatch(
      /config\.json: is not valid JSON/,
    );
  });

  test('the ends of generation_config.json win over those of config.json', async () => {
    const target = join(dir, 'ends');
    const model = await LanguageModel.init(engine, gpt2, { seed: 1, specialTokens: { eos: 2 } });
    await model.save(target);
    const eos = async (value: object) => {
      await writeFile(join(target, 'generation_config.json'), JSON.stringify(value));
      return (await LanguageModel.load(engine, target)).specialTokens.eos;
    };
    expect(await eos({})).toBe(2);
    expect(await eos({ eos_token_id: 5 })).toBe(5);
    const loaded = await eos({ eos_token_id: [0, 7, 9] });
    expect(loaded).toEqual([0, 7, 9]);
    const copy = join(dir, 'ends-copy');
    await (await LanguageModel.load(engine, target)).save(copy);
    expect((await LanguageModel.load(engine, copy)).specialTokens.eos).toEqual([0, 7, 9]);
    const bad = await rejection(eos({ eos_token_id: [0, 'x'] }));
    expect(bad.message).toContain(
      'generation_config.json: eos_token_id is [0,"x"], expected a token id or a list of them',
    );
  });

  test('a failed load holds no memory', async () => {
    const before = engine.usage().parameterBytes;
    await damaged((_, json) => {
      json.n_layer = 3;
    });
    const probe = await language(engine); // after the disposals that were queued
    await probe.dispose();
    const last = await language(engine);
    expect(engine.usage().parameterBytes).toBeLessThan(before + 3 * 64 * 1024);
    await last.dispose();
  });
});

describe('save', () => {
  test('replaces an earlier folder, and copies the tokenizer', async () => {
    const target = join(dir, 'replaced');
    const tokenizer = join(dir, 'tokenizer');
    await mkdir(tokenizer);
    await writeFile(join(tokenizer, 'tokenizer.json'), '{"tokens":1}');
    await writeFile(
      join(tokenizer, 'config.json'),
      JSON.stringify({ model_type: 'gpt2', eos_token_id: 7, pad_token_id: 8 }),
    );
    await writeFile(join(tokenizer, 'private.txt'), 'no');
    await mkdir(target);
    await writeFile(join(target, 'merges.txt'), 'of an earlier tokenizer');
    await (await language(engine, llama)).save(target, { tokenizerFrom: tokenizer });
    expect((await readdir(target)).sort()).toEqual(['config.json', 'model.safetensors', 'tokenizer.json']);
    expect(JSON.parse(await readFile(join(target, 'config.json'), 'utf8'))).toMatchObject({
      eos_token_id: 7,
      pad_token_id: 8,
    });
    expect((await readdir(dir)).filter((name) => name.startsWith('replaced'))).toEqual(['replaced']);
  });

  test('does not replace folders with other files', async () => {
    const target = join(dir, 'precious');
    const model = await language(engine, llama);
    await mkdir(target);
    await writeFile(join(target, 'notes.txt'), 'mine');
    expect((await rejection(model.save(target))).message).toBe(
      `cannot save ${target}: it holds notes.txt, which would be lost; choose another folder`,
    );
    expect((await rejection(model.save(join(target, 'notes.txt')))).message).toContain('it is a file');
    expect(await readFile(join(target, 'notes.txt'), 'utf8')).toBe('mine');
  });

  test('a failure leaves the earlier folder unchanged, and nothing else', async () => {
    const target = join(dir, 'kept');
    const model = await language(engine, llama);
    await model.save(target);
    const before = await readFile(join(target, 'model.safetensors'));
    const controller = new AbortController();
    controller.abort(new Error('stop'));
    expect((await rejection(model.save(target, { signal: controller.signal }))).message).toBe('stop');
    expect((await rejection(model.save(join(dir, 'kept/model.safetensors/inside')))).code).toBe('ERR_IO');
    expect(await readFile(join(target, 'model.safetensors'))).toEqual(before);
    expect((await readdir(dir)).filter((name) => name.startsWith('kept'))).toEqual(['kept']);
    expect(await rejection(model.save(target, { dtype: 'F16' as never }))).toBeInstanceOf(RangeError);
  });

  test('a full disk is reported, and no partial file remains', async () => {
    const model = await language(engine, llama);
    const trainer = await model.trainer();
    const full = join(dir, 'state');
    await symlink('/dev/full', `${full}.tmp-${process.pid}`); // where saveState writes before it renames
    const error = await rejection(trainer.saveState(full));
    expect(error.code).toBe('ERR_IO');
    expect(error.message).toMatch(/No space left on device/);
    expect((await readdir(dir)).filter((name) => name.startsWith('state'))).toEqual([]);
  });
});
