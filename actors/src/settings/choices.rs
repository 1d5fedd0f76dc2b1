//! Settings that are one of a few words.
//!
//! Owns: the types, and the words of a configuration file for them. Must be true: `ALL` and `NAMES` have the same order. Fails: never.

/// A setting that is one of a few words.
macro_rules! choice {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            /// All values, in the order of [`Self::NAMES`].
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];
            /// The words of a configuration file, in the order of [`Self::ALL`].
            pub const NAMES: &'static [&'static str] = &[$($text),+];

            /// The word for this value.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }
    };
}

choice!(
    /// Which whole configuration the settings begin with; the package `infmap` has their texts.
    Preset {
        /// The defaults.
        General = "general",
        /// On a battery.
        Laptop = "laptop",
        /// For many at once.
        Server = "server",
        /// Written once, kept for years.
        Archive = "archive",
        /// In 32 MiB.
        Small = "small",
        /// Small writes in place, synced.
        Database = "database",
        /// Thrown away.
        Ci = "ci",
    }
);
choice!(
    /// How far ahead of sequential readers is read.
    Prefetch {
        /// As wide as the readers' patterns deserve, within the prefetch share of the memory.
        Adaptive = "adaptive",
        /// Only what was asked for.
        Off = "off",
    }
);
choice!(
    /// When units are compressed.
    Compression {
        /// When the processors have time and the unit shrinks.
        Auto = "auto",
        /// Whenever the unit shrinks.
        Always = "always",
        /// Never.
        Off = "off",
    }
);
choice!(
    /// What an acknowledged sync means. Order is kept under each of them.
    Sync {
        /// Callers that wait at the same time share one sync of the disk.
        Group = "group",
        /// Whatever changes something is answered when it is durable, as if a sync followed it. The kernel then keeps no writes back.
        Always = "always",
        /// Nobody waits for a sync: a power cut loses up to everything since the last checkpoint, never the order. Places of images
        /// and roots are synced all the same, for the order hangs on them.
        None = "none",
    }
);
choice!(
    /// Who tracks open files.
    FuseOpen {
        /// OPEN and RELEASE reach the daemon.
        Daemon = "daemon",
        /// The kernel alone; not built yet, and refused where it is set.
        Kernel = "kernel",
    }
);
choice!(
    /// Which readings change the access time of what is read.
    Atime {
        /// Those that come after a change, or a day after the last one that did.
        Relatime = "relatime",
        /// None.
        Noatime = "noatime",
        /// All: nothing is answered from the kernel's cache of pages then.
        Strictatime = "strictatime",
    }
);
choice!(
    /// What is read where bytes are lost.
    Damaged {
        /// Nothing: the read fails.
        Error = "error",
        /// Zeros, on a mount that changes nothing: to rescue what is left.
        Zero = "zero",
    }
);
choice!(
    /// The least important message that the daemon's log carries.
    LogLevel {
        /// What failed.
        Error = "error",
        /// What may need attention.
        Warn = "warn",
        /// Starts, stops, checkpoints.
        Info = "info",
        /// Decisions.
        Debug = "debug",
        /// Requests.
        Trace = "trace",
    }
);
choice!(
    /// How a line of the daemon's log is written.
    LogFormat {
        /// For people.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
);
