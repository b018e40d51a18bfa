// Metrics to MLflow: against a server that keeps what it gets and is as strict as MLflow's.
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { afterEach, expect, test } from '@jest/globals';
import { MlflowRun } from '../../lib/runs/mlflow.js';

interface Sent {
  readonly method: string;
  readonly path: string;
  readonly authorization: string | undefined;
  // biome-ignore lint/suspicious/noExplicitAny: what was sent
  readonly body: any;
}

let server: Server | undefined;
afterEach(async () => {
  server?.closeAllConnections();
  await new Promise((done) => (server ? server.close(done) : done(undefined)));
  server = undefined;
});

type Answer = { readonly status?: number; readonly json: object } | 'never';

/** @param answer of each request; undefined: as MLflow answers */
async function serve(answer: (sent: Sent) => Answer | undefined): Promise<{ url: string; sent: Sent[] }> {
  const sent: Sent[] = [];
  server = createServer(async (request, response) => {
    const body = await text(request);
    const one = {
      method: request.method!,
      path: request.url!.replace('/api/2.0/mlflow/', ''),
      authorization: request.headers.authorization,
      body: body === '' ? undefined : JSON.parse(body),
    };
    sent.push(one);
    const { status = 200, json } = (answer(one) ?? usual(one)) as Exclude<Answer, 'never'>;
    if (json === undefined) return;
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(json));
  });
  await new Promise<void>((done) => server!.listen(0, '127.0.0.1', done));
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, sent };
}

function usual({ path, body }: Sent): Answer {
  if (path.startsWith('experiments/get-by-name'))
    return { status: 404, json: { error_code: 'RESOURCE_DOES_NOT_EXIST' } };
  if (path === 'experiments/create') return { json: { experiment_id: '7' } };
  if (path === 'runs/create') return { json: { run: { info: { run_id: 'r1' } } } };
  if (path === 'runs/log-batch') {
    const items = [...(body.metrics ?? []), ...(body.params ?? [])];
    const isValid = items.length <= 1000 && items.every(({ key }: { key: string }) => /^[\w\-. :/]{1,250}$/.test(key));
    return isValid ? { json: {} } : { status: 400, json: { error_code: 'INVALID_PARAMETER_VALUE' } };
  }
  return path === 'runs/update' ? { json: {} } : { status: 404, json: {} };
}

const options = (url: string, failures: string[] = []) => ({
  url,
  experiment: 'my models',
  runName: 'sft',
  parameters: { steps: 3, model: 'base', none: undefined, list: [1, 2], long: 'x'.repeat(600) },
  onFailure: (message: string) => failures.push(message),
  timeout: 2000,
});

test('an experiment, a run, its parameters, the numbers of every step, and its end', async () => {
  const { url, sent } = await serve(() => undefined);
  const failures: string[] = [];
  const run = MlflowRun.begin(options(url.replace('//', '//me:se%20cret@'), failures));
  run.append(1, {
    step: 1,
    loss: 2.5,
    rewards: { 'reward/exact:answer': 0.5, 'reward/a,b': 1 },
    warnings: ['x'],
    best: true,
  });
  run.append(2, { step: 2, loss: Number.NaN, tokens: 7 });
  await run.close('FINISHED');
  expect(failures).toEqual([]);
  expect(run.lost).toEqual({ requests: 0, metrics: 0 });
  expect(sent.map(({ method, path }) => `${method} ${path}`)).toEqual([
    'GET experiments/get-by-name?experiment_name=my%20models',
    'POST experiments/create',
    'POST runs/create',
    'POST runs/log-batch',
    'POST runs/log-batch',
    'POST runs/update',
  ]);
  for (const { authorization } of sent)
    expect(authorization).toBe(`Basic ${Buffer.from('me:se cret').toString('base64')}`);
  expect(sent[2]!.body).toMatchObject({ experiment_id: '7', run_name: 'sft' });
  expect(sent[3]!.body.params).toEqual([
    { key: 'steps', value: '3' },
    { key: 'model', value: 'base' },
    { key: 'list', value: '[1,2]' },
    { key: 'long', value: 'x'.repeat(500) },
  ]);
  const metrics = sent[4]!.body.metrics as { key: string; value: number; step: number; timestamp: number }[];
  expect(sent[4]!.body.run_id).toBe('r1');
  expect(metrics.map(({ key, value, step }) => [step, key, value])).toEqual([
    [1, 'loss', 2.5],
    [1, 'rewards/reward/exact:answer', 0.5],
    [1, 'rewards/reward/a_b', 1],
    [2, 'tokens', 7],
  ]);
  expect(Math.abs(metrics[0]!.timestamp - Date.now())).toBeLessThan(60_000);
  expect(sent[5]!.body).toMatchObject({ run_id: 'r1', status: 'FINISHED' });
});

