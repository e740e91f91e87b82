-- An excerpt of Mastodon 4's schema, with its own types, defaults and function of ids.
-- @salt@ is made when the database is: state that is in the database only.
CREATE FUNCTION timestamp_id(table_name text) RETURNS bigint LANGUAGE plpgsql AS $$
  DECLARE
    time_part bigint;
    sequence_base bigint;
    tail bigint;
  BEGIN
    time_part := ((date_part('epoch', now()) * 1000))::bigint << 16;
    sequence_base := ('x' || substr(md5(table_name || '@salt@' || time_part::text), 1, 4))::bit(16)::bigint;
    tail := ((sequence_base + nextval(table_name || '_id_seq')) & 65535);
    RETURN time_part | tail;
  END
$$;
CREATE SEQUENCE accounts_id_seq;
CREATE SEQUENCE statuses_id_seq;
CREATE SEQUENCE media_attachments_id_seq;
CREATE TABLE accounts (
  id bigint DEFAULT timestamp_id('accounts') PRIMARY KEY,
  username varchar DEFAULT '' NOT NULL,
  domain varchar,
  private_key text,
  public_key text DEFAULT '' NOT NULL,
  created_at timestamp DEFAULT now() NOT NULL
);
CREATE UNIQUE INDEX index_accounts_on_username_and_domain_lower
  ON accounts (lower(username), COALESCE(lower(domain), ''));
CREATE TABLE users (
  id bigserial PRIMARY KEY,
  email varchar DEFAULT '' NOT NULL UNIQUE,
  encrypted_password varchar DEFAULT '' NOT NULL,
  account_id bigint NOT NULL REFERENCES accounts ON DELETE CASCADE,
  otp_required_for_login boolean DEFAULT false NOT NULL,
  otp_secret varchar,
  current_sign_in_at timestamp,
  created_at timestamp DEFAULT now() NOT NULL
);
CREATE TABLE oauth_access_tokens (
  id bigserial PRIMARY KEY,
  token varchar NOT NULL UNIQUE,
  resource_owner_id bigint REFERENCES users ON DELETE CASCADE,
  created_at timestamp DEFAULT now() NOT NULL
);
CREATE TABLE statuses (
  id bigint DEFAULT timestamp_id('statuses') PRIMARY KEY,
  uri varchar,
  text text DEFAULT '' NOT NULL,
  account_id bigint NOT NULL REFERENCES accounts ON DELETE CASCADE,
  created_at timestamp DEFAULT now() NOT NULL
);
CREATE INDEX index_statuses_on_account_id ON statuses (account_id, id DESC);
CREATE TABLE media_attachments (
  id bigint DEFAULT timestamp_id('media_attachments') PRIMARY KEY,
  status_id bigint REFERENCES statuses ON DELETE SET NULL,
  account_id bigint REFERENCES accounts ON DELETE SET NULL,
  file_file_name varchar,
  file_content_type varchar,
  file_file_size integer,
  created_at timestamp DEFAULT now() NOT NULL
);
-- Where the stand-in's workers write what they did.
CREATE TABLE notifications (
  id bigserial PRIMARY KEY,
  jid varchar NOT NULL,
  activity_type varchar NOT NULL,
  created_at timestamp DEFAULT now() NOT NULL
);
CREATE TABLE schema_migrations (version varchar PRIMARY KEY);
CREATE TABLE ar_internal_metadata (key varchar PRIMARY KEY, value varchar);
INSERT INTO schema_migrations VALUES ('20240307180905'), ('20250924170259'), ('20260209143308');
INSERT INTO ar_internal_metadata VALUES ('environment', 'production');
