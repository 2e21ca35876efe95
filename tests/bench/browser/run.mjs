// Decoding and prefilling in Chromium: our CPU engine beside wllama (llama.cpp compiled to wasm), the same weights, as many
// threads each, one page, in turn. BENCH_THREADS says how many, one measurement after the other: 1,2.
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
const THREADS = (process.env.BENCH_THREADS ?? "1,2").split(",").map(Number);
const NEW_TOKENS = 64;
const FORMATS = ["q8_0", "q4_0"];
const PROMPT =
  "The lighthouse stood at the end of the long grey pier, and every evening an old man climbed its stairs with a lamp in his hand. " +
  "He had done so for forty years, in summer and in winter, and he knew the name of every ship that passed. One night the fog was so " +
  "thick that he could not see the water below. He heard a bell, far away, and then voices. He lit the lamp, opened the window and " +
  "called out as loudly as he could. Somebody answered, and it was a voice that he had not heard since he was young. He ran down the stairs and";

const TYPES = { ".html": "text/html", ".js": "text/javascript", ".wasm": "application/wasm", ".json": "application/json" };
const PLACES = { model, gguf: ggufs, wllama: join(wllama, "esm") };

/// Files by ranges too: a model is read a tensor at a time. Isolated, since threads share memory.
const host = createServer((request, response) => {
  response.setHeader("cross-origin-opener-policy", "same-origin");
  response.setHeader("cross-origin-embedder-policy", "require-corp");
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

assert(await page.evaluate(() => window.crossOriginIsolated), "the page is not cross-origin isolated");

async function ours(dtype, threads) {
  const run = { devices: ["cpu"], source: { type: "fetched", base: "model" }, dtype, prompt: PROMPT, max_new_tokens: NEW_TOKENS, skip_reference: true, threads };
  const { events } = await ask(page, run);
  const last = events.at(-1);
  assert(last.type === "finished", `${last.error?.code}: ${last.error?.message}`);
  const { report } = events.find((event) => event.type === "report");
  assert(report.generated_tokens.length === NEW_TOKENS, `${report.generated_tokens.length} tokens`);
  assert(report.facts.features.some((said) => said.startsWith(threads === 1 ? "one thread" : `${threads} threads`)), `${threads} threads were asked for: ${report.facts.features}`);
  return { prefill: report.prefill_tokens_per_s, decode: report.decode_tokens_per_s, prompt: report.prompt_tokens.length, text: report.text };
}

/// Loads a model into a wllama of its own, which stays.
const load = (name, threads) =>
  page.evaluate(async ({ name, threads }) => {
    const { Wllama } = await import("/wllama/index.js");
    const blob = await (await fetch(`/gguf/${name}`)).blob();
    const one = new Wllama({ default: "/wllama/wasm/wllama.wasm" }, { suppressNativeLog: true });
    await one.loadModel([blob], { n_ctx: 1024, n_threads: threads, n_gpu_layers: 0 });
    (window.peers ??= {})[`${name} ${threads}`] = one;
    // What it really started: a build without threads takes the wish for them and has one.
    return one.getNumThreads();
  }, { name, threads });

/// Its own clock tells its times.
async function theirs(name, threads) {
  const { timings, text } = await page.evaluate(async ({ name, threads, prompt, max_tokens }) => {
    const answer = await window.peers[`${name} ${threads}`].createCompletion({ prompt, max_tokens, temperature: 0, cache_prompt: false });
    return { timings: answer.timings, text: answer.choices[0].text };
  }, { name, threads, prompt: PROMPT, max_tokens: NEW_TOKENS });
  assert(timings?.predicted_n >= NEW_TOKENS - 1, `wllama told ${JSON.stringify(timings)}`);
  return { prefill: timings.prompt_per_second, decode: timings.predicted_per_second, prompt: timings.prompt_n, text };
}

const names = readdirSync(ggufs).filter((name) => name.endsWith(".gguf")).sort();
const runners = [];
for (const threads of THREADS) {
  const called = (name) => `${name}, ${threads} thread${threads === 1 ? "" : "s"}`;
  for (const dtype of FORMATS) runners.push([called(`Preflight ${dtype}`), threads, () => ours(dtype, threads)]);
  for (const name of names) {
    const has = await load(name, threads);
    assert(has === threads, `wllama has ${has} threads where ${threads} were asked for`);
    runners.push([called(`wllama ${name.match(/\.(\w+)\.gguf$/)[1].toLowerCase()}`), threads, () => theirs(name, threads)]);
  }
}
const found = new Map(runners.map(([name]) => [name, []]));
for (let round = 0; round < ROUNDS; round += 1) {
  for (const [name, , run] of runners) {
    const one = await run();
    found.get(name).push(one);
    console.log(`round ${round + 1}: ${name}: prefill ${one.prefill.toFixed(1)}, decode ${one.decode.toFixed(2)} tokens/s`);
  }
}

const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];
const of = (name, what) => median(found.get(name).map((one) => one[what]));
const version = JSON.parse(readFileSync(join(wllama, "package.json"), "utf8")).version;
const prompt = [...new Set([...found.values()].flat().map((one) => one.prompt))].join(" or ");
console.log(`\nChromium ${browser.version()}, wllama ${version}, ${cpus()[0].model} (${cpus().length} cores), prompt ${prompt}, ${NEW_TOKENS} new tokens, median of ${ROUNDS}\n`);
console.log("| engine, weights | prefill, tokens/s | decode, tokens/s |\n|---|---|---|");
for (const name of found.keys()) console.log(`| ${name} | ${of(name, "prefill").toFixed(1)} | ${of(name, "decode").toFixed(1)} |`);
const best = (who, what, threads) => Math.max(...runners.filter(([name, count]) => name.startsWith(who) && count === threads).map(([name]) => of(name, what)));
for (const threads of THREADS)
  for (const what of ["prefill", "decode"])
    console.log(`\n${what}, threads ${threads}: our best against wllama's best ×${(best("Preflight", what, threads) / best("wllama", what, threads)).toFixed(2)}`);
for (const [name, all] of found) console.log(`\n${name} said: ${JSON.stringify(all[0].text.slice(0, 120))}`);
await browser.close();
host.close();
