//! What is otherwise in new content than in the version before, for whoever signs it.

use std::collections::BTreeMap;

use picket_event::content::{Content, ContentKind};

/// One line for each file that differs; what is one file is shown whole.
pub(super) fn of(before: Option<&Content>, after: &Content) -> Vec<String> {
    let (kind, version) = (after.kind, after.version);
    let mut lines = vec![match before {
        Some(before) => format!("{kind} {version} after {}", before.version),
        None => format!("{kind} {version}, the first"),
    }];
    if kind != ContentKind::Rules {
        let text = after.files.iter().flat_map(|file| file.text.lines());
        lines.extend(text.map(|line| format!("  {line}")));
        return lines;
    }
    let (old, new) = (texts(before), texts(Some(after)));
    for (name, text) in &new {
        match old.get(name) {
            None => lines.push(format!("+ {name}")),
            Some(before) if before != text => lines.push(format!("~ {name}")),
            Some(_) => {}
        }
    }
    let gone = old.keys().filter(|name| !new.contains_key(*name));
    lines.extend(gone.map(|name| format!("- {name}")));
    lines.push(format!("  {} files", new.len()));
    lines
}

fn texts(content: Option<&Content>) -> BTreeMap<&str, &str> {
    let files = content.map_or(&[][..], |content| &content.files);
    files
        .iter()
        .map(|file| (file.name.as_str(), file.text.as_str()))
        .collect()
}

#[cfg(test)]
mod tests {
    use picket_event::UnixNanos;
    use picket_event::content::ContentFile;

    use super::*;

    fn content(kind: ContentKind, version: u64, files: &[(&str, &str)]) -> Content {
        let file = |(name, text): &(&str, &str)| ContentFile {
            name: (*name).to_owned(),
            text: (*text).to_owned(),
        };
        Content {
            kind,
            version,
            created: UnixNanos(1),
            files: files.iter().map(file).collect(),
            reason: String::new(),
        }
    }

    #[test]
    fn each_file_that_differs_is_named() {
        let rules = ContentKind::Rules;
        let before = content(rules, 1, &[("a.yml", "1"), ("b.yml", "1"), ("c.yml", "1")]);
        let after = content(rules, 2, &[("a.yml", "1"), ("b.yml", "2"), ("d.yml", "1")]);
        let expected = [
            "rules 2 after 1",
            "~ b.yml",
            "+ d.yml",
            "- c.yml",
            "  3 files",
        ];
        assert_eq!(of(Some(&before), &after), expected);
    }

    #[test]
    fn a_policy_is_shown_whole() {
        let policy = content(ContentKind::Policy, 1, &[("p.toml", "a = 1\nb = 2\n")]);
        let expected = ["policy 1, the first", "  a = 1", "  b = 2"];
        assert_eq!(of(None, &policy), expected);
    }
}
