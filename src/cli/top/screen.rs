//! The terminal that `infmap top` draws on.
//!
//! Owns: `Screen`: the second screen of the terminal, a cursor that is not seen, keys without a line end. Must be true: SCR-1 whatever ends it
//! (a key, a signal, an error, a panic) gives the terminal back as it was; SCR-2 no line is wider than the screen, and none is a command to
//! it. Fails: with the terminal's error.

use super::super::output::plain;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGTSTP};
use signal_hook::flag;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The second screen, without a cursor.
const ENTER: &[u8] = b"\x1b[?1049h\x1b[?25l";
const LEAVE: &[u8] = b"\x1b[?25h\x1b[?1049l";
/// To the upper left; what is behind a line, and below all.
const HOME: &str = "\x1b[H";
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";

pub struct Screen {
    before: Termios,
    ended: Arc<AtomicBool>,
}

impl Screen {
    pub fn open() -> io::Result<Self> {
        let ended = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            flag::register(signal, ended.clone())?;
        }
        // A process that sleeps would leave the second screen to the shell.
        flag::register(SIGTSTP, Arc::new(AtomicBool::new(false)))?;
        let before = tcgetattr(io::stdin())?;
        let mut keys = before.clone();
        // Ctrl-C stays a signal.
        keys.local_modes &= !(LocalModes::ICANON | LocalModes::ECHO);
        keys.special_codes[SpecialCodeIndex::VMIN] = 0;
        keys.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(io::stdin(), OptionalActions::Now, &keys)?;
        // From here on it is given back.
        let screen = Self { before, ended };
        io::stdout().write_all(ENTER)?;
        Ok(screen)
    }

    /// Draws what fits.
    pub fn draw(&mut self, lines: &[String]) -> io::Result<()> {
        let size = tcgetwinsize(io::stdout())?;
        // A terminal that does not say how large it is says zero.
        let of = |said: u16, otherwise: u16| usize::from(if said == 0 { otherwise } else { said });
        let (rows, columns) = (of(size.ws_row, 50), of(size.ws_col, 100));
        let mut out = io::stdout().lock();
        out.write_all(drawn(lines, rows, columns).as_bytes())?;
        out.flush()
    }

    /// Waits; true if somebody wants it to end.
    pub fn wait(&self, interval: Duration) -> bool {
        let deadline = Instant::now() + interval;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if self.ended.load(Ordering::Acquire) {
                return true;
            }
            if left.is_zero() {
                return false;
            }
            let stdin = io::stdin();
            let mut fds = [PollFd::new(&stdin, PollFlags::IN)];
            let patience = Timespec { tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX), tv_nsec: left.subsec_nanos().into() };
            // A signal ends it early, and is looked at above.
            if poll(&mut fds, Some(&patience)).is_ok_and(|ready| ready > 0) {
                let mut key = [0; 64];
                match stdin.lock().read(&mut key) {
                    Ok(0) | Err(_) => return true,
                    Ok(read) if key.iter().take(read).any(|key| matches!(key, b'q' | b'Q' | 3 | 4)) => return true,
                    Ok(_) => return false,
                }
            }
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let mut out = io::stdout().lock();
        let _ = out.write_all(LEAVE).and_then(|()| out.flush());
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

/// What is written for lines on a screen of this size.
fn drawn(lines: &[String], rows: usize, columns: usize) -> String {
    let mut out = String::from(HOME);
    for (number, line) in lines.iter().take(rows).enumerate() {
        if number > 0 {
            out.push('\n');
        }
        out.extend(plain(line).replace(['\n', '\t'], " ").chars().take(columns));
        out += CLEAR_LINE;
    }
    out + CLEAR_BELOW
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_to_the_screen_and_are_no_commands_to_it() {
        let lines = ["\x1b[2Jabcdefghij".to_string(), "b\nc".into(), "not seen".into()];
        assert_eq!(drawn(&lines, 2, 8), "\x1b[H\\x1b[2Ja\x1b[K\nb c\x1b[K\x1b[J");
    }
}
