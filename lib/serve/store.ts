/** Answers and what people said of them, in a file of feedback. Rows that arrive together are committed together. */
import type { Database } from '../feedback/database.js';
import { RequestError } from '../http/server.js';
import { levelsOf } from '../phases/pairs.js';
import type { FeedbackBody } from './bodies.js';

export interface KeptAnswer {
  readonly name: string;
  /** A text, or messages. */
  readonly prompt: unknown;
  readonly model: string;
  readonly text: string;
  readonly promptTokens: Int32Array;
  readonly tokens: Int32Array;
  readonly logprobs: Float32Array;
  readonly sampling: object;
  readonly finish: 'stop' | 'length' | 'abort';
}

/** As much of it as is needed to go on from it. */
export interface StoredAnswer extends Pick<KeptAnswer, 'prompt' | 'text' | 'finish'> {
  readonly sampling: Readonly<Record<string, unknown>>;
}

const kProbe = `CREATE TABLE heed_probe (x); INSERT INTO heed_probe VALUES (zeroblob(${2 ** 18})); DROP TABLE heed_probe`;

const bytes = (array: Int32Array | Float32Array) => Buffer.from(array.buffer, array.byteOffset, array.byteLength);

/** The name of a completion's choice: the id itself of the first. */
export const nameOf = (id: string, index = 0): string => (index === 0 ? id : `${id}.${index}`);

interface Known {
  readonly id: number;
  readonly prompt: number;
}

