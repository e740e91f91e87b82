# Option builders. Every option of a curated interface carries `meta`, which survives
# into `eval.options` and feeds forms: a stable id, a title, a group, how advanced it
# is, a widget, whether it is secret, and what a change restarts.
{ lib, fedi }:
let
  inherit (lib) mkOption types;

  levels = [
    "basic"
    "advanced"
  ];
  # What applying a change does to the people who use the application.
  restarts = [
    "none"
    "reload"
    "restart"
    "immutable"
  ];
in
rec {
  # `mkOption` with form data. `id` never changes and is never used again.
  option =
    {
      id,
      title,
      group,
      level ? "basic",
      widget ? null,
      secret ? false,
      restart ? "restart",
      ...
    }@arguments:
    assert lib.assertOneOf "level of ${id}" level levels;
    assert lib.assertOneOf "restart of ${id}" restart restarts;
    mkOption (
      removeAttrs arguments [
        "id"
        "title"
        "group"
        "level"
        "widget"
        "secret"
        "restart"
      ]
    )
    // {
      meta = {
        inherit
          id
          title
          group
          level
          widget
          secret
          restart
          ;
      };
    };

  enable =
    app: what:
    option {
      id = "${app}.enable";
      title = "Run ${what}";
      group = "General";
      type = types.bool;
      default = false;
      example = true;
      description = "Whether to run ${what} on this guest.";
    };

  domain =
    app: extra:
    option {
      id = "${app}.domain";
      title = "Domain";
      group = "General";
      widget = "domain";
      restart = "immutable";
      type = fedi.types.domain;
      example = "social.example.org";
      description = "Domain that people see. ${extra}";
    };

  admin = app: {
    login = option {
      id = "${app}.admin.login";
      title = "Administrator";
      group = "General";
      restart = "none";
      type = types.strMatching "[a-z][a-z0-9_]{0,29}";
      default = "admin";
      description = ''
        Login name of the first administrator. fedi makes the account once, after the
        first start, with a password of its own that it shows to the operator.
      '';
    };
    email = option {
      id = "${app}.admin.email";
      title = "Administrator's mail address";
      group = "General";
      widget = "email";
      type = types.nullOr fedi.types.email;
      default = null;
      description = ''
        Mail address of the first administrator. Without it the deployment's
        {option}`fedi.deployment.adminEmail` is used.
      '';
    };
  };

  # Mail goes out through somebody's relay: port 25 is closed at most providers, and a
  # new address has no reputation.
  smtp = app: {
    host = option {
      id = "${app}.smtp.host";
      title = "Mail relay";
      group = "Mail";
      type = types.nullOr types.str;
      default = null;
      example = "smtp.example.org";
      description = ''
        Host of the SMTP relay that mail goes out through. Without it the application
        sends no mail.
      '';
    };
    port = option {
      id = "${app}.smtp.port";
      title = "Relay's port";
      group = "Mail";
      level = "advanced";
      type = types.port;
      default = 587;
      description = "TCP port of the SMTP relay.";
    };
    security = option {
      id = "${app}.smtp.security";
      title = "Relay's encryption";
      group = "Mail";
      level = "advanced";
      type = types.enum [
        "starttls"
        "tls"
        "none"
      ];
      default = "starttls";
      description = ''
        `starttls` upgrades the connection (port 587), `tls` begins encrypted (port 465),
        `none` sends passwords and mail in the clear and is for a relay on this machine.
      '';
    };
    user = option {
      id = "${app}.smtp.user";
      title = "Relay's login";
      group = "Mail";
      type = types.nullOr types.str;
      default = null;
      description = ''
        Login at the SMTP relay. With it, the secret `smtp-password` has to be set:
        `fedi secret set <deployment> smtp-password`.
      '';
    };
    from = option {
      id = "${app}.smtp.from";
      title = "Sender";
      group = "Mail";
      widget = "email";
      type = types.nullOr fedi.types.email;
      default = null;
      example = "social@example.org";
      description = "Address that mail is sent from. Without it `no-reply@<domain>` is used.";
    };
  };

  # Uploaded files: on the state disk, or in a bucket.
  media = app: {
    store = option {
      id = "${app}.media.store";
      title = "Where uploads are kept";
      group = "Media";
      type = types.enum [
        "local"
        "bucket"
      ];
      default = "local";
      description = ''
        `local` keeps uploads on the state disk, `bucket` in an S3 bucket (Garage, or
        another provider's). The public address stays the same in both cases.
      '';
    };
    bucket = option {
      id = "${app}.media.bucket";
      title = "Bucket";
      group = "Media";
      type = types.strMatching "[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]";
      default = "${app}-media";
      description = "Name of the bucket (at least three characters).";
    };
    endpoint = option {
      id = "${app}.media.endpoint";
      title = "S3 endpoint";
      group = "Media";
      widget = "url";
      type = types.nullOr fedi.types.httpUrl;
      default = null;
      example = "https://s3.garage.example.org";
      description = ''
        URL of the S3 API that holds the bucket. The secrets `s3-key-id` and
        `s3-secret-key` belong to it and are set with `fedi secret set`.
      '';
    };
    region = option {
      id = "${app}.media.region";
      title = "S3 region";
      group = "Media";
      level = "advanced";
      type = types.str;
      default = "garage";
      description = "S3 region name; Garage's is `garage` unless configured otherwise.";
    };
    webEndpoint = option {
      id = "${app}.media.webEndpoint";
      title = "Bucket's web endpoint";
      group = "Media";
      level = "advanced";
      widget = "url";
      restart = "reload";
      type = types.nullOr fedi.types.httpUrl;
      default = null;
      example = "https://${app}-media.web.garage.example.org";
      description = ''
        Where this guest fetches published objects from. nginx on the guest serves them
        under {option}`fedi.apps.${app}.media.publicHost`, so that the provider can be
        changed without any address in the database or at remote servers changing.
      '';
    };
    publicHost = option {
      id = "${app}.media.publicHost";
      title = "Public media address";
      group = "Media";
      level = "advanced";
      widget = "domain";
      restart = "immutable";
      type = types.nullOr fedi.types.domain;
      default = null;
      example = "media.social.example.org";
      description = ''
        Name that remote servers read media at. It must lie in a domain that the
        deployment owns, because other servers keep these addresses for ever. Without it
        `media.<domain>` is used.
      '';
    };
  };
}
