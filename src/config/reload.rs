//! What a change of the settings means for a mount that is in use: key by key.
//!
//! Owns: the comparison. Must be true: RLD-1 a key whose class is not `live` keeps its value, and is told; RLD-2 every key whose value
//! differs is told once. Fails: never; what cannot be applied is for whoever applies it to say.

use super::schema::{Class, KEYS, Key};
use infmap_actors::settings::Settings;

/// A key whose value is to be another.
pub struct Change {
    pub key: &'static Key,
    pub from: String,
    pub to: String,
}

/// What differs between the settings in force and those that were read.
#[derive(Default)]
pub struct Changes {
    /// Can take effect now.
    pub live: Vec<Change>,
    /// Takes effect at the next mount.
    pub remount: Vec<Change>,
}

impl Changes {
    /// Compares.
    #[must_use]
    pub fn between(in_force: &Settings, read: &Settings) -> Self {
        let mut changes = Self::default();
        for key in KEYS.iter().filter(|key| (key.get)(in_force) != (key.get)(read)) {
            let change = Change { key, from: key.show(in_force), to: key.show(read) };
            match key.class {
                Class::Live => changes.live.push(change),
                Class::Remount | Class::Format => changes.remount.push(change),
            }
        }
        changes
    }

    /// The settings in force with what can change now as it was read.
    #[must_use]
    pub fn applied(&self, in_force: &Settings, read: &Settings) -> Settings {
        let mut next = in_force.clone();
        for change in &self.live {
            (change.key.set)(&mut next, (change.key.get)(read));
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_that_differs_is_told_once_and_only_live_ones_are_applied() {
        let in_force = Settings::default();
        for key in KEYS {
            let other = [
                "2", "3", "65MiB", "65MiB/s", "7s", "7ms", "9d", "31%", "false", "true", "laptop", "off", "none", "always", "json", "warn",
            ];
            let other = other.iter().filter_map(|text| key.kind.parse(text, false).ok()).find(|value| *value != (key.get)(&in_force));
            let Some(value) = other else { continue };
            let mut read = in_force.clone();
            (key.set)(&mut read, value);
            if read == in_force {
                continue;
            }
            let changes = Changes::between(&in_force, &read);
            let applied = changes.applied(&in_force, &read);
            match key.class {
                Class::Live => assert!(changes.live.len() == 1 && changes.remount.is_empty() && applied == read, "{}", key.path),
                _ => assert!(changes.remount.len() == 1 && changes.live.is_empty() && applied == in_force, "{}", key.path),
            }
        }
    }
}
