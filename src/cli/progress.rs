//! How long work shows that it lives: a bar on a terminal, a line of JSON every ten seconds for programs, a plain line otherwise.
//!
//! Owns: the three forms. Must be true: nothing of it goes to stdout; on a terminal nothing is left of it at the end.
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
        Self { form }
    }

    /// Shows one step.
    pub fn step(&mut self, progress: Progress) {
        match &mut self.form {
            Form::Bar(bar) => {
                bar.set_message(progress.phase);
                bar.set_length(progress.total.max(progress.done));
                bar.set_position(progress.done);
            }
            Form::Lines { json, last } if last.elapsed() >= LINE_EVERY => {
                *last = Instant::now();
                if *json {
                    output::say_json("progress", &serde_json::json!({ "progress": progress }));
                } else {
                    // How much there is is not always known.
                    let of = if progress.total > 0 { format!(" of {}", progress.total) } else { String::new() };
                    output::say(&format!("{}: {}{of}", progress.phase, progress.done));
                }
            }
            Form::Lines { .. } | Form::Off => {}
        }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        if let Form::Bar(bar) = &self.form {
            bar.finish_and_clear();
        }
    }
}
