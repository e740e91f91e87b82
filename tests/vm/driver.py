# What fedi does from outside, for a test: it delivers secrets as the manifest declares
# them, grants and revokes the lease, and looks at what runs.
import base64
import json
import secrets as random_values
import shlex


def manifest(machine):
    return json.loads(machine.succeed("cat /etc/fedi/manifest.json"))


def generate(machine, generator):
    if generator == "laravelKey":
        return "base64:" + base64.b64encode(random_values.token_bytes(32)).decode()
    if generator == "synapseSigningKey":
        seed = base64.b64encode(random_values.token_bytes(32)).decode().rstrip("=")
        return "ed25519 a_test " + seed
    if generator == "garageKeyId":
        return "GK" + random_values.token_hex(12)
    if generator == "vapid":
        der = "openssl ecparam -name prime256v1 -genkey -noout -outform DER"
        halves = machine.succeed(
            f"{der} > /tmp/vapid.der; "
            "tail -c +8 /tmp/vapid.der | head -c 32 | base64 -w0 | tr +/ -_ | tr -d =; echo -n :; "
            "tail -c 65 /tmp/vapid.der | base64 -w0 | tr +/ -_ | tr -d =; rm /tmp/vapid.der"
        )
        return halves.strip()
    kind, arguments = next(iter(generator.items()))
    if kind == "hex":
        return random_values.token_hex(arguments["bytes"])
    if kind in ("base64", "base64Url"):
        return base64.urlsafe_b64encode(random_values.token_bytes(arguments["bytes"])).decode()
    if kind == "password":
        return random_values.token_urlsafe(arguments["length"])[: arguments["length"]]
    if kind == "rsaPrivateKey":
        return machine.succeed(f"openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:{arguments['bits']} 2>/dev/null")
    return "from-the-operator"


def deliver(machine, app, values=None):
    """Writes every secret; returns the values, for a second machine."""
    declared = manifest(machine)["apps"][app]["secrets"]
    values = dict(values or {})
    for name, secret in sorted(declared.items(), key=lambda it: "rsaPublicKey" in it[1]["generator"]):
        if name not in values:
            generator = secret["generator"]
            if isinstance(generator, dict) and "rsaPublicKey" in generator:
                private = declared[generator["rsaPublicKey"]["of"]]["path"]
                values[name] = machine.succeed(f"openssl pkey -in {private} -pubout")
            else:
                values[name] = generate(machine, generator)
        machine.succeed(f"install -d -m 0711 $(dirname {secret['path']})")
        machine.succeed(f"umask 077; printf %s {shlex.quote(values[name])} > {secret['path']}")
    machine.succeed("systemd-tmpfiles --create")
    return values


def grant(machine, app):
    machine.succeed(f"mkdir -p /var/lib/fedi/lease; echo held > /var/lib/fedi/lease/{app}")
    machine.succeed(f"systemctl start fedi-{app}.target")


def fence(machine, app):
    machine.succeed(f"systemctl stop fedi-{app}.target")
    machine.succeed(f"echo revoked > /var/lib/fedi/lease/{app}")


def dark(machine, app):
    """Nothing of the application runs, and nothing of it has failed."""
    machine.wait_for_unit("multi-user.target")
    for unit in manifest(machine)["apps"][app]["units"]:
        machine.fail(f"systemctl is-active {shlex.quote(unit)}")
        machine.fail(f"systemctl is-failed {shlex.quote(unit)}")


def by_hand(machine, app):
    """A unit that is started by hand on a dormant guest does nothing either."""
    for unit in manifest(machine)["apps"][app]["units"]:
        machine.execute(f"systemctl start {shlex.quote(unit)}")
    dark(machine, app)


def first_start(machine, app):
    dark(machine, app)
    by_hand(machine, app)
    values = deliver(machine, app)
    grant(machine, app)
    probe(machine, app)
    return values


def probe(machine, app):
    hooks = manifest(machine)["apps"][app]["hooks"]
    machine.wait_until_succeeds(f"systemctl start {hooks['probe']['unit']}", timeout=600)


def make_admin(machine, app):
    admin = manifest(machine)["apps"][app]["admin"]
    machine.succeed(f"systemctl start {admin['unit']}")
    machine.succeed(f"systemctl start {admin['unit']}")


def stays_dark_when_fenced(machine, app):
    fence(machine, app)
    machine.shutdown()
    machine.start()
    dark(machine, app)


