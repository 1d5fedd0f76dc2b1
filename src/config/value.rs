//! The values that settings take: how they are written, read and shown.
//!
//! Owns: the kinds of value and their units. Must be true: CFG-3 what `show` writes, `parse` reads back as the same value.
//! Fails: with what was found and what is allowed, as text; the place is added by whoever has it.

use super::nearest;
use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;

/// What kind of value a key takes.
#[derive(Clone, Debug)]
pub enum Kind {
    /// A whole number of something.
    Count { range: RangeInclusive<u64>, unit: &'static str },
    /// Bytes, written with a binary unit.
    Size { range: RangeInclusive<u64> },
    /// Bytes, or `none`.
    SizeOrNone { range: RangeInclusive<u64> },
    /// Bytes a second, written as a size and `/s`.
    Rate { range: RangeInclusive<u64> },
    /// Milliseconds, written with a unit.
    Duration { range: RangeInclusive<u64> },
    /// Milliseconds, or `never`.
    DurationOrNever { range: RangeInclusive<u64> },
    /// Percent.
    Percent { range: RangeInclusive<u64> },
    /// An address of this machine and a port, or `off`.
    Address,
    /// `true` or `false`.
    Switch,
    /// One of these words.
    Choice(&'static [&'static str]),
}

/// A value, without its unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// A count, bytes, milliseconds or percent.
    Number(u64),
    /// `none`, `never` or `off`.
    Nothing,
    Address(SocketAddr),
    Switch(bool),
    /// The position in the words of a [`Kind::Choice`].
    Choice(usize),
}

impl Value {
    /// The number, or 0 if this is none: a kind that is read as a number always is one.
    #[must_use]
    pub fn number(self) -> u64 {
        if let Self::Number(number) = self { number } else { 0 }
    }
}

/// Why a text is not a value of a kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub found: String,
    pub help: Option<String>,
}

const SIZES: [(&str, u64); 7] =
    [("EiB", 1 << 60), ("PiB", 1 << 50), ("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];
const DURATIONS: [(&str, u64); 5] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

impl Kind {
    /// Reads a text as a value of this kind. `quoted` says that it stood in quotation marks, which makes it no number or switch.
    pub fn parse(&self, text: &str, quoted: bool) -> Result<Value, Refused> {
        let wrong = |help: Option<String>| Refused { found: format!("`{text}` is not {}", self.noun()), help };
        let number = match self {
            Self::SizeOrNone { .. } if text == "none" => return Ok(Value::Nothing),
            Self::DurationOrNever { .. } if text == "never" => return Ok(Value::Nothing),
            Self::Address if text == "off" => return Ok(Value::Nothing),
            Self::Address => return text.parse().map(Value::Address).map_err(|_| wrong(Some(address_help(text)))),
            Self::Switch => return parse_switch(text, quoted).map_err(wrong),
            Self::Choice(words) => {
                let position = words.iter().position(|word| *word == text);
                let guess = || nearest(text, words.iter().copied()).map(|word| format!("did you mean `{word}`?"));
                return position.map(Value::Choice).ok_or_else(|| wrong(guess()));
            }
            Self::Count { .. } if quoted => Err(Some("write it without quotation marks".into())),
            Self::Count { .. } => whole(text).ok_or(None),
            Self::Size { .. } | Self::SizeOrNone { .. } => parse_unit(text, &SIZES, size_help),
            Self::Rate { .. } => match text.strip_suffix("/s") {
                Some(size) => parse_unit(size, &SIZES, rate_help),
                None => Err(parse_unit(text, &SIZES, size_help).map_or_else(|help| help, |_| Some(format!("write {text}/s")))),
            },
            Self::Duration { .. } | Self::DurationOrNever { .. } => parse_unit(text, &DURATIONS, duration_help),
            Self::Percent { .. } => {
                let help = whole(text).map(|_| format!("write {text}%"));
                text.strip_suffix('%').and_then(whole).ok_or(help)
            }
        };
        let number = number.map_err(wrong)?;
        match self.range() {
            Some(range) if !range.contains(&number) => Err(Refused { found: format!("`{text}` is out of range"), help: None }),
            _ => Ok(Value::Number(number)),
        }
    }

    fn range(&self) -> Option<&RangeInclusive<u64>> {
        match self {
            Self::Count { range, .. } | Self::Size { range } | Self::SizeOrNone { range } => Some(range),
            Self::Rate { range } | Self::Duration { range } | Self::DurationOrNever { range } | Self::Percent { range } => Some(range),
            Self::Address | Self::Switch | Self::Choice(_) => None,
        }
    }

    /// What a value of this kind is called in a sentence.
    #[must_use]
    pub fn noun(&self) -> &'static str {
        match self {
            Self::Count { .. } => "a whole number",
            Self::Size { .. } => "a size",
            Self::SizeOrNone { .. } => "a size or none",
            Self::Rate { .. } => "a rate",
            Self::Duration { .. } => "a duration",
            Self::DurationOrNever { .. } => "a duration or never",
            Self::Percent { .. } => "a percentage",
            Self::Address => "an address with a port, or off",
            Self::Switch => "a switch",
            Self::Choice(_) => "one of the words for this key",
        }
    }

    /// The unit, as documents name it.
    #[must_use]
    pub fn unit(&self) -> &'static str {
        match self {
            Self::Count { unit, .. } => unit,
            Self::Size { .. } | Self::SizeOrNone { .. } => "size",
            Self::Rate { .. } => "rate",
            Self::Duration { .. } | Self::DurationOrNever { .. } => "duration",
            Self::Percent { .. } => "percent",
            Self::Address => "address",
            Self::Switch => "switch",
            Self::Choice(_) => "word",
        }
    }

    /// What is allowed: `32MiB..1TiB`, `true | false`, `auto | always | off`.
    #[must_use]
    pub fn allowed(&self) -> String {
        let ends = |range: &RangeInclusive<u64>| {
            format!("{}..{}", self.show(Value::Number(*range.start())), self.show(Value::Number(*range.end())))
        };
        match self {
            Self::SizeOrNone { range } => format!("none | {}", ends(range)),
            Self::DurationOrNever { range } => format!("never | {}", ends(range)),
            Self::Address => "off | IP:PORT".into(),
            Self::Switch => "true | false".into(),
            Self::Choice(words) => words.join(" | "),
            _ => self.range().map(ends).unwrap_or_default(),
        }
    }

    /// The value as one writes it.
    #[must_use]
    pub fn show(&self, value: Value) -> String {
        match (self, value) {
            (Self::DurationOrNever { .. }, Value::Nothing) => "never".into(),
            (Self::Address, Value::Nothing) => "off".into(),
            (_, Value::Nothing) => "none".into(),
            (_, Value::Address(address)) => address.to_string(),
            (_, Value::Switch(on)) => on.to_string(),
            (Self::Choice(words), Value::Choice(position)) => words.get(position).copied().unwrap_or("?").into(),
            (Self::Size { .. } | Self::SizeOrNone { .. }, Value::Number(bytes)) => size(bytes),
            (Self::Rate { .. }, Value::Number(bytes)) => format!("{}/s", size(bytes)),
            (Self::Duration { .. } | Self::DurationOrNever { .. }, Value::Number(ms)) => {
                let (unit, factor) = DURATIONS.iter().rev().find(|(_, f)| ms != 0 && ms.is_multiple_of(*f)).unwrap_or(&DURATIONS[0]);
                format!("{}{unit}", ms / factor)
            }
            (Self::Percent { .. }, Value::Number(percent)) => format!("{percent}%"),
            (_, Value::Number(number)) => number.to_string(),
            (_, Value::Choice(position)) => position.to_string(),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.unit(), self.allowed())
    }
}

