//! `infmap man [VERB...]`: the man pages, made from the command line itself, and shown without man-db.
//!
//! Must be true: CLI-2 every option of every verb stands in the page of that verb. Fails: with [`Code::Usage`] for a verb that is none,
//! which names the nearest; as the system does for `--out`.

mod text;

use super::error::{CliError, Code};
use super::{Context, explain, help, output};
use crate::config::nearest;
use clap::Command;
use clap_mangen::Man as Page;
use std::path::{Path, PathBuf};

/// Show the man page of a verb, or write all of them into a directory.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  $ infmap man scrub start\n  $ infmap man IM1042\n  $ infmap man --out /usr/local/share/man/man1")]
pub struct Man {
    /// The verb, and the verb below it if it has such; a code such as IM1042; the page of the program if left out.
    #[arg(value_name = "VERB")]
    verb: Vec<String>,
    /// Write all pages, as man(1) reads them, into this directory, which is made if it is not there.
    #[arg(long, value_name = "DIR", conflicts_with = "verb")]
    out: Option<PathBuf>,
    /// Print the page as man(1) reads it, instead of as text.
    #[arg(long)]
    roff: bool,
}

/// What ends with which code: for the pages.
const EXIT_STATUS: &str = "0 done; 1 it failed; 2 the call or the settings are wrong; 3 damage was found, and something is lost; 4 damage was \
                           found, and nothing is lost; 5 the volume turned read-only because something failed; 6 --supervise gave up; 7 it works, \
                           but something needs attention; 8 the daemon of a mount does not answer; 10 there is no volume; 11 another process has \
                           it; 12 it is of a newer version; 14 no room; 15 the mountpoint cannot be used, is busy, or nothing is mounted; 130 \
                           ended by a signal: a mount by the second, `bench` by the first.";

impl Man {
    pub fn run(self, context: &Context) -> Result<(), CliError> {
        let pages = pages();
        if let Some(dir) = &self.out {
            return write_all(dir, &pages, context);
        }
        if let [code] = self.verb.as_slice()
            && explain::is_code(code)
        {
            return explain::Explain::of(code).run(context);
        }
        let name = [String::from("infmap")].into_iter().chain(self.verb.iter().cloned()).collect::<Vec<_>>().join("-");
        let Some((_, roff)) = pages.iter().find(|(known, _)| *known == name) else { return Err(unknown(&name, &pages)) };
        let shown = if self.roff { roff.clone() } else { text::of(roff) };
        if context.json {
            return output::json("man", &serde_json::json!({ "page": name, "text": shown }));
        }
        output::raw(&shown)
    }
}

/// Every page: its name and its text as man(1) reads it.
fn pages() -> Vec<(String, String)> {
    let mut command = help::command();
    command.build();
    let mut pages = Vec::new();
    collect(&command, "infmap", "infmap", &mut pages);
    pages
}

/// The page of a command and of all below it; `name` is that of the page, `called` what one types.
fn collect(command: &Command, name: &str, called: &str, pages: &mut Vec<(String, String)>) {
    pages.push((name.into(), page(command, name, called)));
    for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
        collect(verb, &format!("{name}-{}", verb.get_name()), &format!("{called} {}", verb.get_name()), pages);
    }
}

fn page(command: &Command, name: &str, called: &str) -> String {
    let command = command.clone().bin_name(called.to_string()).display_name(name.to_string());
    let page = Page::new(command).title(name.to_uppercase()).section("1").source(format!("infmap {}", env!("CARGO_PKG_VERSION")));
    let mut roff = Vec::new();
    // Into memory, which takes everything.
    let _ = page.render(&mut roff);
    let mut roff = String::from_utf8_lossy(&roff).into_owned();
    roff += &format!(".SH \"EXIT STATUS\"\n{EXIT_STATUS}\n.SH \"SEE ALSO\"\ninfmap(1); `infmap explain CODE` says what an error means.\n");
    roff
}

fn unknown(name: &str, pages: &[(String, String)]) -> CliError {
    let called = |page: &str| page.trim_start_matches("infmap-").replace('-', " ");
    let error = CliError::new(Code::Usage, format!("there is no verb `{}`", called(name).escape_debug()));
    match nearest(name, pages.iter().map(|(page, _)| page.as_str())) {
        Some(near) => error.help(format!("did you mean `infmap man {}`?", called(near))),
        None => error,
    }
}

fn write_all(dir: &Path, pages: &[(String, String)], context: &Context) -> Result<(), CliError> {
    std::fs::create_dir_all(dir).map_err(CliError::output(&dir.display().to_string()))?;
    for (name, roff) in pages {
        let path = dir.join(format!("{name}.1"));
        std::fs::write(&path, roff).map_err(CliError::output(&path.display().to_string()))?;
    }
    if context.json {
        let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
        return output::json("man_written", &serde_json::json!({ "dir": dir.display().to_string(), "pages": names }));
    }
    output::done(&format!("Wrote {} pages into {}.", pages.len(), dir.display()), context)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seen to fail when `collect` did not go below the verbs.
    #[test]
    fn every_option_of_every_verb_stands_in_its_page() {
        let pages = pages();
        let mut command = help::command();
        command.build();
        let mut seen = 0;
        let mut todo = vec![(String::from("infmap"), &command)];
        while let Some((name, command)) = todo.pop() {
            let roff = &pages.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("{name} has no page")).1;
            let text = text::of(roff);
            for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
                let long = argument.get_long().map(|long| format!("--{long}"));
                let short = argument.get_short().map(|short| format!("-{short}"));
                for flag in [long, short].into_iter().flatten() {
                    assert!(text.contains(&flag), "{name}: {flag} is missing in\n{text}");
                    seen += 1;
                }
            }
            todo.extend(
                command
                    .get_subcommands()
                    .filter(|verb| verb.get_name() != "help")
                    .map(|verb| (format!("{name}-{}", verb.get_name()), verb)),
            );
        }
        assert!(seen > 100, "{seen}");
    }

    #[test]
    fn a_mistyped_verb_names_the_nearest_page() {
        let error = unknown("infmap-scurb", &pages());
        assert!(error.code == Code::Usage && error.help_text().contains("infmap man scrub"), "{error:?}");
    }
}
