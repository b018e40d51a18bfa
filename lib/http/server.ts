/** What heed's HTTP servers have in common: limits, headers, the shape of errors, and who may call them. */
import type { Socket } from 'node:net';
import { networkInterfaces } from 'node:os';
import Fastify, {
  type FastifyError,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  LogController,
} from 'fastify';
import { HeedError } from '../core/errors.js';
import { isAllowed, isForeign } from './origins.js';

declare module 'fastify' {
  interface FastifyInstance {
    /** Called for a request that no route takes; a plugin has no hook for these. */
    heedNotFound: ((request: FastifyRequest, reply: FastifyReply) => void)[];
  }
}

export interface ServerOptions {
  /** Bytes of a request's body, at most. Default 1 MiB. */
  readonly bodyLimit?: number | undefined;
  /** Milliseconds in which a request must have arrived. Default 30 000. */
  readonly requestTimeout?: number | undefined;
  /** Where structured logs go (pino, one JSON object a line). Default: nowhere. */
  readonly logTo?: NodeJS.WritableStream | undefined;
}

/** A server without routes. It answers every failure as `{error: {message, type}}` and sends headers that keep pages to themselves. */
export function createServer({ bodyLimit = 2 ** 20, requestTimeout = 30_000, logTo }: ServerOptions = {}) {
  const app = Fastify({
    bodyLimit,
    requestTimeout,
    // Given here too, since Node would otherwise keep a minute for headers, and exchange the two limits if that is the longer one.
    http: { requestTimeout, connectionsCheckingInterval: Math.ceil(Math.min(30_000, requestTimeout / 2)) },
    forceCloseConnections: 'idle',
    frameworkErrors: (error, request, reply) => answerError(error, request as FastifyRequest, reply as FastifyReply),
    clientErrorHandler: answerNoHttp,
    logController: new Log(),
    logger: logTo ? { stream: logTo as NodeJS.WritableStream & { write(text: string): void } } : false,
  });
  closePromptly(app);
  guard(app);
  const notFound: FastifyInstance['heedNotFound'] = [];
  app.decorate('heedNotFound', notFound);
  app.setNotFoundHandler((request, reply) => {
    for (const each of notFound) each(request, reply);
    reply.code(404).send(errorBody(`there is no ${request.method} ${pathOf(request)}`, 'not_found'));
  });
  return app;
}

/** That a client leaves before its answer is complete is no error of the server. */
class Log extends LogController {
  override requestCompleted(error: Error | null | undefined, request: FastifyRequest, reply: FastifyReply): void {
    if (error && hasLeft(error))
      reply.log.info({ res: reply, responseTime: reply.elapsedTime }, 'the client has left its answer');
    else super.requestCompleted(error, request, reply);
  }
  override streamError(error: Error, request: FastifyRequest, reply: FastifyReply): void {
    if (hasLeft(error)) reply.log.info({ res: reply }, 'the client has left a stream');
    else super.streamError(error, request, reply);
  }
}

const hasLeft = ({ code }: NodeJS.ErrnoException) =>
  code === 'ERR_STREAM_PREMATURE_CLOSE' || code === 'ECONNRESET' || code === 'EPIPE';

/** Bytes that are no HTTP, or that did not arrive in time. */
function answerNoHttp({ code }: { code?: string }, socket: Socket): void {
  if (code === 'ECONNRESET' || socket.destroyed) return;
  if (socket.writable) {
    const [status, message] =
      code === 'ERR_HTTP_REQUEST_TIMEOUT'
        ? ['408 Request Timeout', 'the request did not arrive in time']
        : code === 'HPE_HEADER_OVERFLOW'
          ? ['431 Request Header Fields Too Large', 'the headers are too large']
          : ['400 Bad Request', 'this is no HTTP request'];
    const body = JSON.stringify(errorBody(message!, 'invalid_request_error'));
    const headers = `content-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close`;
    socket.write(`HTTP/1.1 ${status}\r\n${headers}\r\n\r\n${body}`);
  }
  socket.destroySoon();
}

/** Node waits for connections on which nothing was sent, as clients keep in reserve: they are closed once the last request is answered. */
function closePromptly(app: FastifyInstance): void {
  let running = 0;
  let isClosing = false;
  const closeIfIdle = () => {
    if (isClosing && running === 0) setImmediate(() => app.server.closeAllConnections());
  };
  app.addHook('onRequest', async (_request, { raw }) => {
    running++;
    // Also when the client leaves, of which onResponse does not know.
    raw.once('close', () => {
      running--;
      closeIfIdle();
    });
  });
  app.addHook('preClose', async () => {
    isClosing = true;
    closeIfIdle();
  });
}

