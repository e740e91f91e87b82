//! Test context and the generic workflow tests.
