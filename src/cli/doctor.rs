//! `infmap doctor`: whether this machine can do it, how the mounts are, and a drill of disasters.
//!
//! Owns: the list of examinations. Must be true: looking changes nothing. Fails: with [`Code::Unfit`] behind the list.

mod drill;
mod volume;

use super::error::{CliError, Code};
use super::output::{human, text_line};
use super::settings::{self, SettingsArguments};
use super::{Context, output, status};
use crate::mount::mountinfo;
use rustix::process::{Resource, getrlimit};
use serde::Serialize;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Look whether this machine has what a mount needs, and how the mounts are.
#[derive(clap::Args)]
pub struct Doctor {
    /// A volume, or where it is mounted: look at it too.
    #[arg(value_name = "VOLUME|DIR", conflicts_with = "drill")]
    path: Option<PathBuf>,
    /// Make a volume in a temporary directory, damage it in ways that are survived and in ways that are not, and see that all is as promised.
    #[arg(long)]
    drill: bool,
    /// Where the drill works: a disk with 200 MiB to spare.
    #[arg(long = "in", value_name = "DIR", requires = "drill")]
    place: Option<PathBuf>,
}

/// How an examination ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Grade {
    Good,
    /// It works, but could be better.
    Fair,
    /// Mounts fail, or one of them does.
    Bad,
}

#[derive(Debug, Serialize)]
struct Finding {
    what: &'static str,
    grade: Grade,
    found: String,
    /// What to do, unless it is good.
    advice: Option<String>,
}

impl Finding {
    fn new(what: &'static str, grade: Grade, found: impl Into<String>, advice: &str) -> Self {
        Self { what, grade, found: found.into(), advice: (grade != Grade::Good).then(|| advice.into()) }
    }
}

/// What is looked at, in this order.
const EXAMINATIONS: &[fn() -> Vec<Finding>] = &[kernel, device, helper, files, file_size, memory, mounts];

impl Doctor {
    pub fn run(self, context: &Context) -> Result<(), CliError> {
        if self.drill {
            return drill::run(self.place.unwrap_or_else(std::env::temp_dir), context);
        }
        let of_volume = self.path.as_deref().map(volume::examine).unwrap_or_default();
        let findings: Vec<Finding> = EXAMINATIONS.iter().flat_map(|examine| examine()).chain(of_volume).collect();
        if context.json {
            output::json("findings", &serde_json::json!({ "findings": findings }))?;
        } else {
            findings.iter().try_for_each(|finding| text_line(&line(finding)))?;
        }
        match findings.iter().filter(|finding| finding.grade == Grade::Bad).count() {
            0 => Ok(()),
            bad => Err(CliError::new(Code::Unfit, format!("{bad} of {} examinations found something that is in the way", findings.len()))),
        }
    }
}

fn line(finding: &Finding) -> String {
    let Finding { what, grade, found, advice } = finding;
    let grade = match grade {
        Grade::Good => "good",
        Grade::Fair => "fair",
        Grade::Bad => "BAD ",
    };
    let advice = advice.as_ref().map(|advice| format!("\n      {advice}")).unwrap_or_default();
    format!("{grade}  {what}: {found}{advice}")
}

fn kernel() -> Vec<Finding> {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let grade = if is_new_enough(&release) { Grade::Good } else { Grade::Bad };
    vec![Finding::new("kernel", grade, format!("Linux {release}"), "Linux 5.12 or newer is needed")]
}

fn is_new_enough(release: &str) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse::<u32>().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (5, 12)
}

fn device() -> Vec<Finding> {
    let opened = File::options().read(true).write(true).open("/dev/fuse");
    let (grade, found) = match opened {
        Ok(_) => (Grade::Good, "it can be opened".into()),
        Err(error) => (Grade::Bad, format!("it cannot be opened: {error}")),
    };
    let advice = "`modprobe fuse`; in a container: --device /dev/fuse and CAP_SYS_ADMIN; else the rights of the file";
    vec![Finding::new("/dev/fuse", grade, found, advice)]
}

fn helper() -> Vec<Finding> {
    let is_root = rustix::process::geteuid().is_root();
    let version = Command::new("fusermount3").arg("--version").stdin(Stdio::null()).output();
    let (grade, found) = match version {
        Ok(output) => (Grade::Good, String::from_utf8_lossy(&output.stdout).trim().to_string()),
        Err(_) if is_root => (Grade::Fair, "missing; root does without".into()),
        Err(error) => (Grade::Bad, format!("cannot be run: {error}")),
    };
    vec![Finding::new("fusermount3", grade, found, "install the package fuse3: users other than root mount through it")]
}

