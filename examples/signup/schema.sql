-- The application's own tables. troth knows nothing of them; they live in the same database, so that a row here and
-- the journal entry of the step that wrote it commit together.

CREATE SCHEMA IF NOT EXISTS signup;

CREATE TABLE IF NOT EXISTS signup.account (
    id               uuid PRIMARY KEY,
    email            text NOT NULL,
    name             text NOT NULL,
    plan             text NOT NULL,
    customer_id      text UNIQUE,               -- at the billing provider
    subscription_id  text UNIQUE,
    created_at       timestamptz NOT NULL DEFAULT now(),
    closed_at        timestamptz
);

-- One open account per address; whoever was refused may try again.
CREATE UNIQUE INDEX IF NOT EXISTS account_email ON signup.account (email) WHERE closed_at IS NULL;

CREATE TABLE IF NOT EXISTS signup.workspace (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account  uuid NOT NULL REFERENCES signup.account (id),
    name     text NOT NULL
);

CREATE TABLE IF NOT EXISTS signup.role (
    account    uuid NOT NULL REFERENCES signup.account (id),
    workspace  bigint NOT NULL REFERENCES signup.workspace (id),
    role       text NOT NULL CHECK (role IN ('owner', 'member'))
);

CREATE TABLE IF NOT EXISTS signup.quota (
    account    uuid NOT NULL REFERENCES signup.account (id),
    workspace  bigint NOT NULL REFERENCES signup.workspace (id),
    resource   text NOT NULL,
    allowed    integer NOT NULL CHECK (allowed >= 0)
);

-- Deliberately without UNIQUE on workspace, role and quota: a step that ran twice would show.

-- The hash of a password that was chosen with a signup, until that has succeeded.
CREATE TABLE IF NOT EXISTS signup.login (
    id       uuid PRIMARY KEY,
    hash     text NOT NULL,
    made_at  timestamptz NOT NULL DEFAULT now()
);

-- The statements of the bank that are in the books, as they came.
CREATE TABLE IF NOT EXISTS signup.bank_statement (
    name      text PRIMARY KEY,
    document  text NOT NULL
);

-- Row-level security: a tenant is an account, and a transaction sees the account that it acts for. `troth.access` sets it.
SELECT troth.protect_tenants('signup.account', 'id', true), troth.protect_tenants('signup.workspace', 'account', true),
       troth.protect_tenants('signup.role', 'account', true), troth.protect_tenants('signup.quota', 'account', true);

-- Whoever serves requests acts as this role, which row-level security holds for whatever the role of the login is.
DO $$ BEGIN
    CREATE ROLE signup_web NOLOGIN NOBYPASSRLS;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL;  -- roles belong to the server: another database has made it
END $$;
GRANT USAGE ON SCHEMA signup, troth TO signup_web;
GRANT SELECT ON signup.account, signup.workspace, signup.role, signup.quota TO signup_web;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA troth TO signup_web;
