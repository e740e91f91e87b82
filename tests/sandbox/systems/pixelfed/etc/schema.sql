-- An excerpt of Pixelfed 0.12's schema (Laravel) on PostgreSQL.
CREATE TABLE migrations (id serial PRIMARY KEY, migration varchar(255) NOT NULL, batch integer NOT NULL);
CREATE TABLE users (
  id bigserial PRIMARY KEY,
  name varchar(255),
  username varchar(255) UNIQUE,
  email varchar(255) NOT NULL UNIQUE,
  password varchar(255) NOT NULL,
  is_admin boolean DEFAULT false NOT NULL,
  "2fa_enabled" boolean DEFAULT false NOT NULL,
  "2fa_secret" text,
  created_at timestamp(0) DEFAULT now()
);
CREATE TABLE profiles (
  id bigserial PRIMARY KEY,
  user_id bigint REFERENCES users,
  domain varchar(255),
  username varchar(255),
  private_key text,
  public_key text,
  created_at timestamp(0) DEFAULT now()
);
CREATE TABLE instance_actors (id serial PRIMARY KEY, private_key text, public_key text,
  created_at timestamp(0) DEFAULT now());
CREATE TABLE oauth_access_tokens (id varchar(100) PRIMARY KEY, user_id bigint REFERENCES users,
  revoked boolean DEFAULT false NOT NULL);
CREATE TABLE statuses (
  id bigserial PRIMARY KEY,
  uri varchar(255),
  caption text,
  profile_id bigint REFERENCES profiles,
  created_at timestamp(0) DEFAULT now()
);
CREATE TABLE media (
  id bigserial PRIMARY KEY,
  status_id bigint REFERENCES statuses,
  profile_id bigint REFERENCES profiles,
  user_id bigint REFERENCES users,
  media_path varchar(255) NOT NULL,
  mime varchar(255),
  size integer,
  created_at timestamp(0) DEFAULT now()
);
-- Where the stand-in's workers write what they did.
CREATE TABLE notifications (id bigserial PRIMARY KEY, job varchar(255) NOT NULL, action text NOT NULL);
INSERT INTO migrations (migration, batch) VALUES ('2014_10_12_000000_create_users_table', 1),
  ('2018_04_16_000059_create_sessions_table', 1), ('2025_09_18_123456_add_state_to_notifications_table', 2);
