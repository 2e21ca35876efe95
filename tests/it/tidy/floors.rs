//! Modules of `phi3` use only modules declared before them, and packages only those below them.

use super::text::{Token, tokens};
use super::{File, assert_none, repository, root};

/// Engines are siblings that never meet, wherever they stand in the list.
const ENGINE: &str = "_engine";
/// `api` stands last in the list and yet sees no engine: only words that travel.
const HIDDEN_FROM_API: [&str; 2] = ["generate", "tokenize"];

/// Module names of `lib.rs`, lowest first.
fn order(lib: &str) -> Vec<String> {
    let words: Vec<Token> = tokens(lib).into_iter().map(|(_, token)| token).collect();
    words
        .windows(2)
        .filter_map(|pair| match pair {
            [Token::Word(keyword), Token::Word(name)] if keyword == "mod" => Some(name.clone()),
            _ => None,
        })
        .collect()
}

/// The module of a file and how many `super` lead from it to the crate: `shared/src/a/b.rs` is `a`, 2.
fn place(path: &str) -> Option<(String, usize)> {
    let path = path.strip_prefix("shared/src/")?.strip_suffix(".rs")?;
    let parts: Vec<&str> = path.split('/').filter(|part| *part != "mod").collect();
    (parts[0] != "lib").then(|| (parts[0].to_owned(), parts.len()))
}

/// Modules of its own crate that a file names: `crate::x`, `crate::{x, y::z}`, `super::x` where that leads there.
fn edges(source: &str, depth: usize) -> Vec<(usize, String)> {
    let tokens = tokens(source);
    let word = |at: usize| match tokens.get(at) {
        Some((_, Token::Word(word))) => Some(word.as_str()),
        _ => None,
    };
    let mark =
        |at: usize, wanted: char| matches!(tokens.get(at), Some((_, Token::Mark(mark))) if *mark == wanted);
    let path_goes_on = |at: usize| mark(at, ':') && mark(at + 1, ':');

    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let mut supers = 0;
        while word(at) == Some("super") && path_goes_on(at + 1) {
            supers += 1;
            at += 3;
        }
        if word(at) == Some("crate") && path_goes_on(at + 1) {
            supers = depth;
            at += 3;
        }
        if supers == depth && supers > 0 {
            if let Some(name) = word(at) {
                found.push((tokens[at].0, name.to_owned()));
            } else if mark(at, '{') {
                let mut nesting = 0;
                let mut first = true;
                while at < tokens.len() {
                    match &tokens[at].1 {
                        Token::Mark('{') => nesting += 1,
                        Token::Mark('}') => nesting -= 1,
                        Token::Mark(',') if nesting == 1 => first = true,
                        Token::Word(name) if nesting == 1 && first => {
                            found.push((tokens[at].0, name.clone()));
                            first = false;
                        }
                        _ => {}
                    }
                    at += 1;
                    if nesting == 0 {
                        break;
                    }
                }
                continue;
            }
        }
        at += 1;
    }
    found
}

fn upward_edges(order: &[String], files: &[File]) -> Vec<String> {
    let rank = |name: &str| order.iter().position(|module| module == name);
    let mut complaints = Vec::new();
    for file in files.iter().filter(|file| file.is_code()) {
        let Some((module, depth)) = place(&file.path) else { continue };
        let Some(own) = rank(&module) else {
            complaints.push(format!("{}: `{module}` is not declared in lib.rs", file.path));
            continue;
        };
        for (line, used) in edges(&file.text, depth) {
            let Some(other) = rank(&used) else { continue };
            let hidden = used.ends_with(ENGINE) || HIDDEN_FROM_API.contains(&used.as_str());
            let complaint = if other > own {
                "looks up"
            } else if module.ends_with(ENGINE) && used.ends_with(ENGINE) && other != own {
                "engines never import each other"
            } else if module == "api" && hidden {
                "`api` knows no engine"
            } else {
                continue;
            };
            complaints.push(format!("{}:{line}: `{module}` uses `{used}`: {complaint}", file.path));
        }
    }
    complaints
}

