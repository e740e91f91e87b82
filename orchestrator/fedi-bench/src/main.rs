//! Measurements behind make bench.
fn main() {}
