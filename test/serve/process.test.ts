// The command as a process: what it acknowledged survives being killed, and a request to stop is heeded.
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, expect, test } from '@jest/globals';
import { openFeedback } from '../../lib/feedback/database.js';
import { ask } from '../http/ask.js';
import { theModel } from './service.js';

const dir = mkdtempSync(join(tmpdir(), 'heed-serve-'));
const children: ChildProcess[] = [];
afterAll(() => {
  for (const child of children) child.kill('SIGKILL');
  rmSync(dir, { recursive: true });
});

const cli = ['dist/lib/cli/main.js', 'serve', '--model', 'models/base', '--port', '0'];

/** Runs `heed serve`. @returns its address, its output, and its end */
async function serve(args: readonly string[], env: NodeJS.ProcessEnv = {}) {
  const child = spawn(process.execPath, [...cli, ...args], {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  children.push(child);
  const [out, err]: [string[], string[]] = [[], []];
  createInterface(child.stdout).on('line', (line) => out.push(line));
  const exit = new Promise<number | string | null>((done) => child.on('close', (code, signal) => done(code ?? signal)));
  const url = await new Promise<string>((resolve, reject) => {
    createInterface(child.stderr).on('line', (line) => {
      err.push(line);
      const found = line.match(/^(http:\S+) serves/);
      if (found) resolve(found[1]!);
    });
    void exit.then((code) => reject(new Error(`it ended with ${code}: ${err.join('\n')}`)));
  });
  return { child, url, out, err, exit };
}

test('kill -9 amid feedback loses nothing that was acknowledged, and leaves no half of a row', async () => {
  const feedback = join(dir, 'killed.db');
  const { child, url, exit } = await serve(['--feedback', feedback, '--no-log']);
  const body = { prompt: 'The dog', max_tokens: 3, n: 4 };
  const { id } = (await ask(`${url}/v1/completions`, { body })).json();
  const acknowledged: number[] = [];
  let sent = 0;
  const people = Array.from({ length: 8 }, async () => {
    for (;;) {
      const reward = ++sent;
      try {
        // A reward and a thumb together: both or none.
        const said = await ask(`${url}/feedback`, { body: { id, index: reward % 4, thumb: true, reward } });
        if (said.status !== 200) return;
        acknowledged.push(reward);
        if (acknowledged.length === 200) child.kill('SIGKILL');
      } catch {
        return;
      }
    }
  });
  await Promise.all(people);
  expect(await exit).toBe('SIGKILL');
  expect(acknowledged.length).toBeGreaterThanOrEqual(200);
  const database = await openFeedback(feedback);
  const kept = new Set(database.prepare('SELECT reward FROM rewards').pluck().all());
  expect(acknowledged.filter((reward) => !kept.has(reward))).toEqual([]);
  expect(database.prepare('SELECT count(*) FROM thumbs').pluck().get()).toBe(kept.size);
  expect(database.pragma('integrity_check', { simple: true })).toBe('ok');
  database.close();
  // and it goes on
  const again = await serve(['--feedback', feedback, '--no-log']);
  expect((await ask(`${again.url}/feedback`, { body: { id, thumb: false } })).status).toBe(200);
  again.child.kill('SIGKILL');
});

test('SIGTERM: answers under way are completed, and what it printed is one JSON object a line', async () => {
  const { child, url, out, err, exit } = await serve([], { HEED_API_KEYS: 'a,b' });
  const headers = { authorization: 'Bearer b' };
  const body = {
    prompt: 'Once upon a time',
    max_tokens: 150,
    n: 16,
    stream: true,
    stream_options: { include_usage: true },
  };
  const answering = ask(`${url}/v1/completions`, { headers, body });
  while (!out.some((line) => line.includes('/v1/completions'))) await new Promise((done) => setTimeout(done, 5));
  child.kill('SIGTERM');
  expect((await answering).text).toMatch(/data: \[DONE\]\n\n$/);
  expect(await exit).toBe(0);
  expect(err.at(-1)).toContain('stopping');
  const lines = out.map((line) => JSON.parse(line));
  expect(lines.some(({ req }) => req?.url === '/v1/completions')).toBe(true);
  expect(out.join('')).not.toContain('Once upon'); // nobody's texts
  expect(out.join('')).not.toContain('Bearer');
});

test('--versions serves the version that was served last, without feedback; a folder without any is refused', async () => {
  const versions = join(dir, 'versions');
  const adapter = await (await theModel()).adapter({ rank: 2, seed: 1 });
  await adapter.save(join(versions, '1'));
  await adapter.dispose();
  const known = [
    { version: 0, created: 1 },
    { version: 1, created: 2, folder: '1' },
  ];
  writeFileSync(join(versions, 'versions.json'), JSON.stringify({ serving: 1, learnt: 0, versions: known }));
  const { child, url } = await serve(['--train', 'off', '--versions', versions, '--no-log']);
  const body = { prompt: 'The dog', max_tokens: 2 };
  expect((await ask(`${url}/v1/completions`, { body })).json().model).toBe('base@1');
  expect((await ask(`${url}/admin/versions`)).json()).toEqual({ current: 1, versions: known, training: 'off' });
  expect((await ask(`${url}/admin/versions`, { body: { version: 0 } })).json()).toEqual({ current: 0 });
  child.kill('SIGKILL');
  await expect(serve(['--versions', join(dir, 'none')])).rejects.toThrow('versions.json: is not there');
  await expect(serve(['--versions', versions, '--train-at', '3am'])).rejects.toThrow('expected a time of day');
});

test('what is refused before it starts', async () => {
  const refused = async (...args: string[]) => {
    const child = spawn(process.execPath, [...cli, ...args], { stdio: ['ignore', 'ignore', 'pipe'] });
    let text = '';
    for await (const part of child.stderr) text += part;
    return text;
  };
  const [open, blind, ppo, taken] = await Promise.all([
    refused('--host', '0.0.0.0'),
    refused('--train', 'nightly'),
    refused('--objective', 'ppo'),
    refused('--reward-model', 'models/base'),
  ]);
  expect(open).toContain('--host 0.0.0.0 lets other machines in, which needs --api-key');
  expect(blind).toContain('--train needs --feedback');
  expect(ppo).toContain('--objective ppo needs --reward-model');
  expect(taken).toContain('expected a reward model');
});
