//! Which right each option of a VM asks for.

use super::config::Config;
use super::drive::{Drive, is_drive, numbered};
use super::net;
use crate::access::Path;
use crate::call::{Call, split_list};
use crate::error::{ApiError, ApiResult};
use crate::state::State;
use crate::storage::{Kind, check_volume_access, parse_volume_id, parse_volume_name};

fn is_series(option: &str, names: &[&str]) -> bool {
    names.iter().any(|name| numbered(option, name).is_some())
}

/// The privileges of an option, and whether one of them is enough. `None`: only root may set it.
fn privileges(option: &str) -> Option<(&'static [&'static str], bool)> {
    let privileges: &[&str] = match option {
        "cores" | "cpu" | "runningcpu" | "cpulimit" | "cpuunits" | "numa" | "smp" | "sockets" | "vcpus" => {
            &["VM.Config.CPU"]
        }
        "memory" | "balloon" | "shares" | "allow-ksm" => &["VM.Config.Memory"],
        "acpi" | "hotplug" | "kvm" | "machine" | "runningmachine" | "scsihw" | "smbios1" | "tablet" | "vga"
        | "watchdog" | "audio0" | "rng0" => &["VM.Config.HWType"],
        "agent" | "autostart" | "bios" | "description" | "keyboard" | "localtime" | "migrate_downtime"
        | "migrate_speed" | "name" | "onboot" | "ostype" | "protection" | "reboot" | "startdate" | "startup"
        | "tdf" | "template" => &["VM.Config.Options"],
        "freeze" => &["VM.PowerMgmt"],
        "boot" | "bootdisk" | "vmstatestorage" => &["VM.Config.Disk"],
        "cicustom" | "cipassword" | "citype" | "ciuser" | "ciupgrade" | "nameserver" | "searchdomain" | "sshkeys" => {
            return Some((&["VM.Config.Cloudinit", "VM.Config.Network"], true));
        }
        "vmstate" => &["VM.Config.Disk", "VM.PowerMgmt"],
        _ if numbered(option, "numa").is_some() => &["VM.Config.CPU"],
        _ if numbered(option, "net").is_some() => &["VM.Config.Network"],
        _ if numbered(option, "ipconfig").is_some() => {
            return Some((&["VM.Config.Cloudinit", "VM.Config.Network"], true));
        }
        _ => return None,
    };
    Some((privileges, false))
}

/// Checks the rights for a set of options. `pool` is only for a VM that is being created.
pub(crate) fn check_options<'a>(
    call: &Call,
    state: &State,
    vmid: u32,
    pool: Option<&str>,
    options: impl Iterator<Item = &'a String>,
) -> ApiResult<()> {
    if call.is_root() {
        return Ok(());
    }
    let access = &state.access;
    for option in options {
        let elsewhere = is_drive(option)
            || matches!(option.as_str(), "cdrom" | "tags")
            || is_series(option, &["unused", "serial", "usb", "hostpci", "virtiofs"]);
        if elsewhere {
            continue;
        }
        let Some((privileges, any)) = privileges(option) else {
            return Err(ApiError::die(format!("only root can set '{option}' config")));
        };
        access.require_vm(call.sim.version, &call.user, vmid, pool, privileges, any)?;
        if option == "startup" {
            call.require(state, &Path::root(), &["Sys.Modify"])?;
        }
    }
    Ok(())
}

/// Options whose right depends on their value: serial ports, USB, PCI.
pub(crate) fn check_devices(
    call: &Call,
    state: &State,
    vmid: u32,
    pool: Option<&str>,
    config: &Config,
) -> ApiResult<()> {
    if call.is_root() {
        return Ok(());
    }
    let hardware = || state.access.require_vm(call.sim.version, &call.user, vmid, pool, &["VM.Config.HWType"], false);
    for (option, value) in config {
        if numbered(option, "serial").is_some() {
            if value != "socket" {
                return Err(ApiError::die(format!("only root can set '{option}' config for real devices")));
            }
            hardware()?;
        } else if numbered(option, "usb").is_some() {
            hardware()?;
            if let Some(mapping) = property(value, "mapping") {
                call.require(state, &Path::new(format!("/mapping/usb/{mapping}")), &["Mapping.Use"])?;
            } else if !value.split(',').any(|part| part.trim_start_matches("host=").eq_ignore_ascii_case("spice")) {
                return Err(ApiError::die(format!("only root can set '{option}' config for real devices")));
            }
        } else if numbered(option, "hostpci").is_some() {
            match property(value, "mapping") {
                Some(mapping) => {
                    call.require(state, &Path::new(format!("/mapping/pci/{mapping}")), &["Mapping.Use"])?;
                    hardware()?;
                }
                None => {
                    return Err(ApiError::die(format!("only root can set '{option}' config for non-mapped devices")));
                }
            }
        }
    }
    Ok(())
}

fn property<'a>(value: &'a str, key: &str) -> Option<&'a str> {
    value.split(',').find_map(|part| part.strip_prefix(key)?.strip_prefix('='))
}

/// The right to change tags, which is asked for on the VM itself.
pub(crate) fn check_tags(call: &Call, state: &State, vmid: u32) -> ApiResult<()> {
    call.require(state, &Path::vm(vmid), &["VM.Config.Options"])
}

/// Sorted, lower-case, each once.
pub(crate) fn unique_tags(tags: &str) -> String {
    let mut tags: Vec<String> = split_list(tags).iter().map(|tag| tag.to_lowercase()).collect();
    tags.sort();
    tags.dedup();
    tags.join(";")
}

