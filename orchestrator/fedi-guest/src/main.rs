//! `fedi-guest`: the agent on the guest, for sessions, units and people.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run(std::env::args().skip(1).collect())
}
