/** API keys, and how much each may do at a time. */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { FastifyRequest } from 'fastify';
import { isForeign } from '../http/origins.js';
import { RequestError } from '../http/server.js';

const digest = (text: string) => createHash('sha256').update(text).digest();

export class Keys {
  readonly #digests: readonly Buffer[];
  readonly #admin: Buffer | undefined;
  readonly #perMinute: number;
  readonly #atOnce: number;
  readonly #counts = new Map<string, { minute: number; requests: number; running: number }>();

  /**
   * @param perMinute requests of a key in a minute, 0: any number @param atOnce the same at the same time
   * @param admin a further key, of whom may do everything
   */
  constructor(
    keys: readonly string[],
    {
      perMinute,
      atOnce,
      admin,
    }: { readonly perMinute: number; readonly atOnce: number; readonly admin?: string | undefined },
  ) {
    this.#digests = keys.map(digest);
    this.#admin = admin === undefined ? undefined : digest(admin);
    this.#perMinute = perMinute;
    this.#atOnce = atOnce;
  }

  get areNeeded(): boolean {
    return this.#digests.length > 0;
  }

  /** @throws RequestError 401; where no key is needed 403 for other machines, and for another host's name */
  check(request: FastifyRequest): void {
    if (!this.areNeeded) {
      if (this.#isAdminKey(request)) return;
      requireThisMachine(request, 'this server has no API keys and answers its own machine only');
      return;
    }
    const given = bearerOf(request);
    // Every key is compared in full, so that the time says nothing.
    const matches = this.#digests.filter((known) => timingSafeEqual(known, digest(given ?? '')));
    if (given === undefined || (matches.length === 0 && !this.#isAdminKey(request))) throw wrongKey('API key');
  }

  /**
   * What only the owner may do: with the admin key, or from this machine where there is none.
   *
   * @param what that is, for the message
   * @throws RequestError 401, 403
   */
  checkAdmin(request: FastifyRequest, what: string): void {
    if (this.#admin === undefined) {
      requireThisMachine(request, `${what} from this machine only, as there is no admin key`);
      // A page in this machine's browser is not its owner.
      if (isForeign(request)) throw refused(`${what} with an admin key only, for pages of other origins`);
    } else if (!this.#isAdminKey(request)) throw wrongKey('admin key', 403, `${what} with the admin key only`);
  }

  #isAdminKey(request: FastifyRequest): boolean {
    return this.#admin !== undefined && timingSafeEqual(this.#admin, digest(bearerOf(request) ?? ''));
  }

  /** Counts a request of its key. @returns a function to call at its end @throws RequestError 429 */
  begin(request: FastifyRequest): () => void {
    const key = this.areNeeded ? digest(request.headers.authorization ?? '').toString('base64') : request.ip;
    const minute = Math.floor(Date.now() / 60_000);
    const entry = this.#counts.get(key) ?? { minute, requests: 0, running: 0 };
    if (entry.minute !== minute) Object.assign(entry, { minute, requests: 0 });
    const refuse = (what: string, seconds: number): never => {
      throw new RequestError(
        429,
        `this key ${what}`,
        'requests',
        undefined,
        { 'retry-after': String(seconds) },
        'rate_limit_exceeded',
      );
    };
    if (this.#perMinute > 0 && entry.requests >= this.#perMinute)
      refuse(`has made its ${this.#perMinute} requests of this minute`, 60 - Math.floor((Date.now() / 1000) % 60));
    if (this.#atOnce > 0 && entry.running >= this.#atOnce) refuse(`has its ${this.#atOnce} requests running`, 1);
    entry.requests++;
    entry.running++;
    this.#counts.set(key, entry);
    let isRunning = true;
    return () => {
      if (!isRunning) return;
      isRunning = false;
      entry.running--;
      if (entry.running === 0 && this.#perMinute === 0) this.#counts.delete(key);
    };
  }
}

const bearerOf = ({ headers }: FastifyRequest) => headers.authorization?.match(/^Bearer (.+)$/i)?.[1];

const wrongKey = (
  name: string,
  status = 401,
  message = `the ${name} is missing or wrong: send authorization: Bearer KEY`,
) =>
  new RequestError(
    status,
    message,
    status === 401 ? 'invalid_request_error' : 'permission_error',
    undefined,
    status === 401 ? { 'www-authenticate': 'Bearer' } : {},
    status === 401 ? 'invalid_api_key' : 'insufficient_permissions',
  );

const refused = (message: string) =>
  new RequestError(403, message, 'permission_error', undefined, {}, 'insufficient_permissions');

/**
 * The connection and, behind a proxy that is trusted, the client it names are this machine's; and so is the name that was asked for,
 * or a page of a site whose name was made to mean this machine could call.
 *
 * @throws RequestError 403
 */
function requireThisMachine({ ip, socket, headers: { host } }: FastifyRequest, message: string): void {
  if (!isLoopback(ip) || !isLoopback(socket.remoteAddress ?? '')) throw refused(message);
  if (host !== undefined && isLoopback(host.replace(/:\d+$/, ''))) return;
  const what =
    host === undefined ? 'the request has no host header' : `${host.slice(0, 100)} is not a name of this machine`;
  throw refused(`${what}, expected localhost`);
}

/** Whether an address or name is this machine's own. */
export const isLoopback = (name: string): boolean =>
  /^(localhost|127(\.\d+){3}|\[?::1\]?|::ffff:127(\.\d+){3})$/i.test(name);
