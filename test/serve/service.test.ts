// What the service does when there is much to do, when clients leave, and what people tell it.
import { request as httpRequest } from 'node:http';
import { createConnection } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import { openFeedback } from '../../lib/feedback/database.js';
import { feedbackRows } from '../../lib/feedback/rows.js';
import { urlsOf } from '../../lib/http/addresses.js';
import { packDocuments } from '../../lib/runtime/batch.js';
import { ScalarModel } from '../../lib/runtime/model.js';
import { Store } from '../../lib/serve/store.js';
import { scoreText } from '../../lib/text/index.js';
import { Tokenizer } from '../../lib/tokenizer/tokenizer.js';
import { ask } from '../http/ask.js';
import { base, start, theEngine, theModel } from './service.js';

const long = { prompt: 'Once upon a time', max_tokens: 200, temperature: 1, stop: [] as string[] };
const complete = (url: string, body: object = {}, headers = {}) =>
  ask(`${url}/v1/completions`, { body: { prompt: 'The dog', max_tokens: 4, ...body }, headers });

async function metric(url: string, name: string): Promise<number> {
  const { text } = await ask(`${url}/metrics`);
  return Number(
    text
      .split('\n')
      .find((line) => line.startsWith(`${name} `) || line.startsWith(`${name}{`))!
      .split(' ')
      .at(-1),
  );
}
async function until(isTrue: () => Promise<boolean>): Promise<void> {
  while (!(await isTrue())) await sleep(5);
}

