/** What is to be labelled, who labels, and what models answered: the tables behind the page. */
import { createHash, randomBytes } from 'node:crypto';
import { hash } from '../core/random.js';
import type { Database, Statement } from '../feedback/database.js';
import type { SampledColumns } from '../feedback/rows.js';
import { flags as allFlags, type Rating, type ShownPrompt } from './types.js';

/** A prompt to be labelled, with responses if they are given. */
export interface NewItem {
  readonly prompt: ShownPrompt;
  readonly category?: string | undefined;
  readonly responses?: readonly string[] | undefined;
  /** Which model wrote each of `responses`: kept, not shown. Default 'given'. */
  readonly models?: readonly string[] | undefined;
  /** (responses) how each was sampled, of a file of feedback: token ids and log-probabilities are kept. */
  readonly sampled?: readonly SampledColumns[] | undefined;
  /** Makes it an attention item: of `responses`, 0 is best. */
  readonly ranks?: readonly number[] | undefined;
}

export interface AddOptions {
  readonly seed: number;
  /** Share of the items that the reward model is tested on. */
  readonly heldOut: number;
  /** Responses that an item needs, and has at most. */
  readonly needed: number;
  readonly most: number;
}

/** A response as a model gave it. */
export interface NewResponse {
  readonly model: string;
  readonly text: string;
  readonly promptTokens?: Int32Array | undefined;
  readonly tokens?: Int32Array | undefined;
  readonly logprobs?: Float32Array | undefined;
  readonly sampling?: object | undefined;
  readonly finish?: 'stop' | 'length' | 'abort' | undefined;
}

export interface WaitingItem {
  readonly id: number;
  readonly prompt: ShownPrompt;
  readonly responses: readonly { readonly id: number; readonly text: string }[];
}

/** Numbers that the file keeps: how many items, and tasks to label one. */
export interface Totals {
  /** For which people are wanted. */
  readonly available: number;
  /** Of these, shown to somebody. */
  readonly touched: number;
  /** By state, without attention items. */
  readonly ready: number;
  readonly waiting: number;
  readonly unusable: number;
  readonly labels: number;
}

/** The model of responses that came with the prompts. */
export const kGiven = 'given';

export const bytes = (array: Int32Array | Float32Array | undefined) =>
  array ? Buffer.from(array.buffer, array.byteOffset, array.byteLength) : null;

const digest = (key: string) => createHash('sha256').update(key).digest('hex');

export class Store {
  readonly database: Database;
  readonly #statements = new Map<string, Statement>();

  constructor(database: Database) {
    this.database = database;
  }

  /** A statement that is used for many rows: parsed once. */
  sql(text: string): Statement {
    const known = this.#statements.get(text);
    if (known) return known;
    const made = this.database.prepare(text);
    this.#statements.set(text, made);
    return made;
  }

  /** Adds prompts that are not there yet. @returns how many are new */
  add(items: Iterable<NewItem>, o: AddOptions): number {
    const { database } = this;
    const findItem = database.prepare('SELECT 1 FROM items WHERE prompt = ?').pluck();
    const insert = database.prepare(
      'INSERT INTO items (prompt, state, responses, ranks, held, place, created) VALUES (?, ?, ?, ?, ?, ?, ?)',
    );
    let added = 0;
    database
      .transaction(() => {
        for (const { prompt, category, responses = [], models, sampled, ranks } of items) {
          const id = this.promptId(prompt, category);
          if (findItem.get(id) !== undefined) continue;
          const text = JSON.stringify(prompt);
          const share = (what: string) => hash(`${o.seed}/${what}/${text}`) / 2 ** 32;
          const distinct = [...new Set(responses)].slice(0, o.most);
          if (ranks && (ranks.length !== distinct.length || distinct.length !== responses.length))
            throw new RangeError(
              `the attention item ${text.slice(0, 60)} has ${ranks.length} ranks and ${distinct.length} distinct responses, expected as many and at most ${o.most}`,
            );
          const modelOf = (text: string) => models?.[responses.indexOf(text)] ?? kGiven;
          const ids = distinct.map((text) => {
            const columns = sampled?.[responses.indexOf(text)];
            if (!columns) return this.addResponse(id, { model: modelOf(text), text });
            return this.#sampledId(id, modelOf(text), text) ?? this.#addSampled(id, modelOf(text), text, columns);
          });
          const isReady = ranks !== undefined || distinct.length >= o.needed;
          insert.run(
            id,
            isReady ? 'ready' : 'waiting',
            distinct.length > 0 || isReady ? JSON.stringify(ids) : null,
            ranks === undefined ? null : JSON.stringify(ranks),
            ranks === undefined && share('held-out') < o.heldOut ? 1 : 0,
            hash(`${o.seed}/place/${text}`), // also decides which items two people label
            Date.now(),
          );
          added++;
        }
      })
      .immediate();
    return added;
  }

