import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { type CallOptions, type Ended, heed, readRowsOf, rowsOf, toy } from './heed.js';

const cwd = mkdtempSync(join(tmpdir(), 'heed-cli-'));
afterAll(() => rmSync(cwd, { recursive: true }));
const call = (line: string, options: Partial<CallOptions> = {}) => heed(line.split(' '), { cwd, ...options });
const write = (name: string, rows: readonly unknown[]) =>
  writeFileSync(join(cwd, name), rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
const text = (...path: string[]) => readFileSync(join(cwd, ...path), 'utf8');
const kSmall = '--layers 1 --channels 32 --heads 2 --positions 64';

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
}, 120_000);

describe('the phases', () => {
  test('leave a model, metrics, what was run, and a report', async () => {
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

  test('PPO-ptx goes from the SFT model against the reward model', async () => {
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
    expect(existsSync(join(cwd, 'ppo/ema/model.safetensors'))).toBe(true);
  }, 60_000);

  test('run one after the other on a configuration', async () => {
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
      'sft: done before\nreward: done before\nppo: done before\n',
    );
  }, 60_000);
});

describe('generate and score', () => {
  test('score gives back the log-probabilities that generate drew with, bit for bit', async () => {
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

  test('rows of every kind are scored, in their order', async () => {
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
    expect(several!.logprobs[0]).toEqual(plain!.logprobs); // the prompt shared or not: the same bits
    expect(pair!.logprobs).toEqual(several!.logprobs.slice(0, 2));
    expect(document!.logprobs.length).toBeGreaterThan(2);
    const scores = rowsOf<{ score?: number; scores?: number[] }>(
      (await succeed('score --model reward/model --data kinds.jsonl')).stdout,
    );
    expect(scores[1]!.scores![0]).toBe(scores[0]!.score);
    expect(scores[2]!.scores).toEqual(scores[1]!.scores!.slice(0, 2));
    expect(scores[0]!.score!).toBeGreaterThan(scores[1]!.scores![1]!);
  });

  test('a stop text ends a response and is no part of it', async () => {
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

  test('a reader that stops reading is no error', async () => {
    const ended = await call('generate --model sft/model --prompts prompts.jsonl --max-new-tokens 4', {
      closeOutput: true,
    });
    expect(ended).toMatchObject({ status: 0, stdout: '' });
    expect(ended.stderr).not.toContain('heed:');
  });
});

test('chat answers each line', async () => {
  const { stdout } = await succeed('chat --model sft/model --max-new-tokens 6 --temperature 0', {
    input: 'Say cat dog:\n/new\n\nSay\n/exit\nnever\n',
  });
  expect(stdout.split('\n').length).toBe(3); // two answers, each a line
});

test('report draws a run again', async () => {
  rmSync(join(cwd, 'sft/report.html'));
  await succeed('report sft');
  expect(text('sft/report.html')).toContain('<svg');
});

describe('a run that is stopped', () => {
  const sft =
    'sft --model base/model --data demos.jsonl --epochs 300 --batch-size 12 --learning-rate 1e-3 --validation-fraction 0.2';

  test('is saved, says how to go on, and ends with the bits of one left alone', async () => {
    const stopped = await call(`${sft} --out stopped`, { interruptAt: 'sft 1/' });
    expect(stopped.status).toBe(130);
    expect(stopped.stderr).toMatch(
      /heed: stopped; stopped is saved at step \d+; go on with: heed sft --out stopped --resume\n$/,
    );
    const before = readRowsOf(cwd, 'stopped', 'metrics.jsonl').length;
    expect(before).toBeLessThan(900);
    await succeed('sft --out stopped --resume');
    await succeed(`${sft} --out alone`);
    expect(readFileSync(join(cwd, 'stopped/model/model.safetensors'))).toEqual(
      readFileSync(join(cwd, 'alone/model/model.safetensors')),
    );
    const comparable = (run: string) =>
      readRowsOf<{ seconds?: number }>(cwd, run, 'metrics.jsonl').map(({ seconds, ...rest }) => rest);
    expect(comparable('stopped')).toEqual(comparable('alone'));
  }, 60_000);

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

test('--dry-run says plan, tokens and memory, and writes nothing', async () => {
  const { stderr } = await succeed('sft --model base/model --data demos.jsonl --out dry --dry-run');
  expect(stderr).toMatch(/36 rows, 36 kept \(\d+ tokens, \d+ learnt\)/);
  expect(stderr).toMatch(/plan: 32 steps of 32 sequences \(2 an epoch\), 2 held out/);
  expect(stderr).toMatch(/memory: about [\d.]+ MB: weights/);
  expect(existsSync(join(cwd, 'dry'))).toBe(false);
});

describe('what is wrong is said in one sentence', () => {
  const cases: readonly (readonly [line: string, status: number, message: string | RegExp])[] = [
    ['stf', 2, 'there is no command stf, did you mean sft?'],
    ['sft --modle x', 2, 'there is no option --modle, did you mean --model?'],
    ['sft', 2, 'heed sft needs --model DIR: the model to start from'],
    ['sft --model base/model --data demos.jsonl', 2, /heed sft needs --out RUN/],
    [
      'sft --model base/model --data demos.jsonl --out x --learning-rate fast',
      2,
      'heed sft: --learning-rate is "fast", expected a number of at least 0',
    ],
    [
      'sft --model base/model --data demos.jsonl --out x --set epoch=3',
      2,
      '--set epoch=3: there is no option epoch, did you mean epochs?',
    ],
    ['sft --model base/model --data demos.jsonl --out x --config none.yaml', 1, 'none.yaml: does not exist'],
    [
      'sft --model base/model --data demos.jsonl --out x --config bad.yaml',
      2,
      'bad.yaml: there is no option learnRate, did you mean learningRate?',
    ],
    [
      'sft --model nowhere --data demos.jsonl --out x',
      1,
      'nowhere/config.json: does not exist, expected a Hugging Face model folder with one',
    ],
    ['sft --model base/model --data nowhere.jsonl --out x', 1, 'nowhere.jsonl: does not exist'],
    [
      'sft --model base/model --data rankings.jsonl --out x',
      1,
      'rankings.jsonl:1: response is missing, expected a string',
    ],
    ['sft --model base/model --data bad.jsonl --out x', 1, /bad\.jsonl:2: is not valid JSON/],
    [
      'sft --model base/model --data demos.jsonl --out x --max-length 100',
      2,
      '--max-length is 100, but base/model has 64 positions',
    ],
    ['sft --model base/model --data demos.jsonl --out x --template none.jinja', 1, /none\.jinja: cannot be read/],
    [
      'sft --model reward/model --data demos.jsonl --out x',
      1,
      'reward/model/config.json: describes a reward model, expected a language model',
    ],
    ['sft --model base/model --data empty.jsonl --out x', 1, /there is no sft data/],
    [
      'reward --model sft/model --data one-response.jsonl --out x',
      1,
      'one-response.jsonl:1: responses has 1 of them, expected at least 2 to compare',
    ],
    [
      'ppo --policy sft/model --reward-model sft/model --prompts prompts.jsonl --out x',
      1,
      /describes a language model, expected a reward model/,
    ],
    [
      'ppo --policy sft/model --reward-model reward/model --prompts prompts.jsonl --out x --max-new-tokens 64',
      1,
      /no prompt is left/,
    ],
    [
      'ppo --policy sft/model --reward-model reward/model --prompts prompts.jsonl --out x --dropout 0.1',
      2,
      /--dropout is 0\.1, expected/,
    ],
    ['generate --model sft/model', 2, 'heed generate needs --prompts FILE or --prompt TEXT, and not both'],
    [
      'generate --model sft/model --prompts long.jsonl',
      1,
      /long\.jsonl:1: prompt has \d+ tokens, expected fewer than the 64 positions/,
    ],
    [
      'generate --model sft/model --prompts blank.jsonl',
      1,
      'blank.jsonl:1: prompt is empty, expected at least one word',
    ],
    [
      'score --model sft/model --data tokens.jsonl',
      1,
      'tokens.jsonl:1: tokens[1] is 280, expected an id from 0 to 279',
    ],
    ['score --model sft/model --data long.jsonl', 1, /long\.jsonl:1: response is missing/],
    ['pretrain --data documents.jsonl --out x', 2, /needs --tokenizer DIR/],
    [
      'pretrain --data documents.jsonl --tokenizer tokenizer --channels 30 --heads 4 --out x',
      2,
      '--heads is 4, expected a divisor of --channels, 30',
    ],
    ['tokenizer --data empty.jsonl --out x', 1, 'there is no text in the data'],
    [
      'tokenizer --data documents.jsonl --vocab-size 100 --out x',
      2,
      /--vocab-size is 100, expected an integer of at least 258/,
    ],
    ['report nowhere', 1, /nowhere/],
    [
      'align --set ppo.learnRate=1 --out x',
      2,
      '--set ppo.learnRate=1: there is no option ppo.learnRate, did you mean ppo.learningRate?',
    ],
  ];

  const results = new Map<string, Promise<Ended>>();

  beforeAll(async () => {
    writeFileSync(join(cwd, 'bad.yaml'), 'learnRate: 1\n');
    writeFileSync(join(cwd, 'bad.jsonl'), '{"prompt":"a","response":"b"}\n{"prompt":\n');
    writeFileSync(join(cwd, 'empty.jsonl'), '');
    write('one-response.jsonl', [{ prompt: 'p', responses: ['a'], ranks: [0] }]);
    write('long.jsonl', [{ prompt: 'cat dog '.repeat(40) }]);
    write('blank.jsonl', [{ prompt: ' ' }]);
    write('tokens.jsonl', [{ prompt: 'Say', tokens: [5, 280] }]);
    const left = cases.map(([line]) => line);
    const worker = async () => {
      for (let line = left.shift(); line !== undefined; line = left.shift()) {
        results.set(line, call(line));
        await results.get(line);
      }
    };
    await Promise.all([worker(), worker(), worker()]);
  }, 120_000);

  test.each(cases)('heed %s', async (line, status, message) => {
    const ended = (await results.get(line))!;
    expect(ended.stderr.split('\n').filter((l) => l.startsWith('heed: '))).toEqual([
      typeof message === 'string' ? `heed: ${message}` : expect.stringMatching(message),
    ]);
    expect(ended.stderr).not.toMatch(/^ {4}at /m);
    expect(ended.stdout).toBe('');
    expect(ended.status).toBe(status);
    expect(existsSync(join(cwd, 'x'))).toBe(false);
  });

  test('a tokenizer larger than the vocabulary is refused', async () => {
    await succeed('tokenizer --data documents.jsonl demos.jsonl --vocab-size 281 --out larger');
    await succeed(`pretrain --data documents.jsonl --tokenizer tokenizer ${kSmall} --steps 1 --out mixed`);
    writeFileSync(join(cwd, 'mixed/model/tokenizer.json'), text('larger/tokenizer.json'));
    const { status, stderr } = await call('generate --model mixed/model --prompt cat');
    expect(status).toBe(1);
    expect(stderr).toContain(
      'mixed/model/tokenizer.json has 281 tokens, more than the vocabulary of mixed/model, which has 280',
    );
    const ppo = await call('ppo --policy sft/model --reward-model mixed/model --prompts prompts.jsonl --out x');
    expect(ppo.stderr).toContain('heed: ');
  });

  test('HEED_DEBUG=1 shows where it comes from', async () => {
    expect((await call('sft --modle x', { env: { HEED_DEBUG: '1' } })).stderr).toMatch(/^ {4}at .*parseArguments/m);
  });
});

test('help and version', async () => {
  expect((await succeed('--help')).stdout).toContain('heed COMMAND --help explains');
  expect((await succeed('--version')).stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
  expect((await succeed('reward --help')).stdout).toContain(
    'heed reward --model DIR --data FILE... --out RUN [options]',
  );
});
