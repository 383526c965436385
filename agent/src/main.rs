//! The agent's program: reads the command line, does it, gives the exit code of the contract.

use std::process::ExitCode;

fn main() -> ExitCode {
    picket_agent::main(std::env::args_os())
}
