//! What may be named only in one place.

use super::text::{Token, literals, tokens, words};
use super::{File, assert_none, repository};

/// Words that a part of the tree must not use, except in `allowed` prefixes.
struct Ban {
    within: &'static str,
    words: &'static [&'static str],
    allowed: &'static [&'static str],
    reason: &'static str,
}

const BANS: &[Ban] = &[
    Ban {
        within: "",
        words: &["candle_core", "candle_nn"],
        allowed: &["shared/src/candle_engine", "shared/kernels/", "tests/"],
        reason: "candle is known to its engine alone",
    },
    Ban {
        within: "",
        words: &["wgpu", "naga"],
        allowed: &["shared/src/wgpu_engine", "tests/"],
        reason: "wgpu is known to its engine alone",
    },
    Ban {
        within: "",
        words: &["cudarc"],
        allowed: &["shared/src/cuda_engine", "tests/"],
        reason: "CUDA is known to its engine alone",
    },
    Ban {
        within: "app/src/",
        words: &["web_sys", "js_sys"],
        allowed: &["app/src/platform"],
        reason: "the browser is reached through `platform`",
    },
    Ban {
        within: "app/engine/",
        words: &["js_sys", "wasm_bindgen"],
        allowed: &["app/engine/src/scope"],
        reason: "the worker's scope is reached through `scope`",
    },
    Ban {
        within: "server/",
        words: &["StatusCode"],
        allowed: &["server/src/http", "server/tests/"],
        reason: "only `http` knows status codes",
    },
];

fn banned_words(bans: &[Ban], files: &[File]) -> Vec<String> {
    let mut complaints = Vec::new();
    for file in files.iter().filter(|file| file.is_code()) {
        let asked = |ban: &&Ban| {
            file.path.starts_with(ban.within)
                && !ban.allowed.iter().any(|allowed| file.path.starts_with(allowed))
        };
        for ban in bans.iter().filter(asked) {
            for (line, word) in words(&file.text).filter(|(_, word)| ban.words.contains(&word.as_str())) {
                complaints.push(format!("{}:{line}: `{word}`: {}", file.path, ban.reason));
            }
        }
    }
    complaints
}

/// Modules of `std` that `phi3` and its kernels do without, and where it may not.
const STD: [(&str, &[&str]); 5] = [
    ("fs", &[]),
    ("net", &[]),
    // The number that a driver knows this process by.
    ("process", &["shared/src/platform"]),
    // Engines and their loaders alone have threads of their own.
    ("thread", &["shared/src/candle_engine", "shared/src/cuda_engine"]),
    ("time", &["shared/src/platform"]),
];

fn system_access(files: &[File]) -> Vec<String> {
    let mut complaints = Vec::new();
    let ours = |path: &str| ["shared/src/", "shared/kernels/"].iter().any(|within| path.starts_with(within));
    for file in files.iter().filter(|file| ours(&file.path) && file.is_code()) {
        let tokens = tokens(&file.text);
        for (at, window) in tokens.windows(4).enumerate() {
            let [(line, Token::Word(std)), (_, Token::Mark(':')), (_, Token::Mark(':')), (_, next)] = window
            else {
                continue;
            };
            if std != "std" {
                continue;
            }
            // `std::fs`, or any word of `std::{fs::File, io}`.
            let named: Vec<&str> = match next {
                Token::Word(module) => vec![module],
                _ => tokens[at + 4..]
                    .iter()
                    .take_while(|(_, token)| *token != Token::Mark(';'))
                    .filter_map(
                        |(_, token)| if let Token::Word(word) = token { Some(word.as_str()) } else { None },
                    )
                    .collect(),
            };
            for (module, allowed) in STD {
                let here = allowed.iter().any(|allowed| file.path.starts_with(allowed));
                // A length of time is a number like any other.
                let duration = module == "time"
                    && matches!(tokens.get(at + 6), Some((_, Token::Word(w))) if w == "Duration");
                if named.contains(&module) && !here && !duration {
                    complaints.push(format!("{}:{line}: `std::{module}`: phi3 reaches no system", file.path));
                }
            }
        }
    }
    complaints
}

