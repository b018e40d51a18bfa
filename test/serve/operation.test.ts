// What who runs the service sees of it: its log, its metrics, whether it is ready.
import { spawn } from 'node:child_process';
import { request as httpRequest } from 'node:http';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import Fastify from 'fastify';
import { openFeedback } from '../../lib/feedback/database.js';
import { serving } from '../../lib/serve/index.js';
import { Tokenizer } from '../../lib/tokenizer/tokenizer.js';
import { ask } from '../http/ask.js';
import { base, folder, start, theModel } from './service.js';

async function until(isTrue: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await isTrue())) await sleep(5);
}

test('an answer is one line of the log, with its numbers and without anybody’s text', async () => {
  const log: Record<string, unknown>[] = [];
  const { url } = await start({}, '127.0.0.1', log);
  const secret = 'The private dog of Ada';
  const body = { prompt: secret, max_tokens: 3, n: 2, temperature: 0, stop: ['never'] };
  const { id, usage, choices } = (await ask(`${url}/v1/completions`, { body })).json();
  const lines = log.filter(({ msg }) => msg === 'answered');
  expect(lines).toEqual([
    expect.objectContaining({
      ...{ level: 30, id, model: 'base', version: 0, reqId: expect.any(String) },
      promptTokens: usage.prompt_tokens,
      completionTokens: usage.completion_tokens,
      finish: choices.map((each: { finish_reason: string }) => each.finish_reason),
    }),
  ]);
  expect(JSON.stringify(log)).not.toContain('private dog');
  for (const { text } of choices) expect(JSON.stringify(log)).not.toContain(JSON.stringify(text).slice(1, -1));
});

test('a client that leaves a stream is no warning and no error in the log', async () => {
  const log: Record<string, unknown>[] = [];
  const { url } = await start({}, '127.0.0.1', log);
  const sent = httpRequest(`${url}/v1/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
  });
  sent.on('error', () => {});
  sent.end(JSON.stringify({ prompt: 'Once upon a time', max_tokens: 200, n: 16, stream: true }));
  await new Promise((resolve) => sent.on('response', resolve));
  sent.destroy();
  await until(() => log.some(({ msg }) => msg === 'the client has left a stream'));
  await until(() => log.some(({ msg }) => msg === 'answered'));
  expect(log.filter(({ level }) => (level as number) > 30)).toEqual([]);
  expect(log.find(({ msg }) => msg === 'answered')!.finish).toContain('abort');
});

test('a failure of the server is still an error in the log', async () => {
  const log: Record<string, unknown>[] = [];
  const { url, feedback } = await start({}, '127.0.0.1', log);
  const database = await openFeedback(feedback);
  database.exec("CREATE TRIGGER fails BEFORE INSERT ON responses BEGIN SELECT RAISE(ABORT, 'no room here'); END");
  database.close();
  expect((await ask(`${url}/v1/completions`, { body: { prompt: 'x', max_tokens: 1 } })).status).toBe(500);
  const errors = log.filter(({ level }) => level === 50);
  // SQLite's errors may be of another test file's realm, where the log does not know them as errors and has their fields only.
  expect(errors.map((line) => JSON.stringify(line))).toEqual([expect.stringMatching(/no room here|SQLITE_CONSTRAINT/)]);
});

test('requests that no route takes are counted too, in a server of heed; in another they are its own', async () => {
  const { url } = await start();
  for (const path of ['/nowhere', '/v1/nothing?key=x']) expect((await ask(url + path)).status).toBe(404);
  expect((await ask(`${url}/v1/models`, { method: 'DELETE' })).status).toBe(404);
  const line = 'heed_requests_total{route="none",status="404"} 3';
  await until(async () => (await ask(`${url}/metrics`)).text.includes(line));
  const app = Fastify();
  await app.register(serving({ name: 'mine', model: await theModel(), tokenizer: await Tokenizer.load(base) }), {
    prefix: '/llm',
  });
  const own = await app.listen({ host: '127.0.0.1', port: 0 });
  try {
    expect((await ask(`${own}/nowhere`)).status).toBe(404);
    expect((await ask(`${own}/llm/v1/models`)).status).toBe(200);
    const { text } = await ask(`${own}/llm/metrics`);
    expect(text).toContain('route="/llm/v1/models",status="200"} 1');
    expect(text).not.toContain('route="none"');
  } finally {
    await app.close();
  }
});

test('where the file of feedback cannot grow, an answer fails and the service is not ready: 503', async () => {
  const feedback = join(folder(), 'full.db');
  // No file may grow beyond so many blocks.
  const cli = `exec "${process.execPath}" dist/lib/cli/main.js serve --model models/base --port 0 --feedback "${feedback}"`;
  const child = spawn('sh', ['-c', `ulimit -f 600; ${cli} --no-log`], { stdio: ['ignore', 'ignore', 'pipe'] });
  try {
    const lines = createInterface(child.stderr);
    const url = await new Promise<string>((resolve, reject) => {
      const seen: string[] = [];
      lines.on('line', (line) => {
        seen.push(line);
        const found = line.match(/^(http:\S+) serves/);
        if (found) resolve(found[1]!);
      });
      child.on('close', (code) => reject(new Error(`it ended with ${code}: ${seen.join('\n')}`)));
    });
    const ready = async () => {
      const { status, json } = await ask(`${url}/readyz`);
      return [status, json().status];
    };
    expect(await ready()).toEqual([200, 'ok']);
    let last = 200;
    const body = { prompt: 'the dog '.repeat(60), max_tokens: 100, n: 16 };
    while (last === 200) last = (await ask(`${url}/v1/completions`, { body })).status;
    expect([last, await ready()]).toEqual([500, [503, 'unwritable']]);
    expect((await ask(`${url}/healthz`)).status).toBe(200);
  } finally {
    child.kill('SIGKILL');
  }
}, 60_000);
