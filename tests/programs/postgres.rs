//! PostgreSQL: a cluster with checksums lives on a mount, is stopped in order and in the middle of everything, and moves on to other mounts.
//!
//! Owns: `Cluster`. Must be true: the server listens on a socket beside the volume and nowhere else, and ends with its `Cluster`, before
//! the mount does. Fails: by panic, with the server's log. Seconds of pgbench: `INFMAP_PGBENCH_SECONDS`, or few.

use crate::common::{Listener, Volume, can_mount, run};
use crate::{Running, again};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// `nobody`: PostgreSQL refuses to run as root.
const USER: u32 = 65_534;
const CLIENTS: u64 = 4;

fn seconds() -> u64 {
    std::env::var("INFMAP_PGBENCH_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(5)
}

/// The programs of the newest version that is installed; if there is none, says so.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path().join("bin"));
    let whole = |bin: &PathBuf| ["initdb", "postgres", "pgbench", "psql", "pg_checksums"].iter().all(|program| bin.join(program).exists());
    let number = |bin: &PathBuf| bin.parent()?.file_name()?.to_str()?.parse::<u32>().ok();
    let found = versions.filter(whole).max_by_key(number);
    if found.is_none() {
        eprintln!("skipped: /usr/lib/postgresql holds no server (scripts/setup programs installs it): no cluster is made");
    }
    found
}

/// A directory that belongs to whoever runs the server.
fn private(dir: &Path) {
    fs::create_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).expect("its bits");
    if rustix::process::geteuid().is_root() {
        chown(dir, Some(USER), Some(USER)).expect("its owner");
    }
}

/// A cluster, and the directory beside the mount that holds its socket.
struct Cluster {
    bin: PathBuf,
    data: PathBuf,
    beside: PathBuf,
    /// The server while it runs.
    server: Option<(Child, Listener)>,
}

impl Cluster {
    fn call(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        command.current_dir("/").stdin(Stdio::null()).env("LC_ALL", "C").env("PGHOST", &self.beside).env("PGUSER", "postgres");
        command.env("PGDATA", &self.data).env("PGDATABASE", "postgres");
        if rustix::process::geteuid().is_root() {
            command.uid(USER).gid(USER);
        }
        command
    }

    /// Starts the server and returns when it answers. Little memory and short logs, so that it reads and writes.
    fn start(&mut self, sync_method: &str) {
        let mut command = self.call("postgres");
        let sockets = format!("unix_socket_directories={}", self.beside.display());
        let sync_method = format!("wal_sync_method={sync_method}");
        for setting in ["listen_addresses=", &sockets, &sync_method, "shared_buffers=8MB", "max_wal_size=64MB", "min_wal_size=32MB"] {
            command.args(["-c", setting]);
        }
        let mut server = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
        let (listener, is_ready) = Listener::new(server.stderr.take().expect("piped"), "database system is ready to accept connections");
        self.server = Some((server, listener));
        assert!(is_ready.recv_timeout(Duration::from_secs(120)).is_ok(), "the server does not answer");
    }

    /// Stops it in order (`INT`), or so that nothing more is written (`QUIT`).
    fn stop(&mut self, how: Signal) {
        let (mut server, mut listener) = self.server.take().expect("it runs");
        // Not one that has died already.
        let _ = kill_process(Pid::from_child(&server), how);
        let status = server.wait().expect("waited");
        listener.join();
        assert!(status.success() || how != Signal::INT, "the server ends with {status}:\n{}", listener.said());
    }

    fn ask(&self, query: &str) -> String {
        run(self.call("psql").args(["-XAtqc", query])).trim().into()
    }

    /// Requires that the history explains all balances; returns its length.
    fn balanced(&self) -> u64 {
        let sum = |column, table| format!("(SELECT coalesce(sum({column}), 0) FROM pgbench_{table})");
        let sums = [sum("delta", "history"), sum("abalance", "accounts"), sum("tbalance", "tellers"), sum("bbalance", "branches")];
        let sums = self.ask(&format!("SELECT {}", sums.join(", ")));
        let [delta, rest @ ..] = &sums.split('|').collect::<Vec<_>>()[..] else { panic!("{sums}") };
        assert!(rest.len() == 3 && rest.iter().all(|sum| sum == delta), "history, accounts, tellers, branches: {sums}");
        self.ask("SELECT count(*) FROM pgbench_history").parse().expect("a number")
    }

    /// Requires that every page of every file has the sum that stands in it.
    fn checksums(&self) {
        let said = run(self.call("pg_checksums").arg("--check"));
        assert!(said.contains("Bad checksums:  0"), "{said}");
    }

