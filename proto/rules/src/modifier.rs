//! The modifiers after a field's name: how its values are to be read and compared.

use crate::date::Part;
use crate::refusal::Reason;

/// How a value is compared with the field.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Relation {
    #[default]
    Equals,
    Contains,
    StartsWith,
    EndsWith,
    Regex(RegexFlags),
    Cidr,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Exists,
}

/// Sub-modifiers of `re`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct RegexFlags {
    pub(crate) ignore_case: bool,
    pub(crate) multi_line: bool,
    pub(crate) dot_all: bool,
}

/// What is done to a value before it is compared.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Transform {
    Utf16Le,
    Utf16Be,
    /// UTF-16 with its byte order mark.
    Utf16,
    Base64,
    /// Base64 at all three alignments.
    Base64Offset,
    /// Every dash that begins an option also as the other dashes that Windows programs take.
    Windash,
}

/// A key of a search: the field and its modifiers.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Key {
    /// Empty: the text of the event.
    pub(crate) field: String,
    pub(crate) relation: Relation,
    pub(crate) transforms: Vec<Transform>,
    /// Every value must match, not just one.
    pub(crate) all: bool,
    pub(crate) cased: bool,
    pub(crate) not_equal: bool,
    /// The value names another field.
    pub(crate) field_reference: bool,
    /// The field is a date, and the value a number in it.
    pub(crate) part: Option<Part>,
}

/// Longest chain of modifiers.
const MAX_CHAIN: usize = 8;

/// Parses `field|modifier|modifier`.
pub(crate) fn parse(text: &str) -> Result<Key, Reason> {
    let mut parts = text.split('|');
    let mut key = Key {
        field: parts.next().unwrap_or_default().trim().to_owned(),
        ..Key::default()
    };
    for (count, modifier) in parts.enumerate() {
        if count >= MAX_CHAIN {
            return Err(wrong(text, "too many"));
        }
        key.apply(text, modifier.trim())?;
    }
    key.checked(text)
}

impl Key {
    fn apply(&mut self, text: &str, modifier: &str) -> Result<(), Reason> {
        match modifier {
            "all" => self.all = true,
            "cased" => self.cased = true,
            "neq" => self.not_equal = true,
            "fieldref" => self.field_reference = true,
            "contains" => self.relate(text, Relation::Contains)?,
            "startswith" => self.relate(text, Relation::StartsWith)?,
            "endswith" => self.relate(text, Relation::EndsWith)?,
            "re" => self.relate(text, Relation::Regex(RegexFlags::default()))?,
            "cidr" => self.relate(text, Relation::Cidr)?,
            "lt" => self.relate(text, Relation::Less)?,
            "lte" => self.relate(text, Relation::LessOrEqual)?,
            "gt" => self.relate(text, Relation::Greater)?,
            "gte" => self.relate(text, Relation::GreaterOrEqual)?,
            "exists" => self.relate(text, Relation::Exists)?,
            "i" | "ignorecase" | "m" | "multiline" | "s" | "dotall" => self.flag(text, modifier)?,
            "wide" | "utf16le" => self.transforms.push(Transform::Utf16Le),
            "utf16be" => self.transforms.push(Transform::Utf16Be),
            "utf16" => self.transforms.push(Transform::Utf16),
            "base64" => self.transforms.push(Transform::Base64),
            "base64offset" => self.transforms.push(Transform::Base64Offset),
            "windash" => self.transforms.push(Transform::Windash),
            "minute" => self.part(text, Part::Minute)?,
            "hour" => self.part(text, Part::Hour)?,
            "day" => self.part(text, Part::Day)?,
            "week" => self.part(text, Part::Week)?,
            "month" => self.part(text, Part::Month)?,
            "year" => self.part(text, Part::Year)?,
            "expand" => {
                return Err(wrong(
                    text,
                    "`expand` needs placeholders, and none are kept",
                ));
            }
            _ => {
                return Err(Reason::UnknownModifier {
                    modifier: modifier.to_owned(),
                });
            }
        }
        Ok(())
    }

