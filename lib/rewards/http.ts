/** A reward that a service computes. */
import { HeedError } from '../core/errors.js';
import type { TextReward } from './types.js';

/**
 * Posts `{"answers": [{"prompt", "response", "finished", "row"}, …]}` to a URL that returns `{"scores": [number or null, …]}`, one per
 * answer, in order.
 *
 * @param headers of the request, such as an authorization
 */
export function httpReward(url: string | URL, headers: Readonly<Record<string, string>> = {}): TextReward {
  const { username, password } = new URL(url);
  const basic = Buffer.from(`${decodeURIComponent(username)}:${decodeURIComponent(password)}`).toString('base64');
  const all = username === '' ? headers : { authorization: `Basic ${basic}`, ...headers }; // fetch takes none in a URL
  return async (answers, { signal }) => {
    const body = JSON.stringify({
      answers: answers.map(({ prompt, response, finished, row }) => ({ prompt, response, finished, row })),
    });
    const { scores } = (await post(url, body, all, signal)) as { scores?: unknown };
    if (Array.isArray(scores) && scores.length === answers.length && scores.every(isScore)) return scores;
    throw new HeedError(
      'ERR_INVALID_ARGUMENT',
      `${shownUrl(url)} answered with the scores ${JSON.stringify(scores)?.slice(0, 80)}, expected ${answers.length} numbers or nulls`,
    );
  };
}

const isScore = (value: unknown): value is number | null =>
  value === null || (typeof value === 'number' && Number.isFinite(value));

/** A URL without a user and a password. */
export function shownUrl(url: string | URL): string {
  const shown = new URL(url);
  shown.username = '';
  shown.password = '';
  return shown.href;
}

/** The JSON object that a URL answers with. @throws HeedError naming the URL and what went wrong */
export async function post(
  url: string | URL,
  body: string,
  headers: Readonly<Record<string, string>>,
  signal: AbortSignal | undefined,
): Promise<object> {
  const shown = shownUrl(url);
  let response: Response;
  let text: string;
  try {
    response = await fetch(shown, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body,
      ...(signal ? { signal } : {}),
    });
    text = await response.text();
  } catch (cause) {
    signal?.throwIfAborted();
    const { message, cause: inner } = cause as Error & { cause?: Error };
    throw new HeedError('ERR_IO', `${shown} cannot be reached: ${inner?.message || message}`, { cause });
  }
  if (!response.ok)
    throw new HeedError('ERR_IO', `${shown} answered with status ${response.status}: ${text.slice(0, 200)}`);
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null) return value;
  } catch (cause) {
    throw new HeedError('ERR_INVALID_ARGUMENT', `${shown} answered with what is not JSON: ${text.slice(0, 80)}`, {
      cause,
    });
  }
  throw new HeedError('ERR_INVALID_ARGUMENT', `${shown} answered with ${text.slice(0, 80)}, expected a JSON object`);
}