export class Store {
  readonly database: Database;
  #queue: {
    readonly write: () => unknown;
    readonly resolve: (value: never) => void;
    readonly reject: (error: unknown) => void;
  }[] = [];
  #timer: NodeJS.Immediate | undefined;
  #hasFailed = false;

  constructor(database: Database) {
    this.database = database;
  }

  /** Keeps an answer. Resolves when it is on the disk. */
  keep(answer: KeptAnswer): Promise<void> {
    return this.#write(() => {
      this.database
        .prepare(
          `INSERT INTO responses (name, prompt, model, text, prompt_tokens, tokens, logprobs, sampling, finish, created)
           VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
        )
        .run(
          answer.name,
          this.#promptId(JSON.stringify(answer.prompt)),
          answer.model,
          answer.text,
          bytes(answer.promptTokens),
          bytes(answer.tokens),
          bytes(answer.logprobs),
          JSON.stringify(answer.sampling),
          answer.finish,
          Date.now(),
        );
    });
  }

  /** An answer that was kept; undefined for an unknown name. */
  answer(name: string): StoredAnswer | undefined {
    const found = this.database
      .prepare(
        'SELECT prompts.prompt, text, finish, sampling FROM responses JOIN prompts ON prompts.id = responses.prompt WHERE name = ?',
      )
      .get(name) as { prompt: string; text: string; finish: StoredAnswer['finish']; sampling: string } | undefined;
    return found && { ...found, prompt: JSON.parse(found.prompt), sampling: JSON.parse(found.sampling) };
  }

  /** Keeps what somebody said, all of it or nothing. Resolves when it is on the disk. @throws RequestError 404 for an unknown answer */
  say(body: FeedbackBody): Promise<void> {
    return this.#write(() => {
      const labeler = body.labeler === undefined ? null : this.#labelerId(body.labeler);
      const now = Date.now();
      const { database } = this;
      const said = [body.thumb, body.reward, body.edit].filter((each) => each !== undefined).length;
      if (said > 0) {
        if (body.id === undefined)
          throw new RequestError(400, 'id is missing: of the answer that this is about', undefined, 'id');
        const { id, prompt } = this.#find(body.id, body.index);
        if (body.thumb !== undefined)
          database
            .prepare('INSERT INTO thumbs (response, labeler, label, created) VALUES (?, ?, ?, ?)')
            .run(id, labeler, body.thumb ? 1 : 0, now);
        if (body.reward !== undefined)
          database
            .prepare('INSERT INTO rewards (response, reward, created) VALUES (?, ?, ?)')
            .run(id, body.reward, now);
        if (body.edit !== undefined)
          database
            .prepare('INSERT INTO demonstrations (prompt, response, edited, labeler, created) VALUES (?, ?, ?, ?, ?)')
            .run(prompt, body.edit, id, labeler, now);
      }
      if (body.ranking) {
        const found = body.ranking.map(({ id, index }) => this.#find(id, index));
        if (new Set(found.map(({ prompt }) => prompt)).size > 1)
          throw new RequestError(400, 'the answers are to different prompts, expected one', undefined, 'ranking');
        if (new Set(found.map(({ id }) => id)).size < found.length)
          throw new RequestError(400, 'an answer is listed twice', undefined, 'ranking');
        database
          .prepare('INSERT INTO rankings (prompt, labeler, responses, ranks, created) VALUES (?, ?, ?, ?, ?)')
          .run(
            found[0]!.prompt,
            labeler,
            JSON.stringify(found.map(({ id }) => id)),
            JSON.stringify(levelsOf(body.ranking.map(({ rank }) => rank))),
            now,
          );
      } else if (said === 0)
        throw new RequestError(400, 'there is no feedback, expected thumb, reward, edit or ranking');
    });
  }

  /** Whether the file takes rows. After a failure that is tried, with as much as many answers take, which is given back. */
  async isWritable(): Promise<boolean> {
    if (!this.#hasFailed) return true;
    return await this.#write(() => this.database.exec(kProbe)).then(
      () => true,
      () => false,
    );
  }

  /** Waits for what is queued, and closes the file. */
  async close(): Promise<void> {
    if (this.#queue.length > 0) await this.#write(() => undefined).catch(() => {});
    this.database.close();
  }

  #write(write: () => unknown): Promise<void> {
    return new Promise<void>((resolve, reject) => {
      this.#queue.push({ write, resolve, reject });
      this.#timer ??= setImmediate(() => this.#commit());
    });
  }

  #commit(): void {
    this.#timer = undefined;
    const queue = this.#queue;
    this.#queue = [];
    const failed = new Map<unknown, unknown>();
    try {
      this.database
        .transaction(() => {
          for (const each of queue) {
            try {
              this.database.transaction(each.write)(); // a savepoint of its own
            } catch (error) {
              failed.set(each, error);
            }
          }
        })
        .immediate();
    } catch (cause) {
      for (const each of queue) failed.set(each, failed.get(each) ?? cause);
    }
    if (failed.size < queue.length) this.#hasFailed = false;
    for (const error of failed.values()) if (!(error instanceof RequestError)) this.#hasFailed = true;
    for (const each of queue) {
      if (failed.has(each)) each.reject(failed.get(each));
      else each.resolve(undefined as never);
    }
  }

  #promptId(prompt: string): number {
    this.database
      .prepare('INSERT INTO prompts (prompt, created) VALUES (?, ?) ON CONFLICT DO NOTHING')
      .run(prompt, Date.now());
    return this.database.prepare('SELECT id FROM prompts WHERE prompt = ?').pluck().get(prompt) as number;
  }

  #labelerId(name: string): number {
    this.database
      .prepare('INSERT INTO labelers (name, created) VALUES (?, ?) ON CONFLICT DO NOTHING')
      .run(name, Date.now());
    return this.database.prepare('SELECT id FROM labelers WHERE name = ?').pluck().get(name) as number;
  }

  #find(id: string, index: number | undefined): Known {
    const found = this.database.prepare('SELECT id, prompt FROM responses WHERE name = ?').get(nameOf(id, index));
    if (found) return found as Known;
    throw new RequestError(
      404,
      `there is no answer ${JSON.stringify(nameOf(id, index).slice(0, 100))}`,
      'not_found',
      'id',
    );
  }
}
