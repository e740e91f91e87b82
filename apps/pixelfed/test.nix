# Pixelfed: dormant migrates nothing; first start with delivered keys; an upload is
# readable by nginx; Horizon's dashboard lacks nothing; the scheduler runs each minute;
# fenced stays dark.
{ common, ... }:
{
  name = "fedi-pixelfed";
  nodes = {
    mysql = common.machine "pixelfed" { };
    postgres = common.machine "pixelfed" { database = "pgsql"; };
  };
  testScript = ''
    start_all()
    for machine in [mysql, postgres]:
        dark(machine, "pixelfed")
        machine.fail("test -e /var/lib/pixelfed")
        values = first_start(machine, "pixelfed")

        # The delivered keys, not generated ones.
        private = machine.succeed("cat /var/lib/pixelfed/storage/oauth-private.key")
        assert private.strip() == values["oauth-private-key"].strip()
        machine.succeed(f"grep -qF {shlex.quote(values['app-key'])} /var/lib/pixelfed/.env")

        make_admin(machine, "pixelfed")

        # As PHP writes it: group-readable, so that nginx can serve it.
        machine.succeed("systemctl show -p UMask phpfpm-pixelfed | grep -q 0027")
        machine.succeed("sudo -u pixelfed sh -c 'umask 0027; mkdir -p /var/lib/pixelfed/storage/app/public/m; echo hello > /var/lib/pixelfed/storage/app/public/m/test.txt'")
        machine.succeed("curl -sSf -k -L http://pixelfed.test/storage/m/test.txt | grep -q hello")

        # The dashboard's assets are in its pages: nothing is missing in the read-only store.
        machine.succeed("pixelfed-manage horizon:publish 2>&1 | grep -q 'no longer publishes'")

        machine.wait_until_succeeds("journalctl -u pixelfed-cron | grep -q Started", timeout=180)
        stays_dark_when_fenced(machine, "pixelfed")
  '';
}
