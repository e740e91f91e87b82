//! A data centre in one network namespace, for tests and the demo.
