//! The one table of failures: number, exit code, cause, what to do, examples.
//!
//! Owns: the table. `infmap explain` prints it, and docs/operations.md has a section for each line of it (`tests/codes.rs`). Must be true:
//! a number is never given to another failure. Fails: never.

/// Declares the codes. The comment of each is its title.
macro_rules! codes {
    ($(#[doc = $title:literal] $name:ident = $number:literal, exit $exit:literal { cause: $cause:literal, help: $help:literal, examples: [$($example:literal),+] })+) => {
        /// A kind of failure. Its number is stable: `IM1010` means the same in every version.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Code { $(#[doc = $title] $name),+ }

        impl Code {
            /// All codes, by number.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The stable number.
            #[must_use]
            pub fn number(self) -> u16 {
                match self { $(Self::$name => $number),+ }
            }

            /// The exit code of a verb that fails so.
            #[must_use]
            pub fn exit(self) -> u8 {
                match self { $(Self::$name => $exit),+ }
            }

            /// What it is, in a sentence.
            #[must_use]
            pub fn title(self) -> &'static str {
                match self { $(Self::$name => $title),+ }.trim()
            }

            /// How it comes about.
            #[must_use]
            pub fn cause(self) -> &'static str {
                match self { $(Self::$name => $cause),+ }
            }

            /// What to do, when nothing better is known.
            #[must_use]
            pub fn help(self) -> &'static str {
                match self { $(Self::$name => $help),+ }
            }

            /// Calls that help, as one types them.
            #[must_use]
            pub fn examples(self) -> &'static [&'static str] {
                match self { $(Self::$name => &[$($example),+]),+ }
            }
        }
    };
}

