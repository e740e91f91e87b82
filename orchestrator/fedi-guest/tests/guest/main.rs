//! The agent on a real guest: real systemd, real sshd, real restarts.

mod activation;
mod application;
mod harness;
mod systems;
