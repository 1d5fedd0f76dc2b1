//! What programs are told: one JSON object a line, which says what it is and by which version of its form.
//!
//! Owns: the two fields that every such object has. Must be true: JSN-1 `message_type` says which other fields there are, and `version`
//! grows when one of them goes or means something else; a field more is no new version. Fails: for what is no object, or has a field of
//! one of these names itself.

use serde::Serialize;
use serde::ser::Error;
use serde_json::Value;

/// The version of all forms. That of the program is called `program_version`.
pub const VERSION: u32 = 1;

/// The value as an object of this kind.
///
/// # Errors
/// It cannot be JSON, is no object, or one of the two names is taken.
pub fn of(kind: &str, value: &impl Serialize) -> serde_json::Result<Value> {
    let mut message = serde_json::to_value(value)?;
    let Some(fields) = message.as_object_mut() else { return Err(Error::custom(format!("{kind} is no object"))) };
    let taken = [fields.insert("message_type".into(), kind.into()), fields.insert("version".into(), VERSION.into())];
    if taken.iter().any(Option::is_some) {
        return Err(Error::custom(format!("{kind} has a field that all messages have")));
    }
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_says_what_it_is_and_its_version_and_nothing_else_takes_those_names() {
        let message = of("word", &serde_json::json!({ "a": 1 })).expect("an object");
        assert_eq!(message.to_string(), r#"{"a":1,"message_type":"word","version":1}"#);
        for wrong in [serde_json::json!([1]), serde_json::json!({ "version": "0.1.0" }), serde_json::json!({ "message_type": "x" })] {
            assert!(of("word", &wrong).is_err(), "{wrong}");
        }
    }
}