/** The checks, headers and errors of {@link createServer}, for the routes of a server or of a plugin in somebody else's. */
export function guard(app: FastifyInstance): void {
  app.removeContentTypeParser('text/plain'); // a form of another site's page can send it
  app.addHook('onRequest', requireSameOrigin);
  app.addHook('onSend', async (_request, reply) => void reply.headers(securityHeaders));
  app.setErrorHandler(answerError);
}

/** For a page that loads nothing from elsewhere and that no other page may frame. */
const securityHeaders = {
  'content-security-policy':
    "default-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
};

/**
 * Refuses a request that changes something and that a browser sends on behalf of another site's page (cross-site request forgery), unless
 * the route allows its origin. Programs other than browsers send neither header and pass.
 */
async function requireSameOrigin(request: FastifyRequest, reply: FastifyReply) {
  if (request.method === 'GET' || request.method === 'HEAD' || request.method === 'OPTIONS') return;
  if (!isForeign(request) || isAllowed(request)) return;
  const { origin = 'another site' } = request.headers;
  await reply.code(403).send(errorBody(`a page of ${origin} may not call this server`, 'permission_error'));
}

const pathOf = ({ url }: FastifyRequest) => url.split('?', 1)[0];

/** A failure as the caller is told of it. */
export class RequestError extends Error {
  override readonly name = 'RequestError';
  /** @param statusCode from 400 */
  constructor(
    readonly statusCode: number,
    message: string,
    readonly type: string = 'invalid_request_error',
    /** The field of the request that is wrong. */
    readonly param?: string | undefined,
    readonly headers: Readonly<Record<string, string>> = {},
    /** For programs, as OpenAI's API has it. */
    readonly code?: string | undefined,
  ) {
    super(message);
  }
}

/** The body of an error, as OpenAI's API has it. */
export const errorBody = (message: string, type: string, param?: string, code?: string) => ({
  error: { message, type, param: param ?? null, code: code ?? null },
});

function answerError(error: FastifyError | Error, request: FastifyRequest, reply: FastifyReply): void {
  const { statusCode, headers, message, type, param, code } = failureOf(error, request);
  reply
    .code(statusCode)
    .headers(headers)
    .send(errorBody(message, type, param, code));
}

/** What a caller is told of a failure. One of the server's own is logged, on standard error where there is no log. */
export function failureOf(error: unknown, request: FastifyRequest): RequestError {
  if (error instanceof RequestError) return error;
  const failure = (error as Error | undefined)?.message === undefined ? new Error(String(error)) : (error as Error);
  const { statusCode = 500 } = failure as Partial<FastifyError>;
  if (statusCode < 500) return new RequestError(statusCode, failure.message);
  if (failure instanceof RangeError || failure instanceof TypeError || isMisuse(failure))
    return new RequestError(400, failure.message);
  if (request.raw.readableAborted) {
    request.log.info('the client left before its request was complete');
    return new RequestError(499, 'the client has left', 'aborted');
  }
  request.log.error(failure);
  // Without a log the person who started the server would never hear of it.
  if (request.log.level === undefined)
    process.stderr.write(`heed: ${request.method} ${pathOf(request)}: ${failure.message.replaceAll('\n', ' ')}\n`);
  return isFull(failure)
    ? new RequestError(
        507,
        "the server's disk is full, and nothing was saved: try again when it has room",
        'server_error',
      )
    : new RequestError(500, 'the server failed; its log says why', 'server_error');
}

const isFull = ({ code }: Error & { readonly code?: unknown }) => code === 'SQLITE_FULL' || code === 'ENOSPC';

const isMisuse = (error: Error) => error instanceof HeedError && error.code === 'ERR_INVALID_ARGUMENT';

/** @returns the URL at which `app` can be reached now; @throws HeedError ERR_IO naming the port that is taken or not allowed */
export async function listen(app: FastifyInstance, { host, port }: { host: string; port: number }): Promise<string> {
  try {
    return await app.listen({ host, port });
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    const why =
      code === 'EADDRINUSE'
        ? `port ${port} is in use; choose another with --port, or 0 for a free one`
        : code === 'EACCES'
          ? `port ${port} is not allowed for this user; choose one above 1023 with --port`
          : message;
    throw new HeedError('ERR_IO', `cannot listen on ${host}: ${why}`, { cause });
  }
}

/** The addresses of a server at `url` for other machines, if `host` lets them in. */
export function urlsFor(host: string, url: string): string[] {
  if (host !== '0.0.0.0' && host !== '::') return [];
  const { protocol, port } = new URL(url);
  return Object.values(networkInterfaces())
    .flatMap((each) => each ?? [])
    .filter(({ family, internal }) => family === 'IPv4' && !internal)
    .map(({ address }) => `${protocol}//${address}:${port}`);
}