/** A stream that is read only when asked to. */
function openStream(url: string, body: object) {
  const sent = httpRequest(`${url}/v1/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
  });
  sent.end(JSON.stringify({ ...body, stream: true }));
  sent.on('error', () => {});
  return sent;
}

/** Keeps the engine busy until the returned function is called. */
async function occupied(): Promise<() => Promise<void>> {
  const controller = new AbortController();
  const much = packDocuments(Array.from({ length: 10_000 }, () => new Int32Array(200).fill(5)));
  const job = (await theModel()).logprobs(much, { signal: controller.signal }).catch(() => {});
  return async () => {
    controller.abort();
    await job;
  };
}

test('a full queue says so at once, and when to come back; who waits is served', async () => {
  const { url } = await start({ slots: 1, queue: 1 });
  const goOn = await occupied();
  const first = complete(url);
  await until(async () => (await metric(url, 'heed_slots_busy')) === 1);
  const second = complete(url);
  await until(async () => (await metric(url, 'heed_queue_waiting')) === 1);
  expect((await ask(`${url}/readyz`)).status).toBe(503);
  const refused = await complete(url);
  expect([refused.status, refused.headers['retry-after'], refused.json().error.type]).toEqual([429, '1', 'requests']);
  const tooMany = await complete(url, { n: 3 });
  expect([tooMany.status, tooMany.json().error.param]).toEqual([400, 'n']);
  await goOn();
  expect([(await first).status, (await second).status]).toEqual([200, 200]);
  await until(async () => (await metric(url, 'heed_slots_busy')) === 0);
  expect((await ask(`${url}/readyz`)).status).toBe(200);
});

test('a reader that stops reading stops its decoding; its answer is kept when it leaves', async () => {
  // Each event has the name: more bytes than the buffers between take.
  const { url, feedback } = await start({ slots: 65, name: 'x'.repeat(3000) });
  const model = await theModel();
  const sent = openStream(url, { ...long, n: 64, logprobs: 0 });
  const response = await new Promise<NodeJS.ReadableStream>((resolve) => sent.on('response', resolve));
  response.pause();
  // what is between is filled, then nothing is computed any more
  let before = -1;
  await until(async () => {
    const computed = model.engine.usage().tokensComputed;
    const isStill = computed === before;
    before = computed;
    await sleep(100);
    return isStill;
  });
  expect(before).toBe(model.engine.usage().tokensComputed);
  expect((await complete(url)).status).toBe(200); // others go on
  sent.destroy();
  await until(async () => (await metric(url, 'heed_slots_busy')) === 0);
  const database = await openFeedback(feedback, { readOnly: true });
  const kept = database.prepare("SELECT count(*) AS n, sum(finish = 'abort') AS aborted FROM responses").get() as never;
  database.close();
  expect((kept as { n: number }).n).toBe(65);
  expect((kept as { aborted: number }).aborted).toBeGreaterThan(0);
});

test('a deadline ends a stream with an error, and frees its slot', async () => {
  const { url } = await start({ timeout: 0.005 });
  const { text } = await ask(`${url}/v1/completions`, { body: { ...long, n: 16, stream: true } });
  expect(text).toContain('"type":"timeout"');
  expect(text).not.toContain('[DONE]');
  expect((await ask(`${url}/v1/completions`, { body: { ...long, n: 16 } })).status).toBe(503);
  await until(async () => (await metric(url, 'heed_slots_busy')) === 0);
});

test('stopping: streams under way are ended, new requests refused', async () => {
  const { url, service, close } = await start();
  const sent = openStream(url, { ...long, n: 8 });
  const response = await new Promise<NodeJS.ReadableStream>((resolve) => sent.on('response', resolve));
  const closing = close();
  service.abort();
  let text = '';
  for await (const part of response) text += part;
  expect(text).toContain('"type":"unavailable"');
  await closing;
  expect(await ask(`${url}/healthz`).catch((error: { code: string }) => error.code)).toMatch(/^ECONNRE(FUSED|SET)$/);
});

test('keys: each has its limits, a wrong one nothing, and health none', async () => {
  const { url } = await start({ apiKeys: ['one', 'two'], perMinute: 2 });
  const as = (key: string) => ({ authorization: `Bearer ${key}` });
  for (const wrong of [{}, as('three'), as(''), as('on'), { authorization: 'Basic one' }])
    expect((await complete(url, {}, wrong)).status).toBe(401);
  for (const path of ['/v1/models', '/metrics', '/admin/versions', '/nothing'])
    expect([path, (await ask(url + path)).status]).toEqual([path, path === '/nothing' ? 404 : 401]);
  for (const path of ['/healthz', '/readyz', '/openapi.json']) expect((await ask(url + path)).status).toBe(200);
  expect((await complete(url, {}, as('one'))).status).toBe(200);
  expect((await complete(url, {}, as('one'))).status).toBe(200);
  const limited = await complete(url, {}, as('one'));
  expect(limited.status).toBe(429);
  expect(Number(limited.headers['retry-after'])).toBeGreaterThan(0);
  expect((await complete(url, {}, as('two'))).status).toBe(200);
});

test('without keys: not for pages of other sites, nor for names that were made to mean this machine', async () => {
  const { url } = await start();
  expect((await complete(url, {}, { origin: 'http://evil.example' })).status).toBe(403);
  expect((await complete(url, {}, { 'sec-fetch-site': 'cross-site' })).status).toBe(403);
  expect((await complete(url, {}, { host: 'evil.example' })).status).toBe(403);
  expect((await complete(url, {}, { origin: url })).status).toBe(200);
});

test('without keys: not for other machines, as a library too, whatever name they ask for', async () => {
  const { url } = await start({}, '0.0.0.0');
  const { port } = new URL(url);
  const [other] = urlsOf(url, '0.0.0.0').filter((each) => !each.includes('127.0.0.1'));
  expect(other ?? 'this machine has no other address').toContain('http:');
  for (const headers of [{}, { host: `localhost:${port}` }, { 'x-forwarded-for': '127.0.0.1' }]) {
    const refused = await ask(`${other}/v1/models`, { headers: headers as Record<string, string> });
    expect([refused.status, refused.json().error.message]).toEqual([
      403,
      expect.stringContaining('its own machine only'),
    ]);
  }
  expect((await ask(`http://127.0.0.1:${port}/v1/models`)).status).toBe(200);
});

test('versions and the names of labelers: with the admin key, or from this machine', async () => {
  const as = (key: string) => ({ authorization: `Bearer ${key}` });
  const plainly = await start();
  expect((await ask(`${plainly.url}/admin/versions`)).json()).toMatchObject({ current: 0 });
  const { url } = await start({ apiKeys: ['user'], adminKey: 'owner' });
  const { id } = (await complete(url, {}, as('user'))).json();
  const statuses = async (key: string) => [
    (await ask(`${url}/admin/versions`, { headers: as(key) })).status,
    (await ask(`${url}/admin/versions`, { headers: as(key), body: { version: 0 } })).status, // 404: training is off
    (await ask(`${url}/feedback`, { headers: as(key), body: { id, thumb: true, labeler: 'Ada' } })).status,
    (await ask(`${url}/feedback`, { headers: as(key), body: { id, thumb: true } })).status,
  ];
  expect(await statuses('user')).toEqual([403, 403, 403, 200]);
  expect(await statuses('owner')).toEqual([200, 404, 200, 200]);
  expect(await statuses('nobody')).toEqual([401, 401, 401, 401]);
});

