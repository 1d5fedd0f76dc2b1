//! The write-ahead log: what was promised and is not yet in a root.
//!
//! Owns: the format of records and segments (`record`, `segment`), the append buffer (`appender`), the files and their order
//! (`writer`), and what recovery may believe (`reader`). Payloads are opaque here. `docs/format.md` gives the bytes.
//!
//! Must be true:
//! * WAL-1 Records are numbered without a gap, across epochs too, and each carries the checksum of the one before it.
//! * WAL-2 A batch holds whole groups, starts at a block of its own, and stands in one segment: a torn page never takes a
//!   record along that was synced before.
//! * WAL-3 A segment header is written when every record below its first LSN is durable, and is durable itself before the
//!   first record behind it is written. So no record stands behind a header that is not its own, and a header calls all that
//!   is below it synced.
//! * WAL-4 An epoch is used once: it is above that of every header on the disk, and its first header is durable before its
//!   first record. Records of another epoch than their segment's are nobody's. A new epoch's first LSN is where every
//!   older epoch ended; what those hold from there on is never revived.
//! * WAL-5 A bad record at or below a mark that called it synced is corruption; any other ends the log.
//! * WAL-6 After a failed write or sync of a segment in use nothing is written again.
//!
//! Fails: `AppendError`, `WriteError`, `ReadError`; damage is no error but a `LogEnd` that names the place.

pub mod appender;
pub mod reader;
pub mod record;
pub mod segment;
mod walk;
pub mod writer;

#[cfg(test)]
mod tests;

pub use appender::{AppendError, Appender, Batch, LogPosition};
pub use reader::{EndKind, LogEnd, LogScan, ReadError, scan, sync_all_segments};
pub use record::{Lsn, Record, RecordKind, volume_tag};
pub use walk::{Fault, FaultReason};
pub use writer::{LogWriter, Spare, SpareJob, WriteError, WriterSettings};

#[doc(hidden)]
pub use reader::fuzz_wal;
