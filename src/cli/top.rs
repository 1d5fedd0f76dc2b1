//! `infmap top DIR`: what a mount does now, as a page that is drawn anew: operations, mailboxes, caches.
//!
//! Must be true: the terminal is left as it was, also after Ctrl-C and an error. Fails: with a usage error where stdout is no terminal and
//! no --once; else as `stats`.

mod page;
mod screen;

use super::Context;
use super::error::{CliError, Code};
use super::figures::{self, Between};
use super::mount::duration;
use super::output;
use super::status::Behind;
use crate::control::client;
use page::Page;
use screen::Screen;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

/// Show what a mount does now, drawn anew every two seconds: operations, mailboxes, caches. `q` leaves.
#[derive(clap::Args)]
pub struct Top {
    /// Where it is mounted, or the volume's directory.
    #[arg(value_name = "DIR|VOLUME")]
    path: PathBuf,
    /// Between two pages.
    #[arg(long, default_value = "2s", value_parser = duration)]
    interval: Duration,
    /// Print one page as plain text, and end.
    #[arg(long)]
    once: bool,
}

impl Top {
    pub fn run(self, context: &Context) -> Result<(), CliError> {
        let behind = Behind::of(&self.path)?;
        let interval = self.interval.max(Duration::from_millis(10));
        let mut before = figures::ask(&behind)?;
        if self.once || context.json {
            std::thread::sleep(interval);
            let after = figures::ask(&behind)?;
            let status = client::status(&behind.volume).map_err(|error| behind.unanswered(&error))?;
            let page = Page::of(&Between::new(&before, &after), &status);
            return if context.json { output::json("top", &page) } else { output::text_line(&page.lines().join("\n")) };
        }
        if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
            return Err(CliError::new(Code::Usage, "there is no terminal to draw on").help("`infmap top --once DIR` prints one page"));
        }
        let mut screen = Screen::open().map_err(CliError::io("cannot draw on this terminal"))?;
        let mut lines = vec!["Waiting for the first figures ...".to_string()];
        loop {
            screen.draw(&lines).map_err(CliError::output("the terminal"))?;
            if screen.wait(interval) {
                return Ok(());
            }
            let after = figures::ask(&behind)?;
            let status = client::status(&behind.volume).map_err(|error| behind.unanswered(&error))?;
            lines = Page::of(&Between::new(&before, &after), &status).lines();
            before = after;
        }
    }
}