test('scores: of the reward model, of several responses to one prompt', async () => {
  const tokenizer = await Tokenizer.load(base);
  const responses = [' barks.', ' is a colour.', ''];
  const options = { tokenizer, prompt: 'The dog', responses: responses.slice(0, 2) };
  const plainly = await start();
  const own = await ask(`${plainly.url}/score`, { body: { prompt: 'The dog', responses: options.responses } });
  expect(own.json()).toMatchObject({
    kind: 'logprob',
    scores: await scoreText({ ...options, model: await theModel() }),
  });
  const rewardModel = await ScalarModel.from(await theModel(), { seed: 3 });
  const { url } = await start({ rewardModel });
  const scored = await ask(`${url}/score`, { body: { prompt: 'The dog', responses: options.responses } });
  expect(scored.json()).toMatchObject({ kind: 'reward', scores: await scoreText({ ...options, model: rewardModel }) });
  expect((await theEngine()).usage().tokensComputed).toBeGreaterThan(0);
  await rewardModel.dispose();
});

test('feedback on answers is kept as rows that training reads', async () => {
  const { url, feedback, close } = await start();
  const answer = (
    await ask(`${url}/v1/chat/completions`, {
      body: { messages: [{ role: 'user', content: 'Hi' }], n: 3, max_tokens: 5, seed: 1 },
    })
  ).json();
  const other = (await complete(url)).json();
  const say = (body: object) => ask(`${url}/feedback`, { body });
  const { id } = answer;
  expect((await say({ id, thumb: true, labeler: 'Ada' })).json()).toEqual({ object: 'feedback', kept: true });
  expect((await say({ id, index: 1, thumb: false, reward: -0.5, edit: 'Hello!' })).status).toBe(200);
  const ranking = [2, 0, 1].map((index, rank) => ({ id, index, rank: Math.min(rank, 1) }));
  expect((await say({ ranking })).status).toBe(200);
  const refused = [
    [{ id: 'chatcmpl-nothing', thumb: true }, 404],
    [{ id, index: 3, thumb: true }, 404],
    [{ id }, 400],
    [{ thumb: true }, 400],
    [{ id, thumb: 'up' }, 400],
    [{ ranking: [ranking[0], { id: other.id, rank: 1 }] }, 400],
    [{ ranking: [ranking[0], ranking[0]] }, 400],
    // the first half would be fine
    [{ id, thumb: true, ranking: [ranking[0], { id: 'none', rank: 1 }] }, 404],
  ] as const;
  for (const [body, status] of refused) expect([body, (await say(body)).status]).toEqual([body, status]);
  await close();
  const database = await openFeedback(feedback, { readOnly: true });
  const prompt = [{ role: 'user', content: 'Hi' }];
  const texts = answer.choices.map(({ message }: { message: { content: string } }) => message.content);
  expect([...feedbackRows(database, 'feedback')]).toMatchObject([
    { prompt, response: texts[0], label: true, labeler: 'Ada', model: 'base' },
    { prompt, response: texts[1], label: false },
  ]);
  expect([...feedbackRows(database, 'rankings')]).toMatchObject([
    { prompt, responses: [texts[2], texts[0], texts[1]], ranks: [0, 1, 1] },
  ]);
  expect([...feedbackRows(database, 'demonstrations')]).toMatchObject([{ prompt, response: 'Hello!' }]);
  expect(database.prepare('SELECT reward FROM rewards').pluck().all()).toEqual([-0.5]);
  database.close();
});