/// Which of our packages a package may name.
const PACKAGES: [(&str, &[&str]); 10] = [
    ("shared/kernels/Cargo.toml", &[]),
    ("shared/Cargo.toml", &["kernels"]),
    ("app/Cargo.toml", &["phi3"]),
    ("app/engine/Cargo.toml", &["phi3"]),
    ("server/files/Cargo.toml", &["phi3"]),
    ("server/Cargo.toml", &["phi3", "preflight-files"]),
    ("server/worker/Cargo.toml", &["phi3", "preflight-files"]),
    ("tests/Cargo.toml", &["phi3", "preflight", "preflight-files"]),
    ("tests/bench/candle_peer/Cargo.toml", &[]),
    ("fuzz/Cargo.toml", &["phi3"]),
];
const OURS: [&str; 8] =
    ["kernels", "phi3", "app", "engine", "preflight-files", "preflight", "preflight-worker", "tests"];

fn package_edges(path: &str, manifest: &str) -> Vec<String> {
    let manifest: toml::Table = manifest.parse().expect("cargo has read it before");
    let Some((_, allowed)) = PACKAGES.iter().find(|(package, _)| *package == path) else {
        return vec![format!("{path}: a package that this rule does not know")];
    };
    let mut complaints = Vec::new();
    for section in ["dependencies", "dev-dependencies"] {
        let names =
            manifest.get(section).and_then(toml::Value::as_table).into_iter().flat_map(toml::Table::keys);
        for name in names.filter(|name| OURS.contains(&name.as_str()) && !allowed.contains(&name.as_str())) {
            complaints.push(format!("{path}: must not depend on `{name}`"));
        }
    }
    complaints
}

#[test]
fn floors_of_phi3_look_down() {
    let lib = std::fs::read_to_string(root().join("shared/src/lib.rs")).expect("lib.rs is there");
    let order = order(&lib);
    assert!(order.len() > 8, "read only {order:?} from lib.rs");
    assert_none(&upward_edges(&order, &repository()));
}

#[test]
fn packages_depend_one_way() {
    let manifests = repository().into_iter().filter(|file| file.path.ends_with("/Cargo.toml"));
    assert_none(&manifests.flat_map(|file| package_edges(&file.path, &file.text)).collect::<Vec<_>>());
}

#[test]
fn an_upward_edge_is_found_however_it_is_written() {
    let order = order(
        "pub mod low;\n\npub mod mid;\n#[cfg(feature = \"c\")]\npub mod c_engine;\npub mod w_engine;\npub mod api;",
    );
    assert_eq!(order, ["low", "mid", "c_engine", "w_engine", "api"]);
    let broken = [
        ("shared/src/low.rs", "use crate::mid::X;"),
        ("shared/src/low/deep.rs", "use crate::{dtype, mid::{self, Y}};"),
        ("shared/src/low/mod.rs", "fn f() { super::mid::g() }"),
        ("shared/src/low/deep.rs", "use super::super::mid;"),
        ("shared/src/w_engine/a.rs", "use crate::c_engine::Model;"),
        ("shared/src/api/mod.rs", "use crate::c_engine::Model;"),
        ("shared/src/stray.rs", ""),
    ];
    for (path, text) in broken {
        assert_eq!(upward_edges(&order, &[File::new(path, text)]).len(), 1, "{path}: {text}");
    }
    let sound = [
        ("shared/src/mid.rs", "use crate::low::X; // crate::api\n/// [`crate::api`]\nfn f() {}"),
        ("shared/src/low/deep.rs", "use super::mid; use crate::low::other;"),
        ("shared/src/low.rs", "#[cfg(test)]\nmod tests { use crate::api::Z; }"),
        ("shared/src/low.rs", "use crate::{low::{mid}, Top};"),
        ("server/src/x.rs", "use crate::mid;"),
    ];
    for (path, text) in sound {
        assert_none(&upward_edges(&order, &[File::new(path, text)]));
    }
}

#[test]
fn a_package_edge_that_points_up_is_found() {
    assert_eq!(package_edges("app/Cargo.toml", "[dependencies]\npreflight.workspace = true").len(), 1);
    assert_eq!(package_edges("shared/Cargo.toml", "[dev-dependencies]\ntests = {}").len(), 1);
    assert_eq!(package_edges("new/Cargo.toml", "").len(), 1);
    assert_none(&package_edges("app/Cargo.toml", "[dependencies]\nphi3.workspace = true\nserde = \"1\""));
}
