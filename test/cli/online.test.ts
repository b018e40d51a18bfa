import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { heed, readRowsOf, toy } from './heed.js';

const cwd = mkdtempSync(join(tmpdir(), 'heed-online-'));
afterAll(() => rmSync(cwd, { recursive: true }));
const call = (...args: string[]) => heed(args, { cwd });
const write = (name: string, content: string) => writeFileSync(join(cwd, name), content);
const lines = (rows: readonly unknown[]) => rows.map((row) => `${JSON.stringify(row)}\n`).join('');
const small = '--batch-size 4 --samples-per-prompt 2 --max-new-tokens 6 --learning-rate 1e-3'.split(' ');

beforeAll(async () => {
  write('documents.jsonl', lines(toy.documents));
  write('rankings.jsonl', lines(toy.rankings));
  write('prompts.jsonl', lines(toy.demonstrations.map(({ prompt }) => ({ prompt, answer: 'a' }))));
  write(
    'reward.mjs',
    'export default (answers) => answers.map(({ response, row }) => response.split(row.answer).length - 1);\n',
  );
  for (const line of [
    'tokenizer --data documents.jsonl rankings.jsonl --vocab-size 280 --out tokenizer',
    'pretrain --data documents.jsonl --tokenizer tokenizer --num-layers 1 --channels 32 --num-heads 2 --max-positions 64 --steps 3 --out base',
    'reward --model base/model --data rankings.jsonl --steps 2 --batch-size 4 --learning-rate 1e-3 --out reward',
    'reward --model base/model --data rankings.jsonl --steps 2 --batch-size 4 --learning-rate 1e-3 --seed 2 --out other',
  ]) {
    const { status, stderr } = await call(...line.split(' '));
    if (status !== 0) throw new Error(stderr);
  }
}, 120_000);

test.each([
  ['grpo', ['--reward', './reward.mjs', '--loss', 'dapo']],
  ['grpo', ['--reward-model', 'reward/model', '--reward', '0.5*regex:e', '--lora-r', '2']],
  ['rloo', ['--reward-model', 'reward/model']],
  ['ppo', ['--reward', './reward.mjs', '--reward', '2*regex:e', '--minibatches', '1']],
  [
    'ppo',
    '--reward worst:reward/model,other/model --reward 2*uncertainty:reward/model,other/model --minibatches 1'.split(
      ' ',
    ),
  ],
  ['ppo', ['--reward-model', 'reward/model', '--reward', 'exact:', '--minibatches', '1', '--lora-r', '2']],
])(
  'heed %s %s',
  async (name, given) => {
    const out = `${name}${given.join('').replaceAll(/\W/g, '')}`;
    const line = [name, '--policy', 'base/model', '--prompts', 'prompts.jsonl', '--out', out, ...small, ...given];
    const plan = await call(...line, '--iterations', '2', '--dry-run');
    expect(plan.stderr).toMatch(/plan: 2 iterations of 8 responses/);
    expect(plan.stderr).toContain('memory: ');
    const first = await call(...line, '--iterations', '2');
    expect([first.status, first.stderr]).toEqual([0, expect.stringContaining('report: ')]);
    for (const file of ['model/tokenizer.json', 'report.html', 'result.json', 'samples.jsonl'])
      expect([file, existsSync(join(cwd, out, file))]).toEqual([file, true]);
    expect((await call(name, '--out', out, '--resume', '--iterations', '3')).status).toBe(0);
    const metrics = readRowsOf<{ step: number; ratioMax: number; rewards?: Record<string, number> }>(
      cwd,
      out,
      'metrics.jsonl',
    );
    expect(metrics.map(({ step }) => step)).toEqual([1, 2, 3]);
    expect(metrics.every(({ ratioMax }) => ratioMax === 1)).toBe(true);
    const names = given.flatMap((each, i) => (given[i - 1] === '--reward' ? [each.replace(/^[\d.]+\*/, '')] : []));
    const terms = [...(names.length > 0 && given.includes('--reward-model') ? ['model'] : []), ...names];
    expect(Object.keys(metrics[0]!.rewards ?? {})).toEqual(terms.map((term) => `reward/${term}`));
  },
  60_000,
);

test('a service that fails for some prompts is counted, and said at the end', async () => {
  let calls = 0;
  const server = createServer(async (request, response) => {
    const { answers } = JSON.parse(await text(request)) as { answers: { prompt: string }[] };
    calls++;
    response.statusCode = calls % 4 === 1 ? 500 : 200;
    response.end(JSON.stringify({ scores: answers.map(({ prompt }) => prompt.length / 10) }));
  });
  await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready));
  try {
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/score`;
    const line = ['grpo', '--policy', 'base/model', '--prompts', 'prompts.jsonl', '--out', 'service', ...small];
    const ended = await call(
      ...line,
      '--reward',
      url,
      '--iterations',
      '1',
      '--reward-retries',
      '0',
      '--reward-concurrency',
      '1',
    );
    expect([ended.status, ended.stderr]).toEqual([
      0,
      expect.stringContaining('warning: prompts were skipped because the reward http://'),
    ]);
    expect(readRowsOf(cwd, 'service', 'metrics.jsonl')).toEqual([
      expect.objectContaining({ skipped: 1, rewards: { [`failed/${url}`]: 1, [`reward/${url}`]: expect.any(Number) } }),
    ]);
    const stopped = await call(
      ...line.with(6, 'stopped'),
      '--reward',
      url,
      '--reward-retries',
      '0',
      '--reward-failure',
      'stop',
    );
    expect([stopped.status, stopped.stderr]).toEqual([1, expect.stringContaining('answered with status 500')]);
  } finally {
    server.close();
  }
}, 60_000);

test('a reward that never settles is ended', async () => {
  write('never.mjs', 'export default () => new Promise(() => {});\n');
  const line = ['grpo', '--policy', 'base/model', '--prompts', 'prompts.jsonl', '--out', 'never', ...small];
  const ended = await call(...line, '--reward', './never.mjs', '--reward-timeout', '0.2', '--reward-retries', '0');
  expect([ended.status, ended.stderr]).toEqual([1, expect.stringContaining('the reward took more than 200 ms')]);
}, 60_000);

test('no reward, an unknown one, and a missing field are refused', async () => {
  const line = ['grpo', '--policy', 'base/model', '--prompts', 'prompts.jsonl', '--out', 'none', ...small];
  expect((await call(...line)).stderr).toContain('heed grpo needs --reward-model DIR or --reward REWARD');
  expect((await call(...line, '--reward', 'numbers')).stderr).toContain(
    'reward numbers: there is no such file or folder',
  );
  const ended = await call(...line, '--reward', 'numeric:result', '--reward-retries', '0');
  expect([ended.status, ended.stderr]).toEqual([
    1,
    expect.stringContaining('heed: the reward numeric:result: the row of prompt 0 has no result: it is missing'),
  ]);
}, 60_000);
