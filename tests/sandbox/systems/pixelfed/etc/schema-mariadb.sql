-- An excerpt of Pixelfed 0.12's schema (Laravel) on MariaDB.
CREATE TABLE migrations (id int unsigned AUTO_INCREMENT PRIMARY KEY, migration varchar(255) NOT NULL,
  batch int NOT NULL);
CREATE TABLE users (
  id bigint unsigned AUTO_INCREMENT PRIMARY KEY,
  name varchar(255),
  username varchar(255) UNIQUE,
  email varchar(255) NOT NULL UNIQUE,
  password varchar(255) NOT NULL,
  is_admin tinyint(1) NOT NULL DEFAULT 0,
  `2fa_enabled` tinyint(1) NOT NULL DEFAULT 0,
  `2fa_secret` text,
  created_at timestamp NULL DEFAULT current_timestamp
);
CREATE TABLE profiles (
  id bigint unsigned AUTO_INCREMENT PRIMARY KEY,
  user_id bigint unsigned,
  domain varchar(255),
  username varchar(255),
  private_key text,
  public_key text,
  created_at timestamp NULL DEFAULT current_timestamp,
  FOREIGN KEY (user_id) REFERENCES users (id)
);
CREATE TABLE instance_actors (id int unsigned AUTO_INCREMENT PRIMARY KEY, private_key text, public_key text,
  created_at timestamp NULL DEFAULT current_timestamp);
CREATE TABLE oauth_access_tokens (id varchar(100) PRIMARY KEY, user_id bigint unsigned,
  revoked tinyint(1) NOT NULL DEFAULT 0, FOREIGN KEY (user_id) REFERENCES users (id));
CREATE TABLE statuses (
  id bigint unsigned AUTO_INCREMENT PRIMARY KEY,
  uri varchar(255),
  caption text,
  profile_id bigint unsigned,
  created_at timestamp NULL DEFAULT current_timestamp,
  FOREIGN KEY (profile_id) REFERENCES profiles (id)
);
CREATE TABLE media (
  id bigint unsigned AUTO_INCREMENT PRIMARY KEY,
  status_id bigint unsigned,
  profile_id bigint unsigned,
  user_id bigint unsigned,
  media_path varchar(255) NOT NULL,
  mime varchar(255),
  size int unsigned,
  metadata json,
  created_at timestamp NULL DEFAULT current_timestamp,
  FOREIGN KEY (user_id) REFERENCES users (id)
);
CREATE TABLE notifications (id bigint unsigned AUTO_INCREMENT PRIMARY KEY, job varchar(255) NOT NULL,
  action text NOT NULL);
INSERT INTO migrations (migration, batch) VALUES ('2014_10_12_000000_create_users_table', 1),
  ('2018_04_16_000059_create_sessions_table', 1), ('2025_09_18_123456_add_state_to_notifications_table', 2);