/// Where code may depend on the target; a SIMD kernel is added here by its file.
const TARGET_PLACES: [&str; 5] =
    ["shared/src/platform/", "shared/kernels/src/slices/lanes/", "app/src/platform", "server/", "tests/"];
const TARGET_WORDS: [&str; 7] = [
    "target_arch",
    "target_os",
    "target_family",
    "target_feature",
    "target_pointer_width",
    "unix",
    "windows",
];

fn target_conditions(files: &[File]) -> Vec<String> {
    let mut complaints = Vec::new();
    let elsewhere = |file: &&File| {
        file.is_code()
            && file.path.contains("/src/")
            && !TARGET_PLACES.iter().any(|place| file.path.starts_with(place))
    };
    for file in files.iter().filter(elsewhere) {
        let mut in_condition = 0_usize;
        for (line, word) in words(&file.text) {
            // The words of a condition follow `cfg` at once: `cfg(any(not(target_os = …)))` has at most two between.
            match word.as_str() {
                "cfg" | "cfg_attr" => in_condition = 4,
                name if in_condition > 0 && TARGET_WORDS.contains(&name) => {
                    complaints.push(format!("{}:{line}: `cfg({name})` outside `platform`", file.path));
                }
                _ => in_condition = in_condition.saturating_sub(1),
            }
        }
    }
    complaints
}

const TENSOR_WORDS: [&str; 7] = [
    "qkv_proj",
    "gate_up_proj",
    "o_proj",
    "down_proj",
    "embed_tokens",
    "input_layernorm",
    "post_attention_layernorm",
];
/// `tensors` names what a phi3 file holds; the converter also names what a Llama one does.
const TENSOR_PLACES: [&str; 4] =
    ["shared/src/tensors", "shared/src/weights/convert", "shared/src/weights/gguf", "tests/"];

/// A string that is a tensor's name or a template of one; prose may mention a projection.
fn tensor_names(files: &[File]) -> Vec<String> {
    let mut complaints = Vec::new();
    let elsewhere =
        |file: &&File| file.is_code() && !TENSOR_PLACES.iter().any(|place| file.path.starts_with(place));
    for file in files.iter().filter(elsewhere) {
        for (line, text) in literals(&file.text) {
            let is_name = !text.contains(char::is_whitespace) && !text.contains('`');
            if is_name && TENSOR_WORDS.iter().any(|name| text.contains(name)) {
                complaints.push(format!("{}:{line}: \"{text}\": tensor names live in tensors.rs", file.path));
            }
        }
    }
    complaints
}

/// Where the dashboard's words are, and a prompt, which is no word of the page.
const WORD_PLACES: [&str; 2] = ["app/src/text", "app/src/state/in_browser.rs"];

/// A sentence of the dashboard that a translator would not find: it begins like one, and a word follows.
fn words_of_the_page(files: &[File]) -> Vec<String> {
    let mut complaints = Vec::new();
    let elsewhere = |file: &&File| {
        file.is_code()
            && file.path.starts_with("app/src/")
            && !WORD_PLACES.iter().any(|place| file.path.starts_with(place))
    };
    for file in files.iter().filter(elsewhere) {
        for (line, text) in literals(&file.text) {
            let follows =
                |(at, _): (usize, &str)| text[at + 1..].starts_with(|c: char| c.is_ascii_lowercase());
            if text.starts_with(|c: char| c.is_ascii_uppercase()) && text.match_indices(' ').any(follows) {
                complaints.push(format!(
                    "{}:{line}: \"{text}\": the words of the page stand in app/src/text",
                    file.path
                ));
            }
        }
    }
    complaints
}

#[test]
fn the_words_of_the_page_stand_in_one_place() {
    assert_none(&words_of_the_page(&repository()));
}

