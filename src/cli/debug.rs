//! `infmap debug DIR|VOLUME --out FILE.tar.gz`: one archive for whoever is to find out what is wrong.
//!
//! Must be true: DBG-1 no name or path inside of the volume is in it, unless --with-names asks for that; DBG-2 it is made however much is
//! broken: what cannot be had is a sentence in its place. Fails: when the archive cannot be written.

mod gather;

use super::error::{CliError, Code};
use super::status::Behind;
use super::{Context, info, output};
use crate::mount::mountinfo;
use flate2::Compression;
use flate2::write::GzEncoder;
use gather::{Piece, Source};
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Gather what is known of a volume and its mount into one archive: messages, figures, settings, status, threads, versions, limits. It has no
/// names of files.
#[derive(clap::Args)]
#[command(after_help = "Look at what you send: tar -xzOf FILE.tar.gz | less")]
pub struct Debug {
    /// Where it is mounted, or the volume's directory.
    #[arg(value_name = "DIR|VOLUME")]
    path: PathBuf,
    /// The archive, which must not be there yet.
    #[arg(long, value_name = "FILE.tar.gz")]
    out: PathBuf,
    /// With names and paths of files: the list of damage, and messages as they are.
    #[arg(long)]
    with_names: bool,
}

impl Debug {
    pub fn run(self, context: &Context) -> Result<(), CliError> {
        let source = source(&self.path)?;
        let pieces = gather::all(&source, self.with_names);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.out).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => {
                CliError::new(Code::Output, format!("{} is there already", self.out.display())).help("name a file that is not there")
            }
            _ => CliError::output(&self.out.display().to_string())(error),
        })?;
        archive(file, &pieces).map_err(|error| {
            let _ = std::fs::remove_file(&self.out);
            CliError::output(&self.out.display().to_string())(error)
        })?;
        let missing: Vec<&str> = pieces.iter().filter(|piece| piece.is_missing).map(|piece| piece.name).collect();
        if context.json {
            let names: Vec<&str> = pieces.iter().map(|piece| piece.name).collect();
            return output::json(
                "debug",
                &serde_json::json!({
                    "archive": self.out.display().to_string(), "pieces": names, "missing": missing,
                    "with_names": self.with_names,
                }),
            );
        }
        if !missing.is_empty() {
            output::note(&format!("could not be had: {}", missing.join(", ")), context);
        }
        let names = if self.with_names { "with names of files" } else { "without names of files" };
        output::done(&format!("Wrote {} pieces into {}, {names}.", pieces.len(), self.out.display()), context)
    }
}

/// What is looked at. A mount whose daemon has died is one too.
fn source(path: &Path) -> Result<Source, CliError> {
    let volume = match Behind::of(path) {
        Ok(behind) => behind.volume,
        Err(error) if error.code == Code::NoAnswer => info::volume_of(path)?,
        Err(error) => return Err(error),
    };
    let mounts = mountinfo::all()?.into_iter().filter(mountinfo::Mounted::is_ours).collect();
    Ok(Source { volume, mounts })
}

fn archive(file: impl Write, pieces: &[Piece]) -> io::Result<()> {
    let mut archive = tar::Builder::new(GzEncoder::new(file, Compression::default()));
    for piece in pieces {
        let mut header = tar::Header::new_gnu();
        header.set_size(piece.text.len() as u64);
        header.set_mode(0o600);
        archive.append_data(&mut header, Path::new("infmap-debug").join(piece.name), piece.text.as_bytes())?;
    }
    archive.into_inner()?.finish()?.flush()
}
