//! The figures of a mount, as its daemon tells them in the text of Prometheus, and what became of them between two looks.
//!
//! Owns: the reader of the text, `Figures`, `Between`. Must be true: any text is read; lines of another form are passed over; a figure that is
//! missing is none, and never zero where somebody divides by it. Fails: never.

use super::error::{CliError, Code};
use super::status::Behind;
use crate::control::client::{self, ControlError};
use std::collections::BTreeMap;
use std::time::Instant;

/// A series: name, and labels in the order of the text.
#[derive(Clone, Debug, PartialEq)]
struct Series {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

/// All figures of one look.
#[derive(Clone, Debug)]
pub struct Figures {
    series: Vec<Series>,
    at: Instant,
}

/// Asks the daemon of a mount.
pub fn ask(behind: &Behind) -> Result<Figures, CliError> {
    let text = client::metrics(&behind.volume).map_err(|error| match error {
        ControlError::Refused(why) => CliError::new(Code::NotMeasured, format!("{} has no figures: {why}", behind.volume.display())),
        error => behind.unanswered(&error),
    })?;
    Ok(Figures::read(&text))
}

impl Figures {
    /// Reads the text (prometheus.io, "Exposition formats", text 0.0.4).
    pub fn read(text: &str) -> Self {
        Self { series: text.lines().filter_map(line).collect(), at: Instant::now() }
    }

    fn of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Series> {
        self.series.iter().filter(move |series| series.name == name)
    }

    /// The sum of all series of a name; `None` if there is none.
    pub fn sum(&self, name: &str) -> Option<f64> {
        self.sum_with(name, &[])
    }

    /// The same of those that have these labels.
    pub fn sum_with(&self, name: &str, wanted: &[(&str, &str)]) -> Option<f64> {
        self.of(name).filter(|series| series.has(wanted)).map(|series| series.value).reduce(|a, b| a + b)
    }

    /// The values that a label has in the series of a name, in order.
    pub fn values(&self, name: &str, label: &str) -> Vec<String> {
        let mut values: Vec<String> = self.of(name).filter_map(|series| series.label(label).map(str::to_string)).collect();
        values.sort();
        values.dedup();
        values
    }
}

impl Series {
    fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(label, _)| label == name).map(|(_, value)| value.as_str())
    }

    fn has(&self, wanted: &[(&str, &str)]) -> bool {
        wanted.iter().all(|(label, value)| self.label(label) == Some(value))
    }
}

/// `name{label="value",...} 1.5`, perhaps with a time behind it.
fn line(line: &str) -> Option<Series> {
    let line = line.trim();
    let end = line.find(['{', ' '])?;
    let (name, rest) = line.split_at_checked(end)?;
    if name.is_empty() || name.starts_with('#') {
        return None;
    }
    let (labels, value) = match rest.strip_prefix('{') {
        Some(inside) => labels(inside)?,
        None => (Vec::new(), rest),
    };
    let value = value.split_whitespace().next()?;
    let value = if value == "+Inf" { f64::INFINITY } else { value.parse().ok()? };
    Some(Series { name: name.into(), labels, value })
}

/// The labels, and what is behind their brace.
fn labels(text: &str) -> Option<(Vec<(String, String)>, &str)> {
    let (mut labels, mut rest) = (Vec::new(), text);
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(behind) = rest.strip_prefix('}') {
            return Some((labels, behind));
        }
        let (name, value) = rest.split_once("=\"")?;
        let (mut text, mut chars) = (String::new(), value.char_indices());
        let end = loop {
            match chars.next()? {
                (at, '"') => break at,
                (_, '\\') => text.push(match chars.next()?.1 {
                    'n' => '\n',
                    other => other,
                }),
                (_, other) => text.push(other),
            }
        };
        labels.push((name.trim().to_string(), text));
        rest = value.get(end + 1..)?;
    }
}

/// Two looks, one after the other.
pub struct Between<'a> {
    pub before: &'a Figures,
    pub after: &'a Figures,
    pub seconds: f64,
}

impl<'a> Between<'a> {
    pub fn new(before: &'a Figures, after: &'a Figures) -> Self {
        Self { before, after, seconds: after.at.saturating_duration_since(before.at).as_secs_f64().max(1e-6) }
    }

    /// By how much counters grew; a counter that began anew counts from zero.
    pub fn growth(&self, name: &str, wanted: &[(&str, &str)]) -> Option<f64> {
        let after = self.after.sum_with(name, wanted)?;
        let before = self.before.sum_with(name, wanted).unwrap_or(0.0);
        Some(if after < before { after } else { after - before })
    }

    /// The same for each second.
    pub fn rate(&self, name: &str, wanted: &[(&str, &str)]) -> Option<f64> {
        self.growth(name, wanted).map(|growth| growth / self.seconds)
    }

