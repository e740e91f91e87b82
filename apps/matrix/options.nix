# The curated interface of Matrix: `fedi.apps.matrix.*`, and `[settings]` in a
# deployment's TOML file. Everything else stays reachable through
# `services.matrix-synapse.settings` in the deployment's `.nix` file.
{ lib, fedi }:
let
  inherit (lib) types;
  option = name: arguments: fedi.options.option ({ id = "matrix.${name}"; } // arguments);
in
{
  enable = fedi.options.enable "matrix" "Synapse, a Matrix homeserver";
  domain = fedi.options.domain "matrix" "The homeserver answers here.";

  serverName = option "serverName" {
    title = "Server name";
    group = "General";
    widget = "domain";
    restart = "immutable";
    type = types.nullOr fedi.types.domain;
    default = null;
    example = "example.org";
    description = ''
      The part after the colon in `@alice:example.org`. It can never be changed: users,
      rooms and signatures carry it. Without it the domain is used.
    '';
  };
  wellKnown = option "wellKnown" {
    title = "Who serves the server name";
    group = "General";
    level = "advanced";
    restart = "reload";
    type = types.enum [
      "guest"
      "elsewhere"
    ];
    default = "guest";
    description = ''
      Other servers ask `https://<server name>/.well-known/matrix/server` where the
      homeserver is. `guest`: this guest answers, and the server name points to it.
      `elsewhere`: another web server does; its two files are in the README.
    '';
  };
  registration = option "registration" {
    title = "Who may register";
    group = "Accounts";
    type = types.enum [
      "closed"
      "token"
      "open"
    ];
    default = "closed";
    description = ''
      `closed`: administrators make accounts. `token`: whoever has a registration token.
      `open`: everybody; Synapse then wants another check, here a confirmed mail address.
    '';
  };
  guests = option "guests" {
    title = "Guests without an account";
    group = "Accounts";
    level = "advanced";
    type = types.bool;
    default = false;
    description = "Whether people without an account may look into public rooms.";
  };
  federation = {
    enable = option "federation.enable" {
      title = "Speak to other servers";
      group = "Federation";
      type = types.bool;
      default = true;
      description = "Whether to exchange messages with other Matrix servers.";
    };
    allow = option "federation.allow" {
      title = "Only these servers";
      group = "Federation";
      level = "advanced";
      widget = "list";
      type = types.nullOr (types.listOf fedi.types.domain);
      default = null;
      description = "Servers to speak to; null for all.";
    };
    publicRooms = option "federation.publicRooms" {
      title = "Show the room directory";
      group = "Federation";
      level = "advanced";
      type = types.bool;
      default = false;
      description = "Whether other servers may list this server's public rooms.";
    };
  };
  trustedKeyServers = option "trustedKeyServers" {
    title = "Key servers";
    group = "Federation";
    level = "advanced";
    widget = "list";
    type = types.listOf fedi.types.domain;
    default = [ "matrix.org" ];
    description = "Servers that are believed about other servers' keys.";
  };
  urlPreviews = option "urlPreviews" {
    title = "Link previews";
    group = "Features";
    type = types.bool;
    default = true;
    description = "Whether the server fetches pages that are linked to in rooms without encryption.";
  };
  presence = option "presence" {
    title = "Show who is online";
    group = "Features";
    type = types.bool;
    default = true;
    description = "Whether to share who is online. Turning it off saves much work on a small guest.";
  };
  encryptByDefault = option "encryptByDefault" {
    title = "Encrypt new rooms";
    group = "Features";
    type = types.enum [
      "all"
      "invite"
      "off"
    ];
    default = "invite";
    description = "Which new rooms are encrypted from the start.";
  };
  retentionDays = option "retentionDays" {
    title = "Delete messages after (days)";
    group = "Features";
    level = "advanced";
    type = types.ints.unsigned;
    default = 0;
    description = "Days after which messages are purged; 0 keeps them.";
  };
  turn = {
    uris = option "turn.uris" {
      title = "TURN servers";
      group = "Calls";
      level = "advanced";
      widget = "list";
      type = types.listOf types.str;
      default = [ ];
      example = [ "turns:turn.example.org?transport=tcp" ];
      description = "TURN servers for calls. The secret `turn-secret` has to be set with them.";
    };
  };
  media = {
    maxUploadSize = option "media.maxUploadSize" {
      title = "Largest upload";
      group = "Media";
      type = fedi.types.size;
      default = "50M";
      description = "Largest file that a user can upload.";
    };
    remoteRetentionDays = option "media.remoteRetentionDays" {
      title = "Keep other servers' media (days)";
      group = "Media";
      level = "advanced";
      type = types.ints.unsigned;
      default = 90;
      description = "Days that copies of other servers' media are kept; 0 for ever.";
    };
  }
  // removeAttrs (fedi.options.media "matrix") [
    # Synapse serves media itself, at its own domain.
    "publicHost"
    "webEndpoint"
  ];
  smtp = fedi.options.smtp "matrix";
  admin = removeAttrs (fedi.options.admin "matrix") [ "email" ];
}
