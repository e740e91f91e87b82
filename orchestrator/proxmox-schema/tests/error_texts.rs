//! Proxmox's own words for wrong parameters, as real daemons of 8.4.21 and 9.2.11 said them.

#![allow(clippy::unwrap_used, reason = "test code")]

use proxmox_schema::{Errors, Method, PveVersion, Schema};
use serde_json::{Value, json};

const OLD: PveVersion = PveVersion::FLOOR;
const NEW: PveVersion = PveVersion::new(9, 2);

fn errors(version: PveVersion, method: Method, path: &str, body: Value) -> Errors {
    let found = Schema::for_version(version).find(method, path).unwrap();
    let Value::Object(body) = body else { panic!("a body is an object") };
    found.endpoint.validate(&found.merge(body).unwrap()).err().unwrap_or_default()
}

/// The error of `name` when a VM is created with this value.
fn create(name: &str, value: impl Into<Value>) -> Option<String> {
    let mut body = json!({"vmid": 900});
    body[name] = value.into();
    errors(NEW, Method::Post, "/nodes/pve/qemu", body).remove(name)
}

#[test]
fn types_and_bounds() {
    let same = |name, value: Value, text: &str| assert_eq!(create(name, value).as_deref(), Some(text));
    same("vmid", json!("x"), "type check ('integer') failed - got 'x'");
    same("vmid", json!(99), "invalid format - value does not look like a valid VM ID\n");
    same("cores", json!(1.5), "type check ('integer') failed - got '1.5'");
    same("cores", json!(0), "value must have a minimum value of 1");
    same("onboot", json!("yes"), "type check ('boolean') failed - got 'yes'");
    same("name", json!(["a", "b"]), "type check ('string') failed - got ARRAY");
    same("name", json!({"a": 1}), "type check ('string') failed - got HASH");
    same("description", json!("a".repeat(8193)), "value may only be 8192 characters long");
    assert_eq!(create("onboot", true), None);
    assert_eq!(create("memory", "2048"), None);
    assert_eq!(create("description", "é".repeat(8192)), None, "characters count, not bytes");
}

#[test]
fn names() {
    let unknown = "property is not defined in schema and the schema does not allow additional properties";
    for name in ["foo", "Memory", "on_boot", "net32", "scsi01", "delete"] {
        assert_eq!(create(name, 1).as_deref(), Some(unknown), "{name}");
    }
    let missing = errors(NEW, Method::Post, "/nodes/pve/qemu", json!({}));
    assert_eq!(missing, Errors::from([("vmid".to_owned(), "property is missing and it is not optional".to_owned())]));
}

#[test]
fn choices_and_patterns() {
    let text = create("citype", "foo").unwrap();
    assert_eq!(text, "value 'foo' does not have a value in the enumeration 'configdrive2, nocloud, opennebula'");
    let resize = |size: &str| {
        let body = json!({"disk": "scsi0", "size": size});
        errors(NEW, Method::Put, "/nodes/pve/qemu/100/resize", body).remove("size")
    };
    assert_eq!(resize("-1G").as_deref(), Some("value does not match the regex pattern"));
    assert_eq!(resize("+1G"), None);
}

#[test]
fn property_strings() {
    let text = create("net0", "virtio,bridge=vmbr0,foo=1").unwrap();
    assert!(text.starts_with("invalid format - format error\nnet0.foo: property is not defined in schema"), "{text}");
    let text = create("net0", "virtio,bridge=").unwrap();
    assert_eq!(text, "invalid format - missing key in comma-separated list property\n");
    let text = create("scsi0", "local").unwrap();
    assert_eq!(
        text,
        "invalid format - format error\nscsi0.file: invalid format - unable to parse volume ID 'local'\n\n"
    );
    let text = create("cpu", "nonexistent-cpu").unwrap();
    assert_eq!(
        text,
        "invalid format - Built-in cputype 'nonexistent-cpu' is not defined (missing 'custom-' prefix?)\n"
    );
    assert_eq!(create("net0", "virtio=BC:24:11:00:00:01,bridge=vmbr0,firewall=yes"), None);
    assert_eq!(create("boot", "order=scsi9;net0"), None);
    assert_eq!(create("cpu", "x86-64-v2-AES"), None);
}

#[test]
fn what_needs_something_else_says_so_in_two_ways() {
    let gateway = |version| {
        let body = json!({"vmid": 900, "ipconfig0": "gw=10.0.0.1"});
        errors(version, Method::Post, "/nodes/pve/qemu", body).remove("ipconfig0").unwrap()
    };
    let start = "invalid format - format error\nipconfig0.ip: missing property";
    assert_eq!(gateway(OLD), format!("{start} - 'ipconfig0.gw' requires this property\n"));
    assert_eq!(gateway(NEW), format!("{start} required by 'ipconfig0.gw'\n"));
}

#[test]
fn ssh_keys_are_percent_encoded() {
    let raw = "ssh-ed25519 AAAA me@host";
    let text = create("sshkeys", raw).unwrap();
    assert_eq!(text, format!("invalid format - invalid urlencoded string: {raw}\n"));
    assert_eq!(create("sshkeys", "ssh-ed25519%20AAAA%20me%40host"), None);
}
