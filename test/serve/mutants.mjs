// Requests that are damaged in every way: a service must answer each with a message, or refuse it, and go on.
//
//   node test/serve/mutants.mjs URL [COUNT] [SEED]
import { createConnection } from 'node:net';
import { fileURLToPath } from 'node:url';

const seeds = [
  [
    'POST',
    '/v1/chat/completions',
    { model: 'base', messages: [{ role: 'user', content: 'Hi' }], max_tokens: 2, temperature: 1, n: 1 },
  ],
  [
    'POST',
    '/v1/completions',
    { prompt: ['The dog', 'A cow'], max_tokens: 2, stream: true, stop: ['.', 'x'], logprobs: 1, seed: 7 },
  ],
  [
    'POST',
    '/v1/completions',
    { prompt: [5, 6, 7], max_tokens: 1, top_p: 0.9, stream_options: { include_usage: true } },
  ],
  [
    'POST',
    '/v1/responses',
    {
      input: [
        { role: 'user', content: [{ type: 'input_text', text: 'Hi' }] },
        { type: 'message', role: 'assistant', content: [{ type: 'output_text', text: 'Ho' }] },
        { type: 'function_call', call_id: 'a', name: 'f', arguments: '{}' },
        { type: 'function_call_output', call_id: 'a', output: 'x' },
        { type: 'item_reference', id: 'msg_x' },
      ],
      tools: [{ type: 'function', name: 'f', parameters: {} }],
      metadata: { a: 'b' },
    },
  ],
  [
    'POST',
    '/v1/responses',
    {
      ...{ input: 'The dog', instructions: 'Hi', max_output_tokens: 2, stream: true, top_logprobs: 1 },
      ...{ include: ['message.output_text.logprobs'], text: { format: { type: 'text' } }, store: true },
    },
  ],
  ['POST', '/v1/responses', { input: 'The dog', max_output_tokens: 2, previous_response_id: 'resp_x' }],
  [
    'POST',
    '/v1/chat/completions',
    {
      ...{ messages: [{ role: 'user', content: 'Hi' }], max_tokens: 2, stream: true, logprobs: true, top_logprobs: 2 },
      ...{ temperature: 0.7, response_format: { type: 'text' }, tool_choice: 'none' },
      tools: [{ type: 'function', function: { name: 'f', parameters: {} } }],
    },
  ],
  ['OPTIONS', '/v1/responses', undefined],
  ['GET', '/openapi.json', undefined],
  ['GET', '/readyz', undefined],
  ['POST', '/score', { prompt: 'The dog', responses: [' barks.', ' is'] }],
  [
    'POST',
    '/feedback',
    {
      id: 'cmpl-x',
      index: 0,
      thumb: true,
      reward: 1,
      edit: 'x',
      ranking: [
        { id: 'a', rank: 0 },
        { id: 'b', rank: 1 },
      ],
    },
  ],
  ['POST', '/admin/versions', { version: 0 }],
  ['GET', '/v1/models/base', undefined],
  ['GET', '/metrics', undefined],
];

const values = [
  null,
  true,
  0,
  -1,
  1.5,
  1e308,
  -1e-308,
  2 ** 53,
  '',
  'x',
  '\u0000',
  '\ud800',
  '<script>alert(1)</script>',
  "'; DROP TABLE responses; --",
  'x'.repeat(5000),
  '<%= 7 * 7 %>',
  '{{ 7 * 7 }}',
  '../../etc/passwd',
  [],
  [[]],
  [null],
  [-1],
  [1e9],
  [[1], ['x']],
  {},
  { __proto__: null },
  { type: 'text', text: 5 },
  [{ type: 'image_url' }],
  [{ role: 'user', content: null }],
  [{ role: 'root', content: 'x' }],
  [{ type: 'reasoning', summary: [] }],
  { type: 'function_call_output' },
  'msg_',
  'resp_../../x',
];
const paths = [
  '/../../etc/passwd',
  '/%2e%2e/%2e%2e/etc/passwd',
  '//',
  '/%',
  '/%00',
  '/v1/models/..%2f..%2fetc',
  '/__proto__',
  '/v1/models/%E0%A4%A',
];
const headers = [
  'content-type: text/plain',
  'content-type: application/json; charset=\u00ff',
  'content-length: -1',
  'transfer-encoding: chunked',
  'origin: null',
  'origin: http://evil.example',
  'origin: http://evil.example\r\naccess-control-request-method: POST\r\naccess-control-request-headers: a,b',
  'host: evil.example',
  `authorization: Bearer ${'x'.repeat(8000)}`,
  'expect: 100-continue',
  'content-encoding: gzip',
  'connection: upgrade\r\nupgrade: websocket',
  `x: ${'y'.repeat(20_000)}`,
];

