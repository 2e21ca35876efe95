// What Trunk calls when all lies in its staging folder: scripts and styles without what only people read, programs without
// the names of folders that libraries lay in. Trunk's own minifier is a feature that takes a quarter of an hour to compile.

import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { homedir } from "node:os";
import { extname, join } from "node:path";

const { transformSync } = createRequire(new URL("../tests/e2e/package.json", import.meta.url))("esbuild");

const folder = process.argv[2] ?? process.env.TRUNK_STAGING_DIR;
const LOADERS = { ".js": "js", ".css": "css" };

// Of the compiler's own library and of the registry's: a panic tells them, with the name of whoever built this in them.
const ROOTS = [join(process.env.CARGO_HOME ?? join(homedir(), ".cargo"), "registry/src"), "/rustc", "/usr/lib/rustlib/src/rust"];
const escaped = (root) => root.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
const PLACES = new RegExp(`(?:${ROOTS.map(escaped).join("|")})/[\\w.+/-]+?\\.rs`, "g");

for (const name of readdirSync(folder)) {
  if (extname(name) === ".wasm") {
    const path = join(folder, name);
    // As long as they were, so that all else stays in its place.
    const text = readFileSync(path, "latin1").replace(PLACES, (place) => ".".repeat(place.length));
    writeFileSync(path, text, "latin1");
    continue;
  }
  const loader = LOADERS[extname(name)];
  if (!loader) continue;
  const path = join(folder, name);
  writeFileSync(path, transformSync(readFileSync(path, "utf8"), { loader, minify: true, target: "es2022", legalComments: "none" }).code);
}
