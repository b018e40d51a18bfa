// Pages of other origins: in Chromium, with OpenAI's client, and the headers that decide.
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { build } from 'esbuild';
import type { Browser, Page } from 'playwright-core';
import { originsOf } from '../../lib/http/origins.js';
import { serving } from '../../lib/serve/index.js';
import { Tokenizer } from '../../lib/tokenizer/tokenizer.js';
import { ask } from '../http/ask.js';
import { chromiumPath, launch } from '../http/browser.js';
import { base, start, theModel } from './service.js';

let browser: Browser | undefined;
let pages: ReturnType<typeof createServer>;
let origin: string;

beforeAll(async () => {
  const { outputFiles } = await build({
    stdin: { contents: "import OpenAI from 'openai'; globalThis.OpenAI = OpenAI;", resolveDir: import.meta.dirname },
    ...{ bundle: true, write: false, format: 'iife', platform: 'browser', logLevel: 'error' },
  });
  const page = `<!doctype html><script>${outputFiles![0]!.text.replaceAll('</script', '<\\/script')}</script>`;
  pages = createServer((_request, response) => response.setHeader('content-type', 'text/html').end(page));
  await new Promise<void>((done) => pages.listen(0, '127.0.0.1', done));
  origin = `http://127.0.0.1:${(pages.address() as AddressInfo).port}`;
  if (chromiumPath) browser = await launch();
}, 60_000);
afterAll(async () => {
  await browser?.close();
  pages.close();
});

/** In the page: streams a chat by OpenAI's client. @returns its text, or the error's name */
const stream = (page: Page, url: string, apiKey: string) =>
  page.evaluate(
    async ([baseURL, key]) => {
      type Client = typeof import('openai').default;
      const { OpenAI } = globalThis as unknown as { OpenAI: Client };
      const client = new OpenAI({ baseURL, apiKey: key, maxRetries: 0, dangerouslyAllowBrowser: true });
      const parts: string[] = [];
      try {
        const messages = [{ role: 'user' as const, content: 'What does a cow say?' }];
        const options = { model: 'base', temperature: 0, max_tokens: 12, messages, stream: true } as const;
        for await (const chunk of await client.chat.completions.create(options))
          parts.push(chunk.choices[0]?.delta.content ?? '');
        return { text: parts.join(''), parts: parts.length };
      } catch (error) {
        return { error: (error as Error).constructor.name, status: (error as { status?: number }).status };
      }
    },
    [`${url}/v1`, apiKey] as const,
  );

const inBrowser = chromiumPath ? test : test.skip;

inBrowser(
  'a page of an origin that is allowed streams with the client; of any other it cannot',
  async () => {
    const page = await browser!.newPage();
    await page.goto(origin);
    const closed = await start();
    const other = await start({ allowOrigins: ['http://127.0.0.1:1'] });
    for (const { url } of [closed, other])
      expect(await stream(page, url, 'x')).toEqual({ error: 'APIConnectionError', status: undefined });
    const open = await start({ allowOrigins: ['https://chat.example.com', origin] });
    const streamed = await stream(page, open.url, 'x');
    const body = { messages: [{ role: 'user', content: 'What does a cow say?' }], temperature: 0, max_tokens: 12 };
    const expected = (await ask(`${open.url}/v1/chat/completions`, { body })).json().choices[0].message.content;
    expect(streamed).toEqual({ text: expected, parts: expect.any(Number) });
    expect(streamed.parts).toBeGreaterThan(3);
    // With *, and by a key only: the refusal can be read too.
    const all = await start({ allowOrigins: ['*'], apiKeys: ['secret'] });
    expect(await stream(page, all.url, 'wrong')).toEqual({ error: 'AuthenticationError', status: 401 });
    expect(await stream(page, all.url, 'secret')).toMatchObject({ text: expected });
    await page.close();
  },
  120_000,
);

