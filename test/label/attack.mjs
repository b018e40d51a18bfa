/**
 * Mutated requests against a labelling server: `node test/label/attack.mjs 10000` attacks the built package and prints what came back;
 * the tests import a smaller share.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const kPatience = 3000;

/** xorshift, so that a failure can be repeated. */
export function randomOf(seed) {
  let state = (seed * 2654435761) >>> 0 || 1;
  const next = () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return state / 2 ** 32;
  };
  const int = (n) => Math.floor(next() * n);
  return { next, int, pick: (list) => list[int(list.length)] };
}

const strange = [
  null,
  true,
  -1,
  1e308,
  0.5,
  2 ** 53,
  '',
  'x'.repeat(5000),
  '\u0000\ud800',
  '<script>alert(1)</script>',
  "'; DROP TABLE tasks; --",
  [],
  {},
  [[[[[[]]]]]],
  { __proto__: null, constructor: { prototype: { polluted: true } } },
  Array.from({ length: 300 }, (_, i) => i),
];
const strangePaths = [
  '/../../etc/passwd',
  '/..%2f..%2fpackage.json',
  '/%2e%2e/%2e%2e/etc/passwd',
  '/app.js/../../../package.json',
  '//etc/passwd',
  '/api/tasks/-1/submit',
  '/api/tasks/1e9/submit',
  '/api/tasks/99999999999999999999/draft',
  "/api/tasks/1'%20OR%201=1/skip",
  '/api/tasks/%00/draft',
  '/%ff%fe',
  '/?key[]=a&key=b',
  `/?key=${'k'.repeat(4000)}`,
  `/${'a/'.repeat(500)}`,
];

/** Valid requests for a task. */
function valid(task, K) {
  const ratings = Array.from({ length: K }, (_, k) => ({ rating: 1 + (k % 7), flags: k === 1 ? ['opinion'] : [] }));
  const ranks = Array.from({ length: K }, (_, k) => k % 3);
  const at = `/api/tasks/${task}`;
  return [
    ['GET', '/', undefined],
    ['GET', '/api/session', undefined],
    ['GET', '/api/overview', undefined],
    ['POST', '/api/next', {}],
    ['POST', '/api/undo', {}],
    ['POST', `${at}/draft`, { ratings, step: 1, seconds: 2 }],
    ['POST', `${at}/skip`, { reason: 'unclear' }],
    ['POST', `${at}/submit`, { ratings, ranks, confidence: 2, seconds: 3 }],
    ['POST', `${at}/submit`, { ratings, ranks, confidence: 2, seconds: 3 }],
    ['POST', `${at}/submit`, { ratings, ranks, confidence: 2, seconds: 3 }],
    ['POST', `${at}/submit`, { ratings, ranks, confidence: 2, seconds: 3 }],
    ['POST', `${at}/submit`, { ratings, ranks, confidence: 2, seconds: 3 }],
  ];
}

/** Replaces, removes or adds something somewhere in a JSON value. */
function mutateValue(value, random) {
  const copy = structuredClone(value);
  const places = [];
  const walk = (node) => {
    if (typeof node !== 'object' || node === null) return;
    for (const key of Object.keys(node)) {
      places.push([node, key]);
      walk(node[key]);
    }
  };
  walk(copy);
  if (places.length === 0 || random.next() < 0.1) return random.pick(strange);
  const [node, key] = random.pick(places);
  const kind = random.int(4);
  if (kind === 0) node[key] = random.pick(strange);
  else if (kind === 1) delete node[key];
  else if (kind === 2) node[`${key}${random.int(10)}`] = random.pick(strange);
  else if (Array.isArray(node)) node.push(random.pick(strange));
  else node[key] = [node[key]];
  return copy;
}

/** One request as bytes. */
function mutated({ cookie, host, task, K, random }) {
  let [method, path, body] = random.pick(valid(task, K));
  const headers = { host, cookie, 'content-type': 'application/json', connection: 'close' };
  let text = body === undefined ? '' : JSON.stringify(body);
  for (let n = random.int(4); n > 0; n--) {
    const kind = random.int(9);
    if (kind === 0) method = random.pick(['GET', 'PUT', 'DELETE', 'PATCH', 'OPTIONS', 'HEAD', 'POST', 'FOO']);
    else if (kind === 1) path = random.pick(strangePaths);
    else if (kind === 2) headers.cookie = random.pick(['', 'a=b', `${cookie}x`, cookie.slice(0, -1), ';'.repeat(300)]);
    else if (kind === 3)
      headers['content-type'] = random.pick([
        'text/plain',
        'application/xml',
        'multipart/form-data',
        '',
        'application/json; charset=x',
      ]);
    else if (kind === 4) headers.origin = random.pick(['http://evil.example', 'null', `http://${host}`]);
    else if (kind === 5) text = JSON.stringify(mutateValue(body ?? {}, random)) ?? '';
    else if (kind === 6) {
      const bytes = Buffer.from(text || '{}');
      bytes[random.int(bytes.length)] = random.int(256);
      text = bytes.toString('latin1');
    } else if (kind === 7) text = text.slice(0, random.int(text.length + 1));
    else
      text = random.pick([`${'['.repeat(20000)}`, '{"a":'.repeat(3000), 'x'.repeat(400_000), '{"__proto__":{"a":1}}']);
  }
  const content = Buffer.from(text, 'latin1');
  let length = content.length;
  if (random.next() < 0.05) length = random.pick([0, length + 10, Math.max(0, length - 1), 1e12, 'abc']);
  const lines = Object.entries({ ...headers, ...(method === 'GET' ? {} : { 'content-length': length }) });
  const head = `${method} ${path} HTTP/1.1\r\n${lines.map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n`;
  let bytes = Buffer.concat([Buffer.from(head, 'latin1'), method === 'GET' ? Buffer.alloc(0) : content]);
  if (random.next() < 0.03) bytes = Buffer.from(Array.from({ length: 200 }, () => random.int(256)));
  if (random.next() < 0.03) bytes = bytes.subarray(0, random.int(bytes.length)); // it leaves in the middle
  return bytes;
}

