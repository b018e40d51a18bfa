import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { type CallOptions, heed, readRowsOf, rowsOf, toy } from './heed.js';

const cwd = mkdtempSync(join(tmpdir(), 'heed-cli-'));
afterAll(() => rmSync(cwd, { recursive: true }));
const call = (line: string, options: Partial<CallOptions> = {}) => heed(line.split(' '), { cwd, ...options });
const write = (name: string, rows: readonly unknown[]) =>
  writeFileSync(join(cwd, name), rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
const text = (...path: string[]) => readFileSync(join(cwd, ...path), 'utf8');
const kSmall = '--num-layers 1 --channels 32 --num-heads 2 --max-positions 64';

/** Runs a command that must succeed. */
async function succeed(line: string, options: Partial<CallOptions> = {}) {
  const ended = await call(line, options);
  if (ended.status !== 0) throw new Error(`heed ${line}: ${ended.status}\n${ended.stderr}`);
  return ended;
}

beforeAll(async () => {
  write('demos.jsonl', toy.demonstrations);
  write('rankings.jsonl', toy.rankings);
  write('documents.jsonl', toy.documents);
  write(
    'prompts.jsonl',
    toy.demonstrations.map(({ prompt }, id) => ({ prompt, id })),
  );
  await succeed('tokenizer --data documents.jsonl demos.jsonl --vocab-size 280 --out tokenizer');
  await succeed(`pretrain --data documents.jsonl --tokenizer tokenizer ${kSmall} --steps 3 --out base`);
  await succeed(
    'sft --model base/model --data demos.jsonl --epochs 40 --batch-size 12 --learning-rate 5e-3 --dropout 0 --out sft',
  );
  await succeed(
    'reward --model sft/model --data rankings.jsonl --epochs 4 --batch-size 6 --learning-rate 3e-3 --out reward',
  );
}, 240_000);

describe('the phases', () => {
  test('write a model, metrics, the configuration and a report', async () => {
    for (const [run, steps] of [
      ['base', 3],
      ['sft', 120],
      ['reward', 24],
    ] as const) {
      for (const file of [
        'model/config.json',
        'model/model.safetensors',
        'model/tokenizer.json',
        'config.json',
        'report.html',
        'report.json',
      ]) {
        expect([run, file, existsSync(join(cwd, run, file))]).toEqual([run, file, true]);
      }
      const metrics = readRowsOf<{ step: number; loss: number }>(cwd, run, 'metrics.jsonl');
      expect(metrics.map(({ step }) => step)).toEqual(Array.from({ length: steps }, (_, i) => i + 1));
      expect(metrics.every(({ loss }) => Number.isFinite(loss))).toBe(true);
      expect(JSON.parse(text(run, 'config.json'))).toMatchObject({
        command: run === 'base' ? 'pretrain' : run,
        options: { seed: 0 },
      });
    }
    const losses = readRowsOf<{ loss: number }>(cwd, 'sft', 'metrics.jsonl').map(({ loss }) => loss);
    expect(losses.at(-1)!).toBeLessThan(losses[0]! / 3);
    expect(JSON.parse(text('reward', 'result.json')).validation.accuracy).toBeGreaterThan(0.7);
    expect(
      readRowsOf<{ answers: { model: string }[] }>(cwd, 'sft', 'samples.jsonl')[0]!.answers.map(({ model }) => model),
    ).toEqual(['before', 'after']);
  });

  test('SFT keeps the checkpoint with the highest score of a reward model', async () => {
    const line =
      'sft --model base/model --data demos.jsonl --epochs 4 --batch-size 12 --learning-rate 5e-3 --dropout 0';
    const { stderr } = await succeed(
      `${line} --validation-fraction 0.2 --reward-model reward/model --max-new-tokens 6 --out chosen`,
    );
    const metrics = readRowsOf<{ step: number; validationMetric?: number }>(cwd, 'chosen', 'metrics.jsonl');
    const found = metrics.flatMap(({ step, validationMetric: score }) =>
      score === undefined ? [] : [{ step, score }],
    );
    expect(found).toHaveLength(4);
    const best = found.reduce((a, b) => (b.score > a.score ? b : a));
    expect(JSON.parse(text('chosen', 'result.json')).best).toMatchObject({
      step: best.step,
      validationMetric: best.score,
    });
    expect(stderr).toContain('the checkpoint is chosen by reward/model: its mean score of 7 answers');
    expect(stderr).toMatch(new RegExp(`the best weights are kept: .*mean reward .* after step ${best.step} of`));

    const none = await call(`${line} --validation-fraction 0 --reward-model reward/model --out unchosen`);
    expect([none.status, none.stderr]).toEqual([
      2,
      expect.stringContaining('--reward-model needs held-out prompts, and there are none'),
    ]);
    expect(existsSync(join(cwd, 'unchosen'))).toBe(false);
  }, 120_000);

  test('PPO-ptx trains the SFT model against the reward model', async () => {
    const { stderr, stdout } = await succeed(
      'ppo --policy sft/model --reward-model reward/model --prompts prompts.jsonl --pretrain documents.jsonl --out ppo ' +
        '--iterations 3 --batch-size 16 --minibatches 2 --max-new-tokens 8 --learning-rate 1e-3 --value-learning-rate 1e-3 --ptx-tokens 64 --ema 0.9',
    );
    expect(stdout).toBe('');
    expect(stderr).toContain('plan: 3 iterations of 16 responses, 2 steps each: 6 steps');
    const metrics = readRowsOf<{ ratioMax: number; ptxLoss: number; kl: number }>(cwd, 'ppo', 'metrics.jsonl');
    expect(metrics.length).toBe(6);
    expect(metrics[0]).toMatchObject({ ratioMax: 1, ratioMean: 1, kl: 0 });
    expect(metrics.every(({ ptxLoss }) => ptxLoss > 0)).toBe(true);
    // Samples say whether their prompts were trained on: PPO's were, SFT held its own out.
    const splits = (run: string) =>
      new Set(readRowsOf<{ split: string }>(cwd, run, 'samples.jsonl').map(({ split }) => split));
    expect([splits('ppo'), splits('sft')]).toEqual([new Set(['train']), new Set(['instance'])]);
    expect(existsSync(join(cwd, 'ppo/ema/model.safetensors'))).toBe(true);
  }, 180_000);

  test('run one after the other from a configuration', async () => {
    writeFileSync(
      join(cwd, 'mine.yaml'),
      `model: base/model
seed: 3
sft: { data: demos.jsonl, epochs: 1, learningRate: 1e-3 }
reward: { data: rankings.jsonl, learningRate: 1e-3 }
ppo: { prompts: prompts.jsonl, iterations: 1, batchSize: 8, minibatches: 1, maxNewTokens: 6 }
`,
    );
    await succeed('align mine.yaml --out mine --set ppo.klCoef=0.5');
    for (const phase of ['sft', 'reward', 'ppo'])
      expect(existsSync(join(cwd, 'mine', phase, 'model/model.safetensors'))).toBe(true);
    expect(JSON.parse(text('mine/ppo/config.json')).options).toMatchObject({ klCoef: 0.5, seed: 3 });
    expect((await succeed('align mine.yaml --out mine --resume')).stderr).toBe(
      'sft: already done\nreward: already done\nppo: already done\n',
    );
  }, 180_000);
});

describe('generate and score', () => {
  test('score gives the log-probabilities of generate, bit-identically', async () => {
    await succeed(
      'generate --model sft/model --prompts prompts.jsonl --logprobs --max-new-tokens 8 --seed 5 --out answers.jsonl',
    );
    const answers = readRowsOf<{
      prompt: string;
      response: string;
      finished: boolean;
      tokens: number[];
      logprobs: number[];
    }>(cwd, 'answers.jsonl');
    expect(answers.map(({ prompt }) => prompt)).toEqual(toy.demonstrations.map(({ prompt }) => prompt));
    for (const { tokens, logprobs, finished } of answers) {
      expect(logprobs.length).toBe(tokens.length);
      expect(finished).toBe(tokens.at(-1) === 0);
      for (const logprob of logprobs) expect(Math.fround(logprob)).toBeLessThanOrEqual(0);
    }
    const { stdout } = await succeed('score --model sft/model --data answers.jsonl');
    expect(rowsOf(stdout)).toEqual(answers.map(({ logprobs }) => ({ logprobs })));
    const scores = rowsOf<{ score: number }>((await succeed('score --model reward/model --data answers.jsonl')).stdout);
    expect(scores.length).toBe(36);
    expect(scores.every(({ score }) => Number.isFinite(score))).toBe(true);
  });

  test('a response depends on its prompt and the seed only', async () => {
    const all = rowsOf(
      (await succeed('generate --model sft/model --prompts prompts.jsonl --max-new-tokens 8 --seed 5')).stdout,
    );
    write('one.jsonl', [toy.demonstrations[20]]);
    const one = rowsOf(
      (await succeed('generate --model sft/model --prompts one.jsonl --max-new-tokens 8 --seed 5 --slots 3')).stdout,
    );
    expect(one).toEqual([all[20]]);
    const other = rowsOf(
      (await succeed('generate --model sft/model --prompts prompts.jsonl --max-new-tokens 8 --seed 6')).stdout,
    );
    expect(other).not.toEqual(all);
  });

  test('equal prompts of a file get different responses', async () => {
    write(
      'same.jsonl',
      Array.from({ length: 12 }, () => ({ prompt: 'Say' })),
    );
    const rows = rowsOf<{ response: string }>(
      (await succeed('generate --model base/model --prompts same.jsonl --max-new-tokens 6')).stdout,
    );
    expect(new Set(rows.map(({ response }) => response)).size).toBeGreaterThan(6);
  });

  test('rows of every kind are scored in order', async () => {
    const { prompt, responses } = toy.rankings[1]!;
    write('kinds.jsonl', [
      { prompt, response: responses[0] },
      { prompt, responses },
      { prompt, chosen: responses[0], rejected: responses[1] },
      { text: 'cat dog bird' },
    ]);
    const [plain, several, pair, document] = rowsOf<{ logprobs: number[] & number[][] }>(
      (await succeed('score --model sft/model --data kinds.jsonl')).stdout,
    );
    expect(several!.logprobs.length).toBe(3);
    expect(several!.logprobs[0]).toEqual(plain!.logprobs); // bit-identical whether or not the prompt is shared
    expect(pair!.logprobs).toEqual(several!.logprobs.slice(0, 2));
    expect(document!.logprobs.length).toBeGreaterThan(2);
    const scores = rowsOf<{ score?: number; scores?: number[] }>(
      (await succeed('score --model reward/model --data kinds.jsonl')).stdout,
    );
    expect(scores[1]!.scores![0]).toBe(scores[0]!.score);
    expect(scores[2]!.scores).toEqual(scores[1]!.scores!.slice(0, 2));
    expect(scores[0]!.score!).toBeGreaterThan(scores[1]!.scores![1]!);
  });

  test('a stop text ends a response and is not part of it', async () => {
    const [free] = rowsOf<{ response: string }>(
      (await succeed('generate --model sft/model --prompts one.jsonl --temperature 0')).stdout,
    );
    const stop = free!.response.trim().split(' ')[1]!;
    const [stopped] = rowsOf<{ response: string; finished: boolean }>(
      (
        await heed(
          ['generate', '--model', 'sft/model', '--prompts', 'one.jsonl', '--temperature', '0', '--stop', ` ${stop}`],
          { cwd },
        )
      ).stdout,
    );
    expect(stopped).toMatchObject({
      finished: true,
      response: free!.response.slice(0, free!.response.indexOf(` ${stop}`)),
    });
  });

  test('a reader that stops reading is not an error', async () => {
    const ended = await call('generate --model sft/model --prompts prompts.jsonl --max-new-tokens 4', {
      closeOutput: true,
    });
    expect(ended).toMatchObject({ status: 0, stdout: '' });
    expect(ended.stderr).not.toContain('heed:');
  });
});

test('the example of a reward function raises its reward', async () => {
  // Trained only a little: a policy without randomness cannot explore.
  await succeed('sft --model base/model --data demos.jsonl --epochs 8 --batch-size 12 --learning-rate 3e-3 --out half');
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [resolve('examples/reward-function.mjs'), 'half/model', 'prompts.jsonl', 'short'],
    { cwd },
  );
  const scores = [...stdout.matchAll(/score (\S+),/g)].map(([, score]) => Number(score));
  expect(scores.length).toBe(16);
  const mean = (some: readonly number[]) => some.reduce((sum, score) => sum + score, 0) / some.length;
  expect(mean(scores.slice(8))).toBeGreaterThan(scores[0]! + 0.3);
  expect(existsSync(join(cwd, 'short/model.safetensors'))).toBe(true);
}, 180_000);