test('preflights, and the headers of answers', async () => {
  const { url } = await start({ allowOrigins: ['https://a.example'], apiKeys: ['key'], perMinute: 1 });
  const preflight = (from: string, path = '/v1/completions') =>
    ask(url + path, {
      method: 'OPTIONS',
      headers: {
        origin: from,
        'access-control-request-method': 'POST',
        'access-control-request-headers': 'authorization,content-type,x-stainless-os',
      },
    });
  const allowed = await preflight('https://a.example');
  expect([allowed.status, allowed.text]).toEqual([204, '']);
  expect(allowed.headers).toMatchObject({
    'access-control-allow-origin': 'https://a.example',
    'access-control-allow-methods': 'GET, POST',
    'access-control-allow-headers': 'authorization,content-type,x-stainless-os',
    vary: 'origin',
  });
  expect(allowed.headers['access-control-allow-credentials']).toBeUndefined();
  for (const from of [
    'https://b.example',
    'http://a.example',
    'https://a.example.b',
    'https://a.example:8443',
    'null',
  ]) {
    const refused = await preflight(from);
    const granted = Object.keys(refused.headers).filter((name) => name.startsWith('access-control'));
    expect([from, granted, refused.headers.vary]).toEqual([from, [], 'origin']);
    const body = { prompt: 'x', max_tokens: 1 };
    const sent = await ask(`${url}/v1/completions`, { body, headers: { origin: from, authorization: 'Bearer key' } });
    expect([from, sent.status, sent.headers['access-control-allow-origin']]).toEqual([from, 403, undefined]);
  }
  expect((await preflight('https://a.example', '/nowhere')).status).toBe(404);
  const headers = { origin: 'https://a.example', authorization: 'Bearer key' };
  const answers = [1, 2].map(() => ask(`${url}/v1/completions`, { body: { prompt: 'x', max_tokens: 1 }, headers }));
  const [one, two] = await Promise.all(answers);
  expect([one!.status, two!.status].sort()).toEqual([200, 429]);
  for (const each of [one!, two!])
    expect(each.headers).toMatchObject({
      'access-control-allow-origin': 'https://a.example',
      'access-control-expose-headers': 'retry-after',
    });
});

test('a page in the browser of this machine is not its owner: no versions and no labelers without an admin key', async () => {
  const headers = { origin: 'https://a.example' };
  const { url } = await start({ allowOrigins: ['https://a.example'] });
  const { id } = (await ask(`${url}/v1/completions`, { body: { prompt: 'x', max_tokens: 2 }, headers })).json();
  const say = (body: object) => ask(`${url}/feedback`, { body: { id, thumb: true, ...body }, headers });
  expect((await say({})).status).toBe(200);
  expect((await say({ labeler: 'Ada' })).status).toBe(403);
  expect((await ask(`${url}/admin/versions`, { headers })).status).toBe(403);
  expect((await ask(`${url}/admin/versions`, { headers: { origin: url } })).status).toBe(200);
  const owned = await start({ allowOrigins: ['https://a.example'], adminKey: 'owner' });
  const as = { ...headers, authorization: 'Bearer owner' };
  expect((await ask(`${owned.url}/admin/versions`, { headers: as })).status).toBe(200);
});

test('what is no origin is refused, and every origin without keys', async () => {
  for (const wrong of [
    'a.example',
    'https://a.example/',
    'https://a.example/chat',
    'https://A.example',
    'file:///x',
    '',
  ])
    expect(() => originsOf([wrong])).toThrow(RangeError);
  expect(() => originsOf(['*', 'https://a.example'])).toThrow('no other ones beside it');
  expect([...originsOf(['https://a.example', 'http://localhost:3000'])].length).toBe(2);
  const options = { name: 'base', model: await theModel(), tokenizer: await Tokenizer.load(base) };
  expect(() => serving({ ...options, allowOrigins: ['*'] })).toThrow('needs apiKeys');
  expect(() => serving({ ...options, allowOrigins: ['*'], apiKeys: ['key'] })).not.toThrow();
});
