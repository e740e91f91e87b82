# Base and guest: what every machine gets, and that an operator's line wins.
{
  lib,
  eval,
  systems,
  ...
}:
let
  config = eval.evalConfig systems.matrix-local;
  bare = eval.evalConfig { };
  withExtra =
    extra:
    eval.evalConfig [
      systems.matrix-local
      extra
    ];
  cloudInit = config.services.cloud-init.settings;
in
{
  "the root grows with its disk" = {
    expr = {
      inherit (config.boot) growPartition;
      inherit (config.fileSystems."/") autoResize fsType;
    };
    expected = {
      growPartition = true;
      autoResize = true;
      fsType = "ext4";
    };
  };
  "the state disk is mounted before any state is written" = {
    expr = {
      inherit (config.fileSystems."/var/lib") neededForBoot autoFormat autoResize;
      second = lib.hasSuffix "drive-scsi1" config.fileSystems."/var/lib".device;
    };
    expected = {
      neededForBoot = true;
      autoFormat = true;
      autoResize = true;
      second = true;
    };
  };
  "all that is carried lies on the state disk" = {
    expr = lib.concatLists (
      lib.mapAttrsToList (
        _: module:
        lib.concatMap (
          state:
          lib.filter (path: !lib.hasPrefix "/var/lib/" path) (
            lib.concatMap (item: lib.optional (item ? directory) item.directory.path) (
              lib.attrValues state.items
            )
          )
        ) (lib.attrValues (eval.evalConfig module).fedi.manifest.apps)
      ) systems
    );
    expected = [ ];
  };
  "a file system has a type, which has no default since 26.05" = {
    expr = lib.filter (name: !(bare.fileSystems.${name} ? fsType)) (lib.attrNames bare.fileSystems);
    expected = [ ];
  };
  "cloud-init gives address and key only" = {
    expr = {
      inherit (config.services.cloud-init) enable;
      network = config.services.cloud-init.network.enable;
      inherit (cloudInit)
        ssh_deletekeys
        cloud_config_modules
        cloud_final_modules
        users
        ;
      sources = cloudInit.datasource_list;
    };
    expected = {
      enable = true;
      network = true;
      # The host key is pinned at the first boot: nobody makes another.
      ssh_deletekeys = false;
      cloud_config_modules = [ ];
      cloud_final_modules = [ ];
      users = [ ];
      sources = [
        "NoCloud"
        "ConfigDrive"
      ];
    };
  };
  "SSH is by key only, with one host key" = {
    expr = {
      inherit (config.services.openssh.settings)
        PasswordAuthentication
        KbdInteractiveAuthentication
        PermitRootLogin
        X11Forwarding
        ;
      keys = map (key: key.type) config.services.openssh.hostKeys;
      inherit (config.services.openssh) authorizedKeysInHomedir;
    };
    expected = {
      PasswordAuthentication = false;
      KbdInteractiveAuthentication = false;
      PermitRootLogin = "prohibit-password";
      X11Forwarding = false;
      keys = [ "ed25519" ];
      authorizedKeysInHomedir = true;
    };
  };
  "the operator's keys may log in" = {
    expr = config.users.users.root.openssh.authorizedKeys.keys;
    expected = [ "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFakeKeyForTestsOnly operator" ];
  };
  "the firewall is closed but for SSH and what the application declares" = {
    expr = {
      inherit (config.networking.firewall) enable;
      bare = bare.networking.firewall.allowedTCPPorts;
      matrix = config.networking.firewall.allowedTCPPorts;
      nftables = config.networking.nftables.enable;
    };
    expected = {
      enable = true;
      bare = [ 22 ];
      matrix = [
        22
        80
        443
      ];
      nftables = true;
    };
  };
  "swap, time, logs and store have their limits" = {
    expr = {
      zram = config.zramSwap.enable;
      time = config.services.timesyncd.enable;
      journal = lib.hasInfix "SystemMaxUse=500M" config.services.journald.extraConfig;
      collect = config.nix.gc.automatic;
      free = config.nix.settings.min-free > 0;
    };
    expected = {
      zram = true;
      time = true;
      journal = true;
      collect = true;
      free = true;
    };
  };
  "an operator's line wins over every opinion" = {
    expr =
      let
        other = withExtra {
          services.openssh.settings.PasswordAuthentication = true;
          networking.firewall.allowPing = false;
          networking.hostName = "other";
          networking.useNetworkd = false;
          services.timesyncd.enable = false;
          zramSwap.enable = false;
          time.timeZone = "Europe/Berlin";
          nix.gc.automatic = false;
          boot.growPartition = false;
          services.cloud-init.settings.preserve_hostname = false;
          services.cloud-init.settings.users = [ "root" ];
          fileSystems."/var/lib".fsType = "xfs";
          fileSystems."/var/lib".options = [ "discard" ];
          fileSystems."/".device = "/dev/sda2";
          services.qemuGuest.enable = false;
          services.journald.extraConfig = "Storage=volatile";
          system.stateVersion = "26.11";
          security.acme.defaults.email = "tls@example.test";
          services.nginx.recommendedGzipSettings = false;
          services.nginx.virtualHosts."matrix.example.test".enableACME = false;
          services.nginx.virtualHosts."matrix.example.test".forceSSL = false;
          services.postgresql.initdbArgs = [ ];
          services.matrix-synapse.settings.report_stats = true;
        };
      in
      {
        failed = eval.failed other;
        inherit (other.networking) hostName;
        zone = other.time.timeZone;
        zram = other.zramSwap.enable;
        inherit (other.services.cloud-init.settings) users;
        inherit (other.fileSystems."/var/lib") fsType options;
      };
    expected = {
      failed = [ ];
      hostName = "other";
      zone = "Europe/Berlin";
      zram = false;
      users = [ "root" ];
      fsType = "xfs";
      options = [ "discard" ];
    };
  };
  "base can be left out whole" = {
    expr = (withExtra { fedi.base.enable = false; }).services.openssh.enable;
    expected = false;
  };
  "the lease asks for the agent, or for a word that there is none" = {
    expr = lib.any (lib.hasInfix "set fedi.guest.package") (
      eval.failed (withExtra {
        fedi.guest.package = lib.mkForce null;
      })
    );
    expected = true;
  };
  "the manifest lies where fedi looks for it" = {
    expr =
      let
        text = config.environment.etc."fedi/manifest.json".text;
      in
      (builtins.fromJSON text) == config.fedi.manifest;
    expected = true;
  };
  "no secret's folder can be listed, no lease can be read" = {
    expr = lib.sort lib.lessThan (
      lib.filter (rule: lib.hasPrefix "d /var/lib/fedi" rule) config.systemd.tmpfiles.rules
    );
    expected = [
      "d /var/lib/fedi 0711 root root - -"
      "d /var/lib/fedi/lease 0700 root root - -"
      "d /var/lib/fedi/secrets 0711 root root - -"
      "d /var/lib/fedi/secrets/matrix 0711 root root - -"
    ];
  };
  "an application is backed up when its file says so" = {
    expr =
      let
        backed = withExtra { fedi.backup.matrix.schedule = "*-*-* 03:30"; };
        service = backed.systemd.services.fedi-backup-matrix;
      in
      {
        inherit (backed.systemd.timers.fedi-backup-matrix.timerConfig) OnCalendar Persistent;
        runs = lib.hasSuffix "/bin/fedi-guest backup run matrix" service.serviceConfig.ExecStart;
        sets-right = lib.hasSuffix "/bin/fedi-guest backup resume matrix" service.serviceConfig.ExecStopPost;
        outside-the-gate = service.partOf == [ ] && service.wantedBy == [ ];
        has-restic = lib.any (package: package.pname == "restic") backed.environment.systemPackages;
      };
    expected = {
      OnCalendar = "*-*-* 03:30";
      Persistent = true;
      runs = true;
      sets-right = true;
      outside-the-gate = true;
      has-restic = true;
    };
  };
  "without a schedule only the operator makes backups" = {
    expr = {
      service = config.systemd.services ? fedi-backup-matrix;
      timer = config.systemd.timers ? fedi-backup-matrix;
      bare = bare.systemd.services ? fedi-backup-matrix;
    };
    expected = {
      service = true;
      timer = false;
      bare = false;
    };
  };
}
