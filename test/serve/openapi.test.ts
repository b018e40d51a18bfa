// The OpenAPI document is valid, and what the routes answer is what it says.
import { beforeAll, expect, test } from '@jest/globals';
import { Validator } from '@seriousme/openapi-schema-validator';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { ask } from '../http/ask.js';
import { documentedErrors, start } from './service.js';

interface Content {
  readonly schema: object;
}
interface Response {
  readonly $ref?: string;
  readonly content?: Readonly<Record<string, Content>>;
}
interface Operation {
  readonly operationId: string;
  readonly responses: Readonly<Record<string, Response>>;
  readonly requestBody?: { readonly content: Readonly<Record<string, Content>> };
}
interface Document {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: { readonly responses: Readonly<Record<string, Response>> };
}

let url: string;
let document: Document;
const ajv = new Ajv2020({ strict: false, allErrors: true });
const seen = new Set<string>();
const as = (key: string) => ({ authorization: `Bearer ${key}` });

async function serve() {
  ({ url } = await start({ apiKeys: ['user'], adminKey: 'owner' }));
  document = (await ask(`${url}/openapi.json`)).json();
}

const schemaOf = (operation: Operation, status: number, type: string): object => {
  const response = operation.responses[status];
  if (!response) throw new Error(`${operation.operationId} does not say what ${status} is`);
  const { content } = response.$ref ? document.components.responses[response.$ref.split('/').at(-1)!]! : response;
  if (!content?.[type]) throw new Error(`${operation.operationId} does not say that ${status} is ${type}`);
  return content[type].schema;
};

/** Sends a request, and holds what comes to the document. @returns the status, and the values that were held to it */
async function held(
  method: 'get' | 'post',
  path: string,
  body?: unknown,
  headers: Record<string, string> = as('user'),
) {
  const operation = document.paths[path]![method]!;
  const answer = await ask(url + path.replace('{model}', 'base'), { method: method.toUpperCase(), body, headers });
  const type = String(answer.headers['content-type']).split(';')[0]!;
  const isValid = ajv.compile(schemaOf(operation, answer.status, type));
  const values =
    type === 'text/event-stream'
      ? [...answer.text.matchAll(/^data: (\{.*)$/gm)].map(([, json]) => JSON.parse(json!))
      : [type === 'application/json' ? answer.json() : answer.text];
  expect(values.length).toBeGreaterThan(0);
  for (const value of values) if (!isValid(value)) expect([path, value, isValid.errors]).toBe('as the document says');
  if (answer.status >= 400) {
    const { type: kind, code } = answer.json().error;
    expect(documentedErrors()).toContain(`${answer.status} ${kind} ${code}`);
  }
  seen.add(`${method} ${path} ${answer.status} ${type}`);
  return { status: answer.status, values };
}

beforeAll(() => {
  seen.clear();
});

test('a validator of OpenAPI finds nothing wrong', async () => {
  await serve();
  expect(await new Validator().validate(structuredClone(document) as never)).toEqual({ valid: true });
  const damaged = structuredClone(document) as { paths: Record<string, unknown> };
  damaged.paths['/x'] = { get: { responses: { 200: {} } } };
  expect((await new Validator().validate(damaged as never)).valid).toBe(false);
});

test('what every route answers has the shape that the document gives it', async () => {
  await serve();
  const messages = [{ role: 'user', content: 'What does a cow say?' }];
  const some = { temperature: 0, max_tokens: 6 };
  const chat = { messages, ...some };
  const { values } = await held('post', '/v1/chat/completions', chat);
  const { id } = values[0];
  await held('post', '/v1/chat/completions', { ...chat, n: 2, logprobs: true, top_logprobs: 2 });
  await held('post', '/v1/chat/completions', {
    ...{ ...chat, stream: true, logprobs: true, stream_options: { include_usage: true } },
  });
  const prompt = 'The dog';
  await held('post', '/v1/completions', { prompt, ...some });
  await held('post', '/v1/completions', { prompt, ...some, echo: true, logprobs: 2 });
  await held('post', '/v1/completions', { prompt, ...some, max_tokens: 0, echo: true, logprobs: 0 });
  await held('post', '/v1/completions', {
    prompt,
    ...some,
    stream: true,
    logprobs: 0,
    stream_options: { include_usage: true },
  });
  const include = ['message.output_text.logprobs'];
  await held('post', '/v1/responses', {
    input: 'Hi',
    max_output_tokens: 6,
    include,
    top_logprobs: 1,
    metadata: { a: 'b' },
  });
  await held('post', '/v1/responses', {
    input: 'The dog barks.',
    temperature: 0,
    max_output_tokens: 200,
    stream: true,
    include,
  });
  for (const path of ['/v1/chat/completions', '/v1/completions', '/v1/responses', '/score', '/feedback']) {
    expect((await held('post', path, {})).status).toBe(400);
    expect((await held('post', path, {}, {})).status).toBe(401);
  }
  await held('post', '/v1/responses', { input: 'Hi', model: 'other' });
  await held('get', '/v1/models');
  await held('get', '/v1/models/{model}');
  await held('post', '/score', { prompt, responses: [' barks.'] });
  await held('post', '/feedback', { id, thumb: true });
  await held('post', '/feedback', { id: 'none', thumb: true });
  await held('get', '/admin/versions', undefined, as('owner'));
  await held('get', '/admin/versions');
  await held('post', '/admin/versions', { version: 0 }, as('owner'));
  await held('get', '/metrics');
  for (const path of ['/healthz', '/health', '/readyz', '/openapi.json']) await held('get', path, undefined, {});
  // Nothing that the document promises was left out, but for one that needs training.
  const promised = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).flatMap(([method, { responses }]) =>
      Object.keys(responses[200]!.content!).map((type) => `${method} ${path} 200 ${type}`),
    ),
  );
  expect(promised.filter((each) => !seen.has(each))).toEqual(['post /admin/versions 200 application/json']);
});

test('the body of a request is described as it is checked', async () => {
  await serve();
  const check = (path: string) =>
    ajv.compile(document.paths[path]!.post!.requestBody!.content['application/json']!.schema);
  const bodies: [string, object, boolean][] = [
    ['/v1/responses', { input: 'Hi' }, true],
    ['/v1/responses', { input: [{ role: 'user', content: [{ type: 'input_text', text: 'Hi' }] }] }, true],
    ['/v1/responses', { input: [{ type: 'item_reference', id: 'msg_x' }] }, true],
    ['/v1/responses', { input: [{ role: 'user', content: [{ type: 'input_image' }] }] }, false],
    ['/v1/responses', {}, false],
    ['/v1/chat/completions', { messages: [{ role: 'user', content: 'Hi' }] }, true],
    ['/v1/chat/completions', { messages: [{ role: 'root', content: 'Hi' }] }, false],
    ['/v1/completions', { prompt: [1, 2] }, true],
    ['/v1/completions', { prompt: 'x', n: 0 }, false],
  ];
  for (const [path, body, isRight] of bodies) {
    const sent = path === '/v1/responses' ? { max_output_tokens: 1 } : { max_tokens: 1 };
    const { status } = await ask(url + path, { body: { ...sent, ...body }, headers: as('user') });
    // An item that is referred to is looked for after the shape was checked.
    const isTaken = status === 200 || JSON.stringify(body).includes('item_reference');
    expect([body, check(path)(body), isTaken]).toEqual([body, isRight, isRight]);
  }
});