  /** Nobody will sample what is missing. */
  giveUpAll(note: string): void {
    this.database.prepare("UPDATE items SET state = 'unusable', note = ? WHERE state = 'waiting'").run(note);
  }

  /** Items without enough responses are sampled once more. */
  retry(): void {
    this.database.prepare("UPDATE items SET state = 'waiting', note = NULL WHERE state = 'unusable'").run();
  }

  /** @param share of the items that `labelers` people label instead of one */
  share(share: number, labelers: number): void {
    const wanted = 'CASE WHEN place % 1000 < :below THEN :labelers ELSE 1 END';
    this.database
      .prepare(`UPDATE items SET wanted = ${wanted} WHERE wanted <> ${wanted}`)
      .run({ below: Math.round(1000 * share), labelers });
  }

  /** Items that can be shown and have too few responses, of the most frequent number. */
  itemsBelow(fewest: number): { readonly items: number; readonly responses: number } | undefined {
    return this.database
      .prepare(
        `SELECT count(*) AS items, json_array_length(coalesce(responses, '[]')) AS responses FROM items
         WHERE state = 'ready' AND json_array_length(coalesce(responses, '[]')) < ? GROUP BY 2 ORDER BY 1 DESC LIMIT 1`,
      )
      .get(fewest) as { items: number; responses: number } | undefined;
  }

  promptId(prompt: ShownPrompt, category?: string): number {
    const text = JSON.stringify(prompt);
    this.sql('INSERT INTO prompts (prompt, category, created) VALUES (?, ?, ?) ON CONFLICT (prompt) DO NOTHING').run(
      text,
      category ?? null,
      Date.now(),
    );
    return this.sql('SELECT id FROM prompts WHERE prompt = ?').pluck().get(text) as number;
  }