/** A raw request, damaged in some of many ways. */
export function mutant(seed) {
  let state = (Math.imul(seed, 2654435761) + 12345) >>> 0;
  const random = () => {
    state = (Math.imul(state ^ (state >>> 15), 2246822519) + 3266489917) >>> 0;
    return state / 2 ** 32;
  };
  const pick = (list) => list[Math.floor(random() * list.length)];
  let [method, path, body] = structuredClone(pick(seeds));
  const replace = (at) => {
    const keys = Object.keys(at);
    if (keys.length === 0) return;
    const key = pick(keys);
    if (typeof at[key] === 'object' && at[key] !== null && random() < 0.5) replace(at[key]);
    else if (random() < 0.2) delete at[key];
    else at[key] = structuredClone(pick(values));
  };
  if (body) for (let i = 0; i < 1 + random() * 3; i++) replace(body);
  if (body && random() < 0.15)
    body[
      pick([
        'tools',
        'text',
        'response_format',
        'previous_response_id',
        '__proto__',
        'constructor',
        'toString',
        'hasOwnProperty',
        'best_of',
      ])
    ] = structuredClone(pick(values));
  if (random() < 0.1) method = pick(['GET', 'PUT', 'DELETE', 'OPTIONS', 'HEAD', 'PATCH', 'BREW', 'get']);
  if (random() < 0.1) path = pick(paths);
  let text = body === undefined ? '' : JSON.stringify(body);
  if (random() < 0.15) {
    const at = Math.floor(random() * text.length);
    text = pick([
      text.slice(0, at),
      text.slice(0, at) + pick(['\u0000', '{', '"', '\u{1f600}', '['.repeat(2000)]) + text.slice(at),
      text + text,
    ]);
  }
  const length = Buffer.byteLength(text) + (random() < 0.03 ? pick([-1, 1, 1e9]) : 0);
  const lines = [`${method} ${path} HTTP/1.1`, 'host: localhost', 'connection: close'];
  if (text !== '') lines.push('content-type: application/json', `content-length: ${length}`);
  if (random() < 0.15) lines.push(pick(headers));
  if (random() < 0.02) lines[0] = pick(['', '\u0000'.repeat(100), 'GET', `GET ${'x'.repeat(20_000)} HTTP/1.1`]);
  return Buffer.from(`${lines.join('\r\n')}\r\n\r\n${text}`);
}

/** Sends it. @returns the status, 0 when the connection was closed without an answer, -1 when nothing came in time; and the answer */
export function send(url, content, waits = 3000) {
  const { port, hostname } = new URL(url);
  return new Promise((resolve) => {
    const socket = createConnection(Number(port), hostname);
    const parts = [];
    const end = (status) => {
      socket.destroy();
      const text = Buffer.concat(parts).toString();
      resolve({ status: status ?? Number(text.match(/^HTTP\/1\.1 (\d+)/)?.[1] ?? 0), text });
    };
    socket.setTimeout(waits, () => end(parts.length > 0 ? undefined : -1));
    socket.on('data', (part) => parts.push(part));
    socket.on('error', () => end());
    socket.on('close', () => end());
    socket.on('end', () => end());
    socket.write(content);
  });
}

/** Sends so many, eight at a time. @returns how often each status came, the kinds of errors, and answers that no request may get */
export async function assault(url, count, seed = 1, waits = 3000) {
  const statuses = {};
  const wrong = [];
  const errors = new Set();
  let next = seed;
  const worker = async () => {
    while (next < seed + count) {
      const number = next++;
      const { status, text } = await send(url, mutant(number), waits);
      statuses[status] = (statuses[status] ?? 0) + 1;
      const isError = status >= 400 && status !== 431 && status !== 408;
      const body = text.slice(text.indexOf('\r\n\r\n') + 4);
      const said = body.match(/^\{"error":.*\}$/m) && JSON.parse(body.match(/^\{"error":.*\}$/m)[0]).error;
      if (said)
        errors.add(
          `${text
            .match(/HTTP\/1\.1 (\d+)/g)
            .at(-1)
            .slice(9)} ${said.type} ${said.code}`,
        );
      const explains = !isError || body === '' || /"message":"[^"]|"message"/.test(body);
      if ((status >= 500 && status !== 503) || !explains || /root:x:|at .*\.js:\d+/.test(body))
        wrong.push({ number, status, body: body.slice(0, 300) });
    }
  };
  await Promise.all(Array.from({ length: 8 }, worker));
  return { statuses, errors: [...errors].sort(), wrong };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [url, count = '10000', seed = '1'] = process.argv.slice(2);
  console.log(JSON.stringify(await assault(url, Number(count), Number(seed))));
}
