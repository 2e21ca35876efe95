//! The chat template, run as Hugging Face runs it, within limits.
//!
//! Fuel pays for instructions and for every byte of text and slot of a list that they make, so text that doubles in
//! a loop ends early. What it cannot see is how large a list becomes that holds the same list twice, forty times
//! over, when it is written or compared, and how deep a list nests: such a template takes all memory or all of the
//! stack. A [`Rendering`] of a template from strangers therefore belongs into a process of its own with a limit on
//! both (the worker does so), in a browser into a wasm instance that may die.

use std::io;

use minijinja::value::Serde;
use minijinja::{Environment, ErrorKind, Template};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::error::short_line;
use super::{TokenizerError, jinja};

/// Largest template; the longest in use have 20 kB.
const MAX_SOURCE_BYTES: usize = 1 << 20;
/// Instructions and, for 64 bytes each, data of one rendering: 64 MB. A conversation of a thousand turns takes some
/// ten thousand.
const FUEL: u64 = 1_000_000;
/// Largest text of one rendering, more than any context takes.
pub(super) const MAX_OUTPUT_BYTES: usize = 4 << 20;
/// Depth of macro calls and of the expressions of a template.
const MAX_DEPTH: usize = 100;

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatMessage {
    /// `system`, `user`, `assistant`, or whatever the template knows.
    pub role: String,
    /// The text.
    pub content: String,
}

impl ChatMessage {
    /// A turn of the user.
    #[must_use]
    pub fn user(content: impl Into<String>) -> Self {
        Self { role: "user".to_owned(), content: content.into() }
    }
}

/// A Jinja template for conversations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatTemplate(String);

impl ChatTemplate {
    /// Takes a template; it is compiled when it is used, so that a bad one stops nothing else.
    #[must_use]
    pub fn new(source: String) -> Self {
        Self(source)
    }

    /// Whether it is a template that could be used: it is compiled, and tried on one turn for filters and tests that are
    /// not there, which Hugging Face's Jinja refuses when it compiles. Whether it takes such a conversation is its own matter.
    ///
    /// # Errors
    /// [`TokenizerError::Template`]: syntax, an unknown filter or test, or longer than a template may be.
    pub fn check(&self) -> Result<(), TokenizerError> {
        let trial = Rendering {
            template: String::new(),
            messages: vec![ChatMessage::user("Hello")],
            add_generation_prompt: true,
            special: Map::new(),
            unix_seconds: 0,
        };
        with_compiled(&self.0, 0, |template| match trial.render(template) {
            Err(error) if [ErrorKind::UnknownFilter, ErrorKind::UnknownTest].contains(&error.kind()) => {
                Err(explain(&error))
            }
            _ => Ok(()),
        })
    }

    /// The template as written.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.0
    }
}

/// A conversation on its way through a template: all that it takes, to be run here or elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rendering {
    /// The template's source.
    pub template: String,
    /// The turns.
    pub messages: Vec<ChatMessage>,
    /// Whether the text shall end where the assistant begins.
    pub add_generation_prompt: bool,
    /// The names that a template sees beside `messages`: `bos_token`, ….
    pub special: Map<String, Value>,
    /// What `strftime_now` goes by, in UTC.
    pub unix_seconds: i64,
}

impl Rendering {
    /// The text.
    ///
    /// # Errors
    /// [`TokenizerError::Template`]: syntax, an unknown filter, `raise_exception`, more work or text than allowed.
    pub fn run(&self) -> Result<String, TokenizerError> {
        with_compiled(&self.template, self.unix_seconds, |template| {
            self.render(template).map_err(|error| explain(&error))
        })
    }

    fn render(&self, template: &Template<'_, '_>) -> Result<String, minijinja::Error> {
        let mut context = self.special.clone();
        // Templates ask `if tools is not none`; absent names would be something else.
        context.insert("tools".to_owned(), Value::Null);
        context.insert("documents".to_owned(), Value::Null);
        context.insert("add_generation_prompt".to_owned(), self.add_generation_prompt.into());
        context.insert("messages".to_owned(), serde_json::json!(self.messages));
        let mut output = Limited::default();
        template.render_captured_to(Serde(&context), &mut output)?;
        String::from_utf8(output.0)
            .map_err(|error| minijinja::Error::new(ErrorKind::BadSerialization, error.to_string()))
    }
}

/// Compiles a template within its limits and hands it on.
fn with_compiled<T>(
    source: &str,
    unix_seconds: i64,
    then: impl FnOnce(&Template<'_, '_>) -> Result<T, TokenizerError>,
) -> Result<T, TokenizerError> {
    if source.len() > MAX_SOURCE_BYTES {
        let what = format!("has {} bytes, more than {MAX_SOURCE_BYTES}", source.len());
        return Err(TokenizerError::Template(what));
    }
    let source = jinja::without_generation_tags(source);
    let mut environment = Environment::new();
    jinja::set_up(&mut environment, unix_seconds);
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(MAX_DEPTH);
    let template = environment.template_from_named_str("chat_template", &source).map_err(|e| explain(&e))?;
    then(&template)
}

/// Minijinja's message on one short line, with what is below it.
fn explain(error: &minijinja::Error) -> TokenizerError {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    TokenizerError::Template(short_line(&text))
}

/// A buffer that stops growing at [`MAX_OUTPUT_BYTES`].
#[derive(Default)]
pub(super) struct Limited(pub(super) Vec<u8>);

impl io::Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_OUTPUT_BYTES {
            return Err(io::Error::other(format!("the text exceeds {MAX_OUTPUT_BYTES} bytes")));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
