// The phases with --lora-r, and the commands that take adapters.
import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { heed, readRowsOf, rowsOf, toy } from './heed.js';

const cwd = mkdtempSync(join(tmpdir(), 'heed-cli-adapters-'));
afterAll(() => rmSync(cwd, { recursive: true }));
const call = (line: string) => heed(line.split(' '), { cwd });
const write = (name: string, rows: readonly unknown[]) =>
  writeFileSync(join(cwd, name), rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
const bytes = (...path: string[]) => readFileSync(join(cwd, ...path));

async function succeed(line: string) {
  const ended = await call(line);
  if (ended.status !== 0) throw new Error(`heed ${line}: ${ended.status}\n${ended.stderr}`);
  return ended;
}
async function fail(line: string): Promise<string> {
  const ended = await call(line);
  if (ended.status === 0) throw new Error(`heed ${line} succeeded`);
  return ended.stderr;
}

function expectNear(actual: readonly number[], expected: readonly number[]): void {
  expect(actual).toHaveLength(expected.length);
  expect(Math.max(...actual.map((x, i) => Math.abs(x - expected[i]!)))).toBeLessThan(1e-4);
}

const kSft = 'sft --data demos.jsonl --epochs 6 --batch-size 12 --learning-rate 1e-2 --dropout 0';
const kPpo =
  'ppo --prompts prompts.jsonl --iterations 2 --batch-size 8 --minibatches 2 --max-new-tokens 6 --learning-rate 3e-3';
let weights: Buffer;

beforeAll(async () => {
  write('demos.jsonl', toy.demonstrations);
  write('rankings.jsonl', toy.rankings);
  write('documents.jsonl', toy.documents);
  write(
    'prompts.jsonl',
    toy.demonstrations.map(({ prompt }) => ({ prompt })),
  );
  await succeed('tokenizer --data documents.jsonl demos.jsonl --vocab-size 280 --out tokenizer');
  await succeed(
    'pretrain --data documents.jsonl --tokenizer tokenizer --num-layers 1 --channels 32 --num-heads 2 --max-positions 64 --steps 3 --out base',
  );
  weights = bytes('base', 'model', 'model.safetensors');
  await succeed(`${kSft} --model base/model --lora-r 8 --lora-alpha 16 --lora-dropout 0.1 --out sft`);
  await succeed(
    'reward --model sft/model --data rankings.jsonl --epochs 2 --batch-size 6 --learning-rate 3e-3 --out reward',
  );
  await succeed(`${kPpo} --policy sft/model --reward-model reward/model --value-learning-rate 3e-3 --out ppo`);
}, 240_000);

test('each phase writes an adapter to the same base, which stays as it was', () => {
  for (const run of ['sft', 'reward', 'ppo']) {
    expect(existsSync(join(cwd, run, 'model', 'model.safetensors'))).toBe(false);
    expect(existsSync(join(cwd, run, 'model', 'tokenizer.json'))).toBe(true);
    expect(JSON.parse(bytes(run, 'model', 'adapter_config.json').toString())).toMatchObject({
      base_model_name_or_path: join(cwd, 'base', 'model'),
      r: 8,
      lora_alpha: 16,
      target_modules: ['q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj', 'down_proj'],
      task_type: run === 'reward' ? 'SEQ_CLS' : 'CAUSAL_LM',
    });
  }
  expect(bytes('base', 'model', 'model.safetensors').equals(weights)).toBe(true);
  const losses = readRowsOf<{ loss: number }>(cwd, 'sft', 'metrics.jsonl').map(({ loss }) => loss);
  expect(losses.at(-1)!).toBeLessThan(losses[0]! - 0.3); // of an untrained base, whose head is frozen
  const metrics = readRowsOf<{ ratioMax: number; kl: number }>(cwd, 'ppo', 'metrics.jsonl');
  expect(metrics[0]).toMatchObject({ ratioMax: 1, kl: 0 });
});

test('PPO with a new adapter to a policy and a value network of its own', async () => {
  await succeed('merge --model reward/model --out reward-merged');
  const line = `${kPpo} --policy base/model --lora-r 4 --rslora --lora-targets q_proj v_proj`;
  const { stderr } = await succeed(`${line} --reward-model reward-merged --value-learning-rate 3e-3 --out ppo-new`);
  expect(stderr).toContain('memory:');
  expect(readRowsOf<object>(cwd, 'ppo-new', 'metrics.jsonl')[0]).toMatchObject({ ratioMax: 1, kl: 0 });
  expect(JSON.parse(bytes('ppo-new', 'model', 'adapter_config.json').toString())).toMatchObject({
    use_rslora: true,
    target_modules: ['q_proj', 'v_proj'],
  });
  expect(existsSync(join(cwd, 'ppo-new', 'step-000004', 'value', 'adapter_model.safetensors'))).toBe(true);
}, 120_000);

test('DPO with a new adapter, and continuing one', async () => {
  const line = 'dpo --data rankings.jsonl --epochs 1 --batch-size 6 --learning-rate 1e-3';
  await succeed(`${line} --model base/model --lora-r 2 --out dpo`);
  await succeed(`${line} --model base/model --adapter sft/model --out dpo-sft`);
  const losses = (run: string) => readRowsOf<{ loss: number }>(cwd, run, 'metrics.jsonl').map(({ loss }) => loss);
  for (const run of ['dpo', 'dpo-sft']) {
    expect(losses(run)[0]).toBeCloseTo(Math.log(2), 6); // the model is its reference
    expect(losses(run).at(-1)!).toBeLessThan(Math.log(2));
    expect(existsSync(join(cwd, run, 'model', 'adapter_config.json'))).toBe(true);
  }
  expect(bytes('base', 'model', 'model.safetensors').equals(weights)).toBe(true);
}, 120_000);

test('generate and score take the adapter by either name; merged it is an ordinary model', async () => {
  const ask = 'generate --prompts prompts.jsonl --temperature 0 --max-new-tokens 6 --logprobs';
  const alone = await succeed(`${ask} --model sft/model`);
  const named = await succeed(`${ask} --model base/model --adapter sft/model`);
  expect(named.stdout).toBe(alone.stdout);
  const { stderr } = await succeed('merge --model sft/model --out merged');
  expect(stderr).toContain(`merged: ${join(cwd, 'base', 'model')} with the adapter of sft/model`);
  const merged = await succeed(`${ask} --model merged`);
  const [a, b] = [alone, merged].map(({ stdout }) => rowsOf<{ tokens: number[]; logprobs: number[] }>(stdout));
  expect(b!.map(({ tokens }) => tokens)).toEqual(a!.map(({ tokens }) => tokens));
  expectNear(
    b!.flatMap(({ logprobs }) => logprobs),
    a!.flatMap(({ logprobs }) => logprobs),
  );
  write('scored.jsonl', toy.rankings);
  const scores = await succeed('score --model reward/model --data scored.jsonl');
  await succeed('merge --model base/model --adapter reward/model --out merged-reward');
  const again = await succeed('score --model merged-reward --data scored.jsonl');
  const [c, d] = [scores, again].map(({ stdout }) => rowsOf<{ scores: number[] }>(stdout).flatMap((row) => row.scores));
  expectNear(d!, c!);
  expect(bytes('base', 'model', 'model.safetensors').equals(weights)).toBe(true);
}, 120_000);

test('a base of 8 bits: trained beside, sampled and scored', async () => {
  await succeed(`${kSft} --model base/model --lora-r 8 --int8 --out sft8`);
  const losses = (run: string) => readRowsOf<{ loss: number }>(cwd, run, 'metrics.jsonl').map(({ loss }) => loss);
  expect(losses('sft8').at(-1)!).toBeLessThan(losses('sft8')[0]! - 0.3);
  expect(losses('sft8')[0]).not.toBe(losses('sft')[0]);
  await succeed(`${kPpo} --policy sft8/model --int8 --reward-model reward/model --out ppo8 --value-learning-rate 3e-3`);
  expect(readRowsOf<object>(cwd, 'ppo8', 'metrics.jsonl')[0]).toMatchObject({ ratioMax: 1, kl: 0 });
  // A whole reward model that the value network is an adapter to.
  await succeed(`${kPpo} --policy base/model --int8 --lora-r 4 --reward-model reward-merged --out ppo8-new`);
  expect(readRowsOf<object>(cwd, 'ppo8-new', 'metrics.jsonl')[0]).toMatchObject({ ratioMax: 1, kl: 0 });

  const ask = 'generate --model sft8/model --prompts prompts.jsonl --max-new-tokens 6 --logprobs --seed 3';
  const { stdout } = await succeed(`${ask} --int8 --out answers8.jsonl`);
  expect(stdout).toBe('');
  const logprobs = (text: string) => rowsOf<{ logprobs: number[] }>(text).flatMap((row) => row.logprobs);
  const sampled = readRowsOf<{ logprobs: number[] }>(cwd, 'answers8.jsonl').flatMap((row) => row.logprobs);
  const again = logprobs((await succeed('score --model sft8/model --int8 --data answers8.jsonl')).stdout);
  expect(again).toEqual(sampled); // bit for bit
  const whole = logprobs((await succeed('score --model sft8/model --data answers8.jsonl')).stdout);
  expect(whole).not.toEqual(sampled);
  expect(Math.max(...whole.map((x, i) => Math.abs(x - sampled[i]!)))).toBeLessThan(0.05);

  const info = JSON.parse((await succeed('info base/model --data demos.jsonl --json')).stdout);
  expect(info.int8.tokens).toBeGreaterThan(2 * toy.demonstrations.length);
  expect(info.int8.kl).toBeGreaterThan(0);
  expect(info.int8.kl).toBeLessThan(1e-3);
  expect(info.int8.klMax).toBeGreaterThan(info.int8.kl);
  expect(info.memory.f32.loraInt8.ppo).toBeLessThan(info.memory.f32.lora.ppo);
  expect(await fail(`${kSft} --model base/model --int8 --out no`)).toContain(
    '--int8 keeps weights of 8 bits, which are frozen: give --lora-r',
  );
}, 240_000);

test('what cannot be is refused in one sentence', async () => {
  expect(await fail(`${kSft} --model base/model --lora-alpha 3 --out no`)).toContain(
    '--lora-alpha needs --lora-r: the rank of the new adapter',
  );
  expect(await fail(`${kSft} --model sft/model --lora-r 3 --out no`)).toContain(
    '--lora-r makes a new adapter, but sft/model is one: leave it out to train that one further, or merge it with heed merge',
  );
  expect(await fail(`${kSft} --model base/model --lora-r 3 --lora-targets c_attn --out no`)).toContain(
    'targets has "c_attn", which is no linear layer of the blocks; expected some of q_proj',
  );
  expect(await fail('merge --model base/model --out no')).toContain(
    'a model without an adapter: give one with --adapter',
  );
  expect(await fail('generate --model reward/model --prompt x')).toContain(
    'reward/model/adapter_config.json: describes a reward model, expected a language model',
  );
  expect(await fail(`${kPpo} --policy sft/model --reward-model sft/model --out no`)).toContain(
    'describes a language model, expected a reward model',
  );
  renameSync(join(cwd, 'base'), join(cwd, 'moved'));
  try {
    expect(await fail('generate --model sft/model --prompt x')).toContain(
      'which is no model folder here: give the base as the model and this folder with --adapter',
    );
    await succeed('generate --model moved/model --adapter sft/model --prompt x --max-new-tokens 2');
  } finally {
    renameSync(join(cwd, 'moved'), join(cwd, 'base'));
  }
  expect(existsSync(join(cwd, 'no'))).toBe(false);
}, 120_000);
