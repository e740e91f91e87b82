//! Where the systems of guests come from.

mod nix;
mod prebuilt;

pub use nix::NixSystems;
pub use prebuilt::PrebuiltSystems;
