import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { type CallOptions, type Ended, heed, toy } from './heed.js';

const cwd = mkdtempSync(join(tmpdir(), 'heed-cli-errors-'));
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
  write('prompts.jsonl', toy.demonstrations);
  await succeed('tokenizer --data documents.jsonl demos.jsonl --vocab-size 280 --out tokenizer');
  await succeed(`pretrain --data documents.jsonl --tokenizer tokenizer ${kSmall} --steps 1 --out base`);
  await succeed('reward --model base/model --data rankings.jsonl --steps 1 --out reward');
}, 240_000);

describe('errors are one line', () => {
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
      '--max-length is 100, expected at most the 64 positions of base/model',
    ],
    ['sft --model base/model --data demos.jsonl --out x --template none.jinja', 1, /none\.jinja: cannot be read/],
    [
      'sft --model reward/model --data demos.jsonl --out x',
      1,
      'reward/model/config.json: describes a reward model, expected a language model',
    ],
    ['sft --model base/model --data empty.jsonl --out x', 1, 'empty.jsonl: is empty, expected at least one row'],
    [
      'reward --model base/model --data one-response.jsonl --out x',
      1,
      'one-response.jsonl:1: responses has length 1, expected at least 2 to compare',
    ],
    [
      'ppo --policy base/model --reward-model base/model --prompts prompts.jsonl --out x',
      1,
      /describes a language model, expected a reward model/,
    ],
    [
      'ppo --policy base/model --reward-model reward/model --prompts prompts.jsonl --out x --max-new-tokens 64',
      2,
      '--max-new-tokens is 64, expected fewer than the 64 tokens of a sequence, to leave room for a prompt',
    ],
    [
      'ppo --policy base/model --reward-model reward/model --prompts prompts.jsonl --out x --max-new-tokens 62',
      1,
      /none of the \d+ rows of prompts.jsonl can be used/,
    ],
    [
      'ppo --policy base/model --reward-model reward/model --prompts prompts.jsonl --out x --dropout 0.1',
      2,
      /--dropout is 0\.1, expected/,
    ],
    [
      'sft --model base/model --data demos.jsonl --out demos.jsonl',
      1,
      'cannot open the run demos.jsonl: it is a file, expected a folder',
    ],
    [
      'generate --model base/model --prompts prompts.jsonl --out nowhere/x.jsonl',
      1,
      'cannot write nowhere/x.jsonl: the folder nowhere does not exist',
    ],
    [
      'pretrain --model base/model --data documents.jsonl --out x --num-layers 3',
      2,
      '--num-layers is only for a new model: --model has its own sizes',
    ],
    [
      'chat --model base/model --template user-only.jinja --system S',
      2,
      '--system cannot be used: user-only.jinja: only users and assistants',
    ],
    ['generate --model base/model', 2, 'heed generate needs --prompts FILE or --prompt TEXT'],
    [
      'generate --model base/model --prompts long.jsonl',
      1,
      /long\.jsonl:1: prompt has \d+ tokens, expected fewer than the 64 positions/,
    ],
    [
      'generate --model base/model --prompts blank.jsonl',
      1,
      'blank.jsonl:1: prompt is empty, expected at least one word',
    ],
    [
      'score --model base/model --data tokens.jsonl',
      1,
      'tokens.jsonl:1: tokens[1] is 280, expected an id from 0 to 279',
    ],
    ['score --model base/model --data long.jsonl', 1, /long\.jsonl:1: response is missing/],
    ['pretrain --data documents.jsonl --out x', 2, /needs --tokenizer DIR/],
    [
      'pretrain --model base/model --tokenizer tokenizer --data documents.jsonl --out x',
      2,
      '--tokenizer is only for a new model: --model has its own',
    ],
    [
      'pretrain --data documents.jsonl --tokenizer tokenizer --channels 30 --num-heads 4 --out x',
      2,
      '--num-heads is 4, expected a divisor of --channels, 30',
    ],
    ['tokenizer --data empty.jsonl --out x', 1, 'empty.jsonl: is empty, expected at least one row'],
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
    const users =
      "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('only users and assistants') }}{% endif %}{{ m.content }}{% endfor %}";
    writeFileSync(join(cwd, 'user-only.jinja'), users);
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
  }, 240_000);

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
    const ppo = await call('ppo --policy base/model --reward-model mixed/model --prompts prompts.jsonl --out x');
    expect(ppo.stderr).toContain('heed: ');
  });

  test('PPO refuses different tokenizers, but accepts the same one in another file format', async () => {
    const ppo = 'ppo --policy base/model --reward-model other/model --prompts prompts.jsonl --max-new-tokens 8 --out x';
    await succeed('reward --model base/model --data rankings.jsonl --steps 1 --out other');
    const tokenizer = JSON.parse(text('base/model/tokenizer.json'));
    writeFileSync(join(cwd, 'other/model/tokenizer.json'), JSON.stringify({ ...tokenizer, truncation: null }));
    await succeed(`${ppo} --dry-run`);
    const entries = Object.entries<number>(tokenizer.model.vocab);
    const [last, id] = entries.pop()!;
    tokenizer.model.vocab = Object.fromEntries([...entries, [`${last}x`, id]]);
    tokenizer.model.merges.pop();
    writeFileSync(join(cwd, 'other/model/tokenizer.json'), JSON.stringify(tokenizer));
    expect(await call(ppo)).toMatchObject({
      status: 2,
      stderr: expect.stringMatching(
        /base\/model and other\/model have different tokenizers: token \d+ is ".*" and ".*x"/,
      ),
    });
  });

  test('HEED_DEBUG=1 shows the stack of an error', async () => {
    expect((await call('sft --modle x', { env: { HEED_DEBUG: '1' } })).stderr).toMatch(/^ {4}at .*parseArguments/m);
  });
});
