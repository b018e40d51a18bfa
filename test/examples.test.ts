// What a newcomer pastes and runs: the program in README, the server in examples/.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, expect, test } from '@jest/globals';

let dir: string;
beforeAll(() => {
  if (!existsSync('dist/lib/index.js')) throw new Error('dist is missing: npm run build');
  dir = mkdtempSync(join(tmpdir(), 'heed-examples-'));
  mkdirSync(join(dir, 'node_modules'));
  symlinkSync(resolve('.'), join(dir, 'node_modules/heed')); // as an installed package
});
afterAll(() => rmSync(dir, { recursive: true }));

test("README's program runs as pasted, learns and saves its model", async () => {
  const [, program] = readFileSync('README.md', 'utf8').match(/```js\n([\s\S]*?)```/)!;
  writeFileSync(join(dir, 'program.mjs'), program!);
  const child = spawn(process.execPath, ['program.mjs'], { cwd: dir });
  const [output, errors, [status]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'exit')]);
  expect([status, errors]).toEqual([0, '']);
  const numbers = (pattern: RegExp) => Array.from(output.matchAll(pattern), (match) => Number(match[1]));
  const losses = numbers(/^sft \d+: loss (.*)$/gm);
  expect(losses.at(-1)).toBeLessThan(0.6 * losses[0]!);
  const scores = numbers(/^ppo \d+: score ([^,]*),/gm);
  expect(scores.length).toBe(20);
  expect(scores.at(-1)).toBeGreaterThan(scores[0]!);
  expect(existsSync(join(dir, 'aligned/model.safetensors'))).toBe(true);
  expect(existsSync(join(dir, 'aligned/tokenizer.json'))).toBe(true);
}, 600_000);

test('the loss in docs/objectives.md runs as pasted, on sample data', async () => {
  const [, program] = readFileSync('docs/objectives.md', 'utf8').match(/```js\n([\s\S]*?)```/)!;
  const rows = readFileSync('examples/data/rankings.jsonl', 'utf8').split('\n').slice(0, 8);
  writeFileSync(join(dir, 'rankings.jsonl'), rows.join('\n'));
  writeFileSync(join(dir, 'loss.mjs'), program!.replaceAll("'runs/sft/model'", JSON.stringify(resolve('models/base'))));
  const child = spawn(process.execPath, ['loss.mjs'], { cwd: dir });
  const [errors, [status]] = await Promise.all([text(child.stderr), once(child, 'exit')]);
  expect([status, errors]).toEqual([0, '']);
}, 60_000);

test("the server has its own page, and the service below a prefix, whose keys, errors and streams are heed's", async () => {
  const child = spawn(process.execPath, ['examples/serve.mjs', 'models/base', '0'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  try {
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const url = (await lines.next()).value as string;
    const ask = async (path: string, body?: object | string) => {
      const sent = { method: 'POST', body: typeof body === 'string' ? body : JSON.stringify(body) };
      const headers = { 'content-type': 'application/json' };
      const response = await fetch(url + path, body === undefined ? {} : { ...sent, headers });
      return [response.status, await response.text()] as const;
    };
    expect(await ask('/')).toEqual([200, 'my own page']);
    const prompt = 'User: What does the dog say?\nAssistant:';
    const [status, answer] = await ask('/llm/v1/completions', { prompt, max_tokens: 20, stream: true });
    expect([status, answer]).toEqual([200, expect.stringMatching(/^data: .*data: \[DONE\]\n\n$/s)]);
    expect(await ask('/llm/v1/completions', { prompt: '' })).toEqual([
      400,
      expect.stringContaining('the prompt is empty'),
    ]);
    expect((await ask('/llm/v1/completions', '{'))[0]).toBe(400);
    expect((await ask('/llm/feedback', { id: 'x', thumb: true }))[0]).toBe(404);
    child.kill('SIGTERM');
    expect((await once(child, 'exit'))[0]).toBe(0);
  } finally {
    child.kill('SIGKILL');
  }
}, 120_000);
