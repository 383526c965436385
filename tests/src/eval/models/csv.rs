//! Logins as CSV: a header names the columns, in any order; those that are not known are not read.

use std::borrow::Cow;

use super::super::file::class;

/// One login.
#[derive(Clone, Debug, Default)]
pub(in crate::eval) struct Login {
    pub(in crate::eval) class: Option<String>,
    /// Nanoseconds, from the `second` or else the `day`.
    pub(in crate::eval) at: i64,
    pub(in crate::eval) hour: Option<u8>,
    pub(in crate::eval) user: String,
    pub(in crate::eval) account: String,
    pub(in crate::eval) source: String,
    pub(in crate::eval) destination: String,
    pub(in crate::eval) kind: String,
}

/// Where each column is.
#[derive(Clone, Debug)]
pub(super) struct Logins {
    width: usize,
    label: usize,
    day: Option<usize>,
    second: Option<usize>,
    user: usize,
    account: Option<usize>,
    source: Option<usize>,
    destination: Option<usize>,
    kind: Vec<usize>,
}

impl Logins {
    /// From the header.
    pub(super) fn of(header: &str) -> Result<Self, String> {
        let names = fields(header);
        let one = |known: &[&str]| {
            names
                .iter()
                .position(|name| known.contains(&name.trim().to_ascii_lowercase().as_str()))
        };
        let must = |known: &[&str]| {
            one(known).ok_or_else(|| format!("the header names no column `{}`", known[0]))
        };
        let kinds = [
            "auth_type",
            "logon_type",
            "orientation",
            "activity",
            "method",
        ];
        Ok(Self {
            width: names.len(),
            label: must(&["label"])?,
            day: one(&["day"]),
            second: one(&["second"]),
            user: must(&["src_user", "user"])?,
            account: one(&["dst_user", "account"]),
            source: one(&["src_pc", "pc", "source"]),
            destination: one(&["dst_pc", "destination"]),
            kind: kinds.iter().filter_map(|kind| one(&[kind])).collect(),
        })
    }

    /// From a line.
    pub(super) fn read(&self, line: &str) -> Result<Login, String> {
        let fields = fields(line);
        if fields.len() != self.width {
            return Err(format!(
                "{} fields where the header has {}",
                fields.len(),
                self.width
            ));
        }
        let text = |place: Option<usize>| {
            let field = place.and_then(|place| fields.get(place));
            field
                .map(|field| field.trim())
                .filter(|field| *field != "?")
                .unwrap_or("")
                .to_owned()
        };
        let number = |name: &str, place: Option<usize>| {
            let text = text(place);
            let parsed = text.split('.').next().unwrap_or_default().parse::<i64>();
            if text.is_empty() {
                Ok(None)
            } else {
                parsed
                    .map(Some)
                    .map_err(|error| format!("`{name}` is no number: {error}"))
            }
        };
        let second = number("second", self.second)?;
        let day = number("day", self.day)?;
        let at = second.unwrap_or_else(|| day.unwrap_or_default().saturating_mul(DAY));
        let hour = second.map(|second| second.rem_euclid(DAY) / HOUR);
        let kind: Vec<String> = self.kind.iter().map(|place| text(Some(*place))).collect();
        Ok(Login {
            class: class(&text(Some(self.label))),
            at: at.saturating_mul(1_000_000_000),
            hour: hour.and_then(|hour| u8::try_from(hour).ok()),
            user: text(Some(self.user)),
            account: text(self.account),
            source: text(self.source),
            destination: text(self.destination),
            kind: kind.join(" "),
        })
    }
}

/// The fields of a line; one in quotes may hold commas and doubled quotes.
fn fields(line: &str) -> Vec<Cow<'_, str>> {
    if !line.contains('"') {
        return line.split(',').map(Cow::Borrowed).collect();
    }
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if quoted && letters.next_if_eq(&'"').is_some() => push(&mut fields, '"'),
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            letter => push(&mut fields, letter),
        }
    }
    fields.into_iter().map(Cow::Owned).collect()
}

fn push(fields: &mut [String], letter: char) {
    if let Some(last) = fields.last_mut() {
        last.push(letter);
    }
}

const DAY: i64 = 86_400;
const HOUR: i64 = 3_600;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_found_by_name_in_any_order() {
        let logins = Logins::of("second,dst_pc,label,user,extra").unwrap();
        let login = logins
            .read("90000,C2,impostor,\"U1, the \"\"first\"\"\",x")
            .unwrap();
        assert_eq!(login.class.as_deref(), Some("impostor"));
        assert_eq!(login.user, "U1, the \"first\"");
        assert_eq!(
            (
                login.hour,
                login.destination.as_str(),
                login.source.as_str()
            ),
            (Some(1), "C2", "")
        );
    }

    #[test]
    fn a_fraction_of_a_second_is_no_error() {
        let logins = Logins::of("label,second,user").unwrap();
        assert_eq!(logins.read("normal,7200.5,U1").unwrap().hour, Some(2));
    }

    #[test]
    fn wrong_lines_say_what_is_wrong() {
        assert!(Logins::of("a,b").unwrap_err().contains("`label`"));
        let logins = Logins::of("label,second,user").unwrap();
        assert!(logins.read("normal,x,U1").unwrap_err().contains("`second`"));
        assert!(logins.read("normal,1").unwrap_err().contains("2 fields"));
        assert_eq!(logins.read("normal,?,U1").unwrap().hour, None);
    }
}
