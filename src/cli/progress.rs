//! How long work shows that it lives, and when it will end: a bar on a terminal, a line of JSON every ten seconds for programs, a plain line
//! otherwise.
//!
//! Owns: the three forms. Must be true: nothing of it goes to stdout; on a terminal nothing is left of it at the end; no end is foretold
//! where it is not known how much there is.
//! Fails: never; a stderr that cannot be written is not missed.

use super::{Context, output};
use crate::backend::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

const LINE_EVERY: Duration = Duration::from_secs(10);

/// Shows progress until it is dropped.
pub struct Shown {
    form: Form,
    pace: Pace,
}

enum Form {
    Bar(ProgressBar),
    Lines { json: bool, last: Instant },
    Off,
}

impl Shown {
    /// The form that fits this call.
    pub fn new(context: &Context) -> Self {
        let form = if context.no_progress {
            Form::Off
        } else if context.json || !std::io::stderr().is_terminal() {
            Form::Lines { json: context.json, last: Instant::now() }
        } else {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
            let style = ProgressStyle::with_template("{msg:<8} {wide_bar} {human_pos}/{human_len} {eta}");
            Form::Bar(style.map_or_else(|_| bar.clone(), |style| bar.clone().with_style(style)))
        };
        Self { form, pace: Pace::default() }
    }

    /// Shows one step.
    pub fn step(&mut self, progress: Progress) {
        match &mut self.form {
            Form::Bar(bar) => {
                bar.set_message(progress.phase);
                // How much there is is not always known.
                if progress.total > 0 {
                    bar.set_length(progress.total.max(progress.done));
                }
                bar.set_position(progress.done);
            }
            Form::Lines { json, last } => {
                let seconds_left = self.pace.seconds_left(progress, Instant::now());
                if last.elapsed() < LINE_EVERY {
                    return;
                }
                *last = Instant::now();
                if *json {
                    output::say_json("progress", &serde_json::json!({ "progress": progress, "seconds_left": seconds_left }));
                } else {
                    output::say(&line(progress, seconds_left));
                }
            }
            Form::Off => {}
        }
    }

    /// Prints something else meanwhile, which no bar is drawn over.
    pub fn beside<T>(&self, print: impl FnOnce() -> T) -> T {
        if let Form::Bar(bar) = &self.form { bar.suspend(print) } else { print() }
    }
}

/// How fast a phase goes.
#[derive(Default)]
struct Pace {
    /// The phase, when it was seen first, and how far it was then.
    began: Option<(&'static str, Instant, u64)>,
}

impl Pace {
    /// By the average of the phase so far; `None`: nothing is known yet.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a foretelling for people")]
    fn seconds_left(&mut self, progress: Progress, now: Instant) -> Option<u64> {
        let Progress { phase, done, total } = progress;
        let (_, began, at) = *match &mut self.began {
            Some(began) if began.0 == phase && began.2 <= done => began,
            began => began.insert((phase, now, done)),
        };
        let gone = done - at;
        let left = total.checked_sub(done).filter(|_| total > 0 && gone > 0)?;
        Some((now.duration_since(began).as_secs_f64() * left as f64 / gone as f64).ceil() as u64)
    }
}

fn line(progress: Progress, seconds_left: Option<u64>) -> String {
    let Progress { phase, done, total } = progress;
    let of = if total > 0 { format!(" of {total}") } else { String::new() };
    let left = seconds_left.map_or_else(String::new, |seconds| format!(", {} left", output::span(seconds)));
    format!("{phase}: {done}{of}{left}")
}

impl Drop for Shown {
    fn drop(&mut self) {
        if let Form::Bar(bar) = &self.form {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_foretold_by_the_pace_of_the_phase_and_only_where_all_is_known() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        let mut left =
            |phase, done, total, seconds| pace.seconds_left(Progress { phase, done, total }, start + Duration::from_secs(seconds));
        assert_eq!([left("bytes", 100, 1000, 0), left("bytes", 400, 1000, 30), left("bytes", 1000, 1000, 90)], [None, Some(60), Some(0)]);
        assert_eq!([left("images", 0, 10, 90), left("images", 5, 10, 100)], [None, Some(10)], "a phase of its own");
        assert_eq!([left("files", 0, 0, 100), left("files", 50, 0, 110)], [None, None]);
    }

    /// Meant to fail when a total of 0 was what had been done: a bar was full from the first step on.
    #[test]
    fn a_line_and_a_bar_say_no_more_than_is_known() {
        let progress = |total| Progress { phase: "bytes", done: 5, total };
        assert_eq!([line(progress(0), None), line(progress(9), Some(61))], ["bytes: 5", "bytes: 5 of 9, 1 min left"]);
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        let mut shown = Shown { form: Form::Bar(bar.clone()), pace: Pace::default() };
        shown.step(progress(0));
        assert_eq!((bar.length(), bar.position()), (None, 5));
        shown.step(progress(9));
        assert_eq!(bar.length(), Some(9));
    }
}
