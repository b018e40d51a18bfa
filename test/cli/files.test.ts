import { execFileSync, spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { type CallOptions, heed, readRowsOf, rowsOf, toy } from './heed.js';

const cwd = mkdtempSync(join(tmpdir(), 'heed-cli-files-'));
afterAll(() => rmSync(cwd, { recursive: true }));
const call = (line: string, options: Partial<CallOptions> = {}) => heed(line.split(' '), { cwd, ...options });
const write = (name: string, rows: readonly unknown[]) =>
  writeFileSync(join(cwd, name), rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
const json = (...path: string[]) => JSON.parse(readFileSync(join(cwd, ...path), 'utf8'));

/** A copy of the base model with another config.json. */
function variant(name: string, change: Readonly<Record<string, unknown>>): string {
  cpSync(join(cwd, 'base/model'), join(cwd, name), { recursive: true });
  writeFileSync(join(cwd, name, 'config.json'), JSON.stringify({ ...json('base/model/config.json'), ...change }));
  return name;
}

async function succeed(line: string, options: Partial<CallOptions> = {}) {
  const ended = await call(line, options);
  if (ended.status !== 0) throw new Error(`heed ${line}: ${ended.status}\n${ended.stderr}`);
  return ended;
}

async function fail(line: string, options: Partial<CallOptions> = {}): Promise<string> {
  const { status, stderr } = await call(line, options);
  expect({ line, status }).toEqual({ line, status: 1 });
  expect(stderr).not.toMatch(/^ {4}at /m);
  return stderr.split('\n').at(-2)!;
}

const generate = 'generate --model base/model --prompt cat --max-new-tokens 3';
const sft = 'sft --model base/model --data demos.jsonl --steps 1';

beforeAll(async () => {
  write('demos.jsonl', toy.demonstrations);
  write('documents.jsonl', toy.documents);
  await succeed('tokenizer --data documents.jsonl demos.jsonl --vocab-size 280 --out tokenizer');
  await succeed(
    'pretrain --data documents.jsonl --tokenizer tokenizer --num-layers 1 --channels 32 --num-heads 2 --max-positions 64 --steps 1 --out base',
  );
}, 240_000);

describe('rows are written', () => {
  test('through a link, into a pipe and to a device, which are not replaced', async () => {
    const { stdout } = await succeed(generate);
    writeFileSync(join(cwd, 'real.jsonl'), 'old\n');
    symlinkSync('real.jsonl', join(cwd, 'link.jsonl'));
    await succeed(`${generate} --out link.jsonl`);
    expect(lstatSync(join(cwd, 'link.jsonl')).isSymbolicLink()).toBe(true);
    expect(readFileSync(join(cwd, 'real.jsonl'), 'utf8')).toBe(stdout);

    execFileSync('mkfifo', [join(cwd, 'pipe')]);
    const [read] = await Promise.all([readFile(join(cwd, 'pipe'), 'utf8'), succeed(`${generate} --out pipe`)]);
    expect(read).toBe(stdout);
    expect(lstatSync(join(cwd, 'pipe')).isFIFO()).toBe(true);
  });

  test('not over a folder, with an error before anything is computed', async () => {
    expect(await fail(`${generate} --out base`)).toBe('heed: cannot write base: it is a folder, expected a file');
    expect(readdirSync(cwd).filter((name) => name.includes('.tmp'))).toEqual([]);
  });

  test('a full disk on standard output is an error', async () => {
    const command = `${process.execPath} ${resolve('dist/lib/cli/main.js')} ${generate} > /dev/full`;
    const { status, stderr } = spawnSync('sh', ['-c', command], { cwd, encoding: 'utf8' });
    expect(status).toBe(1);
    expect(stderr).toContain('heed: cannot write standard output: the disk is full\n');
  });
});

describe('existing files in a folder are not lost', () => {
  test('by a tokenizer', async () => {
    expect(await fail('tokenizer --data documents.jsonl --out base/model')).toBe(
      'heed: cannot save base/model: it holds config.json, which would be lost; choose another folder',
    );
    expect(await fail('tokenizer --data documents.jsonl --out demos.jsonl')).toBe(
      'heed: cannot save demos.jsonl: it is a file, expected a folder',
    );
    await succeed('tokenizer --data documents.jsonl --out again');
    await succeed('tokenizer --data documents.jsonl --out again');
  });

  test('by a run in the folder of a model', async () => {
    expect(await fail(`${sft} --out base/model`)).toBe(
      "heed: base/model holds a config.json that is not a run's: choose another folder",
    );
    expect(existsSync(join(cwd, 'base/model/metrics.jsonl'))).toBe(false);
  });
});

describe('runs', () => {
  test('that failed before their first step are started again', async () => {
    await fail(`${sft} --out failed`, { env: { HEED_THREADS: 'many' } });
    expect(existsSync(join(cwd, 'failed'))).toBe(false);
    const broken = variant('broken', {});
    writeFileSync(join(cwd, broken, 'model.safetensors'), 'short');
    expect(await fail(`${sft.replace('base/model', broken)} --seed 7 --out failed`)).toMatch(
      /expected at least 8 in a safetensors/,
    );
    await succeed(`${sft} --seed 8 --out failed`);
    expect(json('failed/config.json').options).toMatchObject({ seed: 8, model: 'base/model' });
  });

  test('that continue with other options record them in config.json', async () => {
    await succeed(`${sft} --out longer`);
    await succeed('sft --out longer --resume --steps 2');
    expect(json('longer/config.json').options.steps).toBe(2);
    expect(readRowsOf(cwd, 'longer/metrics.jsonl').length).toBe(2);
    expect((await call('sft --out longer --resume --steps 1')).stderr).toContain(
      'heed: longer has already taken 2 steps, expected at most 1',
    );
    expect(json('longer/config.json').options.steps).toBe(2);
    expect(await call('sft --out base/model --resume')).toMatchObject({
      status: 2,
      stderr: 'heed: base/model/config.json is not from a run of heed: there is no run to resume\n',
    });
  });

  test('continue when nobody reads their messages', async () => {
    await succeed(`${sft} --out unheard`, { closeErrors: true });
    expect(existsSync(join(cwd, 'unheard/report.html'))).toBe(true);
  });

  test('with a truncated last line of metrics are reported without it', async () => {
    mkdirSync(join(cwd, 'cut'));
    writeFileSync(join(cwd, 'cut/metrics.jsonl'), '{"step":1,"loss":2}\n{"step":2,"lo');
    await succeed('report cut');
    expect(json('cut/report.json').curves[0].points).toEqual([{ step: 1, loss: 2 }]);
  });
});

describe('models of other programs', () => {
  test('with more rows than the tokenizer has tokens are sampled', async () => {
    // The copy of the tokenizer has 280 tokens, the model more.
    await succeed('tokenizer --data documents.jsonl demos.jsonl --vocab-size 280 --out padded-tokenizer');
    const file = join(cwd, 'padded-tokenizer/tokenizer.json');
    const tokenizer = JSON.parse(readFileSync(file, 'utf8'));
    const names = Array.from({ length: 2000 }, (_, i) => ({
      ...tokenizer.added_tokens[0],
      id: 280 + i,
      content: `<|${i}|>`,
    }));
    writeFileSync(file, JSON.stringify({ ...tokenizer, added_tokens: [...tokenizer.added_tokens, ...names] }));
    await succeed(
      'pretrain --data documents.jsonl --tokenizer padded-tokenizer --num-layers 1 --channels 8 --num-heads 2 --max-positions 64 --steps 1 --out padded',
    );
    cpSync(join(cwd, 'tokenizer/tokenizer.json'), join(cwd, 'padded/model/tokenizer.json'));
    const { stdout } = await succeed('generate --model padded/model --prompt cat --max-new-tokens 40');
    expect(Math.max(...rowsOf<{ tokens: number[] }>(stdout)[0]!.tokens)).toBeGreaterThanOrEqual(280);
  }, 60_000);

  test('whose end token is not in the vocabulary end with their own', async () => {
    const { stdout } = await succeed(generate.replace('base/model', variant('far', { eos_token_id: [0, 50256] })));
    expect(stdout).toBe((await succeed(generate)).stdout);
  });

  test('with invalid sizes are refused, naming the file', async () => {
    expect(await fail(generate.replace('base/model', variant('odd', { num_key_value_heads: 3 })))).toMatch(
      /^heed: odd\/config\.json: num_key_value_heads is 3, expected 1 to 2/,
    );
  });

  test('whose weights are not finite are refused', async () => {
    const nan = variant('nan', {});
    const file = join(cwd, nan, 'model.safetensors');
    const bytes = readFileSync(file);
    bytes.fill(0xff, bytes.length - 128); // the last norm
    writeFileSync(file, bytes);
    expect(await fail(generate.replace('base/model', nan))).toContain('its weights are not finite numbers');
  });
});

test('rows that generate wrote with a template are scored with the same prompt', async () => {
  await succeed(
    'generate --model base/model --prompts demos.jsonl --template plain --max-new-tokens 4 --logprobs --out framed.jsonl',
  );
  const { stdout } = await succeed('score --model base/model --data framed.jsonl --template plain');
  expect(rowsOf(stdout)).toEqual(
    readRowsOf<{ logprobs: number[] }>(cwd, 'framed.jsonl').map(({ logprobs }) => ({ logprobs })),
  );
});
