# Garage: dormant has no layout; first start makes layout, keys and buckets, and can do so
# again; a delivered key works; fenced stays dark.
{ common, ... }:
{
  name = "fedi-garage";
  nodes.machine = common.machine "garage" {
    capacityGib = 1;
    buckets.media = {
      keys = [ "app" ];
      website = true;
    };
  };
  testScript = ''
    dark(machine, "garage")
    machine.fail("test -e /var/lib/garage")

    values = first_start(machine, "garage")
    machine.wait_for_unit("fedi-garage-provision.service")
    machine.succeed("systemctl restart fedi-garage-provision.service")
    machine.succeed("! journalctl -u fedi-garage-provision --since '10 sec ago' | grep -q 'imported\\|made'")

    # The secret half is in no argument list and no journal.
    machine.fail(f"journalctl | grep -q {values['key-app-secret']}")

    sign = f"--aws-sigv4 aws:amz:garage:s3 --user {values['key-app-id']}:{values['key-app-secret']}"
    machine.succeed(f"curl -sSf {sign} -T /etc/hosts http://127.0.0.1:3900/media/hosts")
    machine.succeed("curl -sSf -H 'Host: media.web.garage.test' http://127.0.0.1:3902/hosts | grep -q localhost")

    stays_dark_when_fenced(machine, "garage")
  '';
}
