//! What is answered to which request.
//!
//! Must be true: HTP-3. Fails: with 404 and 405.

use super::health;
use crate::control::protocol::{ScrubRun, Status};
use crate::message;

/// Who knows the facts; answers at once, whatever is stuck.
pub trait Facts: Send + Sync {
    fn status(&self) -> Status;
    /// The figures, in the text format of Prometheus.
    fn metrics(&self) -> String;
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    pub code: u16,
    pub content_type: &'static str,
    pub body: String,
}

const PLAIN: &str = "text/plain; charset=utf-8";
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";
const JSON: &str = "application/json";

const INDEX: &str = "Infinite Map\n\n\
    /metrics          figures, for Prometheus\n\
    /livez            whether the process answers\n\
    /readyz?verbose   whether the mount is well, and if not, why; exclude=CHECK leaves one out\n\
    /healthz          the same as /readyz\n\
    /status           how the mount is, as JSON\n";

impl Page {
    fn plain(code: u16, body: impl Into<String>) -> Self {
        Self { code, content_type: PLAIN, body: body.into() }
    }
}

/// The answer to GET, or HEAD, of a path with a query.
#[must_use]
pub fn page(path: &str, query: &str, facts: &dyn Facts) -> Page {
    match path {
        "/" => Page::plain(200, INDEX),
        "/metrics" => Page { code: 200, content_type: METRICS, body: facts.metrics() },
        "/livez" => Page::plain(200, "ok\n"),
        "/readyz" => ready("readyz", query, facts),
        "/healthz" => ready("healthz", query, facts),
        "/status" => status(facts.status()),
        _ => Page::plain(404, "there is no such page; / lists them\n"),
    }
}

fn ready(name: &str, query: &str, facts: &dyn Facts) -> Page {
    let mut checks = health::checks(&facts.status());
    let words = || query.split('&');
    checks.retain(|check| !words().any(|word| word.strip_prefix("exclude=") == Some(check.name)));
    let is_well = checks.iter().all(|check| check.failed.is_none());
    let is_verbose = words().any(|word| word == "verbose" || word.starts_with("verbose="));
    match is_well {
        true if !is_verbose => Page::plain(200, "ok\n"),
        true => Page::plain(200, health::text(name, &checks)),
        false => Page::plain(503, health::text(name, &checks)),
    }
}

fn status(mut status: Status) -> Page {
    // The path that a scrub was asked for is the name of a file.
    let runs = [&mut status.scrub.run, &mut status.scrub.last];
    runs.into_iter().flatten().for_each(forget_path);
    match message::of("status", &status.shown()) {
        Ok(body) => Page { code: 200, content_type: JSON, body: format!("{body}\n") },
        Err(error) => Page::plain(500, format!("{error}\n")),
    }
}

fn forget_path(run: &mut ScrubRun) {
    (run.path, run.path_hex) = (None, None);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::protocol::{ScrubSummary, Space};

    struct Fixed(Status);

    impl Facts for Fixed {
        fn status(&self) -> Status {
            self.0.clone()
        }
        fn metrics(&self) -> String {
            "infmap_mode 1\n".into()
        }
    }

    fn well() -> Status {
        Status { is_mounted: true, pid: 7, ..Status::default() }
    }

    fn get(path: &str, query: &str, status: Status) -> (u16, String) {
        let page = page(path, query, &Fixed(status));
        (page.code, page.body)
    }

    #[test]
    fn pages_are_found_by_their_path_alone() {
        assert_eq!(page("/metrics", "x=y", &Fixed(well())).content_type, "text/plain; version=0.0.4; charset=utf-8");
        assert_eq!(get("/livez", "", well()), (200, "ok\n".into()));
        for path in ["", "/metrics/", "//metrics", "/../metrics", "/Metrics", "/%6detrics"] {
            assert_eq!(get(path, "", well()).0, 404, "{path}");
        }
        let (_, index) = get("/", "", well());
        for path in index.lines().filter_map(|line| line.split([' ', '?']).next()).filter(|path| path.starts_with('/')) {
            assert_eq!(get(path, "", well()).0, 200, "{path}");
        }
    }

    #[test]
    fn a_mount_that_is_not_well_says_why_and_a_check_can_be_left_out() {
        let full = || Status { space: Space { is_log_full: true, ..Space::default() }, ..well() };
        assert_eq!(get("/readyz", "", well()), (200, "ok\n".into()));
        assert!(get("/readyz", "verbose", well()).1.starts_with("[+]mode ok\n[+]log ok\n"));
        let (code, text) = get("/healthz", "", full());
        assert!(code == 503 && text.contains("[-]log failed: it is full") && text.ends_with("healthz check failed\n"), "{text}");
        let (code, text) = get("/readyz", "verbose=1&exclude=log", full());
        assert!(code == 200 && !text.contains("log"), "{text}");
        assert_eq!(get("/livez", "", full()).0, 200, "it would not help to end it");
    }

    #[test]
    fn the_status_shows_no_name_of_a_file() {
        let run =
            || Some(ScrubRun { path: Some("secret".into()), path_hex: Some("736563726574".into()), images: 3, ..ScrubRun::default() });
        let (code, body) = get("/status", "", Status { scrub: ScrubSummary { run: run(), last: run() }, ..well() });
        assert!(code == 200 && !body.contains("secret") && !body.contains("7365"), "{body}");
        let parsed: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!((parsed["pid"].as_u64(), parsed["scrub"]["run"]["images"].as_u64()), (Some(7), Some(3)));
        assert_eq!((&parsed["message_type"], &parsed["version"]), (&"status".into(), &1.into()));
        assert!(parsed["program_version"].is_string(), "{parsed}");
    }
}
