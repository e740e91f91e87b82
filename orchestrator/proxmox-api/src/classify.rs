//! Proxmox's error texts, sorted into classes.
//!
//! Proxmox has few status codes and many words: nearly everything that fails inside a method is a 500 with a text,
//! and much of what fails is a task that ends with a text. The words are those of 8.4 to 9.2.

use std::collections::BTreeMap;

use proxmox_schema::Method;

use crate::class::{Class, Conflict, Missing, State};

/// A text that holds all of the words on the left means what is on the right; the first that fits counts.
const WORDS: &[(&[&str], Class)] = &[
    (&["got no worker upid"], Class::NotSent),
    (&["start worker failed"], Class::NotSent),
    (&["no quorum"], Class::Quorum),
    (&["/etc/pve/", "Permission denied"], Class::Quorum),
    (&["checksum mismatch: got"], Class::Checksum),
    (&["checksum mismatch"], Class::Conflict(Conflict::Digest)),
    (&["detected modified configuration"], Class::Conflict(Conflict::Digest)),
    (&["can't lock file"], Class::Conflict(Conflict::Locked)),
    (&["got lock request timeout"], Class::Conflict(Conflict::Locked)),
    (&["got lock timeout"], Class::Conflict(Conflict::Locked)),
    (&["VM is locked"], Class::Conflict(Conflict::Locked)),
    (&["No space left on device"], Class::NoSpace),
    (&["not enough space"], Class::NoSpace),
    (&["out of space"], Class::NoSpace),
    (&["insufficient free space"], Class::NoSpace),
    (&["Disk quota exceeded"], Class::NoSpace),
    (&["protection mode enabled"], Class::State(State::Protected)),
    (&["is running - destroy failed"], Class::State(State::Running)),
    (&["already running"], Class::State(State::Running)),
    (&["powerdown failed - got timeout"], Class::State(State::StopTimeout)),
    (&["No QEMU guest agent configured"], Class::State(State::AgentOff)),
    (&["QEMU guest agent is not running"], Class::State(State::AgentSilent)),
    (&["VM ", " not running"], Class::State(State::Stopped)),
    (&["storage '", "is disabled"], Class::State(State::Disabled)),
    (&["already exists"], Class::Conflict(Conflict::Exists)),
    (&["already used"], Class::Conflict(Conflict::Exists)),
    (&["File exists"], Class::Conflict(Conflict::Exists)),
    (&["refusing to override existing file"], Class::Conflict(Conflict::Exists)),
    (&["received interrupt"], Class::Aborted),
    (&["unexpected status"], Class::Ambiguous),
    (&["only root can"], Class::Permission { path: None, privilege: None }),
    (&["Only root "], Class::Permission { path: None, privilege: None }),
    (&["Configuration file '", "does not exist"], Class::NotFound(Missing::Vm)),
    (&["hostname lookup '", "failed"], Class::NotFound(Missing::Node)),
    (&["no such cluster node"], Class::NotFound(Missing::Node)),
    (&["No such storage"], Class::NotFound(Missing::Storage)),
    (&["storage '", "does not exist"], Class::NotFound(Missing::Storage)),
    (&["volume '", "does not exist"], Class::NotFound(Missing::Volume)),
    (&["failed to stat '"], Class::NotFound(Missing::Volume)),
    (&["volume_size_info on '", "failed - no format"], Class::NotFound(Missing::Volume)),
    (&["pool '", "does not exist"], Class::NotFound(Missing::Pool)),
    (&["no such task"], Class::NotFound(Missing::Task)),
    (&["No such file or directory"], Class::NotFound(Missing::File)),
    (&["does not exist"], Class::NotFound(Missing::Other)),
    (&["no such "], Class::NotFound(Missing::Other)),
];

/// The class of a text that says why something failed, wherever it stood.
pub(crate) fn of_text(text: &str) -> Class {
    if let Some(class) = permission(text) {
        return class;
    }
    let fits = |words: &[&str]| {
        let mut rest = text;
        words.iter().all(|word| match rest.find(word) {
            Some(place) => {
                rest = &rest[place + word.len()..];
                true
            }
            None => false,
        })
    };
    WORDS.iter().find(|(words, _)| fits(words)).map_or(Class::Permanent, |(_, class)| class.clone())
}