test('chat answers each line', async () => {
  const { stdout } = await succeed('chat --model sft/model --max-new-tokens 6 --temperature 0', {
    input: 'Say cat dog:\n/new\n\nSay\n/exit\nnever\n',
  });
  expect(stdout.split('\n').length).toBe(3); // two answers, each a line
});

test('report writes the report of a run again', async () => {
  rmSync(join(cwd, 'sft/report.html'));
  await succeed('report sft');
  expect(text('sft/report.html')).toContain('<svg');
});

describe('a run that is stopped', () => {
  const sft =
    'sft --model base/model --data demos.jsonl --epochs 150 --batch-size 12 --learning-rate 1e-3 --validation-fraction 0.2';

  test('is saved, says how to continue it, and then ends bit-identical to an uninterrupted one', async () => {
    const stopped = await call(`${sft} --out stopped`, { interruptAt: 'sft 1/' });
    expect(stopped.status).toBe(130);
    expect(stopped.stderr).toContain('stopping; a run is saved first (press Ctrl-C again to end at once)\n');
    expect(stopped.stderr).toMatch(
      /heed: stopped; stopped is saved at step \d+; continue with: heed sft --out stopped --resume\n$/,
    );
    const before = readRowsOf(cwd, 'stopped', 'metrics.jsonl').length;
    expect(before).toBeLessThan(450);
    await succeed('sft --out stopped --resume');
    await succeed(`${sft} --out alone`);
    expect(readFileSync(join(cwd, 'stopped/model/model.safetensors'))).toEqual(
      readFileSync(join(cwd, 'alone/model/model.safetensors')),
    );
    type Times = { seconds?: number; percentOfPeak?: number };
    const comparable = (run: string) =>
      readRowsOf<Times>(cwd, run, 'metrics.jsonl').map(({ seconds, percentOfPeak, ...rest }) => rest);
    expect(comparable('stopped')).toEqual(comparable('alone'));
  }, 180_000);

  test('is not overwritten, and is resumed by its own command', async () => {
    expect(await call(`${sft} --out sft`)).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('sft already holds a run'),
    });
    expect(await call('reward --out sft --resume')).toMatchObject({
      status: 2,
      stderr: 'heed: sft is a run of heed sft, not of heed reward\n',
    });
    expect(await call('sft --out nowhere --resume')).toMatchObject({
      status: 2,
      stderr: expect.stringContaining('no run to resume'),
    });
    expect(await call('sft --resume')).toMatchObject({ status: 2, stderr: expect.stringContaining('needs --out RUN') });
  });
});

