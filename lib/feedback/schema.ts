/** The tables of a file of feedback. */

/**
 * What is counted while rows are written, so that the page need not look through a file of many prompts. An item is `available` while
 * people are wanted for it, `touched` when it was shown to somebody. `met` are the available items that a labeler had.
 */
const counters = `
ALTER TABLE items ADD COLUMN asked INTEGER NOT NULL DEFAULT 0; -- tasks
ALTER TABLE items ADD COLUMN taken INTEGER NOT NULL DEFAULT 0; -- tasks to label it, open or done
ALTER TABLE items ADD COLUMN available INTEGER GENERATED ALWAYS AS (state = 'ready' AND ranks IS NULL AND taken < wanted) VIRTUAL;
ALTER TABLE labelers ADD COLUMN opened INTEGER NOT NULL DEFAULT 0; -- tasks by their state
ALTER TABLE labelers ADD COLUMN done INTEGER NOT NULL DEFAULT 0;
ALTER TABLE labelers ADD COLUMN skipped INTEGER NOT NULL DEFAULT 0;
ALTER TABLE labelers ADD COLUMN met INTEGER NOT NULL DEFAULT 0;
CREATE TABLE totals (
  available INTEGER NOT NULL,
  touched INTEGER NOT NULL,          -- of the available items
  ready INTEGER NOT NULL,            -- items by their state, without attention items
  waiting INTEGER NOT NULL,
  unusable INTEGER NOT NULL,
  labels INTEGER NOT NULL            -- tasks of the purpose 'label'
) STRICT;

UPDATE items SET asked = (SELECT count(*) FROM tasks WHERE item = items.id),
  taken = (SELECT count(*) FROM tasks WHERE item = items.id AND purpose = 'label' AND tasks.state <> 'skipped');
UPDATE labelers SET
  opened = (SELECT count(*) FROM tasks WHERE labeler = labelers.id AND state = 'open'),
  done = (SELECT count(*) FROM tasks WHERE labeler = labelers.id AND state = 'done'),
  skipped = (SELECT count(*) FROM tasks WHERE labeler = labelers.id AND state = 'skipped'),
  met = (SELECT count(DISTINCT item) FROM tasks JOIN items ON items.id = item WHERE labeler = labelers.id AND available);
INSERT INTO totals SELECT
  (SELECT count(*) FROM items WHERE available), (SELECT count(*) FROM items WHERE available AND asked > 0),
  (SELECT count(*) FROM items WHERE state = 'ready' AND ranks IS NULL),
  (SELECT count(*) FROM items WHERE state = 'waiting'), (SELECT count(*) FROM items WHERE state = 'unusable'),
  (SELECT count(*) FROM tasks WHERE purpose = 'label');

CREATE TRIGGER item_added AFTER INSERT ON items BEGIN
  UPDATE totals SET available = available + NEW.available, touched = touched + (NEW.available AND NEW.asked > 0),
    ready = ready + (NEW.state = 'ready' AND NEW.ranks IS NULL), waiting = waiting + (NEW.state = 'waiting'),
    unusable = unusable + (NEW.state = 'unusable');
END;
CREATE TRIGGER item_changed AFTER UPDATE OF state, ranks, wanted, asked, taken ON items BEGIN
  UPDATE totals SET available = available + NEW.available - OLD.available,
    touched = touched + (NEW.available AND NEW.asked > 0) - (OLD.available AND OLD.asked > 0),
    ready = ready + (NEW.state = 'ready' AND NEW.ranks IS NULL) - (OLD.state = 'ready' AND OLD.ranks IS NULL),
    waiting = waiting + (NEW.state = 'waiting') - (OLD.state = 'waiting'),
    unusable = unusable + (NEW.state = 'unusable') - (OLD.state = 'unusable');
  UPDATE labelers SET met = met + NEW.available - OLD.available
    WHERE NEW.available <> OLD.available AND id IN (SELECT labeler FROM tasks WHERE item = NEW.id);
END;
CREATE TRIGGER item_removed AFTER DELETE ON items BEGIN
  UPDATE totals SET available = available - OLD.available, touched = touched - (OLD.available AND OLD.asked > 0),
    ready = ready - (OLD.state = 'ready' AND OLD.ranks IS NULL), waiting = waiting - (OLD.state = 'waiting'),
    unusable = unusable - (OLD.state = 'unusable');
END;
-- A task counts with its labeler while the item is as it was before, then with its item.
CREATE TRIGGER task_added AFTER INSERT ON tasks BEGIN
  UPDATE totals SET labels = labels + (NEW.purpose = 'label');
  UPDATE labelers SET opened = opened + (NEW.state = 'open'), done = done + (NEW.state = 'done'),
    skipped = skipped + (NEW.state = 'skipped'),
    met = met + ((SELECT available FROM items WHERE id = NEW.item)
      AND NOT EXISTS (SELECT 1 FROM tasks WHERE item = NEW.item AND labeler = NEW.labeler AND id <> NEW.id))
    WHERE id = NEW.labeler;
  UPDATE items SET asked = asked + 1, taken = taken + (NEW.purpose = 'label' AND NEW.state <> 'skipped') WHERE id = NEW.item;
END;
CREATE TRIGGER task_changed AFTER UPDATE OF state ON tasks WHEN NEW.state <> OLD.state BEGIN
  UPDATE labelers SET opened = opened + (NEW.state = 'open') - (OLD.state = 'open'),
    done = done + (NEW.state = 'done') - (OLD.state = 'done'),
    skipped = skipped + (NEW.state = 'skipped') - (OLD.state = 'skipped') WHERE id = NEW.labeler;
  UPDATE items SET taken = taken + (NEW.state <> 'skipped') - (OLD.state <> 'skipped') WHERE id = NEW.item AND NEW.purpose = 'label';
END;
CREATE TRIGGER task_removed AFTER DELETE ON tasks BEGIN
  UPDATE totals SET labels = labels - (OLD.purpose = 'label');
  UPDATE labelers SET opened = opened - (OLD.state = 'open'), done = done - (OLD.state = 'done'),
    skipped = skipped - (OLD.state = 'skipped'),
    met = met - ((SELECT available FROM items WHERE id = OLD.item)
      AND NOT EXISTS (SELECT 1 FROM tasks WHERE item = OLD.item AND labeler = OLD.labeler))
    WHERE id = OLD.labeler;
  UPDATE items SET asked = asked - 1, taken = taken - (OLD.purpose = 'label' AND OLD.state <> 'skipped') WHERE id = OLD.item;
END;

-- The next item of each kind is the first of an index.
CREATE INDEX items_untouched ON items (held, place) WHERE available AND asked = 0;
CREATE INDEX items_touched ON items (place) WHERE available AND asked > 0;
CREATE INDEX items_uncertain ON items (uncertainty DESC, place) WHERE available AND held = 0 AND uncertainty IS NOT NULL;
CREATE INDEX items_known ON items (place) WHERE ranks IS NOT NULL;
CREATE INDEX tasks_open ON tasks (opened) WHERE state = 'open';
CREATE INDEX tasks_closed ON tasks (labeler, closed DESC, id DESC) WHERE state <> 'open';
`;

const tables = `
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
`;

const imports = `
-- What people said of a prompt, to know whether rows that are imported are new.
CREATE INDEX rankings_of_prompt ON rankings (prompt);
CREATE INDEX demonstrations_of_prompt ON demonstrations (prompt);
CREATE INDEX thumbs_of_response ON thumbs (response);
`;

/** Each entry takes a file one version further. */
export const migrations: readonly string[] = [tables, counters, imports];
