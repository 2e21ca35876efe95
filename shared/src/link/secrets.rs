//! What looks like a secret in a text: tokens by how they begin, and values by what stands before them.

use std::ops::Range;

use serde_json::Value;

/// Beginnings of tokens that services hand out.
const TOKENS: [&str; 16] = [
    "hf_",
    "api_org_",
    "sk-",
    "sk_live_",
    "ghp_",
    "gho_",
    "ghs_",
    "ghu_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "AKIA",
    "AIza",
    "nvapi-",
    "eyJ",
];

/// Names whose value is a secret, whatever it looks like; alone, or behind another word: `AWS_SECRET_ACCESS_KEY`.
const SECRET_NAMES: [&str; 14] = [
    "password",
    "passwd",
    "pwd",
    "passphrase",
    "api_key",
    "apikey",
    "client_secret",
    "secret_key",
    "secret_access_key",
    "private_key",
    "access_token",
    "auth_token",
    "use_auth_token",
    "hf_token",
];

/// Names that prose and templates use too: in a text, only a value that looks random counts.
const COMMON_NAMES: [&str; 3] = ["token", "secret", "authorization"];

/// Words that stand where a secret would.
const PLACEHOLDERS: [&str; 9] =
    ["token", "password", "secret", "key", "none", "null", "true", "false", "unset"];

/// What stands in place of a secret that was taken out.
const TAKEN_OUT: &str = "…";

/// Secrets that are taken out of a text one by one; one that holds more is taken out whole.
const MOST_SECRETS: usize = 64;

/// Takes what looks like a secret out of every text of a value, in place.
pub fn redact(value: &mut Value) {
    match value {
        Value::String(text) => {
            // Each look begins anew: a text that is nothing but secrets would take its time.
            for _ in 0..MOST_SECRETS {
                let Some((range, _)) = find(text) else { return };
                text.replace_range(range, TAKEN_OUT);
            }
            if find(text).is_some() {
                *text = TAKEN_OUT.to_owned();
            }
        }
        Value::Array(list) => list.iter_mut().for_each(redact),
        Value::Object(map) => {
            for (key, value) in map {
                match value {
                    Value::String(text) if is_secret_key(key) && !text.is_empty() => {
                        *text = TAKEN_OUT.to_owned();
                    }
                    value => redact(value),
                }
            }
        }
        _ => {}
    }
}

/// Whether the text of a JSON key is a secret, whatever it looks like.
pub(super) fn is_secret_key(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    SECRET_NAMES.contains(&key.as_str()) || COMMON_NAMES.contains(&key.as_str())
}

/// The first part of a text that looks like a secret: its bytes, and in words what it looks like.
pub(super) fn find(text: &str) -> Option<(Range<usize>, &'static str)> {
    let found = [private_key(text), word(text), assigned(text)];
    found.into_iter().flatten().min_by_key(|(range, _)| range.start)
}

/// Words as they stand in prose, in a template or in a list of paths, each with its place.
pub(super) fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let between = |c: char| c.is_whitespace() || "\"'`()[]{}<>,;=|".contains(c);
    let place = move |part: &str| part.as_ptr().addr() - text.as_ptr().addr();
    text.split(between).filter(|word| !word.is_empty()).map(move |word| (place(word), word))
}

fn private_key(text: &str) -> Option<(Range<usize>, &'static str)> {
    let start = text.find("-----BEGIN")?;
    let end = text[start..].find("-----END").map_or(text.len(), |at| {
        let line = start + at + "-----END".len();
        text[line..].find("-----").map_or(text.len(), |at| line + at + "-----".len())
    });
    Some((start..end, "a private key"))
}