/// Bytes in the largest unit that divides them: `512MiB`.
#[must_use]
pub fn size(bytes: u64) -> String {
    let (unit, factor) = SIZES.iter().find(|(_, factor)| bytes != 0 && bytes.is_multiple_of(*factor)).unwrap_or(&SIZES[6]);
    format!("{}{unit}", bytes / factor)
}

/// Reads a size: `1GiB`. `None` if it is not one.
#[must_use]
pub fn parse_size(text: &str) -> Option<u64> {
    parse_unit(text, &SIZES, size_help).ok()
}

/// Reads a rate, in bytes a second: `20MiB/s`. `None` if it is not one.
#[must_use]
pub fn parse_rate(text: &str) -> Option<u64> {
    parse_unit(text.strip_suffix("/s").unwrap_or(text), &SIZES, rate_help).ok()
}

/// Reads a duration, in milliseconds: `5s`. `None` if it is not one.
#[must_use]
pub fn parse_duration_ms(text: &str) -> Option<u64> {
    parse_unit(text, &DURATIONS, duration_help).ok()
}

fn whole(text: &str) -> Option<u64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

fn parse_switch(text: &str, quoted: bool) -> Result<Value, Option<String>> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "false" if quoted => Err(Some("write it without quotation marks".into())),
        "true" if text == "true" => Ok(Value::Switch(true)),
        "false" if text == "false" => Ok(Value::Switch(false)),
        "yes" | "on" | "1" | "y" | "true" => Err(Some("did you mean `true`?".into())),
        "no" | "off" | "0" | "n" | "false" => Err(Some("did you mean `false`?".into())),
        _ => Err(None),
    }
}

fn parse_unit(text: &str, units: &[(&str, u64)], help: fn(u64, &str) -> Option<String>) -> Result<u64, Option<String>> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number = whole(number).filter(|_| digits > 0).ok_or(None)?;
    match units.iter().find(|(name, _)| *name == unit) {
        Some((_, factor)) => number.checked_mul(*factor).ok_or(Some("this is more than can be counted".into())),
        None => Err(help(number, unit)),
    }
}

