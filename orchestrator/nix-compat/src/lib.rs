//! Evaluate, build, copy and activate Nix systems through the nix command.
