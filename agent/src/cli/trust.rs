//! `trust replace`: the last resort of whoever is root on this host, when no operator can sign a trust root any more.

use std::fs;
use std::io::{self, Write};
use std::thread;
use std::time::Duration;

use picket_event::trust::from_pem;

use super::TrustReplaceArgs;
use crate::failure::{Code, Failure};
use crate::state::host::{self, REPLACEMENT};

/// Times that the file is looked for, a fifth of a second apart.
const LOOKS: u32 = 50;

/// Puts another trust root where the agent finds it, and waits until it was taken.
pub(super) fn replace(arguments: &TrustReplaceArgs) -> Result<(), Failure> {
    host::require(&arguments.state)?;
    let text = fs::read_to_string(&arguments.file).map_err(|error| {
        let file = arguments.file.display();
        Failure::line(Code::Failed, format!("failed to read `{file}`: {error}"))
    })?;
    let (_, root) = from_pem(&text).map_err(|error| Failure::new(Code::Failed, &error))?;
    root.check_meetable()
        .map_err(|error| Failure::new(Code::Refused, &error))?;
    let path = arguments.state.join(REPLACEMENT);
    crate::state::write(&path, text.as_bytes())?;
    let said = if is_taken(&path) {
        format!("trust root {} is in force on this host", root.version)
    } else {
        format!(
            "trust root {} will be taken when the agent starts: it does not run",
            root.version
        )
    };
    let printed = writeln!(io::stdout().lock(), "{said}");
    printed.map_err(|error| Failure::new(Code::Failed, &error))
}

fn is_taken(path: &std::path::Path) -> bool {
    (0..LOOKS).any(|_| {
        thread::park_timeout(Duration::from_millis(200));
        !path.exists()
    })
}
