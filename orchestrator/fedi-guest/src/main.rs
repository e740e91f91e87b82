//! The agent on the guest: facts, lease, health.
fn main() {}
