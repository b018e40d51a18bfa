/** Requests with any headers, which fetch would not send. */
import { request } from 'node:http';
import { text } from 'node:stream/consumers';

export interface Answer {
  readonly status: number;
  readonly headers: NodeJS.Dict<string | string[]>;
  readonly text: string;
  // biome-ignore lint/suspicious/noExplicitAny: whatever the server sent
  json(): any;
}

export interface Asked {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent as it is if it is a text, otherwise as JSON. */
  readonly body?: unknown;
}

export async function ask(url: string, { method, headers = {}, body }: Asked = {}): Promise<Answer> {
  const content = typeof body === 'string' || body === undefined ? body : JSON.stringify(body);
  return new Promise((resolve, reject) => {
    const sent = request(
      url,
      {
        method: method ?? (body === undefined ? 'GET' : 'POST'),
        headers: { ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
      },
      async (response) => {
        const received = await text(response);
        resolve({
          status: response.statusCode!,
          headers: response.headers,
          text: received,
          json: () => JSON.parse(received),
        });
      },
    );
    sent.on('error', reject);
    sent.end(content);
  });
}
