// What a newcomer pastes and runs: the program in README, the server in examples/.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
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

test('the server streams responses, refuses bad requests and stops when the client disconnects', async () => {
  const child = spawn(process.execPath, ['examples/serve.mjs', 'models/base', '0'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  try {
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const line = async () => (await lines.next()).value as string;
    const url = await line();
    const ask = async (body: object | string) => {
      const response = await fetch(url, {
        method: 'POST',
        body: typeof body === 'string' ? body : JSON.stringify(body),
      });
      return [response.status, await response.text()];
    };
    const [status, answer] = await ask({ prompt: 'User: What does the dog say?\nAssistant:', maxNewTokens: 20 });
    expect([status, await line()]).toEqual([200, 'answered']);
    expect((answer as string).length).toBeGreaterThan(0);

    expect(await ask({ prompt: '' })).toEqual([400, expect.stringContaining('the prompt is empty')]);
    expect((await ask('{'))[0]).toBe(400);

    const leaving = request(url, { method: 'POST' });
    leaving.on('error', () => {});
    leaving.end(JSON.stringify({ prompt: 'Once upon a time', maxNewTokens: 250 }));
    leaving.on('response', (response) => response.once('data', () => leaving.destroy()));
    expect(await line()).toBe('client disconnected');
    expect((await ask({ prompt: 'The dog', maxNewTokens: 5 }))[0]).toBe(200);
  } finally {
    child.kill();
    await once(child, 'exit');
  }
}, 120_000);
