# What TOML cannot say: any option of NixOS.
{
  services.pixelfed.settings.INSTANCE_DISCOVER_PUBLIC = true;
  networking.firewall.logRefusedConnections = true;
}