test('an experiment that exists is used; many numbers are sent in parts', async () => {
  const { url, sent } = await serve(({ path }) =>
    path.startsWith('experiments/get-by-name') ? { json: { experiment: { experiment_id: '3' } } } : undefined,
  );
  const run = MlflowRun.begin(options(url));
  for (let step = 1; step <= 700; step++) run.append(step, { loss: step, gradNorm: 1 });
  await run.close('KILLED');
  expect(sent.find(({ path }) => path === 'runs/create')!.body.experiment_id).toBe('3');
  expect(sent.some(({ path }) => path === 'experiments/create')).toBe(false);
  const parts = sent.filter(({ body }) => body?.metrics).map(({ body }) => body.metrics.length as number);
  expect(parts.reduce((sum, n) => sum + n, 0)).toBe(1400);
  expect(Math.max(...parts)).toBe(1000);
  expect(sent.at(-1)!.body.status).toBe('KILLED');
});

test('many parameters are sent in parts', async () => {
  const { url, sent } = await serve(() => undefined);
  const parameters = Object.fromEntries(Array.from({ length: 250 }, (_, i) => [`p${i}`, i]));
  await MlflowRun.begin({ ...options(url), parameters }).close('FINISHED');
  const parts = sent.filter(({ body }) => body?.params).map(({ body }) => body.params as { key: string }[]);
  expect(parts.map((part) => part.length)).toEqual([100, 100, 50]);
  expect(parts.flat().map(({ key }) => key)).toEqual(Object.keys(parameters));
});

test('more numbers than may wait are dropped, and counted', async () => {
  const { url, sent } = await serve(() => undefined);
  const many = Object.fromEntries(Array.from({ length: 100_000 }, (_, i) => [`m${i}`, i]));
  const run = MlflowRun.begin({ ...options(url), timeout: 30_000 });
  run.append(1, { loss: 1 });
  run.append(2, many);
  expect(run.lost).toEqual({ requests: 0, metrics: 100_000 });
  await run.close('FINISHED');
  expect(sent.filter(({ body }) => body?.metrics).flatMap(({ body }) => body.metrics)).toHaveLength(1);
});

test("a token of the environment comes before the URL's user, who comes before that of the environment", async () => {
  const seen = async (environment: Record<string, string>, user = '') => {
    const { url, sent } = await serve(() => undefined);
    const before = { ...process.env };
    Object.assign(process.env, environment);
    try {
      await MlflowRun.begin(options(url.replace('//', `//${user}`))).close('FINISHED');
    } finally {
      process.env = before;
    }
    server!.close();
    return sent[0]!.authorization;
  };
  const basic = (pair: string) => `Basic ${Buffer.from(pair).toString('base64')}`;
  const named = { MLFLOW_TRACKING_USERNAME: 'ann', MLFLOW_TRACKING_PASSWORD: 'pw' };
  expect(await seen({})).toBeUndefined();
  expect(await seen(named)).toBe(basic('ann:pw'));
  expect(await seen({ MLFLOW_TRACKING_USERNAME: 'ann' })).toBe(basic('ann:'));
  expect(await seen(named, 'bob:x@')).toBe(basic('bob:x'));
  expect(await seen({ ...named, MLFLOW_TRACKING_TOKEN: 't' }, 'bob:x@')).toBe('Bearer t');
});

test('failures are counted, and told once', async () => {
  const failures: string[] = [];
  const { url, sent } = await serve(({ body }) =>
    body?.metrics ? { status: 500, json: { message: 'the disk is full' } } : undefined,
  );
  const run = MlflowRun.begin(options(url, failures));
  for (let step = 1; step <= 3; step++) {
    run.append(step, { loss: step });
    await new Promise((done) => setTimeout(done, 20));
  }
  await run.close('FINISHED');
  expect(failures).toHaveLength(1);
  expect(failures[0]).toMatch(
    /^MLflow at http:.*: runs\/log-batch answered 500 .*the disk is full.*; the run goes on without it$/,
  );
  expect(run.lost.metrics).toBe(3);
  expect(run.lost.requests).toBe(sent.filter(({ body }) => body?.metrics).length);
});

test('a server that is not there, or never answers, does not hold up the run', async () => {
  const failures: string[] = [];
  const gone = MlflowRun.begin(options('http://127.0.0.1:9', failures));
  gone.append(1, { loss: 1 });
  await gone.close('FINISHED');
  expect(gone.lost).toEqual({ requests: 1, metrics: 1 });
  const { url } = await serve(() => ({ json: undefined as never }));
  const silent = MlflowRun.begin({ ...options(url, failures), timeout: 200 });
  silent.append(1, { loss: 1 }); // returns at once
  await silent.close('FAILED');
  expect(silent.lost).toEqual({ requests: 1, metrics: 1 });
  expect(failures).toHaveLength(2);
  expect(() => MlflowRun.begin(options('file:///x'))).toThrow('is no tracking server, expected an http or https URL');
});