/// A word that is a token, an address with a password, or what follows `Authorization: Bearer`.
fn word(text: &str) -> Option<(Range<usize>, &'static str)> {
    // `Authorization:` was read, then `Bearer`: the next word is what is shown to a server.
    let (mut is_header, mut is_scheme) = (false, false);
    for (at, word) in words(text) {
        let place = |part: Range<usize>| at + part.start..at + part.end;
        if let Some(part) = token(word) {
            return Some((place(part), "what looks like a token"));
        }
        if let Some(part) = password(word) {
            return Some((place(part), "an address with a password"));
        }
        if is_scheme && !is_placeholder(word) && (is_header || looks_random(word)) {
            return Some((at..at + word.len(), "what looks like a token"));
        }
        is_scheme = ["bearer", "basic"].iter().any(|scheme| word.eq_ignore_ascii_case(scheme));
        let name = word.trim_matches(':');
        is_header =
            (is_header && (is_scheme || name.is_empty())) || name.eq_ignore_ascii_case("authorization");
    }
    None
}

/// One of the known beginnings, and after it what is too random for a name.
fn token(word: &str) -> Option<Range<usize>> {
    // `?token=hf_…`, `user:hf_…@host`: a token may follow any mark.
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let is_token = |part: &&str| {
        TOKENS.iter().any(|start| {
            let Some(rest) = part.strip_prefix(start) else { return false };
            let mixed = rest.bytes().any(|b| b.is_ascii_digit() || b.is_ascii_uppercase());
            rest.len() >= 16 && !rest.contains('_') || rest.len() >= 8 && mixed
        })
    };
    let part = word.split(|c: char| !is_part(c)).find(is_token)?;
    let start = part.as_ptr().addr() - word.as_ptr().addr();
    Some(start..start + part.len())
}

/// The password of `https://user:password@host`.
fn password(word: &str) -> Option<Range<usize>> {
    let start = word.find("://")? + "://".len();
    let host = word[start..].split(['/', '?', '#']).next().unwrap_or_default();
    let (user, _) = host.rsplit_once('@')?;
    let (name, password) = user.split_once(':')?;
    let at = start + name.len() + 1;
    (!is_blank(password)).then(|| at..at + password.len())
}

/// The value of `password=…`, `api_key: …`, `--token …`.
fn assigned(text: &str) -> Option<(Range<usize>, &'static str)> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    text.split(|c: char| !is_part(c)).find_map(|run| {
        let end = run.as_ptr().addr() - text.as_ptr().addr() + run.len();
        let name = run.trim_start_matches('-').to_ascii_lowercase().replace('-', "_");
        let is_one = |known: &&str| name == **known || name.ends_with(&format!("_{known}"));
        let is_certain = SECRET_NAMES.iter().any(is_one);
        if !is_certain && !COMMON_NAMES.contains(&name.as_str()) {
            return None;
        }
        let behind = text[end..].strip_prefix(['"', '\'', '`']).unwrap_or(&text[end..]);
        let sign = behind.trim_start();
        let value = match sign.strip_prefix([':', '=']) {
            Some(value) => value.trim_start_matches('=').trim_start(),
            None if run.starts_with("--") && sign.len() < behind.len() => sign,
            None => return None,
        };
        let (value, close) = match value.chars().next().filter(|c| "\"'`".contains(*c)) {
            Some(quote) => (&value[1..], value[1..].find(quote)),
            None => (value, value.find(|c: char| c.is_whitespace() || "\"'`,;&)".contains(c))),
        };
        let value = &value[..close.unwrap_or(value.len())];
        let is_secret = !is_placeholder(value) && (is_certain || looks_random(value));
        let start = value.as_ptr().addr() - text.as_ptr().addr();
        is_secret.then(|| (start..start + value.len(), "what looks like a secret"))
    })
}

/// Whether a value only shows where a secret would stand: `TOKEN`, `<your token>`, `$TOKEN`, `***`.
fn is_placeholder(value: &str) -> bool {
    let is_name = value.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
    let is_marked = value.starts_with(['<', '$', '%', '{', '[']) || value.starts_with("//");
    is_name
        || is_blank(value)
        || is_marked
        || PLACEHOLDERS.iter().any(|word| value.eq_ignore_ascii_case(word))
}

