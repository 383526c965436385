//! Wrong command lines in one line, as every other error; help and version as they are.

use std::ffi::OsString;
use std::io::{self, Write};

use clap::Parser;
use clap::error::ErrorKind;

use crate::cli::Cli;
use crate::failure::{Exit, Failure};

/// The command line; `None` if it asked for help or the version, which were then printed.
pub fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Option<Cli>, Failure> {
    let error = match Cli::try_parse_from(arguments) {
        Ok(cli) => return Ok(Some(cli)),
        Err(error) => error,
    };
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // Whoever closed the pipe has seen enough.
            drop(write!(io::stdout().lock(), "{error}"));
            Ok(None)
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => Err(wrong("which command?")),
        _ => Err(wrong(&in_one_line(&error.to_string()))),
    }
}

fn wrong(text: &str) -> Failure {
    Failure::new(Exit::Usage, text).hint("picket-collector --help")
}

/// The message without its usage and help lines.
fn in_one_line(text: &str) -> String {
    let lines = text.lines().take_while(|line| !line.trim().is_empty());
    let joined = lines.map(str::trim).collect::<Vec<_>>().join(" ");
    joined.strip_prefix("error: ").unwrap_or(&joined).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(arguments: &[&str]) -> String {
        let refused = parse(arguments.iter().map(OsString::from));
        refused.unwrap_err().to_string()
    }

    #[test]
    fn a_wrong_command_line_is_one_line_and_a_hint() {
        let end = "\nhint: picket-collector --help";
        let nothing = refusal(&["picket-collector"]);
        assert_eq!(nothing, format!("picket-collector: which command?{end}"));
        let missing = refusal(&["picket-collector", "serve"]);
        let said = "the following required arguments were not provided: --data <DIR>";
        assert_eq!(missing, format!("picket-collector: {said}{end}"));
        let wrong = refusal(&["picket-collector", "serve", "--data", "x", "--agents", "y"]);
        assert!(
            wrong.starts_with("picket-collector: invalid value 'y'"),
            "{wrong}"
        );
    }
}
