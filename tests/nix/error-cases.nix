# `{ expr, message }`: the expression must fail with all of the messages.
{
  lib,
  eval,
  systems,
}:
let
  manifest =
    extra:
    (eval.evalConfig [
      systems.matrix-local
      extra
    ]).fedi.manifest;
  inventory =
    name:
    lib.mapAttrs (_: system: system.config.fedi.manifest)
      (eval.fedi.mkInventory {
        root = ./inventories + "/${name}";
        inherit (eval) nixpkgs nixosSystem;
      }).nixosConfigurations;
  chat = "hosts/here/deployments/chat.toml";
  fromInventory = lib.mapAttrs' (
    name: message:
    lib.nameValuePair "inventory: ${name}" {
      expr = inventory name;
      inherit message;
    }
  );
in
fromInventory {
  wrong-type = [
    "settings.smtp.port"
    "16 bit unsigned integer"
    chat
  ];
  unknown-key = [
    "settings.registrations"
    "does not exist"
    chat
  ];
  wrong-choice = [
    "settings.registration"
    "one of \"closed\", \"token\", \"open\""
    chat
  ];
  unknown-app = [
    "`app"
    "one of"
    "matrx"
    chat
  ];
  wrong-domain = [
    "`domain"
    "domain name in lower case"
    chat
  ];
  two-domains = [
    "domain `matrix.example.test` is in"
    "hosts/here/deployments/chat.toml"
    "hosts/there/deployments/talk.toml"
  ];
  two-names = [
    "deployment name `chat` is in"
    "hosts/there/deployments/chat.toml"
  ];
  wrong-name = [
    "My_Chat.toml"
    "lower-case letters"
  ];
  no-fedi-toml = [ "no fedi.toml" ];
  wrong-email = [
    "operator.email"
    "mail address"
    "fedi.toml"
  ];
  settings-domain = [
    "settings.domain"
    "does not exist"
    chat
  ];
  # Nix names the file with --show-trace only; `fedi` names file and line.
  broken-toml = [ "fromTOML" ];
  nested-bucket = [
    "settings.buckets.media.quotaGib"
    "hosts/here/deployments/store.toml"
  ];
}
// {
  "a misspelt kind of state" = {
    expr = manifest { fedi.contracts.state.matrix.items.cache.rediss.instance = "x"; };
    message = [ "rediss" ];
  };
  "two kinds at once" = {
    expr = manifest {
      fedi.contracts.state.matrix.items.db.redis = {
        instance = "x";
        holds = "cache";
      };
    };
    message = [ "items.db" ];
  };
  "a hook that is a command line" = {
    expr = manifest { fedi.contracts.state.matrix.hooks.drain.unit = "/bin/sh -c true"; };
    message = [
      "hooks.drain.unit"
      "systemd unit name"
    ];
  };
  "a secret in the Nix store" = {
    expr = manifest {
      fedi.contracts.secret.matrix.signing-key.path = lib.mkForce "${builtins.storeDir}/abc-key";
    };
    message = [
      "signing-key.path"
      "outside the Nix store"
    ];
  };
  "an application option of the wrong type" = {
    expr =
      (eval.evalConfig [
        systems.matrix-local
        { fedi.apps.matrix.smtp.port = "587"; }
      ]).fedi.apps.matrix.smtp.port;
    message = [
      "fedi.apps.matrix.smtp.port"
      "16 bit unsigned integer"
    ];
  };
  "an application option that does not exist" = {
    expr = manifest { fedi.apps.matrix.smpt.port = 587; };
    message = [
      "fedi.apps.matrix.smpt"
      "does not exist"
    ];
  };
}