/// `Permission check failed (/vms/100, VM.Allocate)`, with or without what stands in brackets.
fn permission(text: &str) -> Option<Class> {
    let (_, rest) = text.split_once("Permission check failed")?;
    if rest.contains("(pool '") && rest.contains("does not exist") {
        return Some(Class::NotFound(Missing::Pool));
    }
    let inside = rest.trim_start().strip_prefix('(').and_then(|rest| rest.rsplit_once(')'));
    let pair = inside.and_then(|(inside, _)| inside.split_once(", "));
    let pair = pair.filter(|(path, privilege)| path.starts_with('/') && !privilege.contains(' '));
    Some(Class::Permission {
        path: pair.map(|(path, _)| path.to_owned()),
        privilege: pair.map(|(_, privilege)| privilege.to_owned()),
    })
}

/// The class of an answer that is no success.
pub(crate) fn of_answer(method: Method, status: u16, message: &str, errors: &BTreeMap<String, String>) -> Class {
    let unclear = if method == Method::Get { Class::Transient } else { Class::Ambiguous };
    match status {
        400 => of_errors(errors),
        401 => Class::Credentials,
        403 => permission(message).unwrap_or(Class::Permission { path: None, privilege: None }),
        // A node or daemon could not be reached: the request went nowhere.
        595 => Class::NotSent,
        // The connection to it broke, or was given up after 30 seconds while the work went on.
        502 | 504 | 596..=599 => unclear,
        500 | 503 => match of_text(message) {
            Class::Permanent if status == 503 => unclear,
            class => class,
        },
        _ => Class::Permanent,
    }
}

