-- An excerpt of PeerTube 8's schema (Sequelize), with its extensions in use.
CREATE FUNCTION immutable_unaccent(text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT
  AS $$ SELECT public.unaccent('public.unaccent', $1::text) $$;
CREATE TYPE enum_user_nsfw AS ENUM ('do_not_list', 'warn', 'blur', 'display');
CREATE TABLE application (id serial PRIMARY KEY, "migrationVersion" integer DEFAULT 0 NOT NULL,
  "nodeVersion" varchar(255));
CREATE TABLE "oAuthClient" (id serial PRIMARY KEY, "clientId" varchar(255) NOT NULL,
  "clientSecret" varchar(255) NOT NULL, grants varchar(255)[]);
CREATE TABLE "user" (
  id serial PRIMARY KEY,
  username varchar(255) NOT NULL UNIQUE,
  password varchar(255),
  email varchar(400) NOT NULL,
  role integer NOT NULL,
  "nsfwPolicy" enum_user_nsfw DEFAULT 'do_not_list' NOT NULL,
  "otpSecret" varchar(255),
  "createdAt" timestamptz DEFAULT now() NOT NULL
);
CREATE TABLE actor (
  id serial PRIMARY KEY,
  type varchar(255) DEFAULT 'Person' NOT NULL,
  "preferredUsername" varchar(255) NOT NULL UNIQUE,
  "publicKey" varchar(5000),
  "privateKey" varchar(5000),
  "createdAt" timestamptz DEFAULT now() NOT NULL
);
CREATE TABLE account (id serial PRIMARY KEY, name varchar(255) NOT NULL,
  "actorId" integer NOT NULL REFERENCES actor ON DELETE CASCADE,
  "userId" integer REFERENCES "user" ON DELETE CASCADE);
CREATE TABLE "oAuthToken" (id serial PRIMARY KEY, "accessToken" varchar(255) NOT NULL UNIQUE,
  "userId" integer NOT NULL REFERENCES "user" ON DELETE CASCADE);
CREATE TABLE video (
  id serial PRIMARY KEY,
  uuid uuid DEFAULT gen_random_uuid() NOT NULL UNIQUE,
  name varchar(255) NOT NULL,
  remote boolean DEFAULT false NOT NULL,
  "accountId" integer NOT NULL REFERENCES account ON DELETE CASCADE,
  "createdAt" timestamptz DEFAULT now() NOT NULL
);
CREATE INDEX video_name_trigram ON video USING gin (lower(immutable_unaccent(name)) gin_trgm_ops);
CREATE TABLE "videoFile" (
  id serial PRIMARY KEY,
  filename varchar(255) NOT NULL UNIQUE,
  size bigint NOT NULL,
  extname varchar(255) NOT NULL,
  "videoId" integer REFERENCES video ON DELETE CASCADE
);
CREATE TABLE "videoComment" (
  id serial PRIMARY KEY,
  url varchar(2000) NOT NULL,
  text text NOT NULL,
  "accountId" integer REFERENCES account ON DELETE CASCADE
);
-- Where the stand-in's workers write what they did.
CREATE TABLE "userNotification" (id serial PRIMARY KEY, "jobId" varchar(255) NOT NULL, what text NOT NULL);
INSERT INTO application ("migrationVersion", "nodeVersion") VALUES (955, 'v22');
INSERT INTO "oAuthClient" ("clientId", "clientSecret", grants) VALUES (left('@salt@', 16), '@salt@', '{password,refresh_token}');
