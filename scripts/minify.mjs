// What Trunk calls when all lies in its staging folder: scripts and styles without what only people read. Trunk's own
// minifier is a feature that takes a quarter of an hour to compile.

import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { extname, join } from "node:path";

const { transformSync } = createRequire(new URL("../tests/e2e/package.json", import.meta.url))("esbuild");

const folder = process.argv[2] ?? process.env.TRUNK_STAGING_DIR;
const LOADERS = { ".js": "js", ".css": "css" };

for (const name of readdirSync(folder)) {
  const loader = LOADERS[extname(name)];
  if (!loader) continue;
  const path = join(folder, name);
  writeFileSync(path, transformSync(readFileSync(path, "utf8"), { loader, minify: true, target: "es2022", legalComments: "none" }).code);
}
