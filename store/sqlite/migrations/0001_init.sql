-- Times are Unix milliseconds, durations microseconds. The key of a job or a
-- callback is the first 63 bits of its id (job.ID.Key): rows are in order of age
-- and an id needs no index of its own.

CREATE TABLE settings (
  name  TEXT PRIMARY KEY,
  value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE apps (
  name            TEXT PRIMARY KEY,
  created_at      INTEGER NOT NULL,
  secret          BLOB NOT NULL,
  secret_previous BLOB,
  previous_until  INTEGER NOT NULL,
  policy          TEXT,          -- JSON; NULL: any URL
  limits          TEXT,          -- JSON; NULL: the gateway's
  deleted_at      INTEGER NOT NULL DEFAULT 0 -- since when its rows are being erased
) STRICT, WITHOUT ROWID;

CREATE INDEX apps_deleted ON apps (name) WHERE deleted_at > 0;

CREATE TABLE keys (
  hash       BLOB PRIMARY KEY,
  id         BLOB NOT NULL,
  app        TEXT NOT NULL,
  name       TEXT NOT NULL,
  hint       TEXT NOT NULL,
  scopes     TEXT NOT NULL, -- words with a space between
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL, -- 0: never
  used_at    INTEGER NOT NULL  -- 0: never
) STRICT, WITHOUT ROWID;
CREATE INDEX keys_of_app ON keys (app, id);


CREATE TABLE endpoints (
  app             TEXT NOT NULL,
  name            TEXT NOT NULL,
  url             TEXT NOT NULL,
  is_default      INTEGER NOT NULL,
  operations      TEXT NOT NULL, -- words with a space between
  events          TEXT NOT NULL, -- words with a space between
  method          TEXT NOT NULL,
  headers         TEXT NOT NULL, -- lines of "Name: value"
  authorization   BLOB,
  format          TEXT NOT NULL,
  concurrency     INTEGER NOT NULL,
  rate            TEXT NOT NULL DEFAULT '',
  progress_every  INTEGER NOT NULL, -- 0: that of the operation
  disabled        INTEGER NOT NULL,
  disabled_reason TEXT NOT NULL DEFAULT '',
  disabled_at     INTEGER NOT NULL DEFAULT 0,
  failing_since   INTEGER NOT NULL DEFAULT 0, -- 0: it works, as far as it is known
  failing_last    INTEGER NOT NULL DEFAULT 0,
  failing_told    INTEGER NOT NULL DEFAULT 0,
  operational     INTEGER NOT NULL DEFAULT 0,
  ordered         INTEGER NOT NULL DEFAULT 0,
  order_key       TEXT NOT NULL DEFAULT '', -- an expression
  created_at      INTEGER NOT NULL,
  updated_at      INTEGER NOT NULL,
  secret          BLOB NOT NULL,
  secret_previous BLOB,
  previous_until  INTEGER NOT NULL,
  auth            BLOB,          -- sealed
  signature       TEXT NOT NULL,
  verification    TEXT,          -- JSON; NULL: nothing was asked yet
  verify_at       INTEGER DEFAULT 0, -- when the next request is due; NULL: none is
  PRIMARY KEY (app, name)
) STRICT, WITHOUT ROWID;

CREATE INDEX endpoints_verify ON endpoints (verify_at) WHERE verify_at IS NOT NULL AND NOT disabled;

-- Who changed what; written with the change.
CREATE TABLE audit (
  key       INTEGER PRIMARY KEY,
  id        BLOB NOT NULL,
  at        INTEGER NOT NULL,
  kind      TEXT NOT NULL, -- of the actor
  actor_app TEXT NOT NULL,
  actor_key TEXT NOT NULL, -- hint
  remote    TEXT NOT NULL,
  action    TEXT NOT NULL,
  app       TEXT NOT NULL, -- whose thing it is
  subject   TEXT NOT NULL,
  detail    TEXT NOT NULL
) STRICT;
CREATE INDEX audit_of_app ON audit (app);

-- What rests by somebody's order: an operation's runs, an app's endpoint or origin,
-- and everything where all of these are empty.
CREATE TABLE pauses (
  id        INTEGER PRIMARY KEY AUTOINCREMENT,
  operation TEXT NOT NULL,
  app       TEXT NOT NULL,
  endpoint  TEXT NOT NULL,
  origin    TEXT NOT NULL,
  disabled  INTEGER NOT NULL, -- with its endpoint
  from_at   INTEGER NOT NULL,
  to_at     INTEGER,          -- NULL: it lasts
  who       TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX pauses_open ON pauses (app, endpoint, origin, operation, disabled) WHERE to_at IS NULL;

CREATE TABLE idempotency (
  app         TEXT NOT NULL,
  operation   TEXT NOT NULL,
  key         TEXT NOT NULL,
  job         BLOB NOT NULL,
  job_key     INTEGER NOT NULL,
  fingerprint BLOB NOT NULL,
  created_at  INTEGER NOT NULL,
  PRIMARY KEY (app, operation, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_age ON idempotency (created_at);

-- What changes about a job. What does not, and may be large, is in requests and
-- results, so that an update rewrites little.
CREATE TABLE jobs (
  key           INTEGER PRIMARY KEY,
  id            BLOB NOT NULL,
  app           TEXT NOT NULL,
  operation     TEXT NOT NULL,
  state         INTEGER NOT NULL,
  due_at        INTEGER,          -- NULL: terminal; 0: claimed
  created_at    INTEGER NOT NULL,
  started_at    INTEGER NOT NULL, -- the first run's start
  run_at        INTEGER NOT NULL, -- the last run's start
  finished_at   INTEGER NOT NULL,
  deadline      INTEGER NOT NULL,
  runs          INTEGER NOT NULL,
  interrupted   INTEGER NOT NULL,
  rescued       INTEGER NOT NULL,
  targets       TEXT,             -- lines, each as the query of a URL
  early         INTEGER NOT NULL, -- a callback was owed before its end
  progress      TEXT,             -- JSON
  authorization BLOB,             -- sealed; NULL once terminal
  error         TEXT,             -- JSON
  result_status INTEGER NOT NULL, -- 0: no result
  result_type   TEXT,
  result_echo   INTEGER NOT NULL,
  -- What few jobs have, written by an update of its own.
  scheduled_at  INTEGER NOT NULL DEFAULT 0, -- it does not begin before
  expires_at    INTEGER NOT NULL DEFAULT 0, -- no run begins from then on; 0: never
  bodies        INTEGER NOT NULL DEFAULT 0  -- whole, redacted, gone
) STRICT;
CREATE INDEX jobs_due ON jobs (app, operation, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX jobs_overdue ON jobs (deadline) WHERE deadline > 0 AND due_at IS NOT NULL;
CREATE INDEX jobs_expiring ON jobs (expires_at) WHERE expires_at > 0 AND due_at IS NOT NULL;
CREATE INDEX jobs_of_app ON jobs (app);
CREATE INDEX jobs_sealed ON jobs (key) WHERE authorization IS NOT NULL;
-- Of the states that few jobs are in: all but succeeded.
CREATE INDEX jobs_of_state ON jobs (app, state) WHERE state <> 4;

CREATE TABLE requests (
  key           INTEGER PRIMARY KEY,
  method        TEXT NOT NULL,
  path          TEXT NOT NULL,
  query         TEXT NOT NULL,
  header        TEXT NOT NULL, -- lines of "Name: value"
  params        TEXT,          -- as the query of a URL
  traceparent   TEXT,
  tracestate    TEXT,
  echo          TEXT,
  body_size     INTEGER NOT NULL,
  body_ref      TEXT,
  body          BLOB
) STRICT;

CREATE TABLE results (
  key       INTEGER PRIMARY KEY,
  header    TEXT NOT NULL,
  body_size INTEGER NOT NULL,
  body_ref  TEXT,
  body      BLOB
) STRICT;

CREATE INDEX requests_ref ON requests (body_ref) WHERE body_ref IS NOT NULL;
CREATE INDEX results_ref ON results (body_ref) WHERE body_ref IS NOT NULL;

-- What jobs wait for whose upstream has said that the result comes later.
CREATE TABLE waits (
  key        INTEGER PRIMARY KEY,
  started_at INTEGER NOT NULL, -- of the run
  until      INTEGER NOT NULL,
  token      BLOB,             -- hash; NULL: it is polled only
  location   TEXT,
  polls      INTEGER NOT NULL
) STRICT;

-- What backends ask the callers.
CREATE TABLE questions (
  job          INTEGER NOT NULL,
  key          TEXT NOT NULL,
  run          INTEGER NOT NULL, -- that owed the callback
  body         BLOB NOT NULL,    -- JSON
  callback     BLOB NOT NULL,    -- id
  state        INTEGER NOT NULL,
  asked_at     INTEGER NOT NULL,
  closed_at    INTEGER NOT NULL,
  content_type TEXT,
  answer       BLOB,
  error        TEXT,             -- JSON
  PRIMARY KEY (job, key)
) STRICT, WITHOUT ROWID;

-- The runs that failed. The one that succeeded is in the job's own row.
CREATE TABLE runs (
  job         INTEGER NOT NULL,
  n           INTEGER NOT NULL,
  started_at  INTEGER NOT NULL,
  finished_at INTEGER NOT NULL,
  error       TEXT NOT NULL,    -- JSON
  PRIMARY KEY (job, n)
) STRICT, WITHOUT ROWID;

CREATE TABLE callbacks (
  key         INTEGER PRIMARY KEY,
  id          BLOB NOT NULL,
  job         INTEGER NOT NULL,
  job_id      BLOB NOT NULL,
  app         TEXT NOT NULL,
  operation   TEXT NOT NULL,
  lane        TEXT NOT NULL,
  event       TEXT NOT NULL,
  endpoint    TEXT NOT NULL,
  url         TEXT NOT NULL,
  method      TEXT NOT NULL,
  format      TEXT NOT NULL,
  created_at  INTEGER NOT NULL,
  give_up_at  INTEGER NOT NULL,
  state       INTEGER NOT NULL,
  due_at      INTEGER,          -- NULL: terminal; 0: claimed; -1: when an earlier one is settled
  attempt_at  INTEGER NOT NULL, -- when the attempt in flight began; 0: none is
  attempts    INTEGER NOT NULL,
  interrupted INTEGER NOT NULL,
  round       INTEGER NOT NULL, -- attempts before the last resend
  rescued     INTEGER NOT NULL,
  settled_at  INTEGER NOT NULL,
  waiting     TEXT NOT NULL,
  last_status INTEGER NOT NULL,
  last_error  TEXT NOT NULL,
  resent      INTEGER NOT NULL, -- after the job's end
  -- What few callbacks have, written by an update of its own.
  order_key   TEXT,             -- with seq: of an ordered endpoint
  seq         INTEGER,          -- its number in the line of lane and order_key
  deliver_at  INTEGER NOT NULL DEFAULT 0, -- not before; 0: at once
  expires_at  INTEGER NOT NULL DEFAULT 0, -- 0: never
  unwanted    INTEGER NOT NULL DEFAULT 0, -- 1: discarded while it was claimed: no other attempt follows
  reason      TEXT NOT NULL DEFAULT ''    -- why it was discarded
) STRICT;
CREATE INDEX callbacks_due ON callbacks (lane, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX callbacks_of_job ON callbacks (job);
-- Of those that are pending: the early ones, and what waits for an older one.
CREATE INDEX callbacks_early ON callbacks (job) WHERE state = 1 AND event NOT IN ('succeeded', 'failed', 'canceled', 'expired');
CREATE INDEX callbacks_overdue ON callbacks (give_up_at) WHERE due_at > 0;
CREATE INDEX callbacks_behind ON callbacks (job) WHERE due_at = -1;
-- The lines of ordered endpoints: what is pending, and of each line the one whose turn it is.
CREATE INDEX callbacks_line ON callbacks (lane, order_key, seq) WHERE state = 1 AND seq IS NOT NULL;
CREATE INDEX callbacks_turn ON callbacks (lane, order_key) WHERE state = 1 AND seq IS NOT NULL AND due_at <> -1;
CREATE INDEX callbacks_unwanted ON callbacks (unwanted) WHERE unwanted > 0 AND state = 1;
CREATE INDEX callbacks_expiring ON callbacks (expires_at) WHERE state = 1 AND expires_at > 0;
CREATE INDEX callbacks_of_app ON callbacks (app);
-- Of the states that few callbacks are in: all but delivered.
CREATE INDEX callbacks_of_state ON callbacks (app, state) WHERE state <> 2;
CREATE INDEX callbacks_dead ON callbacks (app, lane, last_error, operation) WHERE state = 3;

-- What is done to many callbacks or jobs at once.
CREATE TABLE bulks (
  key        INTEGER PRIMARY KEY,
  id         BLOB NOT NULL,
  app        TEXT NOT NULL,
  action     TEXT NOT NULL,
  filter     TEXT NOT NULL,    -- JSON
  state      TEXT NOT NULL,
  who        TEXT NOT NULL,    -- JSON
  created_at INTEGER NOT NULL,
  ended_at   INTEGER NOT NULL,
  counted    INTEGER NOT NULL,
  total      INTEGER NOT NULL,
  done       INTEGER NOT NULL,
  skipped    INTEGER NOT NULL,
  steps      INTEGER NOT NULL,
  cursor     INTEGER NOT NULL, -- the key of the last row that was looked at
  behind     TEXT NOT NULL     -- JSON: lanes with cursors of their own
) STRICT;
CREATE INDEX bulks_of_app ON bulks (app);
CREATE INDEX bulks_open ON bulks (app) WHERE state = 'running';

-- What few callbacks have: a link to the result, a body that does not follow from
-- the job, data of the event's own. The others have no row.
CREATE TABLE callback_bodies (
  key          INTEGER PRIMARY KEY,
  link         TEXT,
  content_type TEXT,
  body         BLOB,
  data         BLOB
) STRICT;

-- The last number that was given in each line. Those that are long unused are deleted;
-- what they came to stays as the lane's floor, so that no number is ever given again.
CREATE TABLE sequences (
  lane      TEXT NOT NULL,
  order_key TEXT NOT NULL,
  last      INTEGER NOT NULL,
  used_at   INTEGER NOT NULL,
  PRIMARY KEY (lane, order_key)
) STRICT, WITHOUT ROWID;
CREATE INDEX sequences_age ON sequences (used_at);

CREATE TABLE sequence_floors (
  lane TEXT PRIMARY KEY,
  last INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE attempts (
  callback     INTEGER NOT NULL,
  n            INTEGER NOT NULL,
  started_at   INTEGER NOT NULL,
  dns          INTEGER NOT NULL,
  connect      INTEGER NOT NULL,
  tls          INTEGER NOT NULL,
  first_byte   INTEGER NOT NULL,
  total        INTEGER NOT NULL,
  address      TEXT NOT NULL,
  status       INTEGER NOT NULL,
  content_type TEXT NOT NULL,
  error        TEXT NOT NULL,
  truncated    INTEGER NOT NULL,
  header       TEXT,             -- lines of "Name: value"
  body         BLOB,
  PRIMARY KEY (callback, n)
) STRICT, WITHOUT ROWID;