codes! {
    /// The command line is not understood.
    Usage = 1001, exit 2 {
        cause: "A verb or an option is unknown, misses its value, or has one that it cannot have.",
        help: "`infmap --help` lists the verbs and options",
        examples: ["infmap --help", "infmap mount --help"]
    }
    /// The configuration is refused.
    Config = 1002, exit 2 {
        cause: "A file of settings, a variable INFMAP__..., --set or -o names an unknown key or a value out of its range; or the settings \
                ask for more memory than this process can have. Nothing is mounted with settings that are half understood.",
        help: "`infmap config check FILE` shows what is wrong, `infmap config show` what is allowed",
        examples: ["infmap config check /etc/infmap/config.yaml", "infmap config show --set memory.budget=256MiB"]
    }
    /// An option of -o is not known or not possible.
    Option = 1003, exit 2 {
        cause: "A word behind -o is none of mount(8), none of Infinite Map and no setting, or cannot be had with this filesystem.",
        help: "`infmap mount --help` lists the options",
        examples: ["infmap mount -o ro,noatime my.map DIR", "infmap mount -o memory.budget=256MiB my.map DIR"]
    }
    /// There is no such code.
    NoSuchCode = 1004, exit 2 {
        cause: "`infmap explain` was asked for a code that no failure has.",
        help: "`infmap explain` lists all codes",
        examples: ["infmap explain", "infmap explain IM1042"]
    }
    /// There is no volume.
    VolumeMissing = 1010, exit 10 {
        cause: "The path is not there, or is no directory.",
        help: "`infmap init VOLUME` makes a volume",
        examples: ["infmap init my.map"]
    }
    /// It is a directory, but not a volume.
    NotAVolume = 1011, exit 10 {
        cause: "The directory has no volume.yaml, one that cannot be read, or what an interrupted init has left.",
        help: "name the directory that holds volume.yaml and map/; if this is it, take volume.yaml from a backup of the volume, \
               or make a volume of its images: `infmap recover VOLUME/map NEW`",
        examples: ["infmap info my.map"]
    }
    /// Something is there already.
    VolumeExists = 1012, exit 1 {
        cause: "A volume is made only where nothing is: the directory is not empty.",
        help: "name a directory that does not exist, or an empty one",
        examples: ["infmap init new.map"]
    }
    /// The volume was written by a newer version.
    VolumeVersion = 1013, exit 12 {
        cause: "Its format version is above the one that this program reads.",
        help: "use a newer version of infmap for this volume",
        examples: ["infmap version"]
    }
    /// What is stored is damaged.
    Damaged = 1014, exit 3 {
        cause: "Something that is needed to open or close the volume does not have its checksum, is missing, or contradicts itself, and \
                parity does not cover it.",
        help: "`infmap check VOLUME` lists what is damaged",
        examples: ["infmap check my.map", "infmap mount -o ro my.map DIR"]
    }
    /// A check found something.
    CheckFound = 1015, exit 3 {
        cause: "`infmap check` compared everything that is stored with its checksums, and some of it is not as it should be.",
        help: "each finding above says what to do about it",
        examples: ["infmap --json check my.map"]
    }
    /// The disk is full.
    NoSpace = 1016, exit 14 {
        cause: "The disk that holds the volume, or the place where something is written, has no room left, or a quota or the key limit is \
                reached.",
        help: "free space on the disk that holds the volume, or raise the key `limit` of its settings",
        examples: ["df -h my.map", "infmap info my.map"]
    }
    /// The map cannot be drawn.
    NoPicture = 1017, exit 1 {
        cause: "The volume has no image yet: what it holds stands in its log.",
        help: "a map has a picture when an image was written, as an unmount does; each image is one by itself",
        examples: ["infmap umount DIR", "infmap map render my.map map.png"]
    }
    /// The place for a picture is none.
    Output = 1018, exit 2 {
        cause: "Something other than a regular file is there, it lies in a volume, or stdout is a terminal.",
        help: "name a new file, or a regular file that may be replaced, outside of every volume; `-` is stdout",
        examples: ["infmap map render my.map map.png", "infmap map render my.map - >map.png"]
    }
    /// Not everything came back.
    Lost = 1019, exit 3 {
        cause: "A recovery or a restore found images missing, damaged beyond their parity, or without a root that can be walked whole; or a log that cannot be read. What could be verified was brought back.",
        help: "what is missing is named above; every other byte was verified. If there are more images of the volume, or a copy of them, add them and begin anew",
        examples: ["infmap recover --dry-run images new.map", "infmap check new.map"]
    }
    /// Another process has the volume.
    VolumeLocked = 1020, exit 11 {
        cause: "A volume belongs to one process at a time: a mount, a check. A mount that was just ended may still write.",
        help: "unmount it with `infmap umount DIR`, use the mount that exists, or wait for the process that works on it",
        examples: ["infmap info my.map", "infmap umount DIR"]
    }
    /// Images of several volumes, where one is needed.
    SeveralVolumes = 1021, exit 2 {
        cause: "The directory holds images of more than one volume, and nobody said which is meant.",
        help: "say which: --volume UUID",
        examples: ["infmap recover --volume UUID images new.map"]
    }
    /// Two images claim to be the same and are not.
    ImagesDiffer = 1022, exit 1 {
        cause: "Two sound images have the same place and generation and other content, which one volume never has.",
        help: "the volume was copied and both copies were written to: put the images of one copy into a directory of their own",
        examples: ["infmap recover one-copy new.map"]
    }
    /// What an interrupted recovery has left.
    HalfRecovered = 1023, exit 1 {
        cause: "A recovery writes volume.yaml last. This directory has images and none, because a recovery into it did not end.",
        help: "remove that directory (`rm -r`) and begin anew: it holds copies only",
        examples: ["rm -r new.map", "infmap recover images new.map"]
    }
    /// Two places of which one must not lie in the other.
    Inside = 1024, exit 2 {
        cause: "What is read and what is written must be apart: one of the two directories lies in the other.",
        help: "name a directory that does not exist, outside of the other",
        examples: ["infmap recover images new.map", "infmap restore my.map files"]
    }
    /// Damage was found, and nothing is lost.
    Repairable = 1025, exit 4 {
        cause: "`infmap check` found images that are not as they were written, and parity or a second copy covers all of it.",
        help: "`infmap repair VOLUME` puts the images back as they were written",
        examples: ["infmap repair --dry-run my.map", "infmap repair my.map"]
    }
    /// Damage was found and put right.
    Repaired = 1026, exit 4 {
        cause: "`infmap repair` put back, or settled as --damaged said, all that it found. With --dry-run it would.",
        help: "nothing is left to do; look at the health of the disk",
        examples: ["infmap check my.map", "smartctl -a /dev/sda"]
    }
    /// Bytes of files are lost.
    DamageListed = 1027, exit 3 {
        cause: "`infmap damage` lists bytes of files that a read or a scan found damaged beyond parity. They give EIO; all other bytes of these \
                files are read.",
        help: "take the files that are named from a backup, or remove them; a block that is overwritten as a whole is well again. `infmap repair \
               --damaged zero` settles files that have no backup",
        examples: ["infmap damage ls DIR", "infmap damage show DIR PATH", "infmap damage clear DIR PATH"]
    }
    /// The list of damage cannot be used.
    DamageUnread = 1028, exit 1 {
        cause: "The file run/damage.json of the volume, where mounts keep what they noticed, was changed, cut, or written by another version.",
        help: "`infmap damage clear --all VOLUME` begins a new list; `infmap check VOLUME` finds everything that is damaged",
        examples: ["infmap damage clear --all my.map", "infmap check my.map"]
    }
    /// The mountpoint cannot be used.
    Mountpoint = 1030, exit 15 {
        cause: "It does not exist, is no directory, or may not be entered.",
        help: "name an existing directory that you may enter",
        examples: ["mkdir DIR"]
    }
    /// Mountpoint and volume overlap.
    Overlap = 1031, exit 15 {
        cause: "The mountpoint lies in the volume or the volume below the mountpoint, perhaps by a link or a bind mount.",
        help: "mount outside of the volume, and not above it: the mount would wait for itself",
        examples: ["infmap mount my.map /mnt/mine"]
    }
    /// Something else is mounted there.
    Occupied = 1032, exit 15 {
        cause: "Another filesystem, or this volume, is mounted at the mountpoint.",
        help: "unmount it first, or choose another directory",
        examples: ["findmnt DIR", "infmap status"]
    }
    /// There is nothing to unmount.
    NotMounted = 1033, exit 15 {
        cause: "No mount is at that place, or the volume is not mounted.",
        help: "`findmnt -t fuse.infmap` lists the mounts of Infinite Map",
        examples: ["findmnt -t fuse.infmap", "infmap status"]
    }
    /// The mount is another filesystem's.
    Foreign = 1034, exit 15 {
        cause: "Only mounts of type fuse.infmap are ever taken away.",
        help: "use umount(8) for it",
        examples: ["umount DIR"]
    }
    /// Processes use the mount.
    Busy = 1035, exit 15 {
        cause: "Files are open in it, a process stands in it, or something is mounted in it; the message names them.",
        help: "end those processes or let them leave the directory, unmount what is mounted in it, or detach it with `infmap umount --lazy DIR`; \
               root sees the processes of all users",
        examples: ["infmap umount --lazy DIR"]
    }
    /// A volume that was opened read-only cannot be written to.
    OpenedReadOnly = 1036, exit 15 {
        cause: "It was mounted with -o ro: its log was not taken over, so a remount cannot make it writable.",
        help: "unmount it and mount it again without `ro`",
        examples: ["infmap umount DIR", "infmap mount -d my.map DIR"]
    }
    /// The daemon did not get ready in time.
    MountLate = 1040, exit 1 {
        cause: "Replaying a log or waiting for a predecessor took longer than --wait; the daemon was asked to end.",
        help: "give it longer with --wait, or run it in the foreground to see what it does",
        examples: ["infmap mount -d --wait 5m my.map DIR", "infmap mount my.map DIR"]
    }
    /// The daemon is still writing.
    UnmountLate = 1041, exit 1 {
        cause: "The mount is gone, and its daemon still makes durable what was written: a slow disk, much data, or an open file behind a lazy \
                unmount.",
        help: "the mount is gone, but its daemon is still writing: do not cut the power; `infmap info VOLUME` says when no process has it",
        examples: ["infmap info my.map", "infmap umount --wait 30m DIR"]
    }
    /// The daemon ended before it was ready.
    DaemonEnded = 1042, exit 1 {
        cause: "The daemon refused to start, having said why on the same terminal, or a signal ended it: memory that ran out, a limit.",
        help: "the message above says why",
        examples: ["infmap mount my.map DIR", "dmesg | tail"]
    }
    /// The kernel's side is missing.
    Fuse = 1043, exit 1 {
        cause: "/dev/fuse is missing or closed to you, fusermount3 is not installed, or an option needs a right that you do not have.",
        help: "install the package fuse3; /dev/fuse must exist and may be opened; allow_other needs user_allow_other in /etc/fuse.conf",
        examples: ["apt install fuse3", "ls -l /dev/fuse"]
    }
    /// The daemon died, or could not make everything durable.
    Unfinished = 1044, exit 1 {
        cause: "The process behind the mount ended before it had written everything: it was killed, it crashed, or its volume was removed.",
        help: "its messages say why, in the volume's run/daemon.log or where it was started; the next mount brings back what was synced",
        examples: ["tail my.map/run/daemon.log", "infmap mount -d my.map DIR"]
    }
    /// A file that is not ours stands where a helper's name is to be.
    Helper = 1045, exit 1 {
        cause: "install-helpers replaces nothing but links to this program.",
        help: "look at what it is; remove it, or name another directory with --into",
        examples: ["ls -l /sbin/mount.infmap", "infmap install-helpers --into /usr/local/sbin"]
    }
    /// A mount is not restarted any more.
    GaveUp = 1046, exit 6 {
        cause: "`infmap mount --supervise` mounts again when the daemon crashes. It has given up: the daemon crashed more often than --restarts \
                allows, or the volume cannot be opened any more. The dead mount is left in its place.",
        help: "the messages above, or in the volume's run/daemon.log, say how it crashed; find out why before you mount it again",
        examples: ["tail my.map/run/daemon.log", "infmap check my.map", "infmap mount -d --supervise --restarts 5/10m my.map DIR"]
    }
    /// The volume turned read-only because something failed.
    ReadOnly = 1050, exit 5 {
        cause: "The log, an image, a root or the tables could not be written or read, or an actor of the daemon failed. From that moment on \
                nothing is changed any more, so that nothing gets worse; what can be read is still read.",
        help: "copy away what you need, then unmount it; what was synced before is safe. `infmap check VOLUME` says what is damaged; when the \
               disk is well, mount it again",
        examples: ["infmap status DIR", "dmesg | tail", "infmap umount DIR", "infmap check my.map", "infmap mount -d my.map DIR"]
    }
    /// The mount works, but something needs attention.
    Degraded = 1051, exit 7 {
        cause: "Stored bytes did not have their checksum, and were restored from parity or refused.",
        help: "`infmap damage ls DIR` names the files of which bytes are lost; `infmap check VOLUME`, when it is unmounted, lists everything that \
               is damaged; the daemon's messages say more",
        examples: ["infmap status DIR", "infmap damage ls DIR", "infmap check my.map"]
    }
    /// The daemon of a mount does not answer.
    NoAnswer = 1052, exit 8 {
        cause: "The mount is there, but its daemon has died, does not answer its control socket, or could not make one: on a medium that cannot \
                be written to there is none.",
        help: "look at the daemon's process and its messages, in the volume's run/daemon.log or where it was started",
        examples: ["infmap info my.map", "infmap mount -d my.map DIR"]
    }
    /// This machine lacks something that a mount needs.
    Unfit = 1053, exit 1 {
        cause: "`infmap doctor` looked at the kernel, /dev/fuse, limits, memory and all mounts, and something of that is in the way.",
        help: "each line above that is BAD says what to do",
        examples: ["infmap doctor", "infmap --json doctor"]
    }
    /// A drill was not as promised.
    DrillFailed = 1054, exit 1 {
        cause: "`infmap doctor --drill` did something to a volume of its own that should have been survived, or told, and was not. No other volume \
                was touched.",
        help: "the message names the step; run it again with --in on another disk, and report it if it fails there too",
        examples: ["infmap doctor --drill", "infmap doctor --drill --in /var/tmp"]
    }
    /// The mount is read-only because somebody asked for that.
    AskedReadOnly = 1055, exit 1 {
        cause: "What was asked for changes the volume, and it is mounted with `-o ro`.",
        help: "unmount it, and mount it without `-o ro`",
        examples: ["infmap umount DIR", "infmap mount -d my.map DIR"]
    }
    /// The system refused something.
    System = 1060, exit 1 {
        cause: "A call of the system failed for a reason that is not ours: a limit, a missing right, a broken disk.",
        help: "the message names the system's reason",
        examples: ["dmesg | tail", "ulimit -a"]
    }
    /// A scrub has begun already.
    ScrubBusy = 1070, exit 1 {
        cause: "There is one scrub at a time: one is running, or was paused and can go on.",
        help: "`infmap scrub status DIR` says how far it is; `infmap scrub resume DIR` lets a paused one go on, `infmap scrub cancel DIR` ends it",
        examples: ["infmap scrub status DIR", "infmap scrub cancel DIR"]
    }
    /// There is no scrub for that.
    ScrubIdle = 1071, exit 1 {
        cause: "Only a scrub that is running can be paused, only a paused one can go on, and only one that has begun can be cancelled or waited for.",
        help: "`infmap scrub status DIR` says how the last one ended; `infmap scrub start DIR` begins one",
        examples: ["infmap scrub status DIR", "infmap scrub start DIR"]
    }
    /// A scrub found what it cannot put right.
    ScrubFound = 1072, exit 3 {
        cause: "An image is damaged beyond its parity, or missing. What files use of it gives EIO; everything else is read.",
        help: "`infmap damage ls DIR` lists the bytes of files that are lost: take those files from a backup. It lists nothing of \
               an image that is missing, or whose tables are lost: `infmap check VOLUME`, when it is unmounted, says who used it, and looks \
               at the tables too",
        examples: ["infmap damage ls DIR", "infmap scrub status DIR", "infmap check my.map", "smartctl -a /dev/sda"]
    }
    /// A scrub found damage and put it right.
    ScrubMended = 1073, exit 4 {
        cause: "Images were not as they were written. They were put back byte for byte, while the volume was in use.",
        help: "nothing is left to do; look at the health of the disk",
        examples: ["infmap scrub status --history DIR", "smartctl -a /dev/sda"]
    }
    /// A scrub did not come to its end.
    ScrubFailed = 1074, exit 1 {
        cause: "It was cancelled, or the tables of the volume could not be read, or the scanner failed. What it found until then stands in \
                `infmap scrub status`.",
        help: "the status and the daemon's messages say why; `infmap scrub start DIR` begins anew",
        examples: ["infmap scrub status DIR", "tail my.map/run/daemon.log"]
    }
    /// Nothing is there.
    NothingThere = 1080, exit 1 {
        cause: "A path that was named leads to nothing, a pattern fits no path, or a place of the map has no image.",
        help: "look at what there is: `ls DIR`, and `ls VOLUME/map` for the places of images, which are called X_Y",
        examples: ["ls DIR", "infmap map render my.map map.png"]
    }
    /// Not every file was warmed.
    NotWarmed = 1081, exit 1 {
        cause: "`infmap warm` met files that are damaged beyond parity, or that the daemon could not read. All others were read.",
        help: "`infmap damage ls DIR` names the files of which bytes are lost",
        examples: ["infmap damage ls DIR", "infmap status DIR"]
    }
    /// Nothing is measured.
    NotMeasured = 1082, exit 1 {
        cause: "The mount records no figures: the key http.listen is `off`, or another recorder was there first.",
        help: "set http.listen to an address, 127.0.0.1:0 for any free port, and mount again; `infmap status` works without",
        examples: ["infmap status DIR", "infmap mount -d --set http.listen=127.0.0.1:0 my.map DIR"]
    }
    /// A byte was read that is not what was written.
    BenchWrong = 1083, exit 3 {
        cause: "`infmap bench` compares every byte that it reads with what it wrote, and one was another.",
        help: "on a mount of Infinite Map this must not be: report it, with what `infmap debug` gathers; elsewhere look at that disk and at the \
               machine's memory",
        examples: ["infmap debug DIR --out debug.tar.gz", "dmesg | tail"]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_unique_and_in_order() {
        let numbers: Vec<u16> = Code::ALL.iter().map(|code| code.number()).collect();
        assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{numbers:?}");
    }

    /// Meant to fail when a help that was broken into two lines kept the blanks that the second began with.
    #[test]
    fn no_text_has_a_run_of_blanks() {
        for code in Code::ALL {
            let texts = [code.title(), code.cause(), code.help()];
            assert!(texts.iter().chain(code.examples()).all(|text| !text.contains("  ")), "{code:?}: {texts:?}");
        }
    }

    #[test]
    fn every_code_says_what_to_do_and_fails() {
        for code in Code::ALL {
            assert!(!code.help().is_empty() && !code.cause().is_empty() && code.exit() != 0, "{code:?}");
            assert!(code.title().ends_with('.') && !code.examples().iter().any(|example| example.is_empty()), "{code:?}");
        }
    }
}
