# Synapse: dormant makes no key; first start with delivered secrets; a second machine
# with the same database, media and secrets is the same server.
{ common, ... }:
{
  name = "fedi-matrix";
  nodes = {
    one = common.machine "matrix" { };
    two = common.machine "matrix" { };
  };
  testScript = ''
    start_all()
    values = first_start(one, "matrix")
    make_admin(one, "matrix")

    def ask(machine, path):
        return json.loads(machine.succeed(f"curl -sSf http://127.0.0.1:8008{path}"))

    def log_in(machine):
        body = json.dumps({"type": "m.login.password", "password": values["admin-password"],
                           "identifier": {"type": "m.id.user", "user": "admin"}})
        return json.loads(machine.succeed(
            f"curl -sSf -d {shlex.quote(body)} http://127.0.0.1:8008/_matrix/client/v3/login"))

    key = ask(one, "/_matrix/key/v2/server")["verify_keys"]
    token = log_in(one)["access_token"]
    upload = one.succeed(
        f"curl -sSf -H 'Authorization: Bearer {token}' -H 'Content-Type: text/plain' -d hello "
        "http://127.0.0.1:8008/_matrix/media/v3/upload?filename=hello.txt")
    media = json.loads(upload)["content_uri"].removeprefix("mxc://matrix.test/")

    # Two: dormant, its database empty and of the right collation.
    dark(two, "matrix")
    psql = "sudo -u postgres psql -tA matrix-synapse -c "
    assert two.succeed(psql + "\"SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'\"").strip() == "0"
    assert two.succeed("sudo -u postgres psql -tAc \"SELECT datcollate FROM pg_database WHERE datname = 'matrix-synapse'\"").strip() == "C"

    fence(one, "matrix")
    one.succeed("sudo -u postgres pg_dump -Fc --exclude-table-data=e2e_one_time_keys_json matrix-synapse > /tmp/shared/db")
    one.succeed("tar -C /var/lib/matrix-synapse -cf /tmp/shared/media media_store")
    deliver(two, "matrix", values)
    two.succeed("sudo -u postgres pg_restore --exit-on-error --no-owner --role=matrix-synapse -d matrix-synapse < /tmp/shared/db")
    two.succeed("install -d -o matrix-synapse -g matrix-synapse /var/lib/matrix-synapse")
    two.succeed("tar -C /var/lib/matrix-synapse -xf /tmp/shared/media")
    grant(two, "matrix")
    probe(two, "matrix")

    assert ask(two, "/_matrix/key/v2/server")["verify_keys"] == key
    log_in(two)
    old = two.succeed(f"curl -sSf -H 'Authorization: Bearer {token}' http://127.0.0.1:8008/_matrix/client/v1/media/download/matrix.test/{media}")
    assert old == "hello", old

    stays_dark_when_fenced(one, "matrix")
  '';
}