fn size_help(number: u64, unit: &str) -> Option<String> {
    let meant = match unit.trim_start().to_ascii_lowercase().chars().next() {
        None => return Some(format!("a size needs a unit: {number}MiB, {number}GiB")),
        Some(letter) => SIZES.iter().find(|(name, _)| name.to_ascii_lowercase().starts_with(letter))?.0,
    };
    Some(format!("did you mean `{number}{meant}`?"))
}

fn rate_help(number: u64, unit: &str) -> Option<String> {
    if unit.trim().is_empty() {
        return Some(format!("a rate needs a unit: {number}MiB/s"));
    }
    size_help(number, unit).map(|help| help.replace("`?", "/s`?"))
}

fn address_help(text: &str) -> String {
    let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
    match port.parse::<u16>() {
        Ok(port) if host == "localhost" || host.is_empty() => format!("did you mean `127.0.0.1:{port}`?"),
        Ok(port) if host.parse::<std::net::Ipv6Addr>().is_ok() => format!("did you mean `[{host}]:{port}`?"),
        Ok(_) => "write the host as its IP address: 127.0.0.1:9568, [::1]:9568".into(),
        Err(_) => "write it as 127.0.0.1:9568, [::1]:9568 or off".into(),
    }
}

fn duration_help(number: u64, unit: &str) -> Option<String> {
    let meant = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" => return Some(format!("a duration needs a unit: {number}s, {number}ms")),
        "ms" | "msec" | "millis" | "milliseconds" => "ms",
        "s" | "sec" | "secs" | "second" | "seconds" => "s",
        "m" | "min" | "mins" | "minute" | "minutes" => "m",
        "h" | "hour" | "hours" => "h",
        "d" | "day" | "days" => "d",
        _ => return None,
    };
    Some(format!("did you mean `{number}{meant}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kinds() -> Vec<Kind> {
        vec![
            Kind::Count { range: 0..=u64::MAX, unit: "threads" },
            Kind::Size { range: 0..=u64::MAX },
            Kind::SizeOrNone { range: 0..=u64::MAX },
            Kind::Duration { range: 0..=u64::MAX },
            Kind::Percent { range: 0..=u64::MAX },
            Kind::Rate { range: 0..=u64::MAX },
            Kind::DurationOrNever { range: 0..=u64::MAX },
        ]
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(number: u64, shift in 0u32..64) {
            for kind in kinds() {
                let value = Value::Number(number >> shift);
                prop_assert_eq!(kind.parse(&kind.show(value), false), Ok(value));
            }
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC{0,12}", quoted: bool) {
            for kind in kinds().into_iter().chain([Kind::Address, Kind::Switch, Kind::Choice(&["auto", "off"])]) {
                let _ = kind.parse(&text, quoted);
            }
        }
    }

    #[test]
    fn an_address_is_read_back_as_it_is_shown() {
        for text in ["off", "127.0.0.1:9568", "0.0.0.0:0", "[::1]:65535"] {
            let value = Kind::Address.parse(text, false).expect(text);
            assert_eq!(Kind::Address.show(value), text);
        }
        assert_eq!(Kind::Address.parse("127.0.0.1:65536", false).map_err(|refused| refused.help.is_some()), Err(true));
    }

    #[test]
    fn near_misses_are_answered_with_what_was_meant() {
        let help = |kind: &Kind, text: &str| kind.parse(text, false).expect_err(text).help.unwrap_or_default();
        let [_, size, _, duration, percent, rate, _] = kinds().try_into().expect("seven");
        assert_eq!(help(&rate, "20MiB"), "write 20MiB/s");
        assert_eq!(help(&rate, "20mb/s"), "did you mean `20MiB/s`?");
        assert_eq!(help(&rate, "20/s"), "a rate needs a unit: 20MiB/s");
        assert_eq!(help(&duration, "2days"), "did you mean `2d`?");
        assert_eq!(help(&size, "512MB"), "did you mean `512MiB`?");
        assert_eq!(help(&size, "512"), "a size needs a unit: 512MiB, 512GiB");
        assert_eq!(help(&size, "64 kb"), "did you mean `64KiB`?");
        assert_eq!(help(&duration, "5sec"), "did you mean `5s`?");
        assert_eq!(help(&duration, "5"), "a duration needs a unit: 5s, 5ms");
        assert_eq!(help(&percent, "60"), "write 60%");
        assert_eq!(help(&Kind::Address, "localhost:9568"), "did you mean `127.0.0.1:9568`?");
        assert_eq!(help(&Kind::Address, "::1:9568"), "did you mean `[::1]:9568`?");
        assert_eq!(help(&Kind::Address, "example.org:80"), "write the host as its IP address: 127.0.0.1:9568, [::1]:9568");
        assert_eq!(help(&Kind::Address, "9568"), "write it as 127.0.0.1:9568, [::1]:9568 or off");
        assert_eq!(help(&Kind::Switch, "yes"), "did you mean `true`?");
        assert_eq!(help(&Kind::Choice(&["adaptive", "off"]), "adaptve"), "did you mean `adaptive`?");
        assert_eq!(help(&size, "99999999999TiB"), "this is more than can be counted");
    }
}
