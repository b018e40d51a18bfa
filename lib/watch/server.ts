/** The live page of runs: what it shows, and what it may ask of them. */
import { spawn } from 'node:child_process';
import { openSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { packageRoot } from '../core/package.js';
import { servePage } from '../http/page.js';
import { createServer, errorBody, listen, RequestError, urlsFor } from '../http/server.js';
import { panelsOf, phaseName } from '../report/panels.js';
import { ask, type RunRequest } from '../runs/requests.js';
import { WatchedRuns } from './find.js';
import type { WatchedRun } from './run.js';

export interface WatchOptions {
  /** Default 127.0.0.1. From other addresses than this machine's own the page only shows: it has no buttons. */
  readonly host?: string | undefined;
  /** 0: any free port. Default 8082. */
  readonly port?: number | undefined;
}

/** A live page that is being served. */
export interface Watch {
  /** From this machine. */
  readonly url: string;
  /** From other machines, if they are let in. */
  readonly urls: readonly string[];
  close(): Promise<void>;
}

export const kWatchPort = 8082;

/**
 * Serves the page of the runs in `paths`: run folders, or folders that contain some.
 *
 * @throws HeedError ERR_IO when a path is not there, or the port is taken
 */
export async function watch(
  paths: readonly string[],
  { host = '127.0.0.1', port = kWatchPort }: WatchOptions = {},
): Promise<Watch> {
  const runs = new WatchedRuns(paths);
  await runs.all();
  const app = createServer({ bodyLimit: 4096 });
  app.addHook('onRequest', requireOwnName(host));
  await servePage(app, 'watch');
  addRoutes(app, runs);
  const url = await listen(app, { host, port });
  return { url, urls: urlsFor(host, url), close: () => app.close() };
}

/** A page elsewhere may give its own name this machine's address (DNS rebinding); its requests then have that name as their host. */
function requireOwnName(host: string) {
  return async (request: FastifyRequest, reply: FastifyReply) => {
    const name = nameOf(request);
    if (isLoopback(host) && !isLoopback(name))
      await reply.code(403).send(errorBody(`this page is not served as ${name}`, 'permission_error'));
  };
}

const isLoopback = (host: string) => host === 'localhost' || host === '::1' || /^127(\.\d{1,3}){3}$/.test(host);

/** The name that a request calls this server. */
const nameOf = ({ hostname }: FastifyRequest) => hostname.replace(/^\[(.*)\]$/, '$1');

/** Whether a request comes from this machine. */
const isOwn = (request: FastifyRequest) => isLoopback(request.ip.replace(/^::ffff:/, ''));

interface ById {
  Params: { id: string };
}

function addRoutes(app: FastifyInstance, runs: WatchedRuns): void {
  const find = async ({ params }: { params: { id: string } }): Promise<WatchedRun> => {
    const run = /^\d{1,6}$/.test(params.id) ? await runs.at(Number(params.id)) : undefined;
    if (!run) throw new RequestError(404, `there is no run ${params.id}`, 'not_found');
    return run;
  };

  app.get('/api/runs', async (request) => {
    const states = await Promise.all((await runs.all()).map((run) => run.state()));
    const phases = [...new Set(states.map(({ phase }) => phase))];
    return {
      mayAsk: isOwn(request) && isLoopback(nameOf(request)),
      runs: states,
      phases: Object.fromEntries(phases.map((phase) => [phase, { name: phaseName(phase), panels: panelsOf(phase) }])),
    };
  });

  app.get<ById & { Querystring: { every?: string; from?: string } }>('/api/runs/:id/points', async (request) => {
    const run = await find(request);
    const { every = '0', from = '0' } = request.query;
    return run.points({ every: whole('every', every), from: whole('from', from) });
  });

  app.get<ById>('/api/runs/:id/answers', async (request) => (await find(request)).answers());

  app.post<ById & { Body: unknown }>('/api/runs/:id/request', async (request) => {
    requireOwn(request);
    const run = await find(request);
    const { request: asked } = (request.body ?? {}) as { request?: unknown };
    if (asked !== 'pause' && asked !== 'stop' && asked !== 'continue')
      throw new RequestError(
        400,
        `request is ${JSON.stringify(asked)}, expected pause, continue or stop`,
        undefined,
        'request',
      );
    const { status } = await run.state();
    if (status === 'stopped' || status === 'finished')
      throw new RequestError(409, `${run.name} is not running: it is ${status}`);
    await ask(run.dir, asked === 'continue' ? undefined : (asked satisfies RunRequest));
    return { status: (await run.state()).status };
  });

  app.post<ById>('/api/runs/:id/resume', async (request) => {
    requireOwn(request);
    const run = await find(request);
    const state = await run.state();
    if (state.resumesAt === undefined)
      throw new RequestError(
        409,
        state.status === 'stopped'
          ? `${run.name} has no command in its config.json: resume it as it was started`
          : `${run.name} cannot be resumed: it is ${state.status}`,
      );
    resume(run, state.about.command!);
    return { status: 'resuming' };
  });
}

function requireOwn(request: FastifyRequest): void {
  if (!isOwn(request) || !isLoopback(nameOf(request)))
    throw new RequestError(403, 'runs can be paused and stopped only from their own machine', 'permission_error');
}

function whole(name: string, text: string): number {
  if (!/^\d{1,9}$/.test(text))
    throw new RequestError(400, `${name} is ${JSON.stringify(text)}, expected a whole number`, undefined, name);
  return Number(text);
}

/** Starts the run's command again, in a process of its own that outlives this one; it writes to RUN/resume.log. */
function resume(run: WatchedRun, command: string): void {
  const log = openSync(join(run.dir, 'resume.log'), 'a');
  const program = join(packageRoot!, 'dist/lib/cli/main.js');
  spawn(process.execPath, [program, command, '--out', resolve(run.dir), '--resume'], {
    detached: true,
    stdio: ['ignore', log, log],
  }).unref();
}
