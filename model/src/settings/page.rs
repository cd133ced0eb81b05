//! The reference page of the settings, `docs/settings.md`.

use std::fmt::Write as _;

use serde_json::Value;

use super::document::{Document, Fields, SpecialRule};
use super::schema;

const HEAD: &str = include_str!("page_head.md");
const TAIL: &str = include_str!("page_tail.md");

/// The page in Markdown: every key with what it accepts, its default and what it means.
#[must_use]
pub fn reference_page() -> String {
    let schema = schema();
    let mut page = HEAD.replace("{{example}}", include_str!("example.json").trim_end());
    let mut document = Document::default();
    keys(&mut page, "##", &document.fields(), &schema["properties"]);
    page.push_str("\n## Keys of a special rule\n\n");
    let special = &schema["$defs"]["SpecialRule"];
    page.push_str(description(special));
    page.push('\n');
    keys(&mut page, "###", &SpecialRule::default().fields(), &special["properties"]);
    page.push_str(TAIL);
    page
}

fn keys(page: &mut String, heading: &str, fields: &Fields<'_>, properties: &Value) {
    for (key, field) in fields {
        let property = &properties[key];
        let default = match &property["default"] {
            Value::Null => "inherited".to_owned(),
            value => format!("`{value}`"),
        };
        let (accepts, meaning) = (field.expected(), description(property));
        writeln!(page, "\n{heading} `{key}`\n\n{meaning}\n\n- Value: {accepts}\n- Default: {default}")
            .expect("a String takes everything");
    }
}

fn description(schema: &Value) -> &str {
    schema["description"].as_str().unwrap_or_default()
}
