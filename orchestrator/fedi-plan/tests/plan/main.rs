//! The planner's decisions, case by case.

#![allow(clippy::unwrap_used)]

mod deploy;
mod destroy;
mod records;
mod refuse;
mod render;
mod settle;
mod world;
