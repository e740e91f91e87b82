//! The planner's decisions, case by case.

mod deploy;
mod destroy;
mod records;
mod refuse;
mod render;
mod settle;
mod world;
