//! Looking at a deployment from outside, as its users and its peers do.

mod outside;

pub use outside::HttpsProbe;
