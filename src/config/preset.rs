//! Presets: whole configurations for a purpose, compiled in.
//!
//! Owns: the texts of `config/presets`. Must be true: a preset says first what it is for, and why of each key that it sets; none contradicts
//! itself, and each fits into its budget; it stands above the defaults and below every file (`layers`). Fails: never.

use super::mistake::Source;
use infmap_actors::settings::Preset;

/// The text of a preset.
fn text(preset: Preset) -> &'static str {
    match preset {
        Preset::General => include_str!("../../config/presets/general.yaml"),
        Preset::Laptop => include_str!("../../config/presets/laptop.yaml"),
        Preset::Server => include_str!("../../config/presets/server.yaml"),
        Preset::Archive => include_str!("../../config/presets/archive.yaml"),
        Preset::Small => include_str!("../../config/presets/small.yaml"),
        Preset::Database => include_str!("../../config/presets/database.yaml"),
        Preset::Ci => include_str!("../../config/presets/ci.yaml"),
    }
}

/// A preset as a source of settings.
#[must_use]
pub fn source(preset: Preset) -> Source {
    Source::new(&format!("preset {}", preset.name()), text(preset))
}

/// What a preset is for: the comment that its text begins with, as one line a paragraph.
#[must_use]
pub fn purpose(preset: Preset) -> Vec<String> {
    let comment = text(preset).lines().map_while(|line| line.strip_prefix('#')).map(str::trim).collect::<Vec<_>>();
    comment.split(|line| line.is_empty()).map(|lines| lines.join(" ")).collect()
}
