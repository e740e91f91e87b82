//! Secrets: how they are made and where they are kept.

mod age_store;
mod generate;

pub use age_store::AgeStore;
pub use generate::{GenerateError, generate};
