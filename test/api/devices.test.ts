// What device: 'cuda' and 'auto' say where something is missing, and what a fault of the device ends: each in a process of its own,
// on the CUDA module whose kernels run on the emulator.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { cudaModule } from '../../lib/core/cuda.js';
import { machine, tagOf } from '../../lib/core/machine.js';
import { version } from '../../lib/core/package.js';

const module = resolve('cmake-build/Release/heed_cuda_emulated.so');
const describeCuda = existsSync(module) ? describe : describe.skip; // `npm test` builds it

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'heed-devices-'));
});
afterEach(() => rmSync(dir, { recursive: true }));

/** Runs a program that imports the compiled library; what it printed, as JSON. */
function program(body: string, env: Record<string, string>): unknown {
  const library = JSON.stringify(pathToFileURL(resolve('dist/lib/index.js')).href);
  const text = `import { Engine, LanguageModel, modelConfig, packDocuments } from ${library};
    const tried = async (options) => {
      try {
        const engine = await Engine.create(options);
        await engine.dispose();
        return engine.info;
      } catch (error) {
        return { code: error.code, message: error.message };
      }
    };
    ${body}`;
  const { status, signal, stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', text], {
    encoding: 'utf8',
    env: { ...process.env, ...env },
  });
  expect([signal, status, stderr]).toEqual([null, 0, '']);
  return JSON.parse(stdout);
}
const tries = 'console.log(JSON.stringify([await tried({ device: "cuda" }), await tried({ device: "auto" })]));';

/** Both answers give the same reason: an error for 'cuda', and for 'auto' the CPU. */
function expectReason(answers: unknown, reason: RegExp | string): void {
  const [cuda, auto] = answers as [{ code: string; message: string }, { device: string; fallback: string }];
  expect(cuda.code).toBe('ERR_DEVICE');
  expect(cuda.message).toMatch(reason);
  expect(auto.device).toMatch(/^cpu /);
  expect(cuda.message).toBe(`device is cuda, but ${auto.fallback}`);
}

/** The emulated module as one of another version. */
function otherVersion(): string {
  const other = version.replace(/\d+$/, (patch) => String((Number(patch) + 1) % 10));
  const bytes = readFileSync(module).toString('latin1').replaceAll(`${version}\0`, `${other}\0`);
  const path = join(dir, 'heed_cuda.so');
  writeFileSync(path, Buffer.from(bytes, 'latin1'));
  return other;
}