/// Most 400 say that a parameter is wrong; some methods say more with it.
fn of_errors(errors: &BTreeMap<String, String>) -> Class {
    let told = errors.values().map(|text| of_text(text)).find(|class| *class != Class::Permanent);
    told.unwrap_or(Class::Parameters)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(method: Method, status: u16, message: &str) -> Class {
        of_answer(method, status, message, &BTreeMap::new())
    }

    fn permission_on(path: &str, privilege: &str) -> Class {
        Class::Permission { path: Some(path.to_owned()), privilege: Some(privilege.to_owned()) }
    }

    #[test]
    fn what_was_there_first() {
        let post = |message| answer(Method::Post, 500, message);
        let exists = Class::Conflict(Conflict::Exists);
        assert_eq!(post("unable to create VM 100 - VM 100 already exists on node 'pve'"), exists);
        assert_eq!(post("unable to create VM 130: config file already exists"), exists);
        let locked = Class::Conflict(Conflict::Locked);
        assert_eq!(post("VM is locked (create)"), locked);
        assert_eq!(post("can't lock file '/var/lock/qemu-server/lock-140.conf' - got timeout"), locked);
        assert_eq!(post("cfs-lock 'storage-nfs' error: got lock request timeout"), locked);
        let digest = Class::Conflict(Conflict::Digest);
        assert_eq!(post("checksum mismatch (file change by other user?)"), digest);
        assert_eq!(post("detected modified configuration - file changed by other user? Try again."), digest);
    }

    #[test]
    fn rights() {
        assert_eq!(
            answer(Method::Post, 403, "Permission check failed (/storage/local, Datastore.AllocateSpace)"),
            permission_on("/storage/local", "Datastore.AllocateSpace")
        );
        assert_eq!(
            of_text("unable to create VM 103 - 403 Permission check failed (/vms/103, VM.Config.Options)"),
            permission_on("/vms/103", "VM.Config.Options")
        );
        let unknown = Class::Permission { path: None, privilege: None };
        assert_eq!(answer(Method::Post, 403, "Permission check failed"), unknown);
        let no_pool = answer(Method::Post, 403, "Permission check failed (pool 'zzz' does not exist)");
        assert_eq!(no_pool, Class::NotFound(Missing::Pool));
        assert_eq!(answer(Method::Put, 500, "only root can set 'args' config"), unknown);
        let errors = BTreeMap::from([("skiplock".to_owned(), "Only root may use this option.".to_owned())]);
        assert_eq!(of_answer(Method::Delete, 400, "Parameter verification failed.", &errors), unknown);
    }

    #[test]
    fn no_quorum_has_many_words() {
        for text in [
            "cluster not ready - no quorum?",
            "create pool failed: cfs-lock 'file-user_cfg' error: no quorum!",
            "unable to open file '/etc/pve/nodes/pve/qemu-server/100.conf.tmp.1' - Permission denied",
        ] {
            assert_eq!(answer(Method::Put, 500, text), Class::Quorum, "{text}");
        }
    }

    #[test]
    fn what_may_have_happened() {
        for status in [596, 597, 598, 599, 502, 504] {
            assert_eq!(answer(Method::Post, status, "Connection timed out"), Class::Ambiguous);
            assert_eq!(answer(Method::Get, status, "Connection timed out"), Class::Transient);
        }
        assert_eq!(answer(Method::Post, 595, "Connection refused"), Class::NotSent);
        assert_eq!(answer(Method::Post, 500, "got no worker upid - start worker failed"), Class::NotSent);
        assert_eq!(of_text("unexpected status"), Class::Ambiguous);
        assert_eq!(answer(Method::Post, 500, "words nobody has heard"), Class::Permanent);
    }

    #[test]
    fn parameters_and_what_they_name() {
        let with = |name: &str, text: &str| {
            let errors = BTreeMap::from([(name.to_owned(), text.to_owned())]);
            of_answer(Method::Get, 400, "Parameter verification failed.", &errors)
        };
        assert_eq!(with("cores", "value must have a minimum value of 1"), Class::Parameters);
        assert_eq!(with("vmid", "VM 100 already exists"), Class::Conflict(Conflict::Exists));
        assert_eq!(with("upid", "no such task"), Class::NotFound(Missing::Task));
        assert_eq!(with("storage", "No such storage."), Class::NotFound(Missing::Storage));
    }

    #[test]
    fn states() {
        assert_eq!(of_text("VM 110 is not running"), Class::State(State::Stopped));
        assert_eq!(of_text("QEMU guest agent is not running"), Class::State(State::AgentSilent));
        assert_eq!(of_text("VM 100 is running - destroy failed"), Class::State(State::Running));
        assert_eq!(of_text("can't remove VM 100 - protection mode enabled"), Class::State(State::Protected));
        assert_eq!(of_text("VM quit/powerdown failed - got timeout"), Class::State(State::StopTimeout));
    }

    #[test]
    fn what_is_missing() {
        let missing = |text| match of_text(text) {
            Class::NotFound(missing) => missing,
            other => panic!("{text} is {other:?}"),
        };
        let vm = "Configuration file 'nodes/pve/qemu-server/900.conf' does not exist";
        assert_eq!(missing(vm), Missing::Vm);
        assert_eq!(missing("hostname lookup 'nope' failed - failed to get address info"), Missing::Node);
        assert_eq!(missing("unable to create VM 1 - storage 'nope' does not exist"), Missing::Storage);
        assert_eq!(missing("volume 'local:iso/missing.iso' does not exist"), Missing::Volume);
        let file = "Agent error: failed to open file '/nope' (mode: 'r'): No such file or directory";
        assert_eq!(missing(file), Missing::File);
        assert_eq!(missing("snapshot 'nope' does not exist"), Missing::Other);
    }

    #[test]
    fn files_and_space() {
        assert_eq!(of_text("checksum mismatch: got 'ab' != expect 'cd'"), Class::Checksum);
        assert_eq!(of_text("import failed: cp: error writing '/x': No space left on device"), Class::NoSpace);
        assert_eq!(of_text("unable to create VM 1 - failed to stat '/x.qcow2'"), Class::NotFound(Missing::Volume));
    }
}
