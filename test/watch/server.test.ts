import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { requestOf } from '../../lib/runs/requests.js';
import { RunFolder } from '../../lib/runs/runfolder.js';
import { type Watch, watch } from '../../lib/watch/server.js';
import { ask } from '../http/ask.js';

let dir: string;
let run: RunFolder;
let page: Watch;
beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'heed-watch-'));
  run = await RunFolder.open(join(dir, 'live'), { config: { command: 'sft', options: {} } });
  await run.append({ step: 1, loss: 2 });
  await run.appendAnswers({ step: 1, split: 'train', answers: [{ prompt: '<b>', text: '</script>' }] });
  const done = await RunFolder.open(join(dir, 'done'));
  await done.append({ step: 1, loss: 2 });
  await done.writeJson('result.json', { steps: 1 });
  await done.close();
  writeFileSync(join(dir, 'secret.txt'), 'secret');
  page = await watch([join(dir, 'live'), join(dir, 'done')], { port: 0 });
});
afterAll(async () => {
  await page.close();
  await run.close();
  rmSync(dir, { recursive: true });
});

const get = (path: string) => ask(page.url + path);
const post = (path: string, body: unknown, headers = {}) => ask(page.url + path, { body, headers });

test('a run whose files name a phase of their own', async () => {
  const odd = join(dir, 'odd');
  mkdirSync(odd);
  writeFileSync(join(odd, 'metrics.jsonl'), '{"step":1,"loss":1}\n');
  writeFileSync(join(odd, 'config.json'), '{"phase": "__proto__", "options": null}');
  const open = await watch([odd], { port: 0 });
  const { runs, phases } = (await ask(`${open.url}/api/runs`)).json();
  expect(runs[0].phase).toBe('__proto__');
  expect(Object.entries(phases)).toEqual([['__proto__', { name: '__proto__', panels: expect.any(Array) }]]);
  await open.close();
});

test('the page and what it shows', async () => {
  expect((await get('/')).text).toContain('<title>heed watch</title>');
  expect((await get('/app.js')).headers['content-type']).toContain('javascript');
  const { runs, phases, mayAsk } = (await get('/api/runs')).json();
  expect(mayAsk).toBe(true);
  expect(runs.map(({ status }: { status: string }) => status)).toEqual(['running', 'finished']);
  expect(phases.sft.panels[0].metrics).toMatchObject({ loss: 'training' });
  expect((await get('/api/runs/0/points?every=1&from=0')).json()).toEqual({
    every: 1,
    from: 0,
    rows: [{ step: 1, loss: 2 }],
  });
  expect((await get('/api/runs/0/answers')).json()).toEqual([
    { step: 1, split: 'train', answers: [{ prompt: '<b>', text: '</script>' }] },
  ]);
});

describe('requests to a run', () => {
  test('are written where the run looks', async () => {
    const status = async (request: string) => (await post('/api/runs/0/request', { request })).json().status;
    expect(await status('pause')).toBe('pausing');
    expect(await requestOf(run.dir)).toBe('pause');
    expect(await status('continue')).toBe('running');
    expect(await requestOf(run.dir)).toBeUndefined();
    expect(await status('stop')).toBe('stopping');
    await post('/api/runs/0/request', { request: 'continue' });
  });

  test('that cannot be done are refused', async () => {
    const refused = async (path: string, body: unknown) => {
      const answer = await post(path, body);
      return [answer.status, answer.json().error.message];
    };
    expect(await refused('/api/runs/0/request', { request: 'explode' })).toEqual([
      400,
      'request is "explode", expected pause, continue or stop',
    ]);
    expect((await refused('/api/runs/0/request', []))[0]).toBe(400);
    expect((await refused('/api/runs/0/request', '{"request": '))[0]).toBe(400);
    expect(await refused('/api/runs/1/request', { request: 'pause' })).toEqual([
      409,
      expect.stringContaining('is not running: it is finished'),
    ]);
    expect(await refused('/api/runs/0/resume', {})).toEqual([409, expect.stringContaining('it is running')]);
    expect((await refused('/api/runs/0/request', { request: 'x'.repeat(5000) }))[0]).toBe(413);
  });

  test('from pages of other sites are refused', async () => {
    const foreign = await post('/api/runs/0/request', { request: 'stop' }, { origin: 'http://evil.example' });
    expect(foreign.status).toBe(403);
    // As a form would send it.
    const form = await post('/api/runs/0/request', 'request=stop', { 'content-type': 'text/plain' });
    expect(form.status).toBe(415);
    expect(await requestOf(run.dir)).toBeUndefined();
  });
});

test('a name that another page has pointed at this machine is refused', async () => {
  const { port } = new URL(page.url);
  for (const host of [`evil.example:${port}`, 'evil.example', `127.0.0.1.evil.example:${port}`])
    expect((await ask(`${page.url}/api/runs`, { headers: { host } })).status).toBe(403);
  for (const host of [`localhost:${port}`, `127.0.0.1:${port}`, `[::1]:${port}`])
    expect((await ask(`${page.url}/api/runs`, { headers: { host } })).status).toBe(200);
});

const outside = Object.values(networkInterfaces())
  .flat()
  .find((each) => each?.family === 'IPv4' && !each.internal)?.address;

(outside === undefined ? test.skip : test)(
  'another address than this machine’s own may look, but not ask',
  async () => {
    const open = await watch([join(dir, 'live')], { host: '0.0.0.0', port: 0 });
    const { port } = new URL(open.url);
    const at = (host: string) => `http://${host}:${port}/api/runs`;
    try {
      expect((await ask(at(outside!))).json()).toMatchObject({ mayAsk: false, runs: [{ status: 'running' }] });
      for (const [path, body] of [
        ['request', { request: 'stop' }],
        ['resume', {}],
      ] as const) {
        const refused = await ask(`${at(outside!)}/0/${path}`, { body });
        expect([refused.status, refused.json().error.message]).toEqual([
          403,
          expect.stringContaining('their own machine'),
        ]);
      }
      expect(await requestOf(run.dir)).toBeUndefined();
      expect((await ask(at('127.0.0.1'))).json().mayAsk).toBe(true);
    } finally {
      await open.close();
    }
  },
);

test('only runs can be read', async () => {
  for (const path of [
    '/api/runs/2/answers',
    '/api/runs/-1/points',
    '/api/runs/0.5/points',
    '/api/runs/..%2f..%2fsecret.txt/points',
    '/../secret.txt',
    '/%2e%2e/secret.txt',
    '/..%5csecret.txt',
    '/secret.txt',
    '/metrics.jsonl',
  ]) {
    const answer = await get(path);
    expect([path, answer.status]).toEqual([path, 404]);
    expect(answer.text).not.toContain('secret\n');
  }
  expect((await get('/api/runs/0/points?every=x')).json().error.message).toBe('every is "x", expected a whole number');
});
