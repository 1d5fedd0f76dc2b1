//! The command line as clap is told it, with the verbs grouped by what they are for.
//!
//! Owns: the groups. Must be true: CLI-1 each verb stands in exactly one group, so that `--help`, the man pages, the completions and the
//! README name the same verbs. Fails: never.

use super::Arguments;
use clap::{Command, CommandFactory};

/// What verbs are for, and the verbs.
pub const GROUPS: &[(&str, &[&str])] = &[
    ("Volume", &["init", "info", "config", "clean", "map"]),
    ("Mount", &["mount", "umount", "remount", "status", "ps"]),
    ("Integrity", &["check", "scrub", "damage", "repair", "recover", "restore"]),
    ("Inspect", &["stats", "top", "profile", "locate", "find", "doctor", "debug", "explain"]),
    ("Cache", &["warm", "cache"]),
    ("Tools", &["bench", "completions", "man", "install-helpers", "version"]),
];

/// What the program says of itself in one line.
pub const ABOUT: &str = "A filesystem whose storage is a picture: every byte of every file is a pixel of a PNG.";

/// The whole command line.
pub fn command() -> Command {
    let command = Arguments::command();
    let template = format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{}\nOptions:\n{{options}}\n\n`infmap VERB --help` says more of a verb, and \
         `infmap man VERB` all of it; `infmap explain CODE` says what an error means.\n",
        verbs(&command)
    );
    command.help_template(template)
}

/// The verbs in their groups, each with its first line.
fn verbs(command: &Command) -> String {
    let width = GROUPS.iter().flat_map(|(_, verbs)| *verbs).map(|verb| verb.len()).max().unwrap_or(0);
    let line = |verb: &&str| {
        let about = command.find_subcommand(verb).and_then(Command::get_about).map(ToString::to_string).unwrap_or_default();
        format!("  {verb:<width$}  {about}\n")
    };
    GROUPS.iter().map(|(group, verbs)| format!("{group}:\n{}\n", verbs.iter().map(line).collect::<String>())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_verb_stands_in_exactly_one_group() {
        let grouped: Vec<&str> = GROUPS.iter().flat_map(|(_, verbs)| *verbs).copied().collect();
        let set: BTreeSet<&str> = grouped.iter().copied().collect();
        assert_eq!(set.len(), grouped.len(), "a verb stands twice");
        let command = command();
        let verbs: BTreeSet<&str> = command.get_subcommands().map(Command::get_name).collect();
        assert_eq!(set, verbs);
    }

    #[test]
    fn each_verb_has_a_first_line_that_fits_a_terminal_of_two_columns() {
        for verb in command().get_subcommands() {
            let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
            assert!(!about.is_empty() && about.len() <= 160, "{}: {about}", verb.get_name());
        }
    }

    #[test]
    fn the_command_line_is_well_formed() {
        command().debug_assert();
    }
}
