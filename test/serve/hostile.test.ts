// Whatever is sent, the service answers or refuses, keeps no half of a row, and goes on.
import { createConnection } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import { openFeedback } from '../../lib/feedback/database.js';
import { ask } from '../http/ask.js';
import { assault } from './mutants.mjs';
import { documentedErrors, start } from './service.js';

test('500 damaged requests', async () => {
  const { url, feedback, close } = await start();
  const { statuses, errors, wrong } = await assault(url, 500, 1, 500);
  expect(wrong).toEqual([]);
  expect(errors.length).toBeGreaterThan(6);
  expect(errors.filter((each) => !documentedErrors().includes(each))).toEqual([]);
  expect(statuses[200]).toBeGreaterThan(20); // some damage harms nothing
  expect(statuses[400]).toBeGreaterThan(100);
  expect((await ask(`${url}/v1/completions`, { body: { prompt: 'The dog', max_tokens: 2 } })).status).toBe(200);
  const busy = (await ask(`${url}/metrics`)).text.match(/^heed_slots_busy (\d+)/m)!;
  expect(busy[1]).toBe('0');
  await close();
  const database = await openFeedback(feedback, { readOnly: true });
  expect(database.pragma('integrity_check', { simple: true })).toBe('ok');
  expect(database.pragma('foreign_key_check')).toEqual([]);
  expect(
    database.prepare('SELECT count(*) FROM responses WHERE length(tokens) <> length(logprobs)').pluck().get(),
  ).toBe(0);
  expect(database.prepare('SELECT count(*) FROM thumbs').pluck().get()).toBe(0); // of answers that do not exist
  database.close();
});

test('bodies that are too large, and deeper than a parser likes', async () => {
  const { url } = await start();
  const large = await ask(`${url}/v1/completions`, { body: { prompt: 'x'.repeat(2 ** 20), max_tokens: 1 } }).catch(
    () => undefined,
  );
  expect(large === undefined || large.status === 413).toBe(true); // it may be cut off while it is sent
  const deep = await ask(`${url}/v1/completions`, { body: `{"prompt":${'['.repeat(1e5)}${']'.repeat(1e5)}}` });
  expect(deep.status).toBe(400);
  const long = await ask(`${url}/v1/completions`, { body: { prompt: 'the dog '.repeat(1e4), max_tokens: 1 } });
  expect([long.status, long.json().error]).toEqual([
    400,
    {
      message: expect.stringContaining('positions'),
      type: 'invalid_request_error',
      param: 'prompt',
      code: 'context_length_exceeded',
    },
  ]);
});

test('two hundred clients that never end their requests take nothing from others', async () => {
  const { url } = await start();
  const { port } = new URL(url);
  const sockets = Array.from({ length: 200 }, () => {
    const socket = createConnection(Number(port), '127.0.0.1');
    socket.on('error', () => {});
    socket.write(
      'POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 50\r\n\r\n{"prompt"',
    );
    return socket;
  });
  const answers = await Promise.all(
    Array.from({ length: 10 }, () => ask(`${url}/v1/completions`, { body: { prompt: 'The dog', max_tokens: 2 } })),
  );
  expect(answers.map(({ status }) => status)).toEqual(new Array(10).fill(200));
  const lines: string[] = [];
  const { write } = process.stderr;
  process.stderr.write = ((line: string) => lines.push(line) > 0) as typeof write;
  try {
    for (const socket of sockets) socket.destroy();
    for (let i = 0; i < 10; i++) {
      await ask(`${url}/healthz`);
      await sleep(10);
    }
  } finally {
    process.stderr.write = write;
  }
  expect(lines).toEqual([]); // that clients leave is no failure of the server
});

test('markup is text: it comes back as it was sent, and not as a page', async () => {
  const { url } = await start();
  const markup = '<img src=x onerror=alert(1)>';
  const { headers, text, status } = await ask(`${url}/v1/completions`, { body: { prompt: 'x', [markup]: 1 } });
  expect(status).toBe(400);
  expect(headers['content-type']).toContain('application/json');
  expect(headers['x-content-type-options']).toBe('nosniff');
  expect(text).toContain('not supported');
});
