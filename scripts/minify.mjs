// What Trunk calls when all lies in its staging folder: pages, scripts and styles without what only people read, programs
// without the names of folders that libraries lay in. Trunk's own minifier is a feature that takes a quarter of an hour to compile.

import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { homedir } from "node:os";
import { extname, join } from "node:path";
import { promisify } from "node:util";
import { brotliCompress, constants } from "node:zlib";

const { transformSync } = createRequire(new URL("../tests/e2e/package.json", import.meta.url))("esbuild");

const folder = process.argv[2] ?? process.env.TRUNK_STAGING_DIR;
const LOADERS = { ".js": "js", ".css": "css" };

// Of the compiler's own library and of the registry's: a panic tells them, with the name of whoever built this in them.
const ROOTS = [join(process.env.CARGO_HOME ?? join(homedir(), ".cargo"), "registry/src"), "/rustc", "/usr/lib/rustlib/src/rust"];
const escaped = (root) => root.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
const PLACES = new RegExp(`(?:${ROOTS.map(escaped).join("|")})/[\\w.+/-]+?\\.rs`, "g");

// What a program imports from its script has a hash in its name, the same in both; no compressor makes less of it. A number
// of the same length tells namesakes apart as well.
const IMPORT = /(__wbg_\w+_)([0-9a-f]{16})\b/g;
const scripts = readdirSync(folder).filter((name) => extname(name) === ".js");
const imports = new Set(scripts.flatMap((name) => readFileSync(join(folder, name), "utf8").match(IMPORT) ?? []));
const namesakes = new Map();
const numbered = new Map([...imports].sort().map((name) => {
  const [, stem, hash] = new RegExp(IMPORT.source).exec(name);
  const place = namesakes.get(stem) ?? 0;
  namesakes.set(stem, place + 1);
  return [name, stem + String(place).padStart(hash.length, "0")];
}));
const renamed = (text) => text.replace(IMPORT, (name) => numbered.get(name) ?? name);

for (const name of readdirSync(folder)) {
  if (extname(name) === ".wasm") {
    const path = join(folder, name);
    // As long as they were, so that all else stays in its place.
    const text = readFileSync(path, "latin1").replace(PLACES, (place) => ".".repeat(place.length));
    writeFileSync(path, renamed(text), "latin1");
    continue;
  }
  if (extname(name) === ".html") {
    const path = join(folder, name);
    writeFileSync(path, readFileSync(path, "utf8").replace(/<!--[^]*?-->\s*/g, ""));
    continue;
  }
  const loader = LOADERS[extname(name)];
  if (!loader) continue;
  const path = join(folder, name);
  writeFileSync(path, transformSync(renamed(readFileSync(path, "utf8")), { loader, minify: true, target: "es2022", legalComments: "none" }).code);
}

// Beside what is large lies the same compressed: a server that knows of it (`preflight serve`) sends that and compresses
// nothing while somebody waits; others do not ask for it.
const LARGE = 4096;
const best = { params: { [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY } };
await Promise.all(readdirSync(folder).filter((name) => [".wasm", ".js", ".css"].includes(extname(name))).map(async (name) => {
  const path = join(folder, name);
  const bytes = readFileSync(path);
  if (bytes.length > LARGE) await writeFile(`${path}.br`, await promisify(brotliCompress)(bytes, best));
}));
