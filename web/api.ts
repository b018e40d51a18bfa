/** Requests of a page to the server that it comes from. */

/** The server's answer. `path` is relative to the page. @throws Error with the server's message, or one that says it cannot be reached */
export async function call<T>(path: string, body?: unknown): Promise<T> {
  const response = await fetch(path, {
    ...(body === undefined
      ? {}
      : { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
  }).catch(() => {
    throw new Error('The server cannot be reached.');
  });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(answer?.error?.message ?? `The server answered ${response.status}.`);
  return answer as T;
}
