# The curated interface of PeerTube: `fedi.apps.peertube.*`, and `[settings]` in a
# deployment's TOML file. Everything else stays reachable through
# `services.peertube.settings`.
{ lib, fedi }:
let
  inherit (lib) types;
  option = name: arguments: fedi.options.option ({ id = "peertube.${name}"; } // arguments);
in
{
  enable = fedi.options.enable "peertube" "PeerTube, a video platform";
  domain = fedi.options.domain "peertube" "It can never be changed: it is part of every video's address.";

  instanceName = option "instanceName" {
    title = "Name of the site";
    group = "General";
    type = types.nullOr types.str;
    default = null;
    description = "Name that visitors see; without it the domain.";
  };
  shortDescription = option "shortDescription" {
    title = "One sentence about the site";
    group = "General";
    type = types.str;
    default = "";
    description = "What is shown in lists of sites.";
  };
  languages = option "languages" {
    title = "Languages";
    group = "General";
    widget = "list";
    type = types.listOf (types.strMatching "[a-z]{2,3}");
    default = [ ];
    example = [ "en" ];
    description = "Languages of the videos, as ISO 639 codes; none for all.";
  };
  registration = {
    enable = option "registration.enable" {
      title = "Let people register";
      group = "Accounts";
      type = types.bool;
      default = false;
      description = "Whether visitors may ask for an account.";
    };
    approval = option "registration.approval" {
      title = "Approve registrations";
      group = "Accounts";
      type = types.bool;
      default = true;
      description = "Whether a moderator has to approve each registration.";
    };
  };
  quota = {
    total = option "quota.total" {
      title = "Space for one account";
      group = "Accounts";
      type = types.strMatching "[0-9]+ ?(MB|GB|TB)|-1";
      default = "20GB";
      description = "Most that one account can upload; `-1` for no limit.";
    };
    daily = option "quota.daily" {
      title = "Space for one account and day";
      group = "Accounts";
      level = "advanced";
      type = types.strMatching "[0-9]+ ?(MB|GB|TB)|-1";
      default = "-1";
      description = "Most that one account can upload in a day; `-1` for no limit.";
    };
  };
  transcoding = {
    enable = option "transcoding.enable" {
      title = "Transcode uploads";
      group = "Videos";
      type = types.bool;
      default = true;
      description = "Whether uploads are converted so that every browser can play them.";
    };
    resolutions = option "transcoding.resolutions" {
      title = "Resolutions";
      group = "Videos";
      widget = "list";
      type = types.listOf (
        types.enum [
          "240p"
          "360p"
          "480p"
          "720p"
          "1080p"
          "1440p"
          "2160p"
        ]
      );
      default = [
        "360p"
        "720p"
      ];
      description = "Resolutions that are made of each upload, beside the original's.";
    };
    threads = option "transcoding.threads" {
      title = "Transcoding threads";
      group = "Videos";
      level = "advanced";
      type = types.ints.unsigned;
      default = 2;
      description = "Threads for one conversion; 0 lets ffmpeg decide.";
    };
    concurrency = option "transcoding.concurrency" {
      title = "Conversions at a time";
      group = "Videos";
      level = "advanced";
      type = types.ints.positive;
      default = 1;
      description = "How many videos are converted at a time.";
    };
    keepOriginal = option "transcoding.keepOriginal" {
      title = "Keep original files";
      group = "Videos";
      level = "advanced";
      type = types.bool;
      default = false;
      description = "Whether the uploaded file is kept beside what is made of it.";
    };
  };
  live = {
    enable = option "live.enable" {
      title = "Live streams";
      group = "Videos";
      type = types.bool;
      default = false;
      description = "Whether users may stream live (RTMP, port 1935 is opened).";
    };
    maxInstances = option "live.maxInstances" {
      title = "Live streams at a time";
      group = "Videos";
      level = "advanced";
      type = types.ints.positive;
      default = 4;
      description = "Most live streams at a time.";
    };
  };
  imports = option "imports" {
    title = "Import from other sites";
    group = "Videos";
    level = "advanced";
    type = types.bool;
    default = false;
    description = "Whether users may have videos fetched from an address.";
  };
  search = option "search" {
    title = "Find videos of other servers";
    group = "Federation";
    level = "advanced";
    type = types.bool;
    default = true;
    description = "Whether visitors can fetch a remote video by its address.";
  };
  webConfiguration = option "webConfiguration" {
    title = "Change settings in the browser";
    group = "General";
    level = "advanced";
    type = types.bool;
    default = false;
    description = ''
      Whether administrators may change settings in the web interface. PeerTube keeps such
      changes in a file of its own that wins over this configuration; it is then carried
      as state.
    '';
  };
  media = fedi.options.media "peertube" // {
    pathStyle = option "media.pathStyle" {
      title = "Bucket in the path";
      group = "Media";
      level = "advanced";
      type = types.bool;
      default = false;
      description = ''
        Whether the bucket's name is in the path of S3 addresses, instead of in front of
        the host's. PeerTube up to 8.x can only do the latter; the endpoint then needs a
        certificate for `<bucket>.<host>`.
      '';
    };
  };
  smtp = fedi.options.smtp "peertube";
  admin.email = (fedi.options.admin "peertube").email;
}
