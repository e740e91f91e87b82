# Pieces that several applications' modules are made of.
{ lib }:
rec {
  # A secret of an outside provider, which only the operator can set.
  operatorSecret = describe: {
    class = "provider";
    generator.operator = { inherit describe; };
  };

  # The access key of the media bucket, and the secrets of the mail relay.
  bucketSecrets =
    media:
    lib.optionalAttrs (media.store == "bucket") {
      s3-key-id = operatorSecret "Id of the access key for the bucket `${media.bucket}`";
      s3-secret-key = operatorSecret "Secret half of the access key for the bucket `${media.bucket}`";
    };
  # Since 2025 the AWS libraries send checksums that older Garages and other providers
  # refuse. Those of Ruby, PHP, Python and JavaScript all read these two.
  bucketEnvironment =
    media:
    lib.optionalAttrs (media.store == "bucket") {
      AWS_REQUEST_CHECKSUM_CALCULATION = "when_required";
      AWS_RESPONSE_CHECKSUM_VALIDATION = "when_required";
    };
  smtpSecret =
    smtp:
    lib.optionalAttrs (smtp.host != null && smtp.user != null) {
      smtp-password = operatorSecret "Password of `${smtp.user}` at the mail relay ${smtp.host}";
    };

  sender = smtp: domain: if smtp.from == null then "no-reply@${domain}" else smtp.from;
  adminEmail =
    config: admin: if admin.email == null then config.fedi.deployment.adminEmail else admin.email;
  publicHost =
    media: domain: if media.publicHost == null then "media.${domain}" else media.publicHost;

  hostOf =
    url: lib.head (lib.splitString "/" (lib.removePrefix "https://" (lib.removePrefix "http://" url)));

  # nginx for the public media address: published objects, fetched from wherever the
  # bucket is today. The name is looked up per request, so that nginx starts without it.
  mediaHost = webEndpoint: {
    enableACME = lib.mkDefault true;
    forceSSL = lib.mkDefault true;
    locations."/" = {
      recommendedProxySettings = false;
      extraConfig = ''
        limit_except GET { deny all; }
        resolver 127.0.0.53 valid=60s;
        set $fedi_media ${lib.removeSuffix "/" webEndpoint};
        proxy_pass $fedi_media$request_uri;
        proxy_set_header Host ${hostOf webEndpoint};
        proxy_ssl_server_name on;
        proxy_hide_header Set-Cookie;
        proxy_hide_header Access-Control-Allow-Origin;
        add_header Access-Control-Allow-Origin *;
        add_header X-Content-Type-Options nosniff;
      '';
    };
  };

  # What must hold when media lie in a bucket.
  bucketAssertions = app: media: [
    {
      assertion = media.store == "bucket" -> media.endpoint != null;
      message = "fedi.apps.${app}.media.store is `bucket`: set fedi.apps.${app}.media.endpoint to the S3 endpoint.";
    }
    {
      assertion = media.store == "bucket" && media ? webEndpoint -> media.webEndpoint != null;
      message = "fedi.apps.${app}.media.store is `bucket`: set fedi.apps.${app}.media.webEndpoint to where published objects are fetched from.";
    }
  ];

  # Stops taking requests (nginx answers 503) and lets queued work run out: `stop` names
  # units that would bring more, `busy` prints the number of pieces of work that are left.
  # The limit is the hook's own. When it fails, requests are taken again and what was
  # stopped starts again; one that ended well is undone by `fedi-guest gate start`.
  drain =
    {
      description,
      stop ? [ ],
      busy,
      path,
    }:
    {
      inherit description path;
      script = ''
        install -d -m 0711 /run/fedi
        touch /run/fedi/maintenance
      ''
      + lib.optionalString (stop != [ ]) ''
        systemctl stop ${lib.escapeShellArgs stop}
      ''
      + ''
        left() {
          ${busy}
        }
        before=
        while count=$(left) && [ "$count" -gt 0 ]; do
          if [ "$count" != "$before" ]; then
            echo "$count pieces of work are left"
          fi
          before=$count
          sleep 2
        done
      '';
      postStop = ''
        if [ "$SERVICE_RESULT" != success ]; then
          rm -f /run/fedi/maintenance
          ${lib.optionalString (stop != [ ]) "systemctl start --no-block ${lib.escapeShellArgs stop}"}
        fi
      '';
      serviceConfig.Type = "oneshot";
    };
}
