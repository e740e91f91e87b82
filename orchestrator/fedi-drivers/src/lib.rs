//! One module per outside system, behind the engine's traits.
