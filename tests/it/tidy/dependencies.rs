//! Licences, sources and pinned versions, read from where they are kept: deny.toml and the lock files.

use std::process::Command;

use serde_json::Value;
use spdx::{Expression, Licensee, ParseMode};

use super::{assert_none, root};

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn read_toml(path: &str) -> toml::Table {
    read(path).parse().unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn allowed_licences() -> Vec<Licensee> {
    let deny = read_toml("deny.toml");
    let names = deny["licenses"]["allow"].as_array().expect("a list of licences");
    names
        .iter()
        .map(|name| Licensee::parse(name.as_str().expect("a licence's name")).expect("an SPDX identifier"))
        .collect()
}

fn denied_crates() -> Vec<String> {
    let deny = read_toml("deny.toml");
    let bans = deny["bans"]["deny"].as_array().expect("a list of crates");
    bans.iter().map(|ban| ban["crate"].as_str().expect("a crate's name").to_owned()).collect()
}

fn licence_is_allowed(licence: &str, allowed: &[Licensee]) -> bool {
    // Older crates write `MIT/Apache-2.0`.
    let Ok(expression) = Expression::parse_mode(licence, ParseMode::LAX) else { return false };
    expression.evaluate(|needed| allowed.iter().any(|licensee| licensee.satisfies(needed)))
}

/// Packages of the whole workspace as built for `target`.
fn packages(target: &str) -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--format-version", "1", "--filter-platform", target])
        .current_dir(root())
        .output()
        .expect("cargo runs this test");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    let used: Vec<&Value> =
        metadata["resolve"]["nodes"].as_array().expect("nodes").iter().map(|node| &node["id"]).collect();
    metadata["packages"]
        .as_array()
        .expect("packages")
        .iter()
        .filter(|package| used.contains(&&package["id"]))
        .cloned()
        .collect()
}

fn complaints(packages: &[Value], allowed: &[Licensee], denied: &[String]) -> Vec<String> {
    let mut complaints = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        let licence = package["license"].as_str().unwrap_or_default();
        if !licence_is_allowed(licence, allowed) {
            complaints.push(format!("{name}: licence `{licence}` is not allowed by deny.toml"));
        }
        if denied.iter().any(|denied| denied == name) {
            complaints.push(format!("{name}: denied by deny.toml"));
        }
        let source = &package["source"];
        if !source.is_null() && !source.as_str().is_some_and(|source| source.ends_with("crates.io-index")) {
            complaints.push(format!("{name}: comes from {source}, not from crates.io"));
        }
    }
    complaints
}

#[test]
fn every_crate_may_be_shipped() {
    let (allowed, denied) = (allowed_licences(), denied_crates());
    for target in ["x86_64-unknown-linux-gnu", "wasm32-unknown-unknown"] {
        let packages = packages(target);
        assert!(packages.len() > 100, "only {} packages for {target}", packages.len());
        assert_none(&complaints(&packages, &allowed, &denied));
    }
}

#[test]
fn a_crate_that_must_not_be_shipped_is_found() {
    let package = |name: &str, licence: &str, source: &str| serde_json::json!({"name": name, "license": licence, "source": source});
    let crates_io = "registry+https://github.com/rust-lang/crates.io-index";
    let found = |package: Value| complaints(&[package], &allowed_licences(), &denied_crates()).len();
    assert_eq!(found(package("a", "MIT OR GPL-3.0-only", crates_io)), 0);
    assert_eq!(found(package("a", "MIT/Apache-2.0", crates_io)), 0);
    assert_eq!(found(package("a", "GPL-3.0-only", crates_io)), 1);
    assert_eq!(found(package("a", "MIT AND AGPL-3.0-only", crates_io)), 1);
    assert_eq!(found(package("a", "", crates_io)), 1);
    assert_eq!(found(package("a", "MIT", "git+https://example.org/a")), 1);
    assert_eq!(found(package("openssl-sys", "MIT", crates_io)), 1);
}

/// What the server's own binary is made of: a driver's fault must end a worker, never the server.
#[test]
fn the_server_links_no_engine_and_no_gpu() {
    let tree = |package: &str| {
        let output = Command::new(env!("CARGO"))
            .args(["tree", "--locked", "--edges", "normal", "--prefix", "none", "--package", package])
            .current_dir(root())
            .output()
            .expect("cargo runs this test");
        assert!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).expect("names are text");
        text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect::<Vec<_>>()
    };
    let engines = ["candle-core", "cudarc", "wgpu", "gemm", "tokenizers"];
    let server = tree("preflight");
    assert!(
        server.iter().any(|name| name == "phi3") && server.iter().any(|name| name == "axum"),
        "{server:?}"
    );
    let linked: Vec<_> = server.iter().filter(|name| engines.contains(&name.as_str())).collect();
    assert!(linked.is_empty(), "{linked:?}");
    // The same look finds them where they are.
    assert!(tree("preflight-worker").iter().any(|name| name == "candle-core"));
}

/// The version of wasm-opt stands in two files that cannot read each other.
#[test]
fn trunk_and_npm_agree_on_wasm_opt() {
    let trunk = read_toml("Trunk.toml");
    let npm: Value = serde_json::from_str(&read("tests/e2e/package.json")).expect("JSON");
    let major = npm["devDependencies"]["binaryen"].as_str().and_then(|version| version.split('.').next());
    assert_eq!(trunk["tools"]["wasm_opt"].as_str(), major.map(|major| format!("version_{major}")).as_deref());
}
