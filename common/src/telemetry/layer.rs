//! From an event of `tracing` to a line.

use std::fmt::{self, Write as _};

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::log::{Record, name};
use super::{Level, Log, OURS};

/// Fields that the text form leaves out: its message has them where people need them.
const JSON_ONLY: [&str; 2] = ["size", "skipped"];

/// Prints events.
pub(super) struct Lines(pub(super) Log);

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let metadata = event.metadata();
        let ours = is_ours(metadata.target());
        if !ours {
            fields.rest.clear();
        }
        let level = match (ours, fields.critical) {
            (false, _) => name(Level::Debug),
            (true, true) => "CRITICAL",
            (true, false) => name((*metadata.level()).into()),
        };
        let message = fields.message();
        let source = source(metadata);
        let object = fields.object.as_deref();
        self.0.record(&Record { level, message: &message, object, fields: fields.rest, source: &source });
    }
}

fn is_ours(target: &str) -> bool {
    OURS.iter().any(|prefix| target.starts_with(prefix))
}

/// The last two parts of the file's path and the line, as rclone shows them.
fn source(metadata: &Metadata<'_>) -> String {
    let Some((file, line)) = metadata.file().zip(metadata.line()) else { return String::new() };
    let cut = file.rmatch_indices('/').nth(1).map_or(0, |(at, _)| at + 1);
    format!("{}:{line}", &file[cut..])
}

/// What an event says.
#[derive(Default)]
struct Fields {
    message: String,
    object: Option<String>,
    error: Option<String>,
    critical: bool,
    rest: Map<String, Value>,
}

impl Fields {
    fn message(&self) -> String {
        let mut text = self.message.trim_end().to_owned();
        for (name, value) in self.rest.iter().filter(|(name, _)| !JSON_ONLY.contains(&name.as_str())) {
            let _infallible = match value {
                Value::String(value) => write!(text, " {name}={value}"),
                value => write!(text, " {name}={value}"),
            };
        }
        if let Some(error) = &self.error {
            text.push_str(if text.is_empty() { "" } else { ": " });
            text.push_str(error.trim_end());
        }
        text
    }

    fn text(&mut self, field: &Field, text: String) {
        match field.name() {
            "message" => self.message = text,
            "object" => self.object = Some(text),
            "error" => self.error = Some(text),
            name => self.value(name, text),
        }
    }

    fn value(&mut self, name: &str, value: impl Into<Value>) {
        self.rest.insert(name.to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value.to_owned());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        if field.name() == "critical" {
            self.critical = value;
        } else {
            self.value(field.name(), value);
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.value(field.name(), value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.value(field.name(), value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.value(field.name(), value);
    }
}
