// Decoding and prefilling in Chromium: our CPU engine beside wllama (llama.cpp compiled to wasm), the same weights, one
// thread each, one page, in turn.
//
//   node tests/bench/browser/run.mjs DIST MODEL_DIR GGUF_DIR WLLAMA_DIR CHROMIUM
//
// GGUF_DIR holds *.gguf of the same weights (requantize.py makes them); WLLAMA_DIR is its npm package.

import { createReadStream, readFileSync, readdirSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { cpus } from "node:os";
import { extname, join, normalize } from "node:path";
import { ask } from "../../e2e/engines.mjs";
import { assert, launchBrowser } from "../../e2e/harness.mjs";

const [dist, model, ggufs, wllama, chromium] = process.argv.slice(2);
const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 5);
const NEW_TOKENS = 64;
const FORMATS = ["q8_0", "q4_0"];
const PROMPT =
  "The lighthouse stood at the end of the long grey pier, and every evening an old man climbed its stairs with a lamp in his hand. " +
  "He had done so for forty years, in summer and in winter, and he knew the name of every ship that passed. One night the fog was so " +
  "thick that he could not see the water below. He heard a bell, far away, and then voices. He lit the lamp, opened the window and " +
  "called out as loudly as he could. Somebody answered, and it was a voice that he had not heard since he was young. He ran down the stairs and";

const TYPES = { ".html": "text/html", ".js": "text/javascript", ".wasm": "application/wasm", ".json": "application/json" };
const PLACES = { model, gguf: ggufs, wllama: join(wllama, "esm") };

/// Files by ranges too: a model is read a tensor at a time.
const host = createServer((request, response) => {
  const [, first, ...rest] = normalize(new URL(request.url, "http://x").pathname).split("/");
  const path = first in PLACES ? join(PLACES[first], ...rest) : join(dist, first, ...rest);
  if (first === "blank.html") return response.writeHead(200, { "content-type": "text/html" }).end("<!doctype html><title>bench</title>");
  let size;
  try {
    size = statSync(path).size;
  } catch {
    return response.writeHead(404).end();
  }
  const type = TYPES[extname(path)] ?? "application/octet-stream";
  const range = request.headers.range?.match(/bytes=(\d+)-(\d+)/);
  if (!range) return createReadStream(path).pipe(response.writeHead(200, { "content-type": type, "content-length": size }));
  const [start, end] = [Number(range[1]), Math.min(Number(range[2]), size - 1)];
  createReadStream(path, { start, end }).pipe(response.writeHead(206, { "content-type": type, "content-length": end - start + 1, "content-range": `bytes ${start}-${end}/${size}` }));
});
await new Promise((resolve) => host.listen(0, "127.0.0.1", resolve));
const browser = await launchBrowser(chromium);
const page = await browser.newPage();
page.on("pageerror", (error) => console.error(`page: ${error.message}`));
await page.goto(`http://127.0.0.1:${host.address().port}/blank.html`);

async function ours(dtype) {
  const run = { devices: ["cpu"], source: { type: "fetched", base: "model" }, dtype, prompt: PROMPT, max_new_tokens: NEW_TOKENS, skip_reference: true };
  const { events } = await ask(page, run);
  const last = events.at(-1);
  assert(last.type === "finished", `${last.error?.code}: ${last.error?.message}`);
  const { report } = events.find((event) => event.type === "report");
  assert(report.generated_tokens.length === NEW_TOKENS, `${report.generated_tokens.length} tokens`);
  return { prefill: report.prefill_tokens_per_s, decode: report.decode_tokens_per_s, prompt: report.prompt_tokens.length, text: report.text };
}

/// Loads a model into a wllama of its own, which stays.
const load = (name) =>
  page.evaluate(async (name) => {
    const { Wllama } = await import("/wllama/index.js");
    const blob = await (await fetch(`/gguf/${name}`)).blob();
    const one = new Wllama({ default: "/wllama/wasm/wllama.wasm" }, { suppressNativeLog: true });
    await one.loadModel([blob], { n_ctx: 1024, n_threads: 1, n_gpu_layers: 0 });
    (window.peers ??= {})[name] = one;
  }, name);

/// Its own clock tells its times.
async function theirs(name) {
  const { timings, text } = await page.evaluate(async ({ name, prompt, max_tokens }) => {
    const answer = await window.peers[name].createCompletion({ prompt, max_tokens, temperature: 0, cache_prompt: false });
    return { timings: answer.timings, text: answer.choices[0].text };
  }, { name, prompt: PROMPT, max_tokens: NEW_TOKENS });
  assert(timings?.predicted_n >= NEW_TOKENS - 1, `wllama told ${JSON.stringify(timings)}`);
  return { prefill: timings.prompt_per_second, decode: timings.predicted_per_second, prompt: timings.prompt_n, text };
}

const names = readdirSync(ggufs).filter((name) => name.endsWith(".gguf")).sort();
for (const name of names) await load(name);
const runners = [...FORMATS.map((dtype) => [`Preflight ${dtype}`, () => ours(dtype)]), ...names.map((name) => [`wllama ${name.match(/\.(\w+)\.gguf$/)[1].toLowerCase()}`, () => theirs(name)])];
const found = new Map(runners.map(([name]) => [name, []]));
for (let round = 0; round < ROUNDS; round += 1) {
  for (const [name, run] of runners) {
    const one = await run();
    found.get(name).push(one);
    console.log(`round ${round + 1}: ${name}: prefill ${one.prefill.toFixed(1)}, decode ${one.decode.toFixed(2)} tokens/s`);
  }
}

const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];
const of = (name, what) => median(found.get(name).map((one) => one[what]));
const version = JSON.parse(readFileSync(join(wllama, "package.json"), "utf8")).version;
const prompt = [...new Set([...found.values()].flat().map((one) => one.prompt))].join(" or ");
console.log(`\nChromium ${browser.version()}, wllama ${version}, ${cpus()[0].model} (${cpus().length} cores), one thread each, prompt ${prompt}, ${NEW_TOKENS} new tokens, median of ${ROUNDS}\n`);
console.log("| engine, weights | prefill, tokens/s | decode, tokens/s |\n|---|---|---|");
for (const name of found.keys()) console.log(`| ${name} | ${of(name, "prefill").toFixed(1)} | ${of(name, "decode").toFixed(1)} |`);
const best = (who, what) => Math.max(...[...found.keys()].filter((name) => name.startsWith(who)).map((name) => of(name, what)));
for (const what of ["prefill", "decode"]) console.log(`\n${what}: our best against wllama's best ×${(best("Preflight", what) / best("wllama", what)).toFixed(2)}`);
for (const [name, all] of found) console.log(`\n${name} said: ${JSON.stringify(all[0].text.slice(0, 120))}`);
await browser.close();
host.close();
