-- Makes the restored database of a Synapse that of a copy, before its first start, in one
-- transaction; once or twice is the same. psql gives `server_name`, as it is configured.
--
-- The copy cannot speak to other servers anyway (no federation listener, an empty
-- whitelist). This takes out what waits to go out all the same, and what would work
-- against the first in the hands of whoever has the copy. Tables are those of Synapse's
-- schema 83 (1.100) to 94 (1.163); one that is missing is an error, and the copy does not
-- start.
BEGIN;
SELECT set_config('fedi.server_name', :'server_name', true) \g /dev/null

-- Synapse looks at one user and would say the same, but only once it runs.
DO $$
DECLARE
  wanted text := current_setting('fedi.server_name');
  found text;
BEGIN
  SELECT string_agg(DISTINCT substr(name, strpos(name, ':') + 1), ', ') INTO found
    FROM users WHERE substr(name, strpos(name, ':') + 1) <> wanted;
  IF found IS NOT NULL THEN
    RAISE EXCEPTION 'The users of this database are of %, and the copy is configured as %', found, wanted
      USING HINT = 'Set serverName to the server name of the first; it cannot be changed.';
  END IF;
END $$;

-- Push and notification mails, to telephones and people of the first.
DELETE FROM pusher_throttle;
DELETE FROM pushers;

-- Events, device lists and messages to devices that other servers have not got yet; a copy
-- that sent them would do so in the name of the first.
DELETE FROM destination_rooms;
DELETE FROM destinations;
DELETE FROM device_federation_outbox;
DELETE FROM device_lists_outbound_pokes;
DELETE FROM device_lists_outbound_last_success;
UPDATE device_lists_changes_in_room SET converted_to_destinations = true WHERE NOT converted_to_destinations;
UPDATE federation_stream_position
  SET stream_id = greatest(stream_id, (SELECT coalesce(max(stream_ordering), 0) FROM events))
  WHERE type = 'events';
-- Half-received events, for which others would be asked.
DELETE FROM federation_inbound_events_staging;
-- Since schema 94.
DO $$
BEGIN
  IF to_regclass('destination_rooms_sticky_events_backlog') IS NOT NULL THEN
    DELETE FROM destination_rooms_sticky_events_backlog;
  END IF;
END $$;

-- What bridges and bots have not got yet.
DELETE FROM application_services_txns;
UPDATE appservice_stream_position
  SET stream_ordering = greatest(stream_ordering, (SELECT max(stream_ordering) FROM events));

-- Sessions: they stand here in the clear, and are valid on the first.
DELETE FROM access_tokens;
DELETE FROM refresh_tokens;
DELETE FROM login_tokens;
DELETE FROM open_id_tokens;
COMMIT;
