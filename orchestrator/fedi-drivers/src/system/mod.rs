//! Where the systems of guests come from.

mod prebuilt;

pub use prebuilt::PrebuiltSystems;
