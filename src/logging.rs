//! The messages of this process: how they are written, and which of them.
//!
//! Owns: the level and the form, which can change at any time. Must be true: a level that is not logged costs a comparison. Fails: never;
//! where another subscriber was there first, that one stays.

mod limit;

use infmap_actors::settings::{Log, LogFormat, LogLevel};
use limit::Limiter;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::{Format, Full, Json, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::{LookupSpan, Registry};
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

/// What changes the messages of this process. Clones change the same.
#[derive(Clone)]
pub struct Logging {
    level: reload::Handle<LevelFilter, Registry>,
    is_json: Arc<AtomicBool>,
}

impl Logging {
    /// Sends the messages to a writer from now on.
    pub fn start<W>(log: &Log, writer: W) -> Self
    where
        W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
    {
        let (filter, level) = reload::Layer::new(filter(log.level));
        let is_json = Arc::new(AtomicBool::new(log.format == LogFormat::Json));
        let form = Form { text: Format::default().with_ansi(false), json: Format::default().json(), is_json: is_json.clone() };
        let lines = tracing_subscriber::fmt::layer().with_ansi(false).event_format(form).with_writer(writer).with_filter(Limiter::start());
        // A second subscriber is refused; the first one stays.
        let _ = Registry::default().with(filter).with(lines).try_init();
        Self { level, is_json }
    }

    /// For tests that send no messages anywhere.
    #[cfg(test)]
    pub(crate) fn nowhere() -> Self {
        let (_, level) = reload::Layer::new(LevelFilter::INFO);
        Self { level, is_json: Arc::default() }
    }

    /// Logs as these settings say from now on.
    pub fn set(&self, log: &Log) {
        let _ = self.level.reload(filter(log.level));
        self.is_json.store(log.format == LogFormat::Json, Ordering::Relaxed);
    }

    /// From `info` and above to `debug`, or from `debug` and below back to `info`. Returns the level that is logged now.
    pub fn toggle(&self) -> LogLevel {
        let is_verbose = self.level.clone_current().is_some_and(|now| now >= LevelFilter::DEBUG);
        let next = if is_verbose { LogLevel::Info } else { LogLevel::Debug };
        let _ = self.level.reload(filter(next));
        next
    }
}

fn filter(level: LogLevel) -> LevelFilter {
    LevelFilter::from_level(match level {
        LogLevel::Error => Level::ERROR,
        LogLevel::Warn => Level::WARN,
        LogLevel::Info => Level::INFO,
        LogLevel::Debug => Level::DEBUG,
        LogLevel::Trace => Level::TRACE,
    })
}

/// A line, in the form that is in force. No message of ours is inside a span, whose fields would have one form only.
struct Form {
    text: Format<Full>,
    json: Format<Json>,
    is_json: Arc<AtomicBool>,
}

impl<S, N> FormatEvent<S, N> for Form
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        if self.is_json.load(Ordering::Relaxed) {
            self.json.format_event(context, writer, event)
        } else {
            self.text.format_event(context, writer, event)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::Mutex;

    /// The only test of this crate that may install a subscriber.
    #[test]
    fn level_and_form_change_while_messages_are_written() {
        #[derive(Clone, Default)]
        struct Sink(Arc<Mutex<Vec<u8>>>);
        impl Write for Sink {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0.lock().unwrap().write(bytes)
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let sink = Sink::default();
        let writer = sink.clone();
        let logging = Logging::start(&Log { level: LogLevel::Warn, ..Log::default() }, move || writer.clone());
        let said = || String::from_utf8(std::mem::take(&mut *sink.0.lock().unwrap())).unwrap();
        let mine = |text: String| text.lines().filter(|line| line.contains("one of mine")).map(str::to_string).collect::<Vec<_>>();
        let speak = || {
            tracing::info!("one of mine");
            tracing::debug!("one of mine, in detail");
        };
        speak();
        assert_eq!(mine(said()).len(), 0);
        logging.set(&Log { format: LogFormat::Json, ..Log::default() });
        speak();
        let lines = mine(said());
        assert_eq!(lines.len(), 1, "{lines:?}");
        let line: serde_json::Value = serde_json::from_str(&lines[0]).expect("JSON");
        assert_eq!(line["fields"]["message"], "one of mine");
        assert_eq!(logging.toggle(), LogLevel::Debug);
        speak();
        assert_eq!(mine(said()).len(), 2);
        assert_eq!(logging.toggle(), LogLevel::Info);
        logging.set(&Log::default());
        speak();
        let lines = mine(said());
        assert!(lines.len() == 1 && lines[0].contains(" INFO "), "{lines:?}");
    }
}
