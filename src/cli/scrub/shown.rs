//! How the scanner is shown: in the form that users of btrfs know, in one line, and as JSON.

use super::NOT_PUT_BACK;
use crate::backend::second_text;
use crate::cli::output::human;
use crate::control::protocol::{Scrub, ScrubFound, ScrubRun, ScrubState, ScrubSummary};
use std::time::{SystemTime, UNIX_EPOCH};

/// One JSON value. Without `history` only the run that ended last.
pub fn json(facts: &Scrub, history: bool) -> serde_json::Value {
    let mut shown = facts.clone();
    if !history {
        shown.history.truncate(1);
    }
    serde_json::json!({ "scrub": shown })
}

/// What `status` prints.
pub fn text(facts: &Scrub, history: bool) -> String {
    let mut lines = vec![line("UUID", &facts.uuid)];
    match facts.run.as_ref().or(facts.history.first()) {
        None => lines.push(line("Status", "no scrub was ever begun")),
        Some(run) => lines.extend(run_lines(run)),
    }
    if facts.suspected > 0 {
        let ScrubFound { corrected, mendable, uncorrectable, .. } = facts.found;
        let left = mendable.saturating_add(uncorrectable);
        let what =
            format!("{} image(s) that reads complained of; since the mount {corrected} put back in all, {left} left", facts.suspected);
        lines.push(line("Looked at", &what));
    }
    if history {
        let before = facts.history.iter().skip(usize::from(facts.run.is_none()));
        lines.extend(before.flat_map(|run| std::iter::once(String::new()).chain(run_lines(run))));
    }
    lines.join("\n")
}

fn line(name: &str, value: &str) -> String {
    format!("{:<18}{value}", format!("{name}:"))
}

fn run_lines(run: &ScrubRun) -> Vec<String> {
    let why = run.why.as_deref().map_or_else(String::new, |why| format!(" ({why})"));
    let mut lines = vec![line("Scrub started", &run.started), line("Status", &format!("{}{why}", state(run.state)))];
    if let Some(path) = &run.path {
        lines.push(line("Only", &format!("the images of /{}", path.trim_start_matches('/'))));
    }
    if let Some((x, y)) = run.place {
        lines.push(line("Only", &format!("the image at ({x}, {y})")));
    }
    lines.push(line("Duration", &clock(run.seconds as u64)));
    if let Some(left) = run.seconds_left {
        lines.push(line("Time left", &clock(left)));
        lines.push(line("ETA", &moment_in(left)));
    }
    lines.push(line("Total to scrub", &human(run.total_bytes)));
    lines.push(line("Bytes scrubbed", &format!("{}  ({})", human(run.bytes), part(run))));
    let limit = run.limit.map_or_else(String::new, |limit| format!(" (limit {}/s)", human(limit)));
    lines.push(line("Rate", &format!("{}/s{limit}", human(run.bytes_per_second))));
    lines.extend(summary(&run.found));
    lines
}

fn summary(found: &ScrubFound) -> Vec<String> {
    let ScrubFound { corrected, mendable, uncorrectable, unreadable, lost_ranges, lost_nodes } = *found;
    if *found == ScrubFound::default() {
        return vec![line("Error summary", "no errors found")];
    }
    let mut lines =
        vec![line("Error summary", &format!("{} damaged image(s)", corrected.saturating_add(mendable).saturating_add(uncorrectable)))];
    lines.push(line("  Corrected", &corrected.to_string()));
    if mendable > 0 {
        lines.push(line("  Not corrected", &format!("{mendable}, though they can be: {NOT_PUT_BACK}")));
    }
    lines.push(line("  Uncorrectable", &uncorrectable.to_string()));
    lines.push(line("  Unreadable", &unreadable.to_string()));
    if lost_ranges > 0 || lost_nodes > 0 {
        lines.push(line("  Lost", &format!("{lost_ranges} range(s) of files, {lost_nodes} node(s) of the tables")));
    }
    lines
}

