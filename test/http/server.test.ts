import { createConnection } from 'node:net';
import { Readable, Writable } from 'node:stream';
import { afterEach, describe, expect, test } from '@jest/globals';
import type { FastifyInstance } from 'fastify';
import { HeedError } from '../../lib/core/errors.js';
import { createServer, listen, RequestError } from '../../lib/http/server.js';
import { ask } from './ask.js';

const open: FastifyInstance[] = [];
afterEach(async () => {
  for (const app of open.splice(0)) await app.close();
});

async function start(app: FastifyInstance) {
  open.push(app);
  return listen(app, { host: '127.0.0.1', port: 0 });
}

function server(logTo?: Writable) {
  const app = createServer({ bodyLimit: 100, logTo });
  app.get('/', async () => ({ ok: true }));
  app.post('/change', async () => ({ changed: true }));
  app.get('/fails', async () => {
    throw new Error('a secret of the server');
  });
  app.get('/refused', async () => {
    throw new RequestError(429, 'slow down', 'rate_limit_error', 'n', { 'retry-after': '3' });
  });
  app.get('/misuse', async () => {
    throw new RangeError('n is 0, expected at least 1');
  });
  return app;
}

describe('requests that change something', () => {
  const post = async (headers: Record<string, string>) =>
    ask(`${await start(server())}/change`, { method: 'POST', headers: { host: 'heed.local:8080', ...headers } });

  test('pass from the own page and from programs', async () => {
    for (const headers of [
      {},
      { origin: 'http://heed.local:8080' },
      { origin: 'http://heed.local', host: 'heed.local' },
      { 'sec-fetch-site': 'same-origin' },
    ])
      expect((await post(headers as Record<string, string>)).status).toBe(200);
  });

  test('are refused from other pages', async () => {
    for (const headers of [
      { origin: 'http://evil.example' },
      { origin: 'null' },
      { origin: 'http://heed.local:81' },
      { 'sec-fetch-site': 'cross-site' },
      { 'sec-fetch-site': 'same-site' },
    ]) {
      const answer = await post(headers as Record<string, string>);
      expect(answer.status).toBe(403);
      expect(answer.json().error.type).toBe('permission_error');
    }
  });
});

test('errors have one shape, and say nothing of the inside', async () => {
  const lines: string[] = [];
  const app = server(
    new Writable({
      write(chunk, _encoding, done) {
        lines.push(String(chunk));
        done();
      },
    }),
  );
  const url = await start(app);
  const get = async (path: string) => {
    const answer = await ask(url + path);
    return [answer.status, answer.json().error] as const;
  };
  expect(await get('/fails')).toEqual([
    500,
    { message: 'the server failed; its log says why', type: 'server_error', param: null, code: null },
  ]);
  expect(lines.join('')).toContain('a secret of the server');
  expect(await get('/misuse')).toEqual([400, expect.objectContaining({ message: 'n is 0, expected at least 1' })]);
  expect(await get('/nowhere?key=1')).toEqual([404, expect.objectContaining({ message: 'there is no GET /nowhere' })]);
  expect(await get('/refused')).toEqual([
    429,
    { message: 'slow down', type: 'rate_limit_error', param: 'n', code: null },
  ]);
  expect((await ask(`${url}/refused`)).headers['retry-after']).toBe('3');
  const large = await ask(`${url}/change`, { body: { text: 'x'.repeat(200) } });
  expect([large.status, large.json().error.type]).toEqual([413, 'invalid_request_error']);
});

test('headers keep a page to itself', async () => {
  const { headers } = await ask(await start(server()));
  expect(headers['content-security-policy']).toContain("default-src 'self'");
  expect(headers['content-security-policy']).toContain("frame-ancestors 'none'");
  expect(headers['x-content-type-options']).toBe('nosniff');
});

test('a port that is taken is named', async () => {
  const port = Number(new URL(await start(server())).port);
  const failure = await listen(server(), { host: '127.0.0.1', port }).catch((error: unknown) => error);
  expect(failure).toBeInstanceOf(HeedError);
  expect(String(failure)).toContain(`port ${port} is in use`);
});

test('closing does not wait for connections on which nothing was sent', async () => {
  const app = createServer();
  const url = await listen(app, { host: '127.0.0.1', port: 0 });
  const socket = createConnection(Number(new URL(url).port), '127.0.0.1');
  await new Promise<void>((done) => socket.on('connect', done));
  expect((await ask(`${url}/x`)).status).toBe(404); // it has been accepted
  const ended = new Promise<void>((done) => socket.on('close', () => done()));
  socket.resume();
  await app.close();
  await ended;
});

test('a request that does not arrive in time is 408, and its connection ends', async () => {
  const app = createServer({ requestTimeout: 100 });
  app.post('/change', async () => ({ changed: true }));
  const url = await start(app);
  const socket = createConnection(Number(new URL(url).port), '127.0.0.1');
  socket.write(
    'POST /change HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 50\r\n\r\n{"a"',
  );
  let text = '';
  socket.on('data', (part) => {
    text += part;
  });
  await new Promise<void>((done) => socket.on('close', () => done()));
  expect(text).toMatch(/^HTTP\/1\.1 408 /);
  expect(JSON.parse(text.slice(text.indexOf('\r\n\r\n'))).error).toEqual({
    message: 'the request did not arrive in time',
    type: 'invalid_request_error',
    param: null,
    code: null,
  });
  expect((await ask(`${url}/change`, { body: {} })).status).toBe(200); // others are served
});

test('a client that leaves is no error in the log, what fails otherwise is one', async () => {
  const lines: { level: number; msg: string }[] = [];
  const logTo = new Writable({
    write(chunk, _encoding, done) {
      lines.push(JSON.parse(String(chunk)));
      done();
    },
  });
  const app = createServer({ logTo });
  app.get<{ Params: { code: string } }>('/ends/:code', async ({ params: { code } }, reply) => {
    reply.raw.emit('error', Object.assign(new Error('it ends'), { code }));
    reply.raw.destroy();
    return reply;
  });
  app.get<{ Params: { code: string } }>('/streams/:code', async ({ params: { code } }, reply) => {
    const parts = async function* () {
      yield 'a part';
      while (!reply.raw.headersSent) await new Promise((done) => setTimeout(done, 1));
      throw Object.assign(new Error('it ends'), { code });
    };
    return reply.send(Readable.from(parts()));
  });
  const url = await start(app);
  const said = async (path: string) => {
    lines.length = 0;
    await fetch(url + path)
      .then((answer) => answer.text())
      .catch(() => {});
    const found = () => lines.filter(({ msg }) => !/incoming|listening/.test(msg));
    while (found().length === 0) await new Promise((done) => setTimeout(done, 5));
    return found().map(({ level }) => level);
  };
  for (const code of ['ERR_STREAM_PREMATURE_CLOSE', 'ECONNRESET', 'EPIPE'])
    expect([code, await said(`/ends/${code}`), await said(`/streams/${code}`)]).toEqual([code, [30], [30]]);
  expect([await said('/ends/EIO'), await said('/streams/EIO')]).toEqual([[50], [40]]);
});
