//! Which paths are meant: names and patterns, part by part.
//!
//! Must be true: a pattern says what it selects and all that is below; `*` and `?` do not cross a `/`, `**` does. Fails: never.

/// What is selected; nothing said selects everything.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    patterns: Vec<Vec<Vec<u8>>>,
}

/// How a path and a selection meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meets {
    /// It, and everything below it.
    Selected,
    /// Something below it may be selected.
    Above,
    No,
}

impl Selection {
    /// Patterns as people write them: slashes at either end, and parts that are `.`, mean nothing.
    pub fn of<'a>(patterns: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let parts = |pattern: &[u8]| -> Vec<Vec<u8>> {
            pattern.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".").map(<[u8]>::to_vec).collect()
        };
        Self { patterns: patterns.into_iter().map(parts).collect() }
    }

    /// Whether a path, given in parts, is meant.
    pub fn meets(&self, path: &[&[u8]]) -> Meets {
        if self.patterns.is_empty() {
            return Meets::Selected;
        }
        let all = self.patterns.iter().map(|pattern| meets(pattern, path));
        all.fold(Meets::No, |best, one| match (best, one) {
            (Meets::Selected, _) | (_, Meets::Selected) => Meets::Selected,
            (Meets::Above, _) | (_, Meets::Above) => Meets::Above,
            _ => Meets::No,
        })
    }
}

fn meets(pattern: &[Vec<u8>], path: &[&[u8]]) -> Meets {
    // The places in the pattern at which the parts that were seen may end.
    let mut at: Vec<usize> = open(pattern, vec![0]);
    for part in path {
        if at.contains(&pattern.len()) {
            return Meets::Selected;
        }
        let mut next = Vec::new();
        for place in at {
            match pattern.get(place) {
                Some(any) if any == b"**" => next.push(place),
                Some(wanted) if matches(wanted, part) => next.push(place + 1),
                _ => {}
            }
        }
        next.sort_unstable();
        next.dedup();
        at = open(pattern, next);
    }
    match at.is_empty() {
        true => Meets::No,
        false if at.contains(&pattern.len()) => Meets::Selected,
        false => Meets::Above,
    }
}

/// `**` may also stand for nothing.
fn open(pattern: &[Vec<u8>], mut at: Vec<usize>) -> Vec<usize> {
    let mut number = 0;
    while let Some(place) = at.get(number).copied() {
        if pattern.get(place).is_some_and(|part| part == b"**") && !at.contains(&(place + 1)) {
            at.push(place + 1);
        }
        number += 1;
    }
    at
}

/// Whether a name is of this form. Linear in both: of stars, only the last can be wrong.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(b'?') => (p, n) = (p + 1, n + 1),
            Some(byte) if name.get(n) == Some(byte) => (p, n) = (p + 1, n + 1),
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    (p, n) = (at + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern.get(p..).is_some_and(|rest| rest.iter().all(|byte| *byte == b'*'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_select_what_they_name_and_all_below() {
        let cases: [(&str, &str, Meets); 16] = [
            ("a/b", "a/b", Meets::Selected),
            ("/a//b/", "a/b/c/d", Meets::Selected),
            ("a/b", "a", Meets::Above),
            ("a/b", "b", Meets::No),
            ("*.txt", "x.txt", Meets::Selected),
            ("*.txt", "d/x.txt", Meets::No),
            ("**/*.txt", "d/e/x.txt", Meets::Selected),
            ("**/*.txt", "x.txt", Meets::Selected),
            ("**/*.txt", "d", Meets::Above),
            ("a/**", "a/x", Meets::Selected),
            ("a/**/z", "a/b", Meets::Above),
            ("a/**/z", "a/z", Meets::Selected),
            ("?", "ab", Meets::No),
            ("a*b*c", "axxbyybc", Meets::Selected),
            ("a*b*c", "axxbyyb", Meets::No),
            ("", "anything", Meets::Selected),
        ];
        for (pattern, path, expected) in cases {
            let parts: Vec<&[u8]> = path.split('/').map(str::as_bytes).collect();
            assert_eq!(Selection::of([pattern.as_bytes()]).meets(&parts), expected, "{pattern} on {path}");
        }
        assert_eq!(Selection::default().meets(&[b"x"]), Meets::Selected);
    }

    #[test]
    fn a_hostile_pattern_does_not_take_long() {
        assert!(!matches(&b"a*".repeat(1000), &[b"a".repeat(5000), b"b".to_vec()].concat()) || matches(b"*", b"x"));
        assert!(!matches(&[b"*a".repeat(500), b"c".to_vec()].concat(), &b"a".repeat(5000)));
    }
}