#[test]
fn names_stay_in_their_places() {
    assert_none(&banned_words(BANS, &repository()));
}

#[test]
fn phi3_reaches_no_system() {
    assert_none(&system_access(&repository()));
}

#[test]
fn targets_are_told_apart_in_platform_only() {
    assert_none(&target_conditions(&repository()));
}

#[test]
fn tensor_names_have_one_home() {
    assert_none(&tensor_names(&repository()));
}

#[test]
fn each_rule_finds_what_breaks_it() {
    let count =
        |rule: fn(&[File]) -> Vec<String>, path: &str, text: &str| rule(&[File::new(path, text)]).len();
    let banned = |files: &[File]| banned_words(BANS, files);

    assert_eq!(count(banned, "shared/src/generate/mod.rs", "use candle_core::Tensor;"), 1);
    assert_eq!(count(banned, "shared/src/candle_engine/model.rs", "use candle_core::Tensor;"), 0);
    assert_eq!(count(banned, "app/src/pages/home.rs", "fn f(e: web_sys::File) {}"), 1);
    assert_eq!(count(banned, "app/src/platform/files.rs", "fn f(e: web_sys::File) {}"), 0);
    assert_eq!(count(banned, "server/src/lib.rs", "use axum::http::StatusCode;"), 1);
    assert_eq!(count(banned, "server/src/http/error.rs", "use axum::http::StatusCode;"), 0);
    assert_eq!(count(banned, "server/src/lib.rs", "// wgpu and cudarc\nfn f() {}"), 0);

    let view =
        |words: &str| format!("fn f() -> impl View {{ view! {{ <p class=\"dim small\">\"{words}\"</p> }} }}");
    assert_eq!(count(words_of_the_page, "app/src/pages/home.rs", &view("Nothing was tried yet.")), 1);
    assert_eq!(count(words_of_the_page, "app/src/pages/home.rs", &view("Ctrl K")), 0);
    assert_eq!(count(words_of_the_page, "app/src/text/home.rs", &view("Nothing was tried yet.")), 0);

    assert_eq!(count(system_access, "shared/src/weights/source.rs", "use std::fs::File;"), 1);
    assert_eq!(count(system_access, "shared/src/weights/source.rs", "use std::{fs::File, io};"), 1);
    assert_eq!(count(system_access, "shared/src/estimate/mod.rs", "fn f() { std::thread::sleep(d) }"), 1);
    assert_eq!(count(system_access, "shared/src/generate/mod.rs", "use std::time::Instant;"), 1);
    assert_eq!(count(system_access, "shared/src/generate/mod.rs", "use std::time::Duration;"), 0);
    assert_eq!(count(system_access, "shared/kernels/src/parallel.rs", "use std::fs::File;"), 1);
    assert_eq!(count(system_access, "shared/src/candle_engine/load.rs", "use std::thread;"), 0);
    assert_eq!(count(system_access, "server/src/lib.rs", "use std::fs::File;"), 0);

    assert_eq!(
        count(target_conditions, "shared/src/rope.rs", "#[cfg(target_arch = \"wasm32\")]\nfn f() {}"),
        1
    );
    assert_eq!(count(target_conditions, "shared/src/rope.rs", "fn f() { cfg!(any(not(windows))) }"), 1);
    assert_eq!(count(target_conditions, "shared/src/rope.rs", "#[cfg(feature = \"candle\")]\nfn f() {}"), 0);
    assert_eq!(count(target_conditions, "shared/src/platform/mod.rs", "#[cfg(unix)]\nfn f() {}"), 0);

    assert_eq!(
        count(tensor_names, "shared/src/rope.rs", "const A: &str = \"model.layers.{i}.o_proj.weight\";"),
        1
    );
    assert_eq!(
        count(tensor_names, "shared/src/inspect/mod.rs", "const A: &str = \"one fused qkv_proj\";"),
        0
    );
    assert_eq!(count(tensor_names, "shared/src/tensors.rs", "const A: &str = \"qkv_proj\";"), 0);
}