/// The right to change a disk, by what kind it is.
pub(crate) fn check_drive(call: &Call, state: &State, vmid: u32, drive: &Drive) -> ApiResult<()> {
    let privileges: &[&str] = if drive.is_cloudinit() {
        &["VM.Config.Cloudinit", "VM.Config.CDROM"]
    } else if drive.is_cdrom() {
        &["VM.Config.CDROM"]
    } else {
        &["VM.Config.Disk"]
    };
    call.require(state, &Path::vm(vmid), privileges)
}

/// Checks the syntax of disk options beyond their schema.
pub(crate) fn check_drives(call: &Call, state: &State, config: &mut Config) -> ApiResult<()> {
    let names: Vec<String> = config.keys().filter(|name| is_drive(name)).cloned().collect();
    for option in names {
        let Some(drive) = Drive::given(&call.sim, &option, &config[&option]) else {
            return Err(ApiError::param(&option, "unable to parse drive options"));
        };
        let new = drive.new_disk();
        if drive.options.contains_key("import-from") {
            if new.as_ref().is_none_or(|disk| disk.gib != 0.0) {
                let text = "'import-from' requires special syntax - use <storage ID>:0,import-from=<source>";
                return Err(ApiError::param(&option, text));
            }
            for required in ["efitype", "pre-enrolled-keys"] {
                if option == "efidisk0" && !drive.options.contains_key(required) {
                    let text = format!("need to specify '{required}' when using 'import-from'");
                    return Err(ApiError::param(&option, text));
                }
            }
            if option == "tpmstate0" && !drive.options.contains_key("version") {
                let text = "need to specify 'version' when using 'import-from'";
                return Err(ApiError::param(&option, text));
            }
        }
        if new.is_none()
            && let Some((storage, name)) = parse_volume_id(&drive.file)
            && name != "cloudinit"
        {
            let volume = parse_volume_name(state.need_storage(storage)?, name)?;
            if volume.kind == Kind::Iso && !drive.is_cdrom() {
                let text = "explicit 'media=cdrom' is required for iso images";
                return Err(ApiError::param(&option, text));
            }
        }
        config.insert(option, drive.print());
    }
    Ok(())
}

/// The rights on storages that disk options need.
pub(crate) fn check_storages(
    call: &Call,
    state: &State,
    vmid: u32,
    config: &Config,
    default_storage: Option<&str>,
) -> ApiResult<()> {
    for (option, value) in config.iter().filter(|(option, _)| is_drive(option)) {
        let Some(drive) = Drive::given(&call.sim, option, value) else { continue };
        let volume_name = parse_volume_id(&drive.file).map(|(_, name)| name);
        let plain = drive.file == "none" || drive.file == "cloudinit" || volume_name == Some("cloudinit");
        if plain {
            // Nothing to check.
        } else if drive.is_cdrom() && drive.file == "cdrom" {
            call.require(state, &Path::root(), &["Sys.Console"])?;
        } else if let Some(new) = drive.new_disk().filter(|_| !drive.is_cdrom()) {
            let storage = new.storage.as_deref().or(default_storage);
            let storage = storage.ok_or_else(|| ApiError::die("no storage ID specified (and no default storage)"))?;
            call.require(state, &Path::storage(storage), &["Datastore.AllocateSpace"])?;
            if !state.need_storage(storage)?.holds("images") {
                let text = format!("storage '{storage}' does not support vm images");
                return Err(ApiError::param("storage", text));
            }
        } else {
            check_volume_access(call, state, Some(vmid), &drive.file, None)?;
            if let Some((storage, name)) = parse_volume_id(&drive.file) {
                let volume = parse_volume_name(state.need_storage(storage)?, name)?;
                if !matches!(volume.kind, Kind::Images | Kind::Iso) {
                    return Err(ApiError::param(option, "content type needs to be 'images' or 'iso'"));
                }
            }
        }
        if let Some(source) = drive.options.get("import-from") {
            check_import(call, state, vmid, option, source)?;
        }
    }
    for (option, value) in config.iter().filter(|(option, _)| numbered(option, "unused").is_some()) {
        let volid = value.split(',').next().unwrap_or_default();
        if parse_volume_id(volid).is_none() {
            return Err(ApiError::param(option, format!("not a valid volid: {volid}")));
        }
        check_volume_access(call, state, Some(vmid), volid, Some(Kind::Images))?;
    }
    if let Some(storage) = config.get("vmstatestorage") {
        call.require(state, &Path::storage(storage), &["Datastore.AllocateSpace"])?;
    }
    Ok(())
}

fn check_import(call: &Call, state: &State, vmid: u32, option: &str, source: &str) -> ApiResult<()> {
    let mut owner = None;
    if let Some((storage, name)) = parse_volume_id(source) {
        let volume = parse_volume_name(state.need_storage(storage)?, name)?;
        if !matches!(volume.kind, Kind::Images | Kind::Import) {
            let kind = volume.kind.as_str();
            let text = format!("{source} has wrong type '{kind}' - needs to be 'images' or 'import'");
            return Err(ApiError::param(option, text));
        }
        owner = volume.vmid;
    }
    match owner {
        Some(owner) => call.require(state, &Path::vm(owner), &["VM.Clone"]),
        None => check_volume_access(call, state, Some(vmid), source, None),
    }
}

/// All that is checked of a set of options before a VM is created from them.
pub(crate) fn check_create(
    call: &Call,
    state: &State,
    vmid: u32,
    pool: Option<&str>,
    config: &mut Config,
    default_storage: Option<&str>,
) -> ApiResult<()> {
    check_storages(call, state, vmid, config, default_storage)?;
    check_options(call, state, vmid, pool, config.keys())?;
    check_devices(call, state, vmid, pool, config)?;
    net::check_bridges(call, state, config)?;
    check_drives(call, state, config)
}
