//! HDF5 through h5py: files that are changed in the middle, grow, shrink, and are read while somebody writes.

use crate::common::{Volume, run};
use crate::{again, script};
use std::path::Path;
use std::process::{Command, Stdio};

/// The first Python that has h5py; if none, says so.
fn python() -> Option<&'static str> {
    let imports = |python: &&str| {
        let mut command = Command::new(python);
        command.args(["-c", "import h5py"]).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let found = ["python3", "/usr/bin/python3"].into_iter().find(imports);
    if found.is_none() {
        eprintln!("skipped: no python3 imports h5py (scripts/setup programs installs it): no HDF5 files are written");
    }
    found
}

#[test]
fn hdf5_files_are_read_as_they_were_written() {
    let Some(python) = python() else { return };
    let Some(volume) = Volume::if_mountable() else { return };
    let hdf5 = |verb: &str, dir: &Path| run(Command::new(python).arg(script("hdf5.py")).arg(verb).arg(dir));
    let mount = volume.mount();
    hdf5("write", mount.dir());
    hdf5("judge", mount.dir());
    let mount = again(&volume, mount, &[]);
    hdf5("judge", mount.dir());
    mount.unmount();
    volume.check();
}
