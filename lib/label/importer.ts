/** Adds what people said elsewhere to a file of labels, each as a finished task. */

import type { ForeignLabel, Kept } from './ranking.js';
import { bytes, dense, kGiven, type Store } from './store.js';
import type { ShownPrompt } from './types.js';

/** A row from somebody without a name is somebody's: its task is of this labeler. */
const kNobody = 'imported';

interface Task {
  readonly id: number;
  readonly shown: number[];
  readonly thumbs: boolean[];
}

/**
 * A row is new unless the file had one that says the same: of the same labeler, to the same answers and, where the row tells it, at the same
 * time. So a file that is imported twice is added once, and a row that stands twice in one file counts twice.
 */
export class Importer {
  readonly #store: Store;
  /** By prompt: how often the file said something when the import began. */
  readonly #before = new Map<number, ReadonlyMap<string, number>>();
  readonly #seen = new Map<string, number>();
  /** Tasks of thumbs that this import has made. */
  readonly #tasks = new Map<string, Task>();
  readonly #items = new Set<number>();

  constructor(store: Store) {
    this.#store = store;
  }

  /** @returns whether it is new. Call within a transaction: it writes several rows */
  add(label: ForeignLabel): boolean {
    const prompt = this.#store.promptId(label.prompt, label.category);
    if (!this.#before.has(prompt)) this.#before.set(prompt, this.#saidOf(prompt));
    const said = keyOf(label.labeler ?? null, label.purpose ?? 'label', contentOf(label), label.created);
    const times = (this.#seen.get(`${prompt}/${said}`) ?? 0) + 1;
    this.#seen.set(`${prompt}/${said}`, times);
    if (times <= (this.#before.get(prompt)!.get(said) ?? 0)) return false;
    if (label.kind === 'ranking') this.#addRanking(prompt, label);
    else if (label.kind === 'thumb') this.#addThumb(prompt, label);
    else this.#addDemonstration(prompt, label);
    return true;
  }

  #addRanking(prompt: number, label: Extract<ForeignLabel, { kind: 'ranking' }>): void {
    const { responses, models, kept, ranks, ratings, confidence, seconds } = label;
    const ids = responses.map((text, k) => this.#response(prompt, text, models?.[k], kept?.[k]));
    const draft = { ratings, ranks, confidence, seconds };
    const by = this.#task(prompt, label, ids, draft);
    this.#store
      .sql(
        `INSERT INTO rankings (prompt, labeler, task, responses, ranks, purpose, confidence, seconds, created)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      )
      .run(
        prompt,
        by.labeler,
        by.task,
        JSON.stringify(ids),
        JSON.stringify(dense(ranks)),
        label.purpose ?? 'label',
        confidence ?? null,
        seconds ?? null,
        by.created,
      );
    if (ratings) this.#store.addRatings(by, ids, ratings);
  }

  #addThumb(prompt: number, label: Extract<ForeignLabel, { kind: 'thumb' }>): void {
    const response = this.#response(prompt, label.response, label.model, label.kept);
    const by = this.#taskOfThumb(prompt, label, response);
    this.#store
      .sql('INSERT INTO thumbs (response, labeler, task, label, created) VALUES (?, ?, ?, ?, ?)')
      .run(response, by.labeler, by.task, label.label ? 1 : 0, by.created);
  }

  /** What a person said of several responses to a prompt was one task. */
  #taskOfThumb(prompt: number, label: Extract<ForeignLabel, { kind: 'thumb' }>, response: number) {
    const { labeler, purpose = 'label', created } = label;
    const key = JSON.stringify([prompt, labeler, purpose, created]);
    const open = labeler === undefined ? undefined : this.#tasks.get(key);
    if (open && !open.shown.includes(response)) {
      open.shown.push(response);
      open.thumbs.push(label.label);
      this.#store
        .sql('UPDATE tasks SET shown = ?, draft = ? WHERE id = ?')
        .run(JSON.stringify(open.shown), JSON.stringify({ thumbs: open.thumbs }), open.id);
      this.#show(prompt, [response]);
      return { labeler: this.#store.labeler(labeler!), task: open.id, created: created ?? Date.now() };
    }
    const by = this.#task(prompt, label, [response], { thumbs: [label.label] });
    this.#tasks.set(key, { id: by.task, shown: [response], thumbs: [label.label] });
    return by;
  }

  #addDemonstration(prompt: number, label: Extract<ForeignLabel, { kind: 'demonstration' }>): void {
    const { edited, response } = label;
    const from = edited && this.#response(prompt, edited.text, edited.model, edited.kept);
    const draft = { text: response, ...(from === undefined ? {} : { edited: 0 }) };
    const by = this.#task(prompt, label, from === undefined ? [] : [from], draft);
    this.#store
      .sql('INSERT INTO demonstrations (prompt, response, edited, labeler, task, created) VALUES (?, ?, ?, ?, ?, ?)')
      .run(prompt, response, from ?? null, by.labeler, by.task, by.created);
  }

  /** A finished task, of an item that is made if the prompt has none. */
  #task(
    prompt: number,
    { labeler, purpose, created = Date.now() }: ForeignLabel,
    shown: readonly number[],
    draft: object,
  ) {
    const item = this.#show(prompt, shown);
    const person = this.#store.labeler(labeler ?? kNobody);
    const { lastInsertRowid } = this.#store
      .sql(
        `INSERT INTO tasks (item, labeler, purpose, shown, state, draft, opened, closed) VALUES (?, ?, ?, ?, 'done', ?, ?, ?)`,
      )
      .run(item, person, purpose ?? 'label', JSON.stringify(shown), JSON.stringify(draft), created, created);
    return { labeler: labeler === undefined ? null : person, task: Number(lastInsertRowid), created };
  }

  /** The prompt's item. One that the import made has all responses that were judged. */
  #show(prompt: number, responses: readonly number[]): number {
    const find = this.#store.sql('SELECT id, responses FROM items WHERE prompt = ?');
    let item = find.get(prompt) as { id: number; responses: string | null } | undefined;
    if (!item) {
      const { prompt: text } = this.#store.sql('SELECT prompt FROM prompts WHERE id = ?').get(prompt) as {
        prompt: string;
      };
      this.#store.add([{ prompt: JSON.parse(text) as ShownPrompt }], { seed: 0, heldOut: 0, needed: 0, most: 0 });
      item = find.get(prompt) as { id: number; responses: string | null };
      this.#items.add(item.id);
    }
    if (this.#items.has(item.id)) {
      const all = new Set([...(JSON.parse(item.responses ?? '[]') as number[]), ...responses]);
      this.#store.sql('UPDATE items SET responses = ? WHERE id = ?').run(JSON.stringify([...all]), item.id);
    }
    return item.id;
  }

  /** The prompt's response with this text, of this model and sampled like this where that is known; a new one if there is none. */
  #response(prompt: number, text: string, model: string | undefined, kept: Kept = {}): number {
    const found = this.#store
      .sql('SELECT id, model, tokens FROM responses WHERE prompt = ? AND text = ?')
      .all(prompt, text) as { id: number; model: string; tokens: Uint8Array | null }[];
    const tokens = bytes(kept.tokens);
    const same = found.find(
      (one) =>
        (model === undefined || one.model === model) &&
        (tokens === null || (one.tokens !== null && tokens.equals(one.tokens))),
    );
    return same?.id ?? this.#store.addResponse(prompt, { model: model ?? kGiven, text, ...kept });
  }

  /** How often the file says each thing of a prompt, with its time and without. */
  #saidOf(prompt: number): ReadonlyMap<string, number> {
    const counts = new Map<string, number>();
    const note = ({ labeler, purpose, created }: Said, content: unknown) => {
      for (const time of [created, undefined]) {
        const key = keyOf(labeler, purpose, content, time);
        counts.set(key, (counts.get(key) ?? 0) + 1);
      }
    };
    const from = (table: string) => `FROM ${table} LEFT JOIN labelers ON labelers.id = ${table}.labeler
      LEFT JOIN tasks ON tasks.id = ${table}.task`;
    const of = `labelers.name AS labeler, coalesce(tasks.purpose, 'label') AS purpose`;
    for (const row of this.#store
      .sql(`SELECT ${of}, rankings.created, responses, ranks ${from('rankings')} WHERE rankings.prompt = ?`)
      .all(prompt) as (Said & { responses: string; ranks: string })[])
      note(row, ranked(this.#store.texts(JSON.parse(row.responses)), JSON.parse(row.ranks)));
    for (const row of this.#store
      .sql(
        `SELECT ${of}, thumbs.created, text, label ${from('thumbs')} JOIN responses ON responses.id = thumbs.response
         WHERE responses.prompt = ?`,
      )
      .all(prompt) as (Said & { text: string; label: number })[])
      note(row, [row.text, row.label === 1]);
    for (const row of this.#store
      .sql(
        `SELECT ${of}, demonstrations.created, response, text ${from('demonstrations')}
         LEFT JOIN responses ON responses.id = edited WHERE demonstrations.prompt = ?`,
      )
      .all(prompt) as (Said & { response: string; text: string | null })[])
      note(row, ['wrote', row.response, row.text]);
    return counts;
  }
}

interface Said {
  readonly labeler: string | null;
  readonly purpose: string;
  readonly created: number;
}

const keyOf = (labeler: string | null, purpose: string, content: unknown, created: number | undefined) =>
  JSON.stringify([labeler, purpose, content, created ?? null]);

/** In no order: another program shows the responses otherwise. */
const ranked = (responses: readonly string[], ranks: readonly number[]) =>
  dense(ranks)
    .map((rank, k) => JSON.stringify([responses[k], rank]))
    .sort();

function contentOf(label: ForeignLabel): unknown {
  if (label.kind === 'ranking') return ranked(label.responses, label.ranks);
  return label.kind === 'thumb' ? [label.response, label.label] : ['wrote', label.response, label.edited?.text ?? null];
}