test('the OpenAPI document describes the routes that there are', async () => {
  const { url } = await start({ apiKeys: ['key'] });
  const { paths, openapi } = (await ask(`${url}/openapi.json`)).json();
  expect(openapi).toBe('3.1.0');
  for (const [path, methods] of Object.entries(paths as Record<string, object>))
    for (const method of Object.keys(methods)) {
      const { status } = await ask(url + path.replace('{model}', 'base'), {
        method: method.toUpperCase(),
        headers: { authorization: 'Bearer key' },
        ...(method === 'post' ? { body: {} } : {}),
      });
      expect([path, method, status === 404 && path !== '/admin/versions', status >= 500]).toEqual([
        path,
        method,
        false,
        false,
      ]);
    }
  expect(
    paths['/v1/chat/completions'].post.requestBody.content['application/json'].schema.properties.messages.type,
  ).toBe('array');
});

test('a name with slashes, a path that is none, bytes that are no HTTP', async () => {
  const { url } = await start({ name: 'x/y' });
  expect((await ask(`${url}/v1/models/x/y`)).json()).toMatchObject({ id: 'x/y' });
  const unknown = (await ask(`${url}/v1/models/x/z`)).json().error;
  expect(unknown).toMatchObject({ type: 'invalid_request_error', param: 'model', code: 'model_not_found' });
  const shape = { message: expect.any(String), type: 'invalid_request_error', param: null, code: null };
  expect((await ask(`${url}/v1/models/%ff`)).json()).toEqual({ error: shape });
  const raw = (bytes: string) =>
    new Promise<string>((resolve) => {
      const socket = createConnection(Number(new URL(url).port), '127.0.0.1', () => socket.write(bytes));
      let text = '';
      socket.on('data', (part) => {
        text += part;
      });
      socket.on('close', () => resolve(text));
    });
  const garbage = await raw('no http at all\r\n\r\n');
  expect(JSON.parse(garbage.split('\r\n\r\n')[1]!)).toEqual({
    error: { ...shape, message: 'this is no HTTP request' },
  });
  expect(await raw('GET /v1/models HTTP/1.0\r\n\r\n')).toContain('the request has no host header');
});

test('streams that clients leave are counted; a file that takes no rows is not ready', async () => {
  const { url, feedback } = await start();
  const sent = openStream(url, { ...long, n: 16 });
  await new Promise((resolve) => sent.on('response', resolve));
  sent.destroy();
  const counted = 'heed_requests_total{route="/v1/completions",status="499"} 1';
  await until(async () => (await ask(`${url}/metrics`)).text.includes(counted));
  expect((await ask(`${url}/health`)).status).toBe(200);
  const store = new Store(await openFeedback(feedback));
  const room = store.database.pragma('max_page_count', { simple: true });
  const answer = {
    ...{ name: 'large', prompt: 'x', model: 'base', text: 'x'.repeat(1e5), sampling: {}, finish: 'stop' as const },
    ...{ promptTokens: Int32Array.of(1), tokens: Int32Array.of(1), logprobs: Float32Array.of(0) },
  };
  const pages = () => store.database.pragma('page_count', { simple: true }) as number;
  const changes = () => store.database.prepare('SELECT total_changes()').pluck().get();
  for (const round of ['first', 'second']) {
    store.database.pragma(`max_page_count = ${pages()}`);
    const before = changes();
    expect(await store.isWritable()).toBe(true); // nothing has failed: nothing is tried
    expect(changes()).toBe(before);
    await expect(store.keep({ ...answer, name: round })).rejects.toMatchObject({ code: 'SQLITE_FULL' });
    expect(await store.isWritable()).toBe(false);
    store.database.pragma(`max_page_count = ${pages() + 8}`); // less than the probe
    expect(await store.isWritable()).toBe(false);
    store.database.pragma(`max_page_count = ${room}`);
    expect(await store.isWritable()).toBe(true);
    expect(store.database.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'heed_probe'").get()).toBeUndefined();
    store.database.exec('VACUUM');
  }
  await store.keep(answer);
  await store.close();
});

test('a slow client is cut off, and costs no slot', async () => {
  const { url } = await start();
  const { port } = new URL(url);
  const socket = createConnection(Number(port), '127.0.0.1');
  socket.write(
    'POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{"pro',
  );
  expect((await complete(url)).status).toBe(200);
  expect(await metric(url, 'heed_slots_busy')).toBe(0);
  socket.destroy();
});
