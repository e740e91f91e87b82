# Pixelfed: dormant migrates nothing; first start with delivered keys; an upload is
# readable by nginx; Horizon's dashboard lacks nothing, and its worker does not take the
# site along; the cache can be cleared; the scheduler runs each minute; fenced stays dark.
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

        # A worker that dies comes back, and the site has not been restarted with it.
        entered = "systemctl show -p ActiveEnterTimestampMonotonic phpfpm-pixelfed"
        since = machine.succeed(entered)
        machine.succeed("systemctl kill --signal=KILL pixelfed-horizon.service")
        machine.wait_until_succeeds("systemctl show -p NRestarts pixelfed-horizon | grep -q '=[1-9]'")
        machine.wait_for_unit("pixelfed-horizon.service")
        assert machine.succeed(entered) == since

        # What is cached goes after a restore, and the site makes it again.
        machine.succeed("systemctl start fedi-pixelfed-cache.service")
        probe(machine, "pixelfed")

        machine.wait_until_succeeds("journalctl -u pixelfed-cron | grep -q Started", timeout=180)
        stays_dark_when_fenced(machine, "pixelfed")
  '';
}
