//! Network options: `virtio=BC:24:11:00:00:01,bridge=vmbr0`.

use proxmox_schema::Properties;

use super::config::Config;
use super::drive::numbered;
use crate::access::Path;
use crate::call::{Call, split_list};
use crate::error::{ApiError, ApiResult};
use crate::sim::Sim;
use crate::state::State;

/// A network option taken apart by its schema.
pub(crate) fn parse(sim: &Sim, option: &str, value: &str) -> Properties {
    sim.option_format(option).and_then(|format| format.parse(value, option).ok()).unwrap_or_default()
}

/// Prints a network option with the model's alias first.
pub(crate) fn print(properties: &Properties) -> String {
    let model = properties.get("model").map_or("e1000", String::as_str);
    let first = match properties.get("macaddr") {
        Some(mac) => format!("{model}={mac}"),
        None => model.to_owned(),
    };
    properties
        .iter()
        .filter(|(key, _)| !matches!(key.as_str(), "model" | "macaddr"))
        .fold(first, |text, (key, value)| format!("{text},{key}={value}"))
}

/// A network option with a MAC address; one is drawn where none was given.
pub(crate) fn with_mac(sim: &Sim, option: &str, value: &str) -> String {
    let mut properties = parse(sim, option, value);
    properties
        .entry("macaddr".to_owned())
        .and_modify(|mac| *mac = mac.to_uppercase())
        .or_insert_with(|| sim.random_mac());
    print(&properties)
}

/// The right to use the bridges of some options.
pub(crate) fn check_bridges(call: &Call, state: &State, config: &Config) -> ApiResult<()> {
    if call.is_root() {
        return Ok(());
    }
    for (option, value) in config.iter().filter(|(option, _)| numbered(option, "net").is_some()) {
        let net = parse(&call.sim, option, value);
        let Some(bridge) = net.get("bridge") else { continue };
        check_vnet(call, state, bridge, net.get("tag"), net.get("trunks"))?;
    }
    Ok(())
}

fn check_vnet(
    call: &Call,
    state: &State,
    bridge: &str,
    tag: Option<&String>,
    trunks: Option<&String>,
) -> ApiResult<()> {
    let base = format!("/sdn/zones/localnetwork/{bridge}");
    let may_use = |path: String| call.require(state, &Path::new(path), &["SDN.Use"]);
    if may_use(base.clone()).is_ok() {
        return Ok(());
    }
    match tag {
        Some(tag) => may_use(format!("{base}/{tag}"))?,
        None => may_use(base.clone())?,
    }
    for trunk in trunks.iter().flat_map(|trunks| split_list(trunks)) {
        may_use(format!("{base}/{trunk}"))?;
    }
    Ok(())
}

/// Bridges of a configuration that the node does not have.
pub(crate) fn missing_bridges(state: &State, node: &str, sim: &Sim, config: &Config) -> Vec<(u8, String)> {
    let known = state.node(node).map(|node| node.bridges.clone()).unwrap_or_default();
    config
        .iter()
        .filter_map(|(option, value)| {
            let index = numbered(option, "net")?;
            let bridge = parse(sim, option, value).remove("bridge")?;
            (!known.contains(&bridge)).then_some((index, bridge))
        })
        .collect()
}

/// What plugging in a card on a bridge that is not there says.
pub(crate) fn hotplug_error(vmid: u32) -> ApiError {
    ApiError::die(format!(
        "VM {vmid} qmp command 'netdev_add' failed - network script /usr/libexec/qemu-server/pve-bridge-hotplug \
         failed with status 512"
    ))
}
