# PeerTube: dormant makes no table; first start with the delivered secret and root
# password; settings cannot be changed in the browser; fenced stays dark.
{ common, ... }:
{
  name = "fedi-peertube";
  nodes.machine = common.machine "peertube" { };
  testScript = ''
    dark(machine, "peertube")
    machine.succeed("sudo -u postgres psql -tA peertube -c '\\dx' | grep -q pg_trgm")

    values = first_start(machine, "peertube")
    make_admin(machine, "peertube")
    machine.succeed(f"grep -q {values['secret']} /var/lib/peertube/config/local.yaml")

    api = "http://127.0.0.1:9000/api/v1"
    host = "-H 'Host: peertube.test'"
    client = json.loads(machine.succeed(f"curl -sSf {host} {api}/oauth-clients/local"))
    form = (f"client_id={client['client_id']}&client_secret={client['client_secret']}"
            f"&grant_type=password&username=root&password={values['admin-password']}")
    token = json.loads(machine.succeed(f"curl -sSf {host} -d {shlex.quote(form)} {api}/users/token"))["access_token"]
    code = machine.succeed(
        f"curl -s -o /dev/null -w '%{{http_code}}' -X PUT {host} -H 'Authorization: Bearer {token}' "
        f"-H 'Content-Type: application/json' -d '{{}}' {api}/config/custom")
    assert code == "403", code
    machine.fail("test -e /var/lib/peertube/config/local-production.json")

    stays_dark_when_fenced(machine, "peertube")
  '';
}
