# The curated interface of Pixelfed: `fedi.apps.pixelfed.*`, and `[settings]` in a
# deployment's TOML file. Everything else stays reachable through
# `services.pixelfed.settings`.
{ lib, fedi }:
let
  inherit (lib) types;
  option = name: arguments: fedi.options.option ({ id = "pixelfed.${name}"; } // arguments);
in
{
  enable = fedi.options.enable "pixelfed" "Pixelfed, a site for pictures";
  domain = fedi.options.domain "pixelfed" "It can never be changed: it is part of every account's address.";

  name = option "name" {
    title = "Name of the site";
    group = "General";
    type = types.nullOr types.str;
    default = null;
    description = "Name that visitors see; without it the domain.";
  };
  description = option "description" {
    title = "One sentence about the site";
    group = "General";
    type = types.str;
    default = "";
    description = "What is shown in lists of sites.";
  };
  locale = option "locale" {
    title = "Language";
    group = "General";
    type = types.strMatching "[a-z]{2,3}";
    default = "en";
    description = "Language of the site.";
  };
  registration = option "registration" {
    title = "Let people register";
    group = "Accounts";
    type = types.bool;
    default = false;
    description = "Whether visitors may make an account.";
  };
  confirmEmail = option "confirmEmail" {
    title = "Confirm mail addresses";
    group = "Accounts";
    type = types.bool;
    default = true;
    description = "Whether a new account has to confirm its mail address; needs a mail relay.";
  };
  federation = option "federation" {
    title = "Speak to other servers";
    group = "Federation";
    type = types.bool;
    default = true;
    description = "Whether to exchange posts with other servers (ActivityPub).";
  };
  stories = option "stories" {
    title = "Stories";
    group = "Features";
    type = types.bool;
    default = false;
    description = "Whether users may post pictures that vanish after a day.";
  };
  maxUploadSize = option "maxUploadSize" {
    title = "Largest upload";
    group = "Media";
    type = fedi.types.size;
    default = "50M";
    description = "Largest picture or video that a user can upload.";
  };
  maxAlbumLength = option "maxAlbumLength" {
    title = "Pictures in a post";
    group = "Media";
    type = types.ints.between 1 50;
    default = 10;
    description = "Most pictures in one post.";
  };
  imageQuality = option "imageQuality" {
    title = "Quality of pictures";
    group = "Media";
    level = "advanced";
    type = types.ints.between 1 100;
    default = 80;
    description = "Quality of the pictures that are kept (JPEG, 1 to 100).";
  };
  accountQuota = option "accountQuota" {
    title = "Space for one account (MiB)";
    group = "Accounts";
    type = types.ints.unsigned;
    default = 2048;
    description = "Most that one account can upload, in MiB; 0 for no limit.";
  };
  database = option "database" {
    title = "Database";
    group = "Size";
    level = "advanced";
    restart = "immutable";
    type = types.enum [
      "mysql"
      "pgsql"
    ];
    default = "mysql";
    description = "`mysql` (MariaDB) is what upstream tests; `pgsql` is less so.";
  };
  workers = option "workers" {
    title = "PHP workers";
    group = "Size";
    level = "advanced";
    type = types.ints.positive;
    default = 16;
    description = "Requests that are worked on at a time; about 60 MiB each.";
  };
  media = fedi.options.media "pixelfed";
  smtp = fedi.options.smtp "pixelfed";
  admin = fedi.options.admin "pixelfed";
}