describeCuda('a module', () => {
  test('is used by cuda and auto', () => {
    const found = program(tries, { HEED_CUDA: module }) as { device: string; fallback?: string; freeBytes: number }[];
    for (const { device, fallback, freeBytes } of found) {
      expect(device).toMatch(/^cuda emulated/);
      expect(fallback).toBeUndefined();
      expect(freeBytes).toBeGreaterThan(1e9);
    }
  });

  test('that is named but missing, or no module at all', () => {
    const missing = join(dir, 'none.so');
    expectReason(program(tries, { HEED_CUDA: missing }), `HEED_CUDA is ${missing}, which cannot be read`);
    writeFileSync(missing, 'text');
    expectReason(program(tries, { HEED_CUDA: missing }), /the CUDA module does not load: .*none\.so/);
  });

  test('without a driver, and with a driver that finds no GPU', () => {
    const on = (HEED_EMULATOR: string) => program(tries, { HEED_CUDA: module, HEED_EMULATOR });
    expectReason(on('no-driver'), 'this machine has no NVIDIA driver (libcuda.so.1)');
    expectReason(on('no-device'), 'the NVIDIA driver finds no GPU');
  });

  test('of another version is refused, and both versions are said', () => {
    const other = otherVersion();
    const path = join(dir, 'heed_cuda.so');
    expectReason(
      program(tries, { HEED_CUDA: path }),
      `${path} is of version ${other} of heed, expected ${version}, that of the addon`,
    );
  });

  test('a fault of the device ends the engine, and not the process', () => {
    const body = `
      const config = modelConfig('gpt2', { numLayers: 1, numHeads: 1, channels: 64, vocabSize: 64, maxPositions: 16 });
      const engine = await Engine.create({ device: 'cuda' });
      const model = await LanguageModel.init(engine, config, { seed: 1 });
      const batch = packDocuments([Int32Array.of(1, 2, 3)]);
      const codes = [];
      for (let i = 0; i < 20; i++) {
        await model.logprobs(batch).then(() => codes.push('none'), ({ code, message }) => codes.push(code + ': ' + message));
      }
      await engine.dispose();
      const cpu = await Engine.create();
      const { logprobs } = await (await LanguageModel.init(cpu, config, { seed: 1 })).logprobs(batch);
      await cpu.dispose();
      console.log(JSON.stringify({ codes, computed: logprobs.length }));`;
    const env = { HEED_CUDA: module, HEED_EMULATOR: 'fault:40' };
    const { codes, computed } = program(body, env) as { codes: string[]; computed: number };
    const first = codes.findIndex((code) => code !== 'none');
    expect(first).toBeGreaterThan(0); // some calls came before it
    expect(codes[first]).toBe('ERR_DEVICE: launch: unspecified launch failure');
    expect(new Set(codes.slice(first + 1))).toEqual(
      new Set([
        'ERR_DEVICE: the device failed before this call: launch: unspecified launch failure; dispose of the engine',
      ]),
    );
    expect(computed).toBe(2);
  });

  test('memory that the device has not got: how much was wanted, how much there is, what to lower', () => {
    const body = `
      const config = modelConfig('gpt2', { numLayers: 1, numHeads: 1, channels: 64, vocabSize: 64, maxPositions: 4096 });
      const engine = await Engine.create({ device: 'cuda' });
      const model = await LanguageModel.init(engine, config, { seed: 1 });
      const requests = [{ prompt: Int32Array.of(1), samples: 60000, seed: 1 }];
      const messages = [];
      const say = ({ code, message }) => messages.push(code + ': ' + message);
      await model.generate(requests, { maxNewTokens: 4000, slots: 60000, stopTokens: [] }).catch(say);
      const large = modelConfig('gpt2', { numLayers: 100, numHeads: 100, channels: 10_000, vocabSize: 64, maxPositions: 64 });
      await LanguageModel.init(engine, large, { seed: 1 }).catch(say);
      messages.push((await model.logprobs(packDocuments([Int32Array.of(1, 2)]))).logprobs.length); // it still works
      await engine.dispose();
      console.log(JSON.stringify(messages));`;
    const [cache, weights, works] = program(body, { HEED_CUDA: module }) as string[];
    expect(cache).toMatch(
      /^ERR_OUT_OF_MEMORY: the cache of keys and values would take 12\d\.\d GB, but only 17\.\d GB of the device's 17\.2 GB are free; this engine holds weights .*: lower slots or maxNewTokens$/,
    );
    expect(weights).toMatch(
      /^ERR_OUT_OF_MEMORY: the weights would take \d+\.\d GB, but only 17\.\d GB .*: use a smaller model, or dtype bf16$/,
    );
    expect(works).toBe(1);
  });
});

describeCuda('a command', () => {
  const dryRun = (...more: string[]) =>
    spawnSync(
      process.execPath,
      [
        ...['dist/lib/cli/main.js', 'sft', '--model', 'models/base', '--data', 'examples/data/demos.jsonl'],
        ...['--out', join(dir, 'run'), '--dry-run', '--batch-size', '20000', ...more],
      ],
      {
        encoding: 'utf8',
        env: { ...process.env, HEED_CUDA: module, HEED_EMULATOR: more.includes('auto') ? 'no-device' : '' },
      },
    );

  test('refuses a plan that does not fit on the device, which checkpointing makes smaller', () => {
    const activations = (text: string) => Number(/^memory: .*activations ([\d.]+) GB$/m.exec(text)![1]);
    const whole = dryRun('--device', 'cuda', '--max-tokens', '1000000');
    expect(whole.status).toBe(1);
    expect(whole.stderr).toMatch(
      /^heed: this needs \d+ GB: .*, but 17\.\d GB of the device's memory are free: lower --max-tokens, or give --gradient-checkpointing$/m,
    );
    const less = dryRun('--device', 'cuda', '--max-tokens', '1000000', '--gradient-checkpointing');
    expect(activations(less.stderr)).toBeLessThan(0.6 * activations(whole.stderr));
    expect(dryRun('--device', 'cuda', '--max-tokens', '4096').status).toBe(0);
  });

  test('says why device auto is the CPU', () => {
    expect(dryRun('--device', 'auto').stderr).toMatch(/^device: cpu \S+, because the NVIDIA driver finds no GPU/m);
  });
});

test('the module of the package is found beside heed', () => {
  const root = join(dir, 'node_modules/heed');
  mkdirSync(root, { recursive: true });
  writeFileSync(join(root, 'package.json'), '{ "name": "heed" }');
  expect(cudaModule(root)).toBe('');
  const folder = join(dir, 'node_modules/@heed', `cuda-${tagOf(machine())}`);
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'heed_cuda.so'), '');
  expect(cudaModule(root)).toBe(join(folder, 'heed_cuda.so'));
});
