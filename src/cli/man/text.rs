//! A man page as text, for machines without man(1).
//!
//! Owns: the reader of the few requests that our pages have. Must be true: no word of a page is lost; what is not known is text.
//! Fails: never.

/// Columns of a line.
const WIDTH: usize = 96;
const INDENT: usize = 7;

/// A page as it is read.
struct Page {
    out: String,
    /// Words that wait for the end of their paragraph.
    words: Vec<String>,
    indent: usize,
    /// The next line is the head of a paragraph.
    is_head: bool,
}

/// The text of a page.
pub fn of(roff: &str) -> String {
    let mut page = Page { out: String::new(), words: Vec::new(), indent: INDENT, is_head: false };
    for line in roff.lines() {
        page.line(line);
    }
    page.flush();
    page.out.trim_start_matches('\n').to_string()
}

impl Page {
    fn line(&mut self, line: &str) {
        let (request, rest) = match line.strip_prefix('.') {
            Some(line) => line.split_once(' ').unwrap_or((line, "")),
            None => ("", line),
        };
        match request {
            "" => self.text(rest),
            "SH" => {
                self.flush();
                self.indent = INDENT;
                self.out += &format!("\n{}\n", plain(rest));
            }
            "TH" => {
                let title = rest.split_whitespace().next().unwrap_or("").trim_matches('"');
                self.out += &format!("{}(1)\n", plain(title));
            }
            "TP" => {
                self.flush();
                self.indent = INDENT;
                self.is_head = true;
            }
            "br" | "sp" => self.flush(),
            "PP" => {
                self.flush();
                self.indent = INDENT;
            }
            "RS" => {
                self.flush();
                self.indent += INDENT;
            }
            "RE" => {
                self.flush();
                self.indent = self.indent.saturating_sub(INDENT).max(INDENT);
            }
            "B" | "I" | "BR" | "IR" | "R" => self.text(rest),
            // Settings of the typesetter, and remarks.
            "ie" | "el" | "nf" | "fi" | "\\\"" | "ds" | "ad" | "nh" => {}
            _ => self.text(line),
        }
    }

    fn text(&mut self, line: &str) {
        let line = plain(line);
        if std::mem::take(&mut self.is_head) {
            self.out += &format!("{}{line}\n", " ".repeat(self.indent));
            self.indent += INDENT;
        } else {
            self.words.extend(line.split_whitespace().map(str::to_string));
        }
    }

    /// Ends a paragraph: its words, as many in a line as fit.
    fn flush(&mut self) {
        let mut line = String::new();
        for word in self.words.drain(..) {
            if !line.is_empty() && self.indent + line.len() + 1 + word.len() > WIDTH {
                self.out += &format!("{}{line}\n", " ".repeat(self.indent));
                line.clear();
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line += &word;
        }
        if !line.is_empty() {
            self.out += &format!("{}{line}\n", " ".repeat(self.indent));
        }
    }
}

/// Without what stands for fonts, and with the characters that escapes stand for.
fn plain(line: &str) -> String {
    let mut text = line.to_string();
    for (escape, meant) in
        [("\\fB", ""), ("\\fI", ""), ("\\fR", ""), ("\\fP", ""), ("\\-", "-"), ("\\*(Aq", "'"), ("\\(aq", "'"), ("\\&", ""), ("\\.", ".")]
    {
        text = text.replace(escape, meant);
    }
    text.replace("\\\\", "\\").trim_matches('"').to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read_as_man_reads_it() {
        let roff = ".ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n.TH INFMAP 1  \"infmap 0.1.0\"\n.SH NAME\ninfmap \\- a map\n.SH OPTIONS\n.TP\n\
                    \\fB\\-\\-json\\fR\nPrint facts\nas \\*(AqJSON\\*(Aq.\n.TP\n\\fB\\-q\\fR\n.RS\nmore\n.RE\n";
        let expected = "INFMAP(1)\n\nNAME\n       infmap - a map\n\nOPTIONS\n       --json\n              Print facts as 'JSON'.\n       -q\n                     \
                        more\n";
        assert_eq!(of(roff), expected);
    }

    #[test]
    fn long_paragraphs_are_broken_and_no_word_is_lost() {
        let words: Vec<String> = (0..100).map(|n| format!("word{n}")).collect();
        let text = of(&words.join(" "));
        assert!(text.lines().all(|line| line.len() <= WIDTH) && text.split_whitespace().eq(words.iter().map(String::as_str)), "{text}");
    }
}
