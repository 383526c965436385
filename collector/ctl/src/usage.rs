//! Wrong command lines in one line, as every other error; help and version as they are.

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

use crate::cli::Cli;
use crate::failure::{Exit, Failure};
use crate::output::Output;

/// The command line, or how the program ends instead.
pub(crate) fn parse() -> Result<Option<Cli>, Failure> {
    let error = match Cli::try_parse() {
        Ok(cli) => return Ok(Some(cli)),
        Err(error) => error,
    };
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let mut out = Output::stdout();
            out.line(error.to_string().trim_end())?;
            out.flush()?;
            Ok(None)
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand => {
            Err(wrong("which command?".to_owned(), std::env::args_os()))
        }
        _ => Err(wrong(in_one_line(&error.to_string()), std::env::args_os())),
    }
}

fn wrong(text: String, args: impl Iterator<Item = OsString>) -> Failure {
    Failure::new(Exit::Usage, text).hint(format!("{} --help", asked(args)))
}

/// The verbs among the words that were typed, as `picketctl token create`.
fn asked(args: impl Iterator<Item = OsString>) -> String {
    let mut words = vec!["picketctl".to_owned()];
    let mut command = Cli::command();
    for word in args.skip(1) {
        let verb = word.to_str().and_then(|word| command.find_subcommand(word));
        if let Some(verb) = verb.cloned() {
            words.push(verb.get_name().to_owned());
            command = verb;
        }
    }
    words.join(" ")
}

/// The message without its usage and help lines.
fn in_one_line(text: &str) -> String {
    let message = text.split("\n\nUsage:").next().unwrap_or(text);
    let message = message.split("\n\nFor more information").next();
    let lines = message.unwrap_or(text).lines().map(str::trim);
    let parts: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    let joined = parts.join(" ");
    joined.strip_prefix("error: ").unwrap_or(&joined).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(args: &[&str]) -> Failure {
        let error = Cli::try_parse_from(args).unwrap_err();
        wrong(
            in_one_line(&error.to_string()),
            args.iter().map(OsString::from),
        )
    }

    #[test]
    fn a_missing_flag_is_said_in_one_line() {
        let failure = refusal(&["picketctl", "operator", "init", "--name", "alice"]);
        assert_eq!(
            failure.to_string(),
            "picketctl: the following required arguments were not provided: --out <DIR>\n\
             hint: picketctl operator init --help"
        );
        assert_eq!(failure.exit(), Exit::Usage);
    }

    #[test]
    fn a_wrong_value_is_said_in_one_line() {
        let failure = refusal(&["picketctl", "tail", "--min-severity", "bad"]);
        let text = failure.to_string();
        assert!(text.starts_with("picketctl: invalid value 'bad' for '--min-severity"));
        assert!(text.ends_with("\nhint: picketctl tail --help"), "{text}");
        assert_eq!(text.lines().count(), 2, "{text}");
    }
}
