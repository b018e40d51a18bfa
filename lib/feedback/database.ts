/**
 * A file of people's feedback: what models answered, and what people said of it. `heed label` and `heed serve` write it, training
 * commands read it.
 */
import { existsSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Database } from 'better-sqlite3';
import { DataError, HeedError } from '../core/errors.js';

export type { Database };

/** In SQLite's header, so that other programs' databases are recognised. "heed" in ASCII. */
const kApplication = 0x68656564;

/** Each entry takes a file one version further. */
const migrations = [
  `
CREATE TABLE prompts (
  id INTEGER PRIMARY KEY,
  prompt TEXT NOT NULL UNIQUE,       -- JSON: a string, or chat messages
  category TEXT,
  created REAL NOT NULL              -- milliseconds since 1970, here and below
) STRICT;

-- Written by models or people. tokens, logprobs: what was sampled, so that it trains without sampling again.
CREATE TABLE responses (
  id INTEGER PRIMARY KEY,
  name TEXT UNIQUE,                  -- what clients call it: chatcmpl-…
  prompt INTEGER NOT NULL REFERENCES prompts,
  model TEXT NOT NULL,
  text TEXT NOT NULL,
  prompt_tokens BLOB,                -- int32
  tokens BLOB,                       -- int32, including the end-of-text token
  logprobs BLOB,                     -- float32, nats, one a token
  sampling TEXT NOT NULL DEFAULT '{}', -- JSON: seed, sample, temperature, topK, topP
  finish TEXT,                       -- stop, length, abort
  created REAL NOT NULL
) STRICT;
CREATE INDEX responses_of_prompt ON responses (prompt);

CREATE TABLE labelers (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  grouping TEXT,                     -- of people whose values are compared
  created REAL NOT NULL
) STRICT;

CREATE TABLE keys (
  secret TEXT PRIMARY KEY,           -- SHA-256 of an invitation's key
  labeler INTEGER NOT NULL REFERENCES labelers,
  created REAL NOT NULL
) STRICT;

-- A prompt that is to be labelled.
CREATE TABLE items (
  id INTEGER PRIMARY KEY,
  prompt INTEGER NOT NULL UNIQUE REFERENCES prompts,
  state TEXT NOT NULL,               -- waiting for responses, ready, unusable
  responses TEXT,                    -- JSON: ids; null while waiting
  ranks TEXT,                        -- JSON: what is right, of an attention item
  wanted INTEGER NOT NULL DEFAULT 1, -- labelers
  held INTEGER NOT NULL DEFAULT 0,   -- 1: the reward model is tested on it
  place INTEGER NOT NULL,            -- random; items are labelled in this order
  uncertainty REAL,                  -- disagreement of the reward models
  note TEXT,                         -- why it is unusable
  created REAL NOT NULL
) STRICT;
CREATE INDEX items_of_state ON items (state, place);

-- An item shown to a labeler.
CREATE TABLE tasks (
  id INTEGER PRIMARY KEY,
  item INTEGER NOT NULL REFERENCES items,
  labeler INTEGER NOT NULL REFERENCES labelers,
  purpose TEXT NOT NULL,             -- label, repeat, attention
  shown TEXT NOT NULL,               -- JSON: ids of responses in the order shown
  state TEXT NOT NULL DEFAULT 'open', -- open, done, skipped
  reason TEXT,                       -- why it was skipped
  draft TEXT,                        -- JSON: answers as far as they are given
  opened REAL NOT NULL,
  closed REAL
) STRICT;
CREATE INDEX tasks_of_labeler ON tasks (labeler, state, closed);
CREATE INDEX tasks_of_item ON tasks (item);

-- Held-out accuracy of the reward model that learns while people label.
CREATE TABLE learning (
  id INTEGER PRIMARY KEY,
  labels INTEGER NOT NULL,           -- rankings that it was trained on
  accuracy REAL NOT NULL,
  low REAL NOT NULL,
  high REAL NOT NULL,
  pairs INTEGER NOT NULL,
  created REAL NOT NULL
) STRICT;

CREATE TABLE rankings (
  id INTEGER PRIMARY KEY,
  prompt INTEGER NOT NULL REFERENCES prompts,
  labeler INTEGER REFERENCES labelers,
  task INTEGER REFERENCES tasks,
  responses TEXT NOT NULL,           -- JSON: ids in the order shown
  ranks TEXT NOT NULL,               -- JSON: of each, 0 is best, equal ranks are ties
  purpose TEXT NOT NULL DEFAULT 'label', -- label, repeat, attention
  confidence INTEGER,                -- 1 to 3
  seconds REAL,
  created REAL NOT NULL
) STRICT;

-- One output alone: the paper's table 3.
CREATE TABLE ratings (
  id INTEGER PRIMARY KEY,
  response INTEGER NOT NULL REFERENCES responses,
  labeler INTEGER REFERENCES labelers,
  task INTEGER REFERENCES tasks,
  rating INTEGER NOT NULL,           -- 1 to 7
  flags TEXT NOT NULL DEFAULT '{}',  -- JSON: {name: true | false}
  created REAL NOT NULL
) STRICT;

CREATE TABLE thumbs (
  id INTEGER PRIMARY KEY,
  response INTEGER NOT NULL REFERENCES responses,
  labeler INTEGER REFERENCES labelers,
  task INTEGER REFERENCES tasks,
  label INTEGER NOT NULL,            -- 1 good, 0 bad
  created REAL NOT NULL
) STRICT;

CREATE TABLE rewards (
  id INTEGER PRIMARY KEY,
  response INTEGER NOT NULL REFERENCES responses,
  reward REAL NOT NULL,
  created REAL NOT NULL
) STRICT;

CREATE TABLE demonstrations (
  id INTEGER PRIMARY KEY,
  prompt INTEGER NOT NULL REFERENCES prompts,
  response TEXT NOT NULL,
  edited INTEGER REFERENCES responses, -- the response that a person changed into it
  labeler INTEGER REFERENCES labelers,
  task INTEGER REFERENCES tasks,
  created REAL NOT NULL
) STRICT;
CREATE INDEX rankings_of_task ON rankings (task);
CREATE INDEX ratings_of_task ON ratings (task);
CREATE INDEX thumbs_of_task ON thumbs (task);
CREATE INDEX demonstrations_of_task ON demonstrations (task);
`,
];

