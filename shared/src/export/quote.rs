//! Text as data: quoting for a shell, Python, a Modelfile, TOML and Markdown.

use serde_json::Value;

/// A word of a POSIX shell. A NUL cannot be in one: callers report it ([`has_nul`]), here it is left out. Characters
/// that would steer the terminal that shows the command are made by `printf`.
pub(super) fn shell(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=@%+,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    let mut word = "'".to_owned();
    for c in text.chars() {
        match c {
            '\0' => {}
            '\'' => word.push_str(r"'\''"),
            '\n' => word.push('\n'),
            c if c.is_control() => {
                let octal: String =
                    c.encode_utf8(&mut [0; 4]).bytes().map(|byte| format!("\\{byte:03o}")).collect();
                word.push_str(&format!("'\"$(printf '{octal}')\"'"));
            }
            c => word.push(c),
        }
    }
    word + "'"
}

/// Whether a text cannot be an argument of a process.
pub(super) fn has_nul(text: &str) -> bool {
    text.contains('\0')
}

/// A command on one line: Python's `shlex` takes a continued line for more words than a shell does.
pub(super) fn command(words: &[Vec<String>]) -> String {
    let words: Vec<String> = words.iter().map(|words| words.join(" ")).collect();
    words.join(" ") + "\n"
}

/// A Python literal.
pub(super) fn python(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Array(list) => format!("[{}]", list.iter().map(python).collect::<Vec<_>>().join(", ")),
        Value::Object(map) => {
            let entry = |(key, value): (&String, &Value)| format!("{}: {}", python_text(key), python(value));
            format!("{{{}}}", map.iter().map(entry).collect::<Vec<_>>().join(", "))
        }
        Value::String(text) => python_text(text),
        number @ Value::Number(_) => number.to_string(),
    }
}

/// A Python string. JSON's escapes are Python's, and what JSON leaves as it is Python reads as it is.
pub(super) fn python_text(text: &str) -> String {
    Value::from(text).to_string()
}

/// The argument of a Modelfile's instruction; `None` where its parser has no way to read it back.
///
/// Read at Ollama's `parser.go`: a value ends with its line, or in triple quotes with three quotes at the end
/// of a line; there are no escapes; characters that do not print are left out.
pub(super) fn modelfile(text: &str) -> Option<String> {
    let plain = |c: char| c.is_alphanumeric() || "_-./:@%+,=~".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return Some(text.to_owned());
    }
    let readable = !text.is_empty() && !text.contains("\"\"\"") && !text.contains(char::is_control);
    readable.then(|| format!("\"\"\"{text}\"\"\""))
}

/// A TOML basic string: JSON's, but for a character that TOML does not take as it is.
pub(super) fn toml_text(text: &str) -> String {
    Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

/// Text in a Markdown paragraph, heading or cell of a table, on one line.
pub(super) fn markdown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            c if c.is_control() || "\u{2028}\u{2029}".contains(c) => out.push(' '),
            c if "\\`*_{}[]()#+!|~$".contains(c) => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    out
}
