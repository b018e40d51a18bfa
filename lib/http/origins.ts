/** Which pages of other origins may call a server: cross-origin resource sharing (the Fetch standard, §3.2). */
import type { FastifyInstance, FastifyReply, FastifyRequest, RouteOptions } from 'fastify';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Origins whose pages may call the route beside its own; `*` is all. */
    origins?: ReadonlySet<string>;
  }
}

/** @throws RangeError for what no browser sends as an origin */
export function originsOf(given: readonly string[]): ReadonlySet<string> {
  for (const origin of given) {
    const isOrigin =
      URL.canParse(origin) && /^https?:$/.test(new URL(origin).protocol) && new URL(origin).origin === origin;
    if (origin !== '*' && !isOrigin)
      throw new RangeError(
        `${origin} is no origin, expected one such as https://chat.example.com or http://localhost:3000, without a path, or *`,
      );
  }
  if (given.length > 1 && given.includes('*'))
    throw new RangeError('* is every origin, expected no other ones beside it');
  return new Set(given);
}

/** Whether the request is of a page of another origin than the server's own. */
export function isForeign({ headers: { origin, host, 'sec-fetch-site': site } }: FastifyRequest): boolean {
  if (origin !== undefined) return (URL.canParse(origin) ? new URL(origin).host : origin) !== host;
  return site !== undefined && site !== 'same-origin' && site !== 'none';
}

/** Whether its page may call this route. */
export function isAllowed({ headers: { origin }, routeOptions }: FastifyRequest): boolean {
  const { origins } = routeOptions.config;
  return origin !== undefined && origins !== undefined && (origins.has('*') || origins.has(origin));
}

/**
 * Lets pages of these origins call the routes that are added to `app` from now on, and read the answers. Cookies are never
 * asked for: what a page may do, it may do by a key that it has.
 */
export function allowOrigins(app: FastifyInstance, origins: ReadonlySet<string>): void {
  if (origins.size === 0) return;
  const known = new Set<string>();
  app.addHook('onRoute', (route: RouteOptions & { readonly routePath: string }) => {
    route.config = { ...route.config, origins };
    if (known.has(route.routePath)) return;
    known.add(route.routePath);
    app.options(route.routePath, { config: { needsNoKey: true } }, preflight);
  });
  app.addHook('onRequest', async (request, reply) => {
    if (!origins.has('*')) reply.header('vary', 'origin');
    if (!isAllowed(request)) return;
    reply.header('access-control-allow-origin', origins.has('*') ? '*' : request.headers.origin);
    reply.header('access-control-expose-headers', 'retry-after');
  });
}

/** What a browser asks before a page's request. Which methods and headers a route takes, the route says. */
async function preflight(request: FastifyRequest, reply: FastifyReply) {
  const { 'access-control-request-headers': headers = '' } = request.headers;
  reply.code(204);
  if (!isAllowed(request)) return;
  reply.headers({
    'access-control-allow-methods': 'GET, POST',
    'access-control-allow-headers': String(headers).slice(0, 1000),
    'access-control-max-age': '600',
  });
}
