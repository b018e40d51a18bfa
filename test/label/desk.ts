/** A labelling server in this process, and people who talk to it without a browser. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach } from '@jest/globals';
import { type Database, openFeedback } from '../../lib/feedback/database.js';
import { createServer, listen } from '../../lib/http/server.js';
import { type Labelling, type LabellingOptions, labelling, type NewItem } from '../../lib/label/index.js';
import type { Answer, Next, Task } from '../../lib/label/types.js';
import { ask, type Answer as Reply } from '../http/ask.js';

const closing: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  const failed: unknown[] = [];
  for (const close of closing.splice(0).reverse()) {
    try {
      await close();
    } catch (error) {
      failed.push(error);
    }
  }
  if (failed.length > 0) throw failed[0];
});

export const onEnd = (close: () => Promise<void> | void) => void closing.push(close);

export function folder(): string {
  const dir = mkdtempSync(join(tmpdir(), 'heed-label-'));
  onEnd(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

/** Prompts with their own responses: no model is needed. */
export const items = (count: number, k = 3): NewItem[] =>
  Array.from({ length: count }, (_, i) => ({
    prompt: `Prompt ${i}:`,
    responses: Array.from({ length: k }, (_, j) => ` answer ${j} to ${i}`),
  }));

export interface Desk {
  readonly url: string;
  readonly file: string;
  readonly page: Labelling;
  person(name: string): Promise<Person>;
  /** A second connection to the file. */
  database(): Promise<Database>;
  close(): Promise<void>;
}

export async function openDesk(options: Partial<LabellingOptions> = {}): Promise<Desk> {
  const file = options.out ?? join(folder(), 'labels.db');
  const page = labelling({ k: 3, attention: 0, ...options, out: file });
  const app = createServer();
  await app.register(page);
  const url = await listen(app, { host: '127.0.0.1', port: 0 });
  let isOpen = true;
  const close = async () => {
    if (isOpen) await app.close();
    isOpen = false;
  };
  onEnd(close);
  return {
    url,
    file,
    page,
    close,
    person: async (name) => new Person(url, await cookieOf(`${url}/${await page.invite(name)}`)),
    async database() {
      const database = await openFeedback(file, { readOnly: true });
      onEnd(() => void database.close());
      return database;
    },
  };
}

/** The cookie that an invitation's link sets. */
export async function cookieOf(link: string): Promise<string> {
  const { headers } = await ask(link);
  return headers['set-cookie']![0]!.split(';')[0]!;
}

export class Person {
  readonly #url: string;
  readonly cookie: string;

  constructor(url: string, cookie: string) {
    this.#url = url;
    this.cookie = cookie;
  }

  get(path: string): Promise<Reply> {
    return ask(`${this.#url}/${path}`, { headers: { cookie: this.cookie } });
  }

  post(path: string, body: unknown): Promise<Reply> {
    return ask(`${this.#url}/${path}`, { headers: { cookie: this.cookie }, body });
  }

  async next(): Promise<Next> {
    return (await this.post('api/next', {})).json();
  }

  /** @throws unless there is a task */
  async task(): Promise<Task> {
    const next = await this.next();
    if (!('task' in next)) throw new Error(`there is no task: ${JSON.stringify(next)}`);
    return next.task;
  }

  submit(task: Task, answer: Answer): Promise<Reply> {
    return this.post(`api/tasks/${task.id}/submit`, answer);
  }

  /** Answers the next task. @param rank of a response, by its text */
  async label(rank: (text: string, prompt: string) => number): Promise<Task> {
    const task = await this.task();
    const reply = await this.submit(task, fullAnswer(task, rank));
    if (reply.status !== 200) throw new Error(reply.text);
    return task;
  }
}

/** Ratings that agree with the ranks. */
export function fullAnswer(task: Task, rank: (text: string, prompt: string) => number): Answer {
  const ranks = task.responses.map((text) => rank(text, String(task.prompt)));
  return { ratings: ranks.map((one) => ({ rating: 7 - one, flags: [] })), ranks, confidence: 2, seconds: 5 };
}

/** The number in a response: ` answer 2 to 7`. */
export const numberOf = (text: string): number => Number(/answer (\d)/.exec(text)![1]);
