# Mastodon: dormant seeds nothing and makes no key; first start with delivered secrets;
# an upload is readable; fenced stays dark.
{ common, ... }:
{
  name = "fedi-mastodon";
  nodes.machine = common.machine "mastodon" { };
  testScript = ''
    dark(machine, "mastodon")
    machine.fail("test -e /var/lib/mastodon/secrets")
    tables = machine.succeed("sudo -u postgres psql -tA mastodon -c \"SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'\"")
    assert tables.strip() == "0", tables

    values = first_start(machine, "mastodon")
    # None of the six was made up.
    machine.fail("test -e /var/lib/mastodon/secrets")
    machine.succeed(f"grep -q {values['are-primary-key']} /var/lib/mastodon/.secrets_env")
    machine.succeed(f"grep -q {values['vapid'].split(':')[1]} /var/lib/mastodon/.secrets_env")

    make_admin(machine, "mastodon")
    machine.fail("journalctl -u fedi-mastodon-admin | grep -i password")
    machine.succeed("curl -sSf -H 'X-Forwarded-Proto: https' http://mastodon.test/api/v2/instance | jq -e .domain")

    # nginx can read what the application wrote.
    machine.succeed("sudo -u mastodon install -D -m 0640 /etc/hosts /var/lib/mastodon/public-system/test.txt")
    machine.succeed("curl -sSf http://mastodon.test/system/test.txt")

    stays_dark_when_fenced(machine, "mastodon")
    machine.succeed("curl -s -o /dev/null -w '%{http_code}' http://mastodon.test/ | grep -q 503 || ! systemctl is-active nginx")
  '';
}
