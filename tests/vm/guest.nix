# A guest without an application: it boots, is hardened and closed, and is not degraded.
{ common }:
{
  name = "fedi-guest";
  nodes.machine = common.machine "matrix" { };
  testScript = ''
    machine.wait_for_unit("multi-user.target")
    machine.succeed("sshd -T | grep -qx 'passwordauthentication no'")
    machine.succeed("sshd -T | grep -qx 'permitrootlogin without-password'")
    machine.succeed("test -s /etc/ssh/ssh_host_ed25519_key.pub")
    machine.fail("test -e /etc/ssh/ssh_host_rsa_key")
    machine.succeed("swapon --show | grep -q zram")
    # Dormant is healthy.
    machine.succeed("[ $(systemctl --failed --no-legend | wc -l) = 0 ]")
    dark(machine, "matrix")
    machine.fail("test -e /var/lib/acme/matrix.test")
  '';
}