  addResponse(prompt: number, { model, text, promptTokens, tokens, logprobs, sampling, finish }: NewResponse): number {
    return Number(
      this.sql(
        `INSERT INTO responses (prompt, model, text, prompt_tokens, tokens, logprobs, sampling, finish, created)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      ).run(
        prompt,
        model,
        text,
        bytes(promptTokens),
        bytes(tokens),
        bytes(logprobs),
        JSON.stringify(sampling ?? {}),
        finish ?? null,
        Date.now(),
      ).lastInsertRowid,
    );
  }

  /** A response that is in the file already, which heed serve may have written. */
  #sampledId(prompt: number, model: string, text: string): number | undefined {
    const find = 'SELECT max(id) FROM responses WHERE prompt = ? AND model = ? AND text = ? AND tokens IS NOT NULL';
    return (this.sql(find).pluck().get(prompt, model, text) as number | null) ?? undefined;
  }

  #addSampled(prompt: number, model: string, text: string, columns: SampledColumns): number {
    return Number(
      this.sql(
        `INSERT INTO responses (prompt, model, text, prompt_tokens, tokens, logprobs, sampling, finish, created)
         VALUES (:prompt, :model, :text, :prompt_tokens, :tokens, :logprobs, :sampling, :finish, :created)`,
      ).run({ prompt, model, text, ...columns, created: Date.now() }).lastInsertRowid,
    );
  }

  /** @param responses (K) ids @param ratings (K) */
  addRatings(
    by: { readonly labeler: number | null; readonly task: number; readonly created: number },
    responses: readonly number[],
    ratings: readonly Rating[],
  ): void {
    const insert = this.database.prepare(
      'INSERT INTO ratings (response, labeler, task, rating, flags, created) VALUES (:response, :labeler, :task, :rating, :flags, :created)',
    );
    ratings.forEach(({ rating, flags }, k) => {
      const given = Object.fromEntries(allFlags.map(([flag]) => [flag, flags.includes(flag)]));
      insert.run({ ...by, response: responses[k], rating, flags: JSON.stringify(given) });
    });
  }

  /** The next item that waits for responses, in the order of labelling. */
  nextWaiting(): WaitingItem | undefined {
    const row = this.database
      .prepare(
        `SELECT items.id, prompts.prompt, items.responses FROM items JOIN prompts ON prompts.id = items.prompt
         WHERE state = 'waiting' ORDER BY place LIMIT 1`,
      )
      .get() as { id: number; prompt: string; responses: string | null } | undefined;
    if (!row) return undefined;
    const ids = JSON.parse(row.responses ?? '[]') as number[];
    const texts = this.texts(ids);
    return {
      id: row.id,
      prompt: JSON.parse(row.prompt),
      responses: ids.map((id, i) => ({ id, text: texts[i]! })),
    };
  }

  /** The item's responses are complete, with `sampled` besides those that it has. An item that no longer waits stays as it is. */
  fill(item: WaitingItem, sampled: readonly NewResponse[]): void {
    this.database
      .transaction(() => {
        const prompt = this.database
          .prepare("SELECT prompt FROM items WHERE id = ? AND state = 'waiting'")
          .pluck()
          .get(item.id) as number | undefined;
        if (prompt === undefined) return;
        const ids = [...item.responses.map(({ id }) => id), ...sampled.map((each) => this.addResponse(prompt, each))];
        this.database
          .prepare("UPDATE items SET state = 'ready', responses = ? WHERE id = ?")
          .run(JSON.stringify(ids), item.id);
      })
      .immediate();
  }

  giveUp(item: number, note: string): void {
    this.database
      .prepare("UPDATE items SET state = 'unusable', note = ? WHERE id = ? AND state = 'waiting'")
      .run(note, item);
  }

  /** Items that can be labelled and that nobody has seen. */
  readyAhead(): number {
    const { available, touched } = this.totals();
    return available - touched;
  }

  totals(): Totals {
    return this.sql('SELECT * FROM totals').get() as Totals;
  }

  /** How many prompts there are to label, by their state. */
  items() {
    const { ready, waiting, unusable } = this.totals();
    return { total: ready + waiting + unusable, ready, waiting, unusable };
  }

  /** The texts of responses, in the order of their ids. */
  texts(ids: readonly number[]): string[] {
    const find = this.sql('SELECT text FROM responses WHERE id = ?').pluck();
    return ids.map((id) => find.get(id) as string);
  }

  labeler(name: string): number {
    this.database
      .prepare('INSERT INTO labelers (name, created) VALUES (?, ?) ON CONFLICT (name) DO NOTHING')
      .run(name, Date.now());
    return this.database.prepare('SELECT id FROM labelers WHERE name = ?').pluck().get(name) as number;
  }

  /** A new key for a labeler; earlier ones stay valid. Only its digest is kept. */
  invite(name: string): string {
    const key = randomBytes(24).toString('base64url');
    this.database
      .prepare('INSERT INTO keys (secret, labeler, created) VALUES (?, ?, ?)')
      .run(digest(key), this.labeler(name), Date.now());
    return key;
  }

  /** Makes all keys of a labeler invalid. @returns how many there were */
  revoke(name: string): number {
    return this.database.prepare('DELETE FROM keys WHERE labeler = (SELECT id FROM labelers WHERE name = ?)').run(name)
      .changes;
  }

  /** Whose key it is. */
  labelerOf(key: string): { readonly id: number; readonly name: string } | undefined {
    return this.database
      .prepare('SELECT labelers.id, name FROM keys JOIN labelers ON labelers.id = keys.labeler WHERE secret = ?')
      .get(digest(key)) as { id: number; name: string } | undefined;
  }
}

/** The same order with ranks 0, 1, …. */
export function dense(ranks: readonly number[]): number[] {
  const levels = [...new Set(ranks)].sort((a, b) => a - b);
  return ranks.map((rank) => levels.indexOf(rank));
}