    /// Requires that every index leads to every row, where there is somebody who looks.
    fn amcheck(&self) {
        let available = "SELECT count(*) FROM pg_available_extensions WHERE name = 'amcheck'";
        if self.bin.join("pg_amcheck").exists() && self.ask(available) == "1" {
            run(self.call("pg_amcheck").args(["--install-missing", "--heapallindexed", "--parent-check", "--all"]));
        } else {
            eprintln!("skipped in part: there is no pg_amcheck");
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some((_, listener)) = &self.server {
            eprintln!("the server said:\n{}", listener.said());
            self.stop(Signal::QUIT);
        }
    }
}

/// pgbench for some seconds; returns how many transactions it counts.
fn bench(cluster: &Cluster) -> u64 {
    let clients = CLIENTS.to_string();
    let said = run(cluster.call("pgbench").args(["-c", &clients, "-j", "2", "-T", &seconds().to_string()]));
    let after = |prefix: &str| said.lines().find_map(|line| line.strip_prefix(prefix)).unwrap_or_else(|| panic!("{prefix}: {said}"));
    println!("pgbench: {} transactions, {} tps", after("number of transactions actually processed: "), after("tps = "));
    let failed = said.lines().filter_map(|line| line.strip_prefix("number of failed transactions: ")).collect::<String>();
    assert!(failed.is_empty() || failed.starts_with("0 "), "{said}");
    after("number of transactions actually processed: ").parse().expect("a number")
}

/// Lets `crash` happen while pgbench is at it; returns how many transactions its clients were told.
fn told(cluster: &mut Cluster, name: &str, crash: impl FnOnce(&mut Cluster)) -> u64 {
    let logs = cluster.beside.join(name);
    private(&logs);
    let mut command = cluster.call("pgbench");
    command.args(["-n", "-c", &CLIENTS.to_string(), "-j", "2", "-T", "600", "-P", "1", "--log", "--log-prefix"]).arg(logs.join("log"));
    let mut clients = Running(command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts"));
    let mut says = BufReader::new(clients.0.stderr.take().expect("piped")).lines().map_while(Result::ok);
    assert_eq!(says.by_ref().filter(|line| line.starts_with("progress: ")).take(2).count(), 2, "pgbench ends early");
    crash(cluster);
    says.for_each(drop);
    assert!(!clients.0.wait().expect("waited").success(), "it has lost its server");
    let logs = fs::read_dir(logs).expect("listed").flatten().map(|log| fs::read_to_string(log.path()).expect("text"));
    logs.map(|log| log.lines().count() as u64).sum()
}

/// Requires that what is new in the history is what the clients were told, and at most one more of each; returns its length.
fn recovered(cluster: &Cluster, before: u64, told: u64) -> u64 {
    let count = cluster.balanced();
    println!("the clients were told of {told} transactions before the crash; {before} in the history became {count}");
    assert!(told > 0 && (before + told..=before + told + CLIENTS).contains(&count), "{told} after {before} are not {count}");
    cluster.amcheck();
    count
}

#[test]
fn postgres_keeps_what_it_has_committed() {
    let Some(bin) = programs() else { return };
    if !can_mount() {
        return;
    }
    let volume = Volume::new();
    let options: &[&str] = if rustix::process::geteuid().is_root() { &["-o", "allow_other"] } else { &[] };
    // Declared before the cluster, so that the server ends first.
    let mut mount = volume.mount_with(options);
    for dir in [volume.path().parent().expect("the temporary one"), mount.dir()] {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).expect("its bits");
    }
    // The path of a socket has 107 bytes at most.
    let beside = tempfile::Builder::new().prefix("infmap-pg-").tempdir_in("/tmp").expect("a directory");
    fs::set_permissions(beside.path(), fs::Permissions::from_mode(0o755)).expect("its bits");
    let mut cluster = Cluster { bin, data: mount.path("data"), beside: beside.path().join("server"), server: None };
    private(&cluster.beside);
    private(&cluster.data);
    let locale = ["--encoding", "UTF8", "--no-locale"];
    run(cluster.call("initdb").args(["--data-checksums", "--username", "postgres", "--auth", "trust"]).args(locale));
    cluster.start("fdatasync");
    run(cluster.call("pgbench").args(["-q", "-i", "-s", "4", "--foreign-keys"]));
    let count = bench(&cluster);
    assert_eq!(cluster.balanced(), count);
    cluster.stop(Signal::INT);
    cluster.checksums();

    mount = again(&volume, mount, options);
    cluster.start("open_datasync");
    assert_eq!(cluster.balanced(), count, "after a remount");
    let heard = told(&mut cluster, "crash", |cluster| cluster.stop(Signal::QUIT));
    cluster.start("fdatasync");
    let count = recovered(&cluster, count, heard);
    cluster.stop(Signal::INT);
    cluster.checksums();

    mount = again(&volume, mount, options);
    cluster.start("fdatasync");
    assert_eq!(cluster.balanced(), count, "after the crash and a remount");
    let heard = told(&mut cluster, "kill", |cluster| {
        mount.kill();
        cluster.stop(Signal::QUIT);
    });
    volume.check();
    mount = volume.mount_with(options);
    cluster.start("fdatasync");
    let count = recovered(&cluster, count, heard);
    cluster.stop(Signal::INT);
    cluster.checksums();

    mount = again(&volume, mount, options);
    cluster.start("fdatasync");
    assert_eq!(cluster.balanced(), count, "after all");
    cluster.stop(Signal::INT);
    mount.unmount();
    volume.check();
}
