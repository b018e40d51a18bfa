/** The labelling page's routes. A labeler is known by a key in a cookie, which an invitation's link sets. */
import { createHash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { servePage } from '../http/page.js';
import { guard, RequestError } from '../http/server.js';
import { checkAnswer, checkDraft, checkReason } from './check.js';
import type { Queue } from './queue.js';
import type { Store } from './store.js';
import { flags, type Mode, type Overview, type Session } from './types.js';

export interface Person {
  readonly id: number;
  readonly name: string;
}

export interface RouteOptions {
  readonly store: Store;
  readonly queue: Queue;
  readonly mode: Mode;
  readonly rates: boolean;
  /** Markdown. */
  readonly guidelines: string;
  /** Who sees the overview. */
  readonly owner: string;
  overview(): Promise<Overview>;
  /** Called when a labeler asks for the next item. */
  onDemand(): void;
  /** Who a request is from, where the surrounding server knows; default: by the cookie. */
  readonly labelerOf?: ((request: IncomingMessage) => string | undefined) | undefined;
}

/** Bytes of an answer or a draft, at most. */
const kBodyLimit = 256 * 1024;
const kYear = 365 * 86_400;

export async function labelRoutes(app: FastifyInstance, o: RouteOptions): Promise<void> {
  const { store, queue, mode } = o;
  // Cookies do not know ports: servers of several files on one host have cookies of different names.
  const cookie = `heed-label-${createHash('sha256').update(store.database.name).digest('hex').slice(0, 8)}`;
  guard(app);
  app.addHook('preParsing', async (request, _reply, payload) => parsedBefore(request) ?? payload);

  const keyOf = ({ headers }: FastifyRequest) =>
    new RegExp(`(?:^|;\\s*)${cookie}=([\\w-]+)`).exec(headers.cookie ?? '')?.[1];

  function person(request: FastifyRequest): Person {
    if (o.labelerOf) {
      const name = o.labelerOf(request.raw);
      if (name !== undefined) return { id: store.labeler(name), name };
    } else {
      const key = keyOf(request);
      const found = key === undefined ? undefined : store.labelerOf(key);
      if (found) return found;
    }
    throw new RequestError(401, 'you are not invited: open the link of your invitation again', 'authentication_error');
  }

  /** `?key=…` becomes a cookie. The page is answered at once: browsers send no such cookie after a redirect from elsewhere. */
  function welcome(request: FastifyRequest, reply: FastifyReply) {
    const { key } = request.query as { key?: unknown };
    if (typeof key !== 'string' || !store.labelerOf(key)) return;
    const secure = request.protocol === 'https' ? '; Secure' : '';
    reply.header('set-cookie', `${cookie}=${key}; Max-Age=${kYear}; HttpOnly; SameSite=Strict${secure}`);
  }

  app.addHook('onRequest', async (request, reply) => {
    if (request.method !== 'GET') return;
    // The page's addresses are relative to its folder.
    const { originalUrl = request.originalUrl } = request.raw as IncomingMessage & { originalUrl?: string };
    const [path, query] = originalUrl.split('?', 2) as [string, string | undefined];
    const isPage =
      request.routeOptions.url !== undefined && /^\/?$/.test(request.routeOptions.url.slice(app.prefix.length));
    if (isPage && !path.endsWith('/'))
      return reply.redirect(`${path.slice(path.lastIndexOf('/') + 1)}/${query === undefined ? '' : `?${query}`}`);
    if (isPage && query !== undefined && !o.labelerOf) welcome(request, reply);
  });
  await servePage(app, 'label');
  const options = { bodyLimit: kBodyLimit };
  const taskOf = (request: FastifyRequest) => {
    const { id } = request.params as { id: string };
    if (!/^\d{1,15}$/.test(id)) throw new RequestError(404, `there is no task ${id.slice(0, 40)}`, 'not_found', 'id');
    return Number(id);
  };

  app.get('/api/session', async (request): Promise<Session> => {
    const { id, name } = person(request);
    return {
      labeler: name,
      isOwner: name === o.owner,
      mode,
      rates: o.rates,
      flags,
      guidelines: o.guidelines,
      progress: queue.progress(id),
      canUndo: queue.canUndo(id),
    };
  });
  app.post('/api/next', options, async (request) => {
    const { id } = person(request);
    const next = queue.next(id);
    o.onDemand();
    return next;
  });
  app.post('/api/tasks/:id/draft', options, async (request) => {
    const { id } = person(request);
    queue.saveDraft(id, taskOf(request), checkDraft(request.body));
    return { saved: true };
  });
  app.post('/api/tasks/:id/submit', options, async (request) => {
    const { id } = person(request);
    const task = taskOf(request);
    const { responses } = queue.openTask(id, task);
    queue.submit(id, task, checkAnswer(request.body, responses.length, mode, o.rates));
    return { progress: queue.progress(id) };
  });
  app.post('/api/tasks/:id/skip', options, async (request) => {
    const { id } = person(request);
    const task = taskOf(request);
    queue.openTask(id, task);
    queue.skip(id, task, checkReason(request.body));
    return { progress: queue.progress(id) };
  });
  app.post('/api/undo', options, async (request) => queue.undo(person(request).id));
  app.get('/api/overview', async (request) => {
    if (person(request).name !== o.owner)
      throw new RequestError(403, `only ${o.owner} sees the overview`, 'permission_error');
    return o.overview();
  });
}

/** Express may have read a body already; it is given to Fastify once more. */
function parsedBefore({ raw, headers }: FastifyRequest) {
  const { body } = raw as IncomingMessage & { body?: unknown };
  if (body === undefined || !raw.readableEnded) return undefined;
  const content = Buffer.from(JSON.stringify(body));
  headers['content-length'] = String(content.length);
  return Object.assign(Readable.from([content]), { receivedEncodedLength: content.length });
}