/// Nothing, or what stands for something that was taken out.
fn is_blank(value: &str) -> bool {
    value.chars().all(|c| "*.…-".contains(c))
}

/// Too long, or too mixed, for a word.
fn looks_random(value: &str) -> bool {
    value.len() >= 20 || (value.len() >= 8 && value.bytes().any(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Parts that must not be there afterwards.
    const CANARY: &str = "Canary7Canary7";

    #[test]
    fn a_text_full_of_secrets_is_taken_out_whole() {
        let mut few = json!("password=Canary7Canary7, ".repeat(MOST_SECRETS));
        redact(&mut few);
        assert_eq!(few, json!("password=…, ".repeat(MOST_SECRETS)));
        let mut many = json!({ "note": "password=Canary7Canary7, ".repeat(5000), "other": "kept" });
        redact(&mut many);
        assert_eq!(many, json!({ "note": "…", "other": "kept" }));
    }

    #[test]
    fn secrets_are_taken_out_and_nothing_else() {
        for (text, left) in [
            ("curl -H 'Authorization: Bearer Canary7Canary7' here", "curl -H 'Authorization: Bearer …' here"),
            ("Authorization: Bearer Canary", "Authorization: Bearer …"),
            ("{\"Authorization\": \"Bearer Canary\"}", "{\"Authorization\": \"Bearer …\"}"),
            ("authorization: basic Q2FuYXJ5OmM=", "authorization: basic …="),
            ("with bearer Canary7Canary7.", "with bearer …"),
            ("password=Canary", "password=…"),
            ("PASSWORD = 'Canary canary'", "PASSWORD = '…'"),
            ("the password: Canary", "the password: …"),
            ("DB_PASSWORD=Canary, HF_TOKEN=Canary", "DB_PASSWORD=…, HF_TOKEN=…"),
            ("aws_secret_access_key=Canary/x+y", "aws_secret_access_key=…"),
            ("https://host/x?api_key=Canary&b=1", "https://host/x?api_key=…&b=1"),
            ("\"client-secret\" : \"Canary\"", "\"client-secret\" : \"…\""),
            ("run --password Canary --port 1", "run --password … --port 1"),
            ("token=Canary7Canary7", "token=…"),
            ("secret: Canary7Canary7", "secret: …"),
            ("https://ann:Canary@host/x", "https://ann:…@host/x"),
            ("see hf_Canary7Canary7Canary7, then", "see …, then"),
            ("-----BEGIN KEY-----\nCanary\n-----END KEY-----\nafter", "…\nafter"),
            ("-----BEGIN KEY-----\nCanary", "…"),
            ("two: password=Canary and password=Canary", "two: password=… and password=…"),
        ] {
            assert!(text.contains("Canary") || text.contains("Q2FuYXJ5"), "{text}");
            let mut value = json!({ "note": [text] });
            redact(&mut value);
            assert_eq!(value["note"][0], left, "{text}");
            assert_eq!(find(left), None, "{left}");
        }
        let mut keys = json!({ "token": CANARY, "a": { "Api_Key": CANARY, "b": 1 }, "password": "" });
        redact(&mut keys);
        assert_eq!(keys, json!({ "token": "…", "a": { "Api_Key": "…", "b": 1 }, "password": "" }));
    }

    #[test]
    fn ordinary_texts_stay() {
        for text in [
            "the bearer of bad news",
            "Authorization: Bearer TOKEN",
            "use `authorization: Bearer <token>`",
            "password: $PASSWORD",
            "set --token-file, or PREFLIGHT_TOKEN=TOKEN",
            "{% set token = message %}{{ bos_token }}",
            "pad_token = '<|endoftext|>', eos_token: </s>",
            "use_auth_token=True",
            "token: the end of a sentence",
            "it is no secret: eager is slower",
            "max_new_tokens=4096, token_type_ids=0",
            "a token a second; 12345678 tokens",
            "https://ann@host/x",
            "https://host:8080/x",
        ] {
            assert_eq!(find(text), None, "{text}");
        }
    }
}
