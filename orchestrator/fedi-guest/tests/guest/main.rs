//! The agent on a real guest: real systemd, real sshd, real restarts.

mod activation;
mod application;
mod backup;
mod harness;
mod nix;
mod systems;

// A flake in a store of its own, as the tests of `nix-compat` use it.
#[path = "../../../nix-compat/tests/common/mod.rs"]
mod flake;
