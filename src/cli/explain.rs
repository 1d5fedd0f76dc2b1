//! `infmap explain [CODE]`: what a code means, what to do, and examples.
//!
//! Fails: with [`Code::NoSuchCode`], which names the nearest.

use super::error::{CliError, Code};
use super::{Context, output};
use crate::config::nearest;

/// Explain a failure by its code, such as IM1042; without one, list all codes.
#[derive(clap::Args)]
pub struct Explain {
    /// The code that an error message shows.
    code: Option<String>,
}

impl Explain {
    /// The explanation of what [`is_code`] takes for one.
    pub fn of(code: &str) -> Self {
        Self { code: Some(code.into()) }
    }

    pub fn run(self, context: &Context) -> Result<(), CliError> {
        let codes = match &self.code {
            Some(text) => vec![find(text)?],
            None => Code::ALL.to_vec(),
        };
        if context.json {
            let shown: Vec<_> = codes.iter().map(|code| fields(*code)).collect();
            return output::json("codes", &serde_json::json!({ "codes": shown }));
        }
        match (self.code, codes.first()) {
            (Some(_), Some(code)) => output::text_line(&explained(*code)),
            _ => output::text_line(&codes.iter().map(|code| format!("{}  {}", name(*code), code.title())).collect::<Vec<_>>().join("\n")),
        }
    }
}

/// As messages show it.
fn name(code: Code) -> String {
    format!("IM{}", code.number())
}

/// Whether this looks like a code and like no verb.
pub fn is_code(text: &str) -> bool {
    text.get(..2).is_some_and(|letters| letters.eq_ignore_ascii_case("im")) && text.bytes().skip(2).all(|byte| byte.is_ascii_digit())
}

/// `IM1042`, `im1042`, `1042`, `error[IM1042]`.
fn find(text: &str) -> Result<Code, CliError> {
    let wanted = text.trim().to_ascii_uppercase();
    let wanted = wanted.trim_start_matches("ERROR").trim_matches(['[', ']', ':']).trim_start_matches("IM");
    let names: Vec<String> = Code::ALL.iter().map(|code| code.number().to_string()).collect();
    if let Some((code, _)) = Code::ALL.iter().zip(&names).find(|(_, name)| *name == wanted) {
        return Ok(*code);
    }
    let error = CliError::new(Code::NoSuchCode, format!("there is no code `{}`", text.escape_debug()));
    Err(match nearest(wanted, names.iter().map(String::as_str)) {
        Some(near) => error.help(format!("did you mean IM{near}? `infmap explain` lists all codes")),
        None => error,
    })
}

fn explained(code: Code) -> String {
    let examples: Vec<String> = code.examples().iter().map(|example| format!("  $ {example}")).collect();
    format!(
        "{}: {}\nExit code: {}\n\n{}\n\nWhat to do: {}.\n\n{}",
        name(code),
        code.title(),
        code.exit(),
        code.cause(),
        code.help().trim_end_matches('.'),
        examples.join("\n")
    )
}

fn fields(code: Code) -> serde_json::Value {
    serde_json::json!({
        "code": name(code), "title": code.title(), "exit": code.exit(), "cause": code.cause(), "help": code.help(),
        "examples": code.examples(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_found_however_it_is_copied_from_a_message() {
        for text in ["IM1042", "im1042", "1042", "error[IM1042]:", " [IM1042] "] {
            assert_eq!(find(text).expect(text), Code::DaemonEnded);
        }
        assert!(explained(Code::DaemonEnded).starts_with("IM1042: The daemon ended before it was ready.\nExit code: 1\n\n"));
    }

    #[test]
    fn an_unknown_code_names_the_nearest() {
        let error = find("IM104").expect_err("unknown");
        assert!(error.code == Code::NoSuchCode && error.help_text().starts_with("did you mean IM10"), "{error:?}");
        assert_eq!(find("nonsense").expect_err("unknown").help_text(), Code::NoSuchCode.help());
    }
}