    fn relate(&mut self, text: &str, relation: Relation) -> Result<(), Reason> {
        if self.relation != Relation::Equals {
            return Err(wrong(text, "two ways to compare"));
        }
        self.relation = relation;
        Ok(())
    }

    fn part(&mut self, text: &str, part: Part) -> Result<(), Reason> {
        match self.part.replace(part) {
            Some(_) => Err(wrong(text, "two parts of a date")),
            None => Ok(()),
        }
    }

    fn flag(&mut self, text: &str, modifier: &str) -> Result<(), Reason> {
        let Relation::Regex(flags) = &mut self.relation else {
            return Err(wrong(text, "`i`, `m` and `s` only follow `re`"));
        };
        match modifier {
            "i" | "ignorecase" => flags.ignore_case = true,
            "m" | "multiline" => flags.multi_line = true,
            _ => flags.dot_all = true,
        }
        Ok(())
    }

    /// Refuses chains whose parts contradict each other.
    fn checked(self, text: &str) -> Result<Self, Reason> {
        let textual = matches!(
            self.relation,
            Relation::Equals | Relation::Contains | Relation::StartsWith | Relation::EndsWith
        );
        if !textual && (!self.transforms.is_empty() || self.field_reference || self.cased) {
            return Err(wrong(
                text,
                "only text can be transformed, cased or a field reference",
            ));
        }
        if self.relation == Relation::Exists && (self.all || self.not_equal) {
            return Err(wrong(text, "`exists` stands alone"));
        }
        if self.field_reference && !self.transforms.is_empty() {
            return Err(wrong(text, "a field reference cannot be transformed"));
        }
        if self.part.is_some() && !self.compares_numbers() {
            return Err(wrong(text, "a part of a date is a number"));
        }
        if self.field.is_empty()
            && (self.part.is_some() || self.field_reference || self.relation == Relation::Exists)
        {
            return Err(wrong(text, "keywords have no field"));
        }
        Ok(self)
    }

    /// Whether nothing but a number can be meant.
    fn compares_numbers(&self) -> bool {
        let of_text = self.cased || self.field_reference || !self.transforms.is_empty();
        let relations = [
            Relation::Equals,
            Relation::Less,
            Relation::LessOrEqual,
            Relation::Greater,
            Relation::GreaterOrEqual,
        ];
        !of_text && relations.contains(&self.relation)
    }
}

fn wrong(key: &str, detail: &'static str) -> Reason {
    Reason::Modifiers {
        key: key.to_owned(),
        detail,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_is_read_from_left_to_right() {
        let key = parse("CommandLine|contains|all").unwrap();
        assert_eq!((key.relation, key.all), (Relation::Contains, true));
        let key = parse("CommandLine|wide|base64offset|contains").unwrap();
        assert_eq!(
            key.transforms,
            [Transform::Utf16Le, Transform::Base64Offset]
        );
        let key = parse("Image|re|i").unwrap();
        assert!(matches!(key.relation, Relation::Regex(flags) if flags.ignore_case));
        let key = parse("time|hour|gte").unwrap();
        assert_eq!(
            (key.part, key.relation),
            (Some(Part::Hour), Relation::GreaterOrEqual)
        );
    }

    #[test]
    fn the_keyword_form_has_no_field() {
        let key = parse("|all").unwrap();
        assert_eq!((key.field.as_str(), key.all), ("", true));
    }

    #[test]
    fn chains_that_contradict_themselves_are_refused() {
        for text in [
            "a|contains|startswith",
            "a|re|base64",
            "a|i",
            "a|exists|all",
            "a|expand",
            "a|hour|contains",
            "a|hour|cased",
            "a|hour|minute",
        ] {
            assert!(
                matches!(parse(text), Err(Reason::Modifiers { .. })),
                "{text}"
            );
        }
        assert!(matches!(parse("a|b"), Err(Reason::UnknownModifier { .. })));
    }
}