test('every --prompt counts, and the rows of --prompts after them', async () => {
  const { stdout } = await succeed(
    'generate --model base/model --prompt one,two --prompt three --prompts demos.jsonl --max-new-tokens 1',
  );
  const prompts = stdout
    .trim()
    .split('\n')
    .map((line) => (JSON.parse(line) as { prompt: string }).prompt);
  expect(prompts.slice(0, 2)).toEqual(['one,two', 'three']);
  expect(prompts.length).toBeGreaterThan(30);
});

test('a run with a poor result warns at its end', async () => {
  const { stderr } = await succeed(
    'sft --model base/model --data demos.jsonl --out worthless --steps 1 --learning-rate 100 --batch-size 4',
  );
  expect(stderr).toContain('warning: only 2 of the demonstrations are held out');
  write('one.jsonl', toy.demonstrations.slice(0, 1));
  const one = await succeed('sft --model base/model --data one.jsonl --out one --steps 1');
  expect(one.stderr).toContain('warning: only 1 of the demonstrations are left to train on');
});

test('--dry-run prints plan, tokens and memory, and writes nothing', async () => {
  const { stderr } = await succeed('sft --model base/model --data demos.jsonl --out dry --dry-run');
  expect(stderr).toMatch(/36 rows, 36 kept \(\d+ tokens, \d+ with loss\)/);
  expect(stderr).toMatch(/plan: 32 steps of 32 sequences \(2 an epoch\), 2 held out/);
  expect(stderr).toMatch(/memory: [\d.]+ MB: weights/);
  expect(existsSync(join(cwd, 'dry'))).toBe(false);
});

test('help and version', async () => {
  expect((await succeed('--help')).stdout).toContain('heed COMMAND --help explains');
  expect((await succeed('--version')).stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
  expect((await succeed('reward --help')).stdout).toContain(
    'heed reward --model DIR --data FILE... --out RUN [options]',
  );
});
