//! The command line: the only crate that prints, exits and names concrete drivers.
fn main() {}
