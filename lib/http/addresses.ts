/** Under which addresses other machines reach a server. */
import { networkInterfaces } from 'node:os';

/**
 * @param url where a server listens, as {@link listen} says it
 * @param host what it listens on: of every address, `0.0.0.0` or `::`, there is one URL for each of this machine's, its own last
 */
export function urlsOf(url: string, host: string, interfaces = networkInterfaces()): string[] {
  if (host !== '0.0.0.0' && host !== '::') return [url];
  const { port } = new URL(url);
  const others = Object.values(interfaces)
    .flatMap((addresses) => addresses ?? [])
    .filter(({ internal, family }) => !internal && (family === 'IPv4' || host === '::'))
    .filter(({ address }) => !/^fe[89ab]/i.test(address)) // link-local: of no use without the name of an interface
    .map(({ address, family }) => `http://${family === 'IPv6' ? `[${address}]` : address}:${port}`);
  return [...others, `http://127.0.0.1:${port}`];
}
