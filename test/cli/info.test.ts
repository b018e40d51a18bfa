import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { expect, test } from '@jest/globals';
import { temporaryFolder } from '../data/files.js';
import { heed } from './heed.js';

const folder = temporaryFolder();
const info = async (...args: string[]) => heed(['info', ...args], { cwd: folder.path('') });
const base = resolve('models/base');

/** A copy of the embedded base model whose `config.json` was changed. */
function changed(change: Record<string, unknown>): string {
  const dir = folder.path('model');
  cpSync(base, dir, { recursive: true });
  const config = JSON.parse(readFileSync(join(base, 'config.json'), 'utf8')) as object;
  writeFileSync(join(dir, 'config.json'), JSON.stringify({ ...config, ...change }));
  return dir;
}

interface Info {
  model: { class: string; head: string; parameters: { total: number; embedding: number } } | null;
  files: { count: number; bytes: number; dtypes: string[] };
  tokenizer: { tokens: number; chatTemplate: boolean } | null;
  specialTokens: { end: { id: number; token: string }[] };
  memory: Record<'f32' | 'bf16', Record<'run' | 'sft' | 'reward' | 'ppo', number> & { lora: { ppo: number } }>;
  problems: string[];
}
const read = async (dir: string) => {
  const { stdout, status } = await info(dir, '--json');
  return { found: JSON.parse(stdout) as Info, status };
};

test('a folder is described: family, sizes, files, tokens, memory', async () => {
  const { stdout, stderr, status } = await info(base);
  expect([stderr, status]).toEqual(['', 0]);
  expect(stdout).toMatch(/^ {2}family {5}llama, LlamaForCausalLM: a language model$/m);
  expect(stdout).toMatch(/^ {2}features {3}RMSNorm, rotary positions/m);
  expect(stdout).toMatch(/^ {2}tokens {5}a response ends with "<\|endoftext\|>" \(\d+\)/m);
  expect(stdout).toMatch(/^ {2}memory {5}f32: to run [\d.]+ MB, sft [\d.]+ MB, reward [\d.]+ MB, ppo [\d.]+ MB$/m);
  const { found } = await read(base);
  expect(found.problems).toEqual([]);
  expect(found.model).toMatchObject({ class: 'LlamaForCausalLM', head: 'language' });
  const { total, embedding } = found.model!.parameters;
  const perNumber = { BF16: 2, F16: 2, F32: 4 }[found.files.dtypes[0]!]!;
  expect(found.files.bytes).toBe(total * perNumber);
  expect(embedding).toBeLessThan(total);
  const { f32, bf16 } = found.memory;
  expect(f32.run).toBeGreaterThan(4 * total);
  expect(f32.sft).toBeGreaterThan(16 * total); // weights, gradients and two moments
  expect(f32.ppo).toBeGreaterThan(f32.sft);
  expect(bf16.run).toBeLessThan(f32.run);
  expect(f32.lora.ppo).toBeLessThan(f32.ppo);
});

test('memory is what a run of that size takes', async () => {
  const { found } = await read(base);
  const file = folder.write('a.jsonl', [{ prompt: 'Say a:', response: ' a' }]);
  const options = ['--validation-fraction', '0', '--dropout', '0', '--batch-size', '4096', '--dry-run'];
  const { stderr } = await heed(['sft', '--model', base, '--data', file, '--out', 'run', ...options], {
    cwd: folder.path(''),
  });
  const [, said, unit] = stderr.match(/memory: ([\d.]+) ([MG]B)/)!;
  const bytes = Number(said) * (unit === 'GB' ? 1e9 : 1e6);
  expect(found.memory.f32.sft / bytes).toBeGreaterThan(0.9);
  expect(found.memory.f32.sft / bytes).toBeLessThan(1.1);
});

test('a reward model is one', async () => {
  const { found } = await read(resolve('test/fixtures/gemma3-scalar'));
  expect(found.model).toMatchObject({ class: 'Gemma3TextForSequenceClassification', head: 'scalar' });
  expect(Object.keys(found.memory.f32)).toEqual(['run', 'reward']);
});

test('all that would be refused is listed, not only the first', async () => {
  const dir = changed({ hidden_act: 'gelu', rope_scaling: { rope_type: 'su', factor: 2 }, num_key_value_heads: -3 });
  rmSync(join(dir, 'tokenizer.json'));
  const { stdout, stderr, status } = await info(dir);
  const file = join(dir, 'config.json');
  expect(stdout).toContain(`  refused    ${file}: hidden_act is "gelu", heed implements silu and swish\n`);
  expect(stdout).toContain(`  refused    ${file}: rope_scaling.rope_type is "su", heed implements default`);
  expect(stdout).toContain(`  refused    ${file}: num_key_value_heads is -3, expected a whole number above 0\n`);
  expect(stdout).toMatch(/^ {2}refused {4}.*tokenizer\.json/m);
  expect(stderr).toMatch(/^heed: .* would be refused: \d+ problems\n$/);
  expect(status).toBe(1);
});

test('tensors that do not fit are named', async () => {
  const { found, status } = await read(changed({ intermediate_size: 24, num_hidden_layers: 1 }));
  expect(status).toBe(1);
  expect(found.problems.some((problem) => /mlp\.gate_proj\.weight has the shape/.test(problem))).toBe(true);
  expect(found.problems.at(-1)).toMatch(/the same with \d+ more tensors$/);
});

test('a family that heed has not', async () => {
  const { found, status } = await read(changed({ model_type: 'mamba' }));
  expect(status).toBe(1);
  expect(found.model).toBeNull();
  expect(found.problems[0]).toMatch(/model_type is "mamba", heed implements gpt2, /);
});

test('a folder without a model', async () => {
  const { stderr, status } = await info(folder.path(''));
  expect(stderr).toMatch(/^heed: .*config\.json: does not exist, expected a Hugging Face model folder with one\n$/);
  expect(status).toBe(1);
});