fn state(state: ScrubState) -> &'static str {
    match state {
        ScrubState::Running => "running",
        ScrubState::Paused => "paused",
        ScrubState::Finished => "finished",
        ScrubState::Aborted => "aborted",
        ScrubState::Interrupted => "interrupted",
        ScrubState::Unknown => "unknown to this version",
    }
}

/// How much of a run is done.
pub fn part(run: &ScrubRun) -> String {
    let of = run.total_bytes.max(run.bytes);
    let part = if of == 0 || run.state == ScrubState::Finished { 100.0 } else { run.bytes as f64 * 100.0 / of as f64 };
    format!("{part:.2}%")
}

/// Why a run did not come to its end.
pub fn aborted(run: &ScrubRun) -> String {
    format!("the scrub was aborted: {}", run.why.as_deref().unwrap_or("no reason given"))
}

/// The scanner in one line.
pub fn short(scrub: &ScrubSummary) -> String {
    let what = |found: &ScrubFound| match (found.uncorrectable, found.mendable, found.corrected) {
        (0, 0, 0) => "no errors found".to_string(),
        (uncorrectable, mendable, corrected) => {
            format!("{corrected} image(s) put back, {} damaged and left", uncorrectable.saturating_add(mendable))
        }
    };
    match (&scrub.run, &scrub.last) {
        (Some(run), _) => format!("{} since {}, {} done, {}", state(run.state), run.started, part(run), what(&run.found)),
        (None, Some(run)) => {
            format!("{} {}, {}", state(run.state), run.ended.as_deref().unwrap_or(&run.started), what(&run.found))
        }
        (None, None) => "none yet".into(),
    }
}

fn clock(seconds: u64) -> String {
    format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// The moment in so many seconds.
fn moment_in(seconds: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    second_text(i64::try_from(now.saturating_add(seconds)).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(state: ScrubState) -> ScrubRun {
        ScrubRun {
            state,
            started: "then".into(),
            seconds: 3725.4,
            total_bytes: 400,
            bytes: 100,
            bytes_per_second: 50,
            ..ScrubRun::default()
        }
    }

    #[test]
    fn a_run_is_shown_as_users_of_btrfs_know_it() {
        let facts =
            Scrub { uuid: "u".into(), run: Some(ScrubRun { seconds_left: Some(6), ..run(ScrubState::Running) }), ..Scrub::default() };
        let shown = text(&facts, false);
        for expected in [
            "UUID:             u\n",
            "Scrub started:    then\n",
            "Status:           running\n",
            "Duration:         1:02:05\n",
            "Time left:        0:00:06\n",
            "Total to scrub:   400 B\n",
            "Bytes scrubbed:   100 B  (25.00%)\n",
            "Rate:             50 B/s\n",
            "Error summary:    no errors found",
        ] {
            assert!(shown.contains(expected), "{expected} is not in {shown}");
        }
        assert!(text(&Scrub::default(), true).ends_with("no scrub was ever begun"));
    }

    #[test]
    fn history_and_errors_are_shown_when_there_are_any() {
        let found = ScrubFound { corrected: 2, uncorrectable: 1, lost_ranges: 9, ..ScrubFound::default() };
        let bad = ScrubRun { found, why: Some("it was cancelled".into()), ..run(ScrubState::Aborted) };
        let facts = Scrub { history: vec![run(ScrubState::Finished), bad], ..Scrub::default() };
        let (last, all) = (text(&facts, false), text(&facts, true));
        assert!(last.contains("(100.00%)") && !last.contains("aborted"), "{last}");
        assert!(all.contains("Status:           aborted (it was cancelled)") && all.contains("  Uncorrectable:  1\n"), "{all}");
        assert!(all.ends_with("  Lost:           9 range(s) of files, 0 node(s) of the tables"), "{all}");
        assert_eq!(json(&facts, false)["scrub"]["history"].as_array().map(Vec::len), Some(1));
        let summary = ScrubSummary { run: None, last: facts.history.into_iter().nth(1) };
        assert_eq!(short(&summary), "aborted then, 2 image(s) put back, 1 damaged and left");
    }
}
