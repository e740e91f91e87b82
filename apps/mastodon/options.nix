# The curated interface of Mastodon: `fedi.apps.mastodon.*`, and `[settings]` in a
# deployment's TOML file. Everything else stays reachable through `services.mastodon`.
{ lib, fedi }:
let
  inherit (lib) types;
  option = name: arguments: fedi.options.option ({ id = "mastodon.${name}"; } // arguments);
in
{
  enable = fedi.options.enable "mastodon" "Mastodon, a microblogging server";
  domain = fedi.options.domain "mastodon" "The site is served here.";

  handleDomain = option "handleDomain" {
    title = "Domain of the handles";
    group = "General";
    widget = "domain";
    restart = "immutable";
    type = types.nullOr fedi.types.domain;
    default = null;
    example = "example.org";
    description = ''
      The part after the second @ in `@alice@example.org`. It can never be changed. Without
      it the domain is used. With it, this guest answers `/.well-known/` there and sends
      everything else to the domain.
    '';
  };
  locale = option "locale" {
    title = "Language";
    group = "General";
    type = types.strMatching "[a-z]{2,3}(-[A-Za-z]+)?";
    default = "en";
    description = "Language that visitors see when their browser asks for none.";
  };
  singleUser = option "singleUser" {
    title = "For one person";
    group = "General";
    type = types.bool;
    default = false;
    description = "Whether the front page is the first account's profile, and nobody can register.";
  };
  limitedFederation = option "limitedFederation" {
    title = "Only approved servers";
    group = "Federation";
    level = "advanced";
    type = types.bool;
    default = false;
    description = "Whether to speak only to servers that an administrator has approved.";
  };
  authorizedFetch = option "authorizedFetch" {
    title = "Signed requests only";
    group = "Federation";
    level = "advanced";
    type = types.bool;
    default = false;
    description = ''
      Whether other servers have to sign what they ask for ("secure mode"). Blocks hold
      better, and pages take more work.
    '';
  };
  webProcesses = option "webProcesses" {
    title = "Web processes";
    group = "Size";
    level = "advanced";
    type = types.ints.positive;
    default = 2;
    description = "Processes that answer pages and the API; about 300 MiB each.";
  };
  webThreads = option "webThreads" {
    title = "Threads of a web process";
    group = "Size";
    level = "advanced";
    type = types.ints.positive;
    default = 5;
    description = "Requests that one process works on at a time.";
  };
  sidekiqThreads = option "sidekiqThreads" {
    title = "Background threads";
    group = "Size";
    level = "advanced";
    type = types.ints.positive;
    default = 15;
    description = "Background jobs (deliveries, feeds, mail) at a time; each holds a database connection.";
  };
  streamingProcesses = option "streamingProcesses" {
    title = "Streaming processes";
    group = "Size";
    level = "advanced";
    type = types.ints.positive;
    default = 1;
    description = "Processes that push new posts to browsers; cores less one is a good number.";
  };
  media = fedi.options.media "mastodon" // {
    remoteRetentionDays = option "media.remoteRetentionDays" {
      title = "Keep other servers' media (days)";
      group = "Media";
      type = types.ints.unsigned;
      default = 14;
      description = "Days that copies of other servers' media are kept; 0 for ever. They are most of the disk.";
    };
  };
  smtp = fedi.options.smtp "mastodon";
  admin = fedi.options.admin "mastodon";
}
