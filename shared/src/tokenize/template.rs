//! The chat template, run as Hugging Face runs it, within limits.

use std::io;

use minijinja::Environment;
use minijinja::value::Serde;
use serde::{Deserialize, Serialize};
use serde_json::Map;

use super::{TokenizerError, jinja};

/// Largest template; the longest in use have 20 kB.
const MAX_SOURCE_BYTES: usize = 1 << 20;
/// Instructions of one rendering: a conversation of a thousand turns takes some ten thousand.
const FUEL: u64 = 5_000_000;
/// Largest text of one rendering, more than any context takes.
const MAX_OUTPUT_BYTES: usize = 4 << 20;
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

    /// The template as written.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.0
    }

    /// The text of a conversation. `special` are the names a template sees beside `messages`: `bos_token`, …;
    /// `unix_seconds` is what `strftime_now` goes by, in UTC.
    ///
    /// # Errors
    /// [`TokenizerError::Template`]: syntax, an unknown filter, `raise_exception`, more work or text than allowed.
    pub fn render(
        &self,
        messages: &[ChatMessage],
        add_generation_prompt: bool,
        special: &Map<String, serde_json::Value>,
        unix_seconds: i64,
    ) -> Result<String, TokenizerError> {
        if self.0.len() > MAX_SOURCE_BYTES {
            let what = format!("has {} bytes, more than {MAX_SOURCE_BYTES}", self.0.len());
            return Err(TokenizerError::Template(what));
        }
        let source = jinja::without_generation_tags(&self.0);
        let mut environment = Environment::new();
        jinja::set_up(&mut environment, unix_seconds);
        environment.set_fuel(Some(FUEL));
        environment.set_recursion_limit(MAX_DEPTH);
        let template =
            environment.template_from_named_str("chat_template", &source).map_err(|e| explain(&e))?;

        let mut context = special.clone();
        // Templates ask `if tools is not none`; absent names would be something else.
        context.insert("tools".to_owned(), serde_json::Value::Null);
        context.insert("documents".to_owned(), serde_json::Value::Null);
        context.insert("add_generation_prompt".to_owned(), add_generation_prompt.into());
        context.insert("messages".to_owned(), serde_json::json!(messages));
        let mut output = Limited(Vec::new());
        let rendered = template.render_captured_to(Serde(&context), &mut output);
        rendered.map_err(|error| explain(&error))?;
        String::from_utf8(output.0).map_err(|error| TokenizerError::Template(error.to_string()))
    }
}

/// Minijinja's message on one line, with what is below it.
fn explain(error: &minijinja::Error) -> TokenizerError {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    TokenizerError::Template(text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// A buffer that stops growing.
struct Limited(Vec<u8>);

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