    /// What of all that grew has this label; `None` if nothing grew.
    pub fn share(&self, name: &str, wanted: &[(&str, &str)], of: &[(&str, &str)]) -> Option<f64> {
        let all = self.growth(name, of).filter(|all| *all > 0.0)?;
        Some(self.growth(name, wanted).unwrap_or(0.0) / all)
    }

    /// The value below which this part of the samples lies that came between, as its bucket has it: the upper bound of that.
    pub fn quantile(&self, name: &str, wanted: &[(&str, &str)], part: f64) -> Option<f64> {
        let bucket = format!("{name}_bucket");
        let (before, after) = (cumulated(self.before, &bucket, wanted), cumulated(self.after, &bucket, wanted));
        let grown = after.iter().map(|(bound, (at, count))| (*at, count - before.get(bound).map_or(0.0, |(_, count)| *count)));
        let mut grown: Vec<(f64, f64)> = grown.collect();
        grown.sort_by(|a, b| a.0.total_cmp(&b.0));
        let all = grown.last().map(|(_, count)| *count).filter(|all| *all > 0.0)?;
        let largest = grown.iter().rev().map(|(bound, _)| *bound).find(|bound| bound.is_finite());
        let found = grown.iter().find(|(_, count)| *count >= all * part).map(|(bound, _)| *bound)?;
        // Beyond the last bound nobody knows more.
        if found.is_finite() { Some(found) } else { largest }
    }
}

/// Counts of a histogram up to each bound, all series together.
fn cumulated(figures: &Figures, bucket: &str, wanted: &[(&str, &str)]) -> BTreeMap<String, (f64, f64)> {
    let mut counts: BTreeMap<String, (f64, f64)> = BTreeMap::new();
    for series in figures.of(bucket).filter(|series| series.has(wanted)) {
        let Some(bound) = series.label("le") else { continue };
        let Ok(at) = bound.replace("+Inf", "inf").parse() else { continue };
        counts.entry(bound.into()).or_insert((at, 0.0)).1 += series.value;
    }
    counts
}

/// A time for people.
pub fn time(seconds: f64) -> String {
    match seconds {
        s if s < 1e-3 => format!("{:.0} us", s * 1e6),
        s if s < 1.0 => format!("{:.1} ms", s * 1e3),
        s => format!("{s:.1} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# HELP a_total x\n# TYPE a_total counter\na_total{op=\"read\",errno=\"ok\"} 10\na_total{op=\"write\",errno=\"ok\"} 5 1700\n\
                        b 1.5\nd_bucket{le=\"0.001\"} 4\nd_bucket{le=\"0.01\"} 9\nd_bucket{le=\"+Inf\"} 10\nodd{x=\"a\\\"b\\\\c\\nd\"} 1\n\
                        {} 3\nnot a line\nbroken{x=\"1 2\n";

    #[test]
    fn the_text_of_prometheus_is_read_and_other_lines_are_passed_over() {
        let figures = Figures::read(TEXT);
        assert_eq!((figures.sum("a_total"), figures.sum_with("a_total", &[("op", "write")])), (Some(15.0), Some(5.0)));
        assert_eq!(
            (figures.sum("b"), figures.sum("none"), figures.values("a_total", "op")),
            (Some(1.5), None, vec!["read".into(), "write".into()])
        );
        assert_eq!(figures.values("odd", "x"), ["a\"b\\c\nd"]);
        assert_eq!(figures.series.len(), 7, "{figures:?}");
    }

    #[test]
    fn what_grew_between_two_looks_has_a_rate_a_share_and_a_quantile() {
        let before = Figures::read(TEXT);
        let after = "a_total{op=\"read\",errno=\"ok\"} 40\na_total{op=\"write\",errno=\"ok\"} 15\nd_bucket{le=\"0.001\"} 4\nd_bucket{le=\"0.01\"} 108\n\
                     d_bucket{le=\"+Inf\"} 110\n";
        let mut after = Figures::read(after);
        after.at = before.at + std::time::Duration::from_secs(2);
        let between = Between::new(&before, &after);
        assert_eq!((between.rate("a_total", &[]), between.growth("none", &[])), (Some(20.0), None));
        assert_eq!(between.share("a_total", &[("op", "read")], &[]), Some(0.75));
        assert_eq!((between.quantile("d", &[], 0.5), between.quantile("d", &[], 1.0)), (Some(0.01), Some(0.01)));
        assert_eq!(Between::new(&after, &after).quantile("d", &[], 0.5), None, "nothing came");
        assert_eq!(Between::new(&after, &before).growth("a_total", &[]), Some(15.0), "a daemon that was started anew");
    }

    #[test]
    fn times_are_short() {
        assert_eq!([0.000_05, 0.0123, 2.0].map(time), ["50 us", "12.3 ms", "2.0 s"]);
    }
}
