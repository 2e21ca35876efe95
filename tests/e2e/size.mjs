// Prints what a first visit downloads of the folder given, in bytes after brotli. Engines and the second program are
// fetched when first used; the end-to-end test sees to it that a first visit asks for neither.

import { brotliCompressSync, constants } from "node:zlib";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

const folder = process.argv[2];
const quality = { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } };
const LATER = /^(worker|engine|late)/;

let total = 0;
for (const name of readdirSync(folder, { recursive: true }).filter((name) => /\.(html|js|wasm|css|svg|woff2)$/.test(name))) {
  if (!LATER.test(name)) total += brotliCompressSync(readFileSync(join(folder, name)), quality).length;
}
console.log(total);
