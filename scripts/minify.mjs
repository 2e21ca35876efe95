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

// What a program imports from its script has a long name with a hash in it, the same in both: a short one for each, of which
// a first visit is a kilobyte smaller.
const shorts = new Map();
const short = (name) => shorts.get(name) ?? shorts.set(name, `$${shorts.size.toString(36)}`).get(name);
const renamed = (script) => script.replace(/\b__wb(?:g|indgen)_\w+/g, (name) => shorts.get(name) ?? name);

// A number of a program, seven bits a byte.
const toLeb = (value) => String.fromCharCode(...(value > 127 ? [(value & 127) | 128] : [value])) + (value > 127 ? toLeb(value >>> 7) : "");
function leb(text, at) {
  const byte = text.charCodeAt(at);
  if (byte < 128) return [byte, at + 1];
  const [rest, end] = leb(text, at + 1);
  return [rest * 128 + (byte & 127), end];
}

// A program with short names in its section of imports; a name stands there behind its length, and before what kind it is.
function withShortImports(program) {
  const IMPORTS = 2;
  const parts = [program.slice(0, 8)];
  for (let at = 8; at < program.length; ) {
    const [size, start] = leb(program, at + 1);
    const [kind, section] = [program.charCodeAt(at), program.slice(start, start + size)];
    const renamed = kind !== IMPORTS ? section : section.replace(/([^])(__wb(?:g|indgen)_\w+)(?=\0)/g, (all, length, name) =>
      length.charCodeAt(0) === name.length ? toLeb(short(name).length) + short(name) : all);
    parts.push(program[at], toLeb(renamed.length), renamed);
    at = start + size;
  }
  return parts.join("");
}

for (const name of readdirSync(folder).filter((name) => extname(name) === ".wasm")) {
  const path = join(folder, name);
  // As long as they were, so that all else stays in its place.
  const program = readFileSync(path, "latin1").replace(PLACES, (place) => ".".repeat(place.length));
  writeFileSync(path, withShortImports(program), "latin1");
}
for (const name of readdirSync(folder)) {
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
