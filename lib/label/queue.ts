/** Which item a labeler sees next, and what happens to the answers. Every change is one transaction. */
import { Random } from '../core/random.js';
import { RequestError } from '../http/server.js';
import { dense, type Store } from './store.js';
import type { Answer, Draft, Mode, Next, Progress, ShownPrompt, Task } from './types.js';

export interface QueueOptions {
  readonly seed: number;
  readonly mode: Mode;
  /** `uncertain`: where the reward models disagree most comes first. */
  readonly order: 'random' | 'uncertain';
  /** Share of a labeler's tasks that are an earlier one again. */
  readonly repeats: number;
  /** Share of a labeler's tasks whose right order is known. */
  readonly attention: number;
}

/** An open task that is older than this does not keep the item from others. */
const kForgotten = 30 * 60_000;
/** Tasks between an item and its repetition. */
const kApart = 5;
/** Of the items that are shown by uncertainty, every so many-th is a random one that the reward model is tested on. */
const kHeldEvery = 5;

interface TaskRow {
  readonly id: number;
  readonly item: number;
  readonly purpose: 'label' | 'repeat' | 'attention';
  readonly shown: string;
  readonly state: 'open' | 'done' | 'skipped';
  readonly draft: string | null;
  readonly opened: number;
}

export class Queue {
  readonly #store: Store;
  readonly #o: QueueOptions;
  /** Called when a label is new or taken back. */
  onChange: () => void = () => {};

  constructor(store: Store, options: QueueOptions) {
    this.#store = store;
    this.#o = options;
  }

