import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { heed, readRowsOf, toy } from './heed.js';

const cwd = mkdtempSync(join(tmpdir(), 'heed-objectives-'));
afterAll(() => rmSync(cwd, { recursive: true }));
const call = (line: string) => heed(line.split(' '), { cwd });
const write = (name: string, rows: readonly unknown[]) =>
  writeFileSync(join(cwd, name), rows.map((row) => `${JSON.stringify(row)}\n`).join(''));

beforeAll(async () => {
  write('documents.jsonl', toy.documents);
  write('rankings.jsonl', toy.rankings);
  const feedback = (toy.rankings as { prompt: string; responses: string[]; ranks: number[] }[]).flatMap(
    ({ prompt, responses, ranks }) =>
      responses.map((response, k) => ({ prompt, completion: response, label: ranks[k] === 0 })),
  );
  write('feedback.jsonl', feedback);
  for (const line of [
    'tokenizer --data documents.jsonl rankings.jsonl --vocab-size 280 --out tokenizer',
    'pretrain --data documents.jsonl --tokenizer tokenizer --num-layers 1 --channels 32 --num-heads 2 --max-positions 64 --steps 3 --out base',
  ]) {
    const { status, stderr } = await call(line);
    if (status !== 0) throw new Error(stderr);
  }
}, 120_000);

test.each([
  ['dpo', 'rankings.jsonl --beta 0.2 --loss ipo'],
  ['kto', 'feedback.jsonl --undesirable-weight 1.5'],
  ['orpo', 'rankings.jsonl --odds-ratio-coef 0.2'],
  ['simpo', 'rankings.jsonl --margin 0.5'],
])(
  'heed %s trains, reports and goes on',
  async (name, data) => {
    const line = `${name} --model base/model --data ${data} --batch-size 4 --learning-rate 1e-3 --validation-fraction 0.2 --out ${name}`;
    const plan = await call(`${line} --steps 4 --dry-run`);
    expect(plan.stderr).toMatch(/plan: 4 steps of 4 prompts .*held out/);
    expect(plan.stderr).toContain('memory: ');
    expect(existsSync(join(cwd, name))).toBe(false);
    const first = await call(`${line} --steps 4`);
    expect([
      first.status,
      first.stderr.match(/held out: [\d.]+ % \[[\d.]+ %, [\d.]+ %\] in order, loss/g)?.length,
    ]).toEqual([0, 1]);
    for (const file of [
      'model/model.safetensors',
      'model/tokenizer.json',
      'report.html',
      'result.json',
      'samples.jsonl',
    ])
      expect([file, existsSync(join(cwd, name, file))]).toEqual([file, true]);
    const more = await call(`${name} --out ${name} --resume --steps 6`);
    expect(more.status).toBe(0);
    const before = readFileSync(join(cwd, name, 'config.json'), 'utf8');
    expect((await call(`${name} --out ${name} --resume --seed 0 --batch-size 5 --steps 6`)).status).toBe(0);
    expect(readFileSync(join(cwd, name, 'config.json'), 'utf8')).toBe(before); // nothing was left to do
    const metrics = readRowsOf<{ step: number; accuracy: number; validationAccuracy?: number }>(
      cwd,
      name,
      'metrics.jsonl',
    );
    expect(metrics.map(({ step }) => step)).toEqual([1, 2, 3, 4, 5, 6]);
    expect(metrics.at(-1)!.validationAccuracy).toBeGreaterThanOrEqual(0);
    expect(metrics.every(({ accuracy }) => accuracy >= 0 && accuracy <= 1)).toBe(true);
  },
  60_000,
);

test('feedback without a label, and a reward model to train, are refused', async () => {
  write('unlabelled.jsonl', [{ prompt: 'a', completion: 'b' }]);
  const unlabelled = await call('kto --model base/model --data unlabelled.jsonl --out none');
  expect([unlabelled.status, unlabelled.stderr]).toEqual([
    1,
    expect.stringContaining('unlabelled.jsonl:1: label is missing, expected true or false'),
  ]);
  expect((await call('dpo --model base/model --data rankings.jsonl --out none --beta 0')).stderr).toContain(
    '--beta is 0, expected a number above 0',
  );
});