fn files() -> Vec<Finding> {
    /// A daemon with all its threads, and images that it keeps open.
    const ENOUGH: u64 = 1024;
    let limit = getrlimit(Resource::Nofile).current;
    let grade = if limit.is_none_or(|limit| limit >= ENOUGH) { Grade::Good } else { Grade::Fair };
    let found = limit.map_or("no limit".into(), |limit| format!("{limit} at a time"));
    vec![Finding::new("open files", grade, found, "raise it with `ulimit -n 1024`, or LimitNOFILE= of the service")]
}

fn file_size() -> Vec<Finding> {
    /// The largest file that a volume has: a segment of its log.
    const ENOUGH: u64 = 128 << 20;
    let limit = getrlimit(Resource::Fsize).current;
    let grade = if limit.is_none_or(|limit| limit >= ENOUGH) { Grade::Good } else { Grade::Bad };
    let found = limit.map_or("no limit".into(), human);
    vec![Finding::new("size of files", grade, found, "raise it with `ulimit -f unlimited`, or LimitFSIZE= of the service")]
}

fn memory() -> Vec<Finding> {
    let what = "memory";
    match settings::load(&SettingsArguments::default(), None, &[]) {
        Err(error) => vec![Finding::new(what, Grade::Bad, format!("the settings are refused: {}", error.message), error.help_text())],
        Ok(loaded) => {
            let budget = human(loaded.settings.memory.budget);
            match settings::too_large(&loaded.settings) {
                Some(too_large) => {
                    vec![Finding::new(
                        what,
                        Grade::Bad,
                        too_large,
                        "set memory.budget to what can be spared; `preset: small` runs in 32 MiB",
                    )]
                }
                None => vec![Finding::new(what, Grade::Good, format!("there is enough for a budget of {budget}"), "")],
            }
        }
    }
}

fn mounts() -> Vec<Finding> {
    mounts_among(mountinfo::all())
}

fn mounts_among(all: Result<Vec<mountinfo::Mounted>, impl std::fmt::Display>) -> Vec<Finding> {
    match all {
        Ok(all) => all.into_iter().filter(mountinfo::Mounted::is_ours).map(|mounted| mount(&mounted.mountpoint)).collect(),
        Err(error) => {
            let advice = "see that /proc is mounted and may be read: without it no mount is found by its place";
            vec![Finding::new("mount", Grade::Bad, format!("the mounts of this machine cannot be listed: {error}"), advice)]
        }
    }
}

fn mount(mountpoint: &Path) -> Finding {
    let place = mountpoint.display();
    match status::ask(mountpoint) {
        Err(error) => Finding::new("mount", Grade::Bad, error.message.clone(), error.help_text()),
        Ok(facts) => {
            let judged = status::judge(&facts);
            let grade = match &judged {
                Ok(()) => Grade::Good,
                Err(error) if error.code == Code::Degraded => Grade::Fair,
                Err(_) => Grade::Bad,
            };
            let advice = judged.err().map(|error| error.help_text().to_string()).unwrap_or_default();
            if let (Grade::Good, Some(why)) = (grade, &facts.http.why_not) {
                let advice = "set http.listen to an address that is free; 127.0.0.1:0 takes any, off asks for none";
                return Finding::new("mount", Grade::Fair, format!("{place}: no metrics are served: {why}"), advice);
            }
            Finding::new("mount", grade, format!("{place}: {}", status::mode_text(&facts)), &advice)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Meant to fail when it was as if nothing were mounted.
    #[test]
    fn mounts_that_cannot_be_listed_are_a_finding() {
        let found = mounts_among(Err("refused"));
        assert!(matches!(&found[..], [Finding { grade: Grade::Bad, what, .. }] if *what == "mount"), "{}", found.len());
        assert!(mounts_among(Ok::<_, std::io::Error>(Vec::new())).is_empty());
    }

    #[test]
    fn kernels_are_compared_by_their_first_two_numbers() {
        for (release, expected) in
            [("5.12.0", true), ("6.1.0-13-amd64", true), ("10.0", true), ("5.4.0-200", false), ("4.19", false), ("x", false)]
        {
            assert_eq!(is_new_enough(release), expected, "{release}");
        }
    }

    #[test]
    fn only_what_is_not_good_has_advice() {
        let good = Finding::new("a", Grade::Good, "fine", "nothing");
        assert_eq!(line(&good), "good  a: fine");
        assert_eq!(line(&Finding::new("a", Grade::Bad, "gone", "get it")), "BAD   a: gone\n      get it");
    }
}
