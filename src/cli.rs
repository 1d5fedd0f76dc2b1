//! The command line: one file a verb.
//!
//! Owns: the list of verbs, the names under which the program may be called, and what goes to which stream. Must be true:
//! facts go to stdout, everything else to stderr; every failure has a stable code and an exit code (`error`).
//! Fails: with `error[IM1042]: ...`, a help line, and the exit code that `error` gives for it.

pub mod error;
pub mod options;

pub use help::command;

mod advice;
mod alias;
mod bench;
mod cache;
mod check;
mod clean;
mod code;
mod completions;
mod config;
mod damage;
mod debug;
mod destination;
mod doctor;
mod explain;
mod figures;
mod find;
mod help;
mod helpers;
mod info;
mod init;
mod locate;
mod man;
mod map;
mod mount;
mod output;
mod profile;
mod progress;
mod ps;
mod recover;
mod remount;
mod repair;
mod restore;
mod scrub;
mod settings;
mod stats;
mod status;
mod top;
mod umount;
mod version;
mod warm;

use crate::mount::signals;
use clap::{FromArgMatches, Parser, Subcommand};
use error::{CliError, Code};
use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "infmap", about = help::ABOUT, version, propagate_version = true, disable_help_subcommand = true)]
struct Arguments {
    /// Print facts, progress and errors as JSON.
    #[arg(long, global = true)]
    json: bool,
    /// Draw no progress bars.
    #[arg(long, global = true)]
    no_progress: bool,
    /// Print nothing that was not asked for: no notes, no progress, no word on success. Errors are printed.
    #[arg(short, long, global = true)]
    quiet: bool,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Init(init::Init),
    Mount(mount::Mount),
    #[command(alias = "unmount")]
    Umount(umount::Umount),
    Remount(remount::Remount),
    Info(info::Info),
    Status(status::Status),
    Ps(ps::Ps),
    Profile(profile::Profile),
    #[command(alias = "fsck")]
    Check(check::Check),
    Repair(repair::Repair),
    Recover(recover::Recover),
    Restore(restore::Restore),
    Clean(clean::Clean),
    Scrub(scrub::Scrub),
    Damage(damage::Damage),
    Map(map::Map),
    Stats(stats::Stats),
    Top(top::Top),
    Warm(warm::Warm),
    Cache(cache::Cache),
    Locate(locate::Locate),
    Find(find::Find),
    Config(config::Config),
    InstallHelpers(helpers::InstallHelpers),
    Bench(bench::Bench),
    Debug(debug::Debug),
    Completions(completions::Completions),
    Man(man::Man),
    Doctor(doctor::Doctor),
    Explain(explain::Explain),
    Version(version::Version),
}

/// What every verb is given.
struct Context {
    json: bool,
    no_progress: bool,
    quiet: bool,
    /// The arguments as this program would have to be called again with.
    arguments: Vec<OsString>,
}

impl Context {
    /// The arguments of this call of a verb, with one flag more: what is to be done by another process is called again as it was called, so
    /// that nothing of it has to be understood twice.
    fn call_again(&self, verb: &str, flag: &str) -> Vec<OsString> {
        let verb = self.arguments.iter().position(|argument| argument == verb).map_or(0, |at| at + 1);
        let (before, after) = self.arguments.split_at(verb);
        before.iter().chain(&[OsString::from(flag)]).chain(after).cloned().collect()
    }
}

/// Runs the program with the arguments of its process, its own name first.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    signals::survive_file_limit();
    let call = match alias::resolve(arguments.into_iter().collect()) {
        Ok(call) => call,
        // Only the call of mount(8) has a form of its own that can be wrong.
        Err(error) => return report(&error, false, alias::Caller::MountHelper),
    };
    if call.dry {
        return ExitCode::SUCCESS;
    }
    let json = call.arguments.iter().any(|argument| argument == "--json");
    let parsed = match parse(&call.arguments) {
        Ok(parsed) => parsed,
        Err(error) if !error.use_stderr() => {
            // A pager that was left has read enough.
            let printed = error.print().and_then(|()| std::io::stdout().flush()).or_else(output::unless_left);
            return printed.map_or_else(|error| report(&CliError::output("stdout")(error), json, call.caller), |()| ExitCode::SUCCESS);
        }
        Err(error) if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            if json {
                return report(&CliError::new(Code::Usage, "a verb is missing"), json, call.caller);
            }
            let _ = error.print();
            return ExitCode::from(Code::Usage.exit());
        }
        Err(error) => return report(&usage(&error), json, call.caller),
    };
    let arguments = call.arguments.into_iter().skip(1).collect();
    let Arguments { json, no_progress, quiet, verb } = parsed;
    let context = Context { json, no_progress: no_progress || quiet, quiet, arguments };
    match run(verb, &context) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(&error, context.json, call.caller),
    }
}

fn parse(arguments: &[OsString]) -> Result<Arguments, clap::Error> {
    Arguments::from_arg_matches(&help::command().try_get_matches_from(arguments)?)
}

fn run(verb: Verb, context: &Context) -> Result<(), CliError> {
    match verb {
        Verb::Init(verb) => verb.run(context),
        Verb::Mount(verb) => verb.run(context),
        Verb::Umount(verb) => verb.run(context),
        Verb::Remount(verb) => verb.run(context),
        Verb::InstallHelpers(verb) => verb.run(context),
        Verb::Bench(verb) => verb.run(context),
        Verb::Debug(verb) => verb.run(context),
        Verb::Completions(verb) => verb.run(context),
        Verb::Man(verb) => verb.run(context),
        Verb::Info(verb) => verb.run(context),
        Verb::Status(verb) => verb.run(context),
        Verb::Ps(verb) => verb.run(context),
        Verb::Profile(verb) => verb.run(context),
        Verb::Check(verb) => verb.run(context),
        Verb::Repair(verb) => verb.run(context),
        Verb::Recover(verb) => verb.run(context),
        Verb::Restore(verb) => verb.run(context),
        Verb::Clean(verb) => verb.run(context),
        Verb::Scrub(verb) => verb.run(context),
        Verb::Damage(verb) => verb.run(context),
        Verb::Map(verb) => verb.run(context),
        Verb::Stats(verb) => verb.run(context),
        Verb::Top(verb) => verb.run(context),
        Verb::Warm(verb) => verb.run(context),
        Verb::Cache(verb) => verb.run(context),
        Verb::Locate(verb) => verb.run(context),
        Verb::Find(verb) => verb.run(context),
        Verb::Config(verb) => verb.run(context),
        Verb::Doctor(verb) => verb.run(context),
        Verb::Explain(verb) => verb.run(context),
        Verb::Version(verb) => verb.run(context),
    }
}

fn report(error: &CliError, json: bool, caller: alias::Caller) -> ExitCode {
    error.print(json);
    ExitCode::from(caller.exit(error))
}

/// What clap found, in our form: its first paragraph is the message, its tips are the help.
fn usage(error: &clap::Error) -> CliError {
    let text = error.to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let (message, rest) = text.split_once("\n\n").unwrap_or((text, ""));
    let tip = rest.lines().find_map(|line| line.trim().strip_prefix("tip: "));
    let help = tip.map_or_else(|| "`infmap --help` lists the verbs, `infmap VERB --help` their options".into(), str::to_string);
    CliError::new(Code::Usage, message.trim()).help(help)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_verb_names_the_nearest() {
        let error = parse(&["infmap", "moutn"].map(Into::into)).err().expect("refused");
        let error = usage(&error);
        assert_eq!(error.code, Code::Usage);
        assert!(error.help.as_deref().unwrap_or("").contains("mount"), "{error:?}");
    }
}