  get #database() {
    return this.#store.database;
  }

  /** The labeler's open task, or a new one. */
  next(labeler: number): Next {
    return this.#database
      .transaction((): Next => {
        const open = this.#database
          .prepare("SELECT * FROM tasks WHERE labeler = ? AND state = 'open' ORDER BY opened DESC, id DESC LIMIT 1")
          .get(labeler) as TaskRow | undefined;
        if (open) return { task: this.#shown(open) };
        const chosen = this.#choose(labeler);
        if (chosen) return { task: this.#shown(this.#open(labeler, chosen)) };
        const { waiting, unusable } = this.#store.totals();
        return { waiting: waiting > 0 ? 'sampling' : 'done', unusable };
      })
      .immediate();
  }

  saveDraft(labeler: number, id: number, draft: Draft): void {
    this.#openTask(labeler, id);
    this.#database.prepare('UPDATE tasks SET draft = ? WHERE id = ?').run(JSON.stringify(draft), id);
  }

  /** The task, whose responses are in the order shown. @throws RequestError 404 for another labeler's, 409 for one that is closed */
  openTask(labeler: number, id: number): { readonly responses: readonly number[] } {
    return { responses: JSON.parse(this.#openTask(labeler, id).shown) };
  }

  submit(labeler: number, id: number, answer: Answer): void {
    this.#database
      .transaction(() => {
        const task = this.#openTask(labeler, id);
        const now = Date.now();
        const seconds = answer.seconds ?? (now - task.opened) / 1000;
        this.#write(labeler, task, { ...answer, seconds }, now);
        this.#database
          .prepare("UPDATE tasks SET state = 'done', closed = ?, draft = ? WHERE id = ?")
          .run(now, JSON.stringify({ ...answer, seconds }), id);
      })
      .immediate();
    this.onChange();
  }

  skip(labeler: number, id: number, reason: string): void {
    this.#openTask(labeler, id);
    this.#database
      .prepare("UPDATE tasks SET state = 'skipped', closed = ?, reason = ? WHERE id = ?")
      .run(Date.now(), reason, id);
  }

  /** Opens the labeler's last closed task again, with its answers as a draft. @throws RequestError 409 if there is none */
  undo(labeler: number): Next {
    const task = this.#database
      .transaction(() => {
        const last = this.#lastClosed(labeler);
        if (!last) throw new RequestError(409, 'there is nothing to take back', 'conflict');
        for (const table of ['rankings', 'ratings', 'thumbs', 'demonstrations'])
          this.#database.prepare(`DELETE FROM ${table} WHERE task = ?`).run(last.id);
        this.#database
          .prepare("UPDATE tasks SET state = 'open', closed = NULL, reason = NULL, opened = ? WHERE id = ?")
          .run(Date.now(), last.id);
        return this.#shown(last);
      })
      .immediate();
    this.onChange();
    return { task };
  }

  canUndo(labeler: number): boolean {
    return this.#lastClosed(labeler) !== undefined;
  }

  progress(labeler: number): Progress {
    const { opened, done, skipped, met } = this.#countsOf(labeler);
    const { available, waiting } = this.#store.totals();
    return { done, skipped, left: available - met + this.#forgotten(labeler).length + waiting + opened };
  }

  #countsOf(labeler: number): Counts {
    return this.#database
      .prepare('SELECT opened, done, skipped, met FROM labelers WHERE id = ?')
      .get(labeler) as Counts;
  }

  #lastClosed(labeler: number) {
    return this.#database
      .prepare("SELECT * FROM tasks WHERE labeler = ? AND state <> 'open' ORDER BY closed DESC, id DESC LIMIT 1")
      .get(labeler) as TaskRow | undefined;
  }

  #openTask(labeler: number, id: number): TaskRow {
    const task = this.#database.prepare('SELECT * FROM tasks WHERE id = ? AND labeler = ?').get(id, labeler) as
      | TaskRow
      | undefined;
    if (!task) throw new RequestError(404, `there is no task ${id} of yours`, 'not_found', 'id');
    if (task.state !== 'open') throw new RequestError(409, `task ${id} is ${task.state} already`, 'conflict', 'id');
    return task;
  }

  #choose(labeler: number): Pick<TaskRow, 'item' | 'purpose'> | undefined {
    const { seed, repeats, attention } = this.#o;
    const { opened, done, skipped } = this.#countsOf(labeler);
    const tasks = opened + done + skipped;
    const draw = new Random(`${seed}/tasks/${labeler}/${tasks}`);
    const special = draw.next();
    if (special < repeats) {
      const item = this.#repeatable(labeler);
      if (item !== undefined) return { item, purpose: 'repeat' };
    } else if (special < repeats + attention) {
      const item = this.#attentive(labeler);
      if (item !== undefined) return { item, purpose: 'attention' };
    }
    const item = this.#fresh(labeler);
    return item === undefined ? undefined : { item, purpose: 'label' };
  }

  #repeatable(labeler: number): number | undefined {
    return this.#database
      .prepare(
        `SELECT item FROM (SELECT item, id FROM tasks WHERE labeler = :labeler AND purpose = 'label' AND state = 'done'
           ORDER BY closed DESC, id DESC LIMIT -1 OFFSET ${kApart - 1})
         WHERE item NOT IN (SELECT item FROM tasks WHERE labeler = :labeler AND purpose = 'repeat') ORDER BY id LIMIT 1`,
      )
      .pluck()
      .get({ labeler }) as number | undefined;
  }

  #attentive(labeler: number): number | undefined {
    return this.#database
      .prepare(`SELECT id FROM items WHERE ranks IS NOT NULL AND ${kIsNew} ORDER BY place LIMIT 1`)
      .pluck()
      .get({ labeler }) as number | undefined;
  }

  /** An item that another has and that wants a second label comes first. */
  #fresh(labeler: number): number | undefined {
    const hasTouched = this.#store.totals().touched > this.#countsOf(labeler).met; // else all that were touched are one's own
    const forgotten = this.#forgotten(labeler);
    const find = (index: string, condition: string, order = 'place') =>
      this.#database
        .prepare(
          `SELECT id, place, held FROM items INDEXED BY ${index} WHERE available AND ${condition} AND ${kIsNew} ORDER BY ${order} LIMIT 1`,
        )
        .get({ labeler }) as Candidate | undefined;
    const touched = (condition: string) =>
      hasTouched ? find('items_touched', `asked > 0 AND ${condition}`) : undefined;
    const first = (held: readonly (0 | 1)[]) =>
      firstOf([
        ...held.map((one) => find('items_untouched', `asked = 0 AND held = ${one}`)),
        touched(`held IN (${held.join()})`),
        ...forgotten.filter((item) => held.includes(item.held)),
      ]);
    const begun = firstOf([touched('wanted > 1'), ...forgotten.filter(({ wanted }) => wanted > 1)]);
    if (begun || this.#o.order === 'random') return (begun ?? first([0, 1]))?.id;
    const isHeldsTurn = this.#store.totals().labels % kHeldEvery === kHeldEvery - 1;
    const uncertain = () => find('items_uncertain', 'held = 0 AND uncertainty IS NOT NULL', 'uncertainty DESC, place');
    return ((isHeldsTurn && first([1])) || uncertain() || first([0]) || first([1]))?.id;
  }

  /** Items that are only taken by tasks which somebody opened long ago, and that are new to the labeler. */
  #forgotten(labeler: number): readonly (Candidate & { readonly wanted: number })[] {
    return this.#database
      .prepare(
        // A cross join, as SQLite would rather look through all items.
        `SELECT items.id, place, held, wanted FROM
           (SELECT item, count(*) AS tasks FROM tasks INDEXED BY tasks_open
            WHERE state = 'open' AND purpose = 'label' AND opened <= :before GROUP BY item) AS old
           CROSS JOIN items ON items.id = old.item
         WHERE items.state = 'ready' AND ranks IS NULL AND NOT available AND taken - old.tasks < wanted AND ${kIsNew}`,
      )
      .all({ labeler, before: Date.now() - kForgotten }) as (Candidate & { wanted: number })[];
  }

  #open(labeler: number, { item, purpose }: Pick<TaskRow, 'item' | 'purpose'>): TaskRow {
    const responses = this.#database.prepare('SELECT responses FROM items WHERE id = ?').pluck().get(item) as string;
    const order = new Random(`${this.#o.seed}/shown/${labeler}/${item}/${purpose}`);
    const all = order.shuffle(JSON.parse(responses) as number[]);
    const shown = JSON.stringify(this.#o.mode === 'pair' ? all.slice(0, 2) : all); // the file may be one of more
    const opened = Date.now();
    const { lastInsertRowid } = this.#database
      .prepare('INSERT INTO tasks (item, labeler, purpose, shown, opened) VALUES (?, ?, ?, ?, ?)')
      .run(item, labeler, purpose, shown, opened);
    return { id: Number(lastInsertRowid), item, purpose, shown, state: 'open', draft: null, opened };
  }

  /** Nothing in it says which model answered, or why the item is shown. */
  #shown({ id, item, shown, draft }: TaskRow): Task {
    return {
      id,
      prompt: this.#prompt(item),
      responses: this.#store.texts(JSON.parse(shown)),
      draft: draft === null ? null : JSON.parse(draft),
    };
  }

  #write(labeler: number, task: TaskRow, answer: Answer & { seconds: number }, created: number): void {
    const { ratings, ranks, thumbs, text, edited, confidence, seconds } = answer;
    const responses = JSON.parse(task.shown) as number[];
    const prompt = this.#database.prepare('SELECT prompt FROM items WHERE id = ?').pluck().get(task.item) as number;
    const common = { labeler, task: task.id, prompt, created };
    if (ratings) this.#store.addRatings({ labeler, task: task.id, created }, responses, ratings);
    if (ranks)
      this.#database
        .prepare(
          `INSERT INTO rankings (prompt, labeler, task, responses, ranks, purpose, confidence, seconds, created)
           VALUES (:prompt, :labeler, :task, :responses, :ranks, :purpose, :confidence, :seconds, :created)`,
        )
        .run({
          ...common,
          responses: task.shown,
          ranks: JSON.stringify(dense(ranks)),
          purpose: task.purpose,
          confidence: confidence ?? null,
          seconds,
        });
    thumbs?.forEach((good, k) => {
      this.#database
        .prepare(
          'INSERT INTO thumbs (response, labeler, task, label, created) VALUES (:response, :labeler, :task, :label, :created)',
        )
        .run({ ...common, response: responses[k], label: good ? 1 : 0 });
    });
    if (text !== undefined)
      this.#database
        .prepare(
          `INSERT INTO demonstrations (prompt, response, edited, labeler, task, created)
           VALUES (:prompt, :response, :edited, :labeler, :task, :created)`,
        )
        .run({
          ...common,
          response: following(this.#prompt(task.item), text),
          edited: edited === undefined ? null : responses[edited],
        });
  }

  #prompt(item: number): ShownPrompt {
    return JSON.parse(
      this.#database
        .prepare('SELECT prompts.prompt FROM items JOIN prompts ON prompts.id = items.prompt WHERE items.id = ?')
        .pluck()
        .get(item) as string,
    );
  }
}

/** What a person wrote as a continuation of a prompt's text: a space is between words, which nobody would type. */
const following = (prompt: ShownPrompt, text: string): string =>
  typeof prompt === 'string' && /\S$/.test(prompt) && /^\S/.test(text) ? ` ${text}` : text;

/** No task of the labeler is of the item. */
const kIsNew = 'NOT EXISTS (SELECT 1 FROM tasks WHERE item = items.id AND labeler = :labeler)';

/** Of a labeler: tasks by state, and available items among them. */
interface Counts {
  readonly opened: number;
  readonly done: number;
  readonly skipped: number;
  readonly met: number;
}

/** An item that may come next. */
interface Candidate {
  readonly id: number;
  readonly place: number;
  readonly held: 0 | 1;
}

/** The first in the order of labelling. */
const firstOf = (found: readonly (Candidate | undefined)[]): Candidate | undefined =>
  found.filter((one) => one !== undefined).sort((a, b) => a.place - b.place || a.id - b.id)[0];
