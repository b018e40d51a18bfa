/** API keys, and how much each may do at a time. */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { FastifyRequest } from 'fastify';
import { RequestError } from '../http/server.js';

const digest = (text: string) => createHash('sha256').update(text).digest();

export class Keys {
  readonly #digests: readonly Buffer[];
  readonly #perMinute: number;
  readonly #atOnce: number;
  readonly #counts = new Map<string, { minute: number; requests: number; running: number }>();

  /** @param perMinute requests of a key in a minute, 0: any number @param atOnce the same at the same time */
  constructor(keys: readonly string[], { perMinute, atOnce }: { readonly perMinute: number; readonly atOnce: number }) {
    this.#digests = keys.map(digest);
    this.#perMinute = perMinute;
    this.#atOnce = atOnce;
  }

  get areNeeded(): boolean {
    return this.#digests.length > 0;
  }

  /** @throws RequestError 401; 403 for another host's name where no key is needed */
  check(request: FastifyRequest): void {
    const { authorization, host } = request.headers;
    if (!this.areNeeded) {
      // Without keys only this machine may call, and no page of a site whose name was made to mean this machine.
      const name = host?.replace(/:\d+$/, '');
      if (!isLoopback(request.ip) || (name !== undefined && isLoopback(name))) return;
      throw new RequestError(403, `${host} is not a name of this machine, expected localhost`, 'permission_error');
    }
    const given = digest(authorization?.match(/^Bearer (.*)$/i)?.[1] ?? '');
    // Every key is compared in full, so that the time says nothing.
    const matches = this.#digests.filter((known) => timingSafeEqual(known, given));
    if (authorization === undefined || matches.length === 0)
      throw new RequestError(
        401,
        'the API key is missing or wrong: send authorization: Bearer KEY',
        'authentication_error',
        undefined,
        {
          'www-authenticate': 'Bearer',
        },
      );
  }

  /** Counts a request of its key. @returns a function to call at its end @throws RequestError 429 */
  begin(request: FastifyRequest): () => void {
    const key = this.areNeeded ? digest(request.headers.authorization ?? '').toString('base64') : request.ip;
    const minute = Math.floor(Date.now() / 60_000);
    const entry = this.#counts.get(key) ?? { minute, requests: 0, running: 0 };
    if (entry.minute !== minute) Object.assign(entry, { minute, requests: 0 });
    const refuse = (what: string, seconds: number): never => {
      throw new RequestError(429, `this key ${what}`, 'rate_limit_error', undefined, {
        'retry-after': String(seconds),
      });
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

/** Whether an address or name is this machine's own. */
export const isLoopback = (name: string): boolean =>
  /^(localhost|127(\.\d+){3}|\[?::1\]?|::ffff:127(\.\d+){3})$/i.test(name);