/** @returns the status; 0 if the connection ended without one */
function send({ hostname, port }, bytes) {
  return new Promise((done) => {
    const socket = connect(Number(port), hostname);
    let answer = '';
    const end = () => {
      clearTimeout(timer);
      socket.destroy();
      done(Number(/^HTTP\/1\.1 (\d+)/.exec(answer)?.[1] ?? 0));
    };
    const timer = setTimeout(end, kPatience);
    socket.on('data', (chunk) => {
      answer += chunk.toString('latin1');
      if (answer.includes('\r\n\r\n')) end();
    });
    socket.on('error', end);
    socket.on('close', end);
    socket.write(bytes);
    socket.end();
  });
}

/** @returns how often each status came back */
export async function attack({ url, cookie, count, seed, K = 3 }) {
  const random = randomOf(seed);
  const target = new URL(url);
  const statuses = {};
  const kAtOnce = 8;
  for (let done = 0; done < count; done += kAtOnce) {
    const task = await openTask(url, cookie);
    const some = Array.from({ length: Math.min(kAtOnce, count - done) }, () =>
      mutated({ cookie, host: target.host, task: random.next() < 0.9 ? task : 1 + random.int(task + 5), K, random }),
    );
    for (const status of await Promise.all(some.map((bytes) => send(target, bytes))))
      statuses[status] = (statuses[status] ?? 0) + 1;
  }
  return statuses;
}

/** The task that is open now, so that some of the attacks reach one. */
async function openTask(url, cookie) {
  const headers = { cookie, 'content-type': 'application/json' };
  const answer = await fetch(`${url}/api/next`, { method: 'POST', headers, body: '{}' });
  return (await answer.json()).task?.id ?? 1;
}

/** What is half written in a file of rankings with ratings. */
export function inconsistencies(database) {
  const found = [];
  const say = (what, rows) => {
    if (rows.length > 0) found.push(`${what}: ${JSON.stringify(rows.slice(0, 3))}`);
  };
  const integrity = database.pragma('integrity_check', { simple: true });
  if (integrity !== 'ok') found.push(integrity);
  say('foreign keys', database.pragma('foreign_key_check'));
  say(
    'done, but without one ranking and all ratings',
    database
      .prepare(
        `SELECT id FROM tasks WHERE state = 'done' AND ((SELECT count(*) FROM rankings WHERE task = tasks.id) <> 1
           OR (SELECT count(*) FROM ratings WHERE task = tasks.id) <> json_array_length(shown))`,
      )
      .all(),
  );
  say(
    'not done, but with rows',
    database
      .prepare(
        `SELECT id FROM tasks WHERE state <> 'done' AND (id IN (SELECT task FROM rankings) OR id IN (SELECT task FROM ratings))`,
      )
      .all(),
  );
  say(
    'rankings that do not fit',
    database.prepare('SELECT id FROM rankings WHERE json_array_length(ranks) <> json_array_length(responses)').all(),
  );
  say(
    'skipped without a reason',
    database.prepare("SELECT id FROM tasks WHERE state = 'skipped' AND reason IS NULL").all(),
  );
  return found;
}

if (process.argv[1] && resolve(process.argv[1]) === import.meta.filename) {
  const count = Number(process.argv[2] ?? 10_000);
  const { labelling } = await import('../../dist/lib/label/index.js');
  const { createServer, listen } = await import('../../dist/lib/http/server.js');
  const { openFeedback } = await import('../../dist/lib/feedback/database.js');
  const dir = mkdtempSync(join(tmpdir(), 'heed-attack-'));
  const out = join(dir, 'labels.db');
  const prompts = Array.from({ length: 2000 }, (_, i) => ({
    prompt: `Prompt ${i}:`,
    responses: [1, 2, 3].map((j) => ` answer ${j} to ${i}`),
  }));
  const page = labelling({ out, prompts, k: 3 });
  const app = createServer();
  await app.register(page);
  const url = await listen(app, { host: '127.0.0.1', port: 0 });
  const answer = await fetch(`${url}/${await page.invite('owner')}`);
  const cookie = answer.headers.get('set-cookie').split(';')[0];
  const began = performance.now();
  const statuses = await attack({ url, cookie, count, seed: 1 });
  const seconds = (performance.now() - began) / 1000;
  const { done, left } = (await (await fetch(`${url}/api/session`, { headers: { cookie } })).json()).progress;
  await app.close();
  const database = await openFeedback(out, { readOnly: true });
  console.log({
    count,
    seconds: Math.round(seconds),
    statuses,
    done,
    left,
    inconsistencies: inconsistencies(database),
  });
  console.log(`memory: ${Math.round(process.memoryUsage().rss / 2 ** 20)} MiB`);
  database.close();
  rmSync(dir, { recursive: true });
}
