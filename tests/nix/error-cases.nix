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
in
{
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