export interface OpenOptions {
  /** Read only, and the file must exist. */
  readonly readOnly?: boolean;
}

/**
 * Opens or makes a file of feedback. A row is on the disk when the statement that writes it returns, and survives a killed process.
 *
 * @throws DataError when the file is something else or of a newer version; HeedError ERR_IO when SQLite is not installed or the file
 *   cannot be opened
 */
export async function openFeedback(file: string, { readOnly = false }: OpenOptions = {}): Promise<Database> {
  const Sqlite = await loadSqlite();
  let database: Database;
  try {
    database = new Sqlite(file, { readonly: readOnly, fileMustExist: readOnly, timeout: 10_000 });
  } catch (cause) {
    const folder = dirname(file);
    const why =
      readOnly && !existsSync(file)
        ? 'it does not exist'
        : existsSync(folder) && statSync(folder).isDirectory()
          ? (cause as Error).message
          : `${folder} is no folder, expected one for the file`;
    throw new HeedError('ERR_IO', `cannot open ${file}: ${why}`, { cause });
  }
  try {
    migrate(database, file, readOnly);
  } catch (error) {
    database.close();
    throw error;
  }
  return database;
}

async function loadSqlite() {
  try {
    return (await import('better-sqlite3')).default;
  } catch (cause) {
    throw new HeedError(
      'ERR_IO',
      'feedback is kept by the package better-sqlite3, which is not here: run `npm install better-sqlite3@12`',
      { cause },
    );
  }
}

function migrate(database: Database, file: string, readOnly: boolean): void {
  const { application, version, tables } = headerOf(database, file);
  if (application !== kApplication && (application !== 0 || version !== 0 || tables > 0))
    throw new DataError("is another program's database, expected a file of heed label or heed serve", { file });
  if (version > migrations.length)
    throw new DataError(`has version ${version}, expected at most ${migrations.length}: a newer heed wrote it`, {
      file,
    });
  if (readOnly) {
    if (version < migrations.length)
      throw new DataError(
        `has version ${version}, expected ${migrations.length}: open it once with heed label or heed serve`,
        { file },
      );
    return;
  }
  database.pragma('journal_mode = WAL');
  database.pragma('synchronous = FULL'); // with WAL, NORMAL may lose the last rows when power fails
  database.pragma('foreign_keys = ON');
  database
    .transaction(() => {
      // Another process may have done it since.
      for (const sql of migrations.slice(headerOf(database, file).version)) database.exec(sql);
      database.pragma(`application_id = ${kApplication}`);
      database.pragma(`user_version = ${migrations.length}`);
    })
    .immediate();
}

function headerOf(database: Database, file: string) {
  try {
    return {
      application: database.pragma('application_id', { simple: true }) as number,
      version: database.pragma('user_version', { simple: true }) as number,
      tables: database.prepare('SELECT count(*) FROM sqlite_schema').pluck().get() as number,
    };
  } catch (cause) {
    throw new DataError(`is not an SQLite database (${(cause as Error).message})`, { file }, { cause });
  }
}
