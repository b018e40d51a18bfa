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
  return async (answers, { signal }) => {
    const body = JSON.stringify({
      answers: answers.map(({ prompt, response, finished, row }) => ({ prompt, response, finished, row })),
    });
    const { scores } = (await post(url, body, headers, signal)) as { scores?: unknown };
    if (Array.isArray(scores) && scores.length === answers.length && scores.every(isScore)) return scores;
    throw new HeedError(
      'ERR_INVALID_ARGUMENT',
      `${url} answered with the scores ${JSON.stringify(scores)?.slice(0, 80)}, expected ${answers.length} numbers or nulls`,
    );
  };
}

const isScore = (value: unknown): value is number | null =>
  value === null || (typeof value === 'number' && Number.isFinite(value));

/** The JSON object that a URL answers with. @throws HeedError naming the URL and what went wrong */
export async function post(
  url: string | URL,
  body: string,
  headers: Readonly<Record<string, string>>,
  signal: AbortSignal | undefined,
): Promise<object> {
  let response: Response;
  let text: string;
  try {
    response = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body,
      ...(signal ? { signal } : {}),
    });
    text = await response.text();
  } catch (cause) {
    signal?.throwIfAborted();
    const { message, cause: inner } = cause as Error & { cause?: Error };
    throw new HeedError('ERR_IO', `${url} cannot be reached: ${inner?.message || message}`, { cause });
  }
  if (!response.ok)
    throw new HeedError('ERR_IO', `${url} answered with status ${response.status}: ${text.slice(0, 200)}`);
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null) return value;
  } catch (cause) {
    throw new HeedError('ERR_INVALID_ARGUMENT', `${url} answered with what is not JSON: ${text.slice(0, 80)}`, {
      cause,
    });
  }
  throw new HeedError('ERR_INVALID_ARGUMENT', `${url} answered with ${text.slice(0, 80)}, expected a JSON object`);
}
