//! The planner's decisions, case by case.

#![allow(clippy::unwrap_used)]

mod clone;
mod deploy;
mod destroy;
mod records;
mod refuse;
mod render;
mod restore;
mod settle;
mod world;
