// The engines in their worker, asked directly: CPU and WebGPU against Hugging Face's ids, and everything that can go wrong.

import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { GOLDEN, ask, before, sameIds } from "./engines.mjs";
import { alone, assert, free, launchBrowser, poll } from "./harness.mjs";

const TINY = "public/tiny";
export const CYCLES = Number(process.env.E2E_CYCLES ?? 50);
const EMBEDDED = { type: "fetched", base: "tiny" };

async function reports(page, run, files, rehearsal_ms) {
  const { events, first_ms } = await ask(page, run, files, rehearsal_ms);
  const last = events.at(-1);
  assert(last.type === "finished", `${last.error?.code}: ${last.error?.message}`);
  const of = (type) => events.filter((event) => event.type === type);
  return { reports: of("report").map((event) => event.report), tokens: of("token"), stages: of("progress").map((event) => event.progress), first_ms };
}

async function failure(page, run, files) {
  const { events } = await ask(page, run, files);
  assert(events.at(-1).type === "failed", `it went on: ${JSON.stringify(events.at(-1)).slice(0, 300)}`);
  return events.at(-1).error;
}

/// As posted: names and bytes; `changed` has other bytes for some, null leaves one out.
const files = (changed = {}) =>
  readdirSync(TINY)
    .filter((name) => changed[name] !== null)
    .map((name) => ({ name, base64: (changed[name] ?? readFileSync(join(TINY, name))).toString("base64") }));

/// Renderers of the browser that has its profile in a folder: their ids, or what `what` makes of each row.
export function processes(profile, what = ([, pid]) => pid) {
  const lines = execFileSync("ps", ["-eo", "pid=,ppid=,rss=,args="], { encoding: "utf8" }).trim().split("\n");
  const rows = lines.map((line) => line.trim().match(/^(\d+)\s+(\d+)\s+(\d+)\s+(.*)$/)).filter(Boolean);
  const of = new Map(rows.map(([, pid, parent, , args]) => [pid, { parent, args }]));
  const isOurs = (pid) => {
    for (let at = of.get(pid); at; at = of.get(at.parent)) if (!/--type=/.test(at.args) && at.args.includes(`--user-data-dir=${profile}`)) return true;
    return false;
  };
  const ours = rows.filter(([, pid, , , args]) => /--type=renderer/.test(args) && isOurs(pid));
  assert(ours.length > 0, `no renderer of ${profile}`);
  return ours.map(what);
}

/// Their resident bytes.
export const residentBytes = (profile) => processes(profile, ([, , , rss]) => Number(rss) * 1024).reduce((sum, bytes) => sum + bytes, 0);

/// Loads and unloads a model, again and again, in a tab of a browser of its own, and fails where memory grows. Gives the
/// workers that are left, as the driver counts them: it does not hear of the end of those that a worker started.
export async function inTurns(page, profile, cycle) {
  if (!existsSync("/proc/self/status")) return console.log("     LEFT OUT: resident memory is read from Linux"), 0;
  const early = 10;
  let before = 0;
  for (let i = 0; i < CYCLES; i += 1) {
    await cycle();
    if (i === early) (await page.waitForTimeout(1000), (before = residentBytes(profile)));
  }
  await page.waitForTimeout(1000);
  const after = residentBytes(profile);
  const mib = (bytes) => (bytes / 2 ** 20).toFixed(0);
  console.log(`     renderers hold ${mib(before)} MiB after ${early} cycles, ${mib(after)} MiB after ${CYCLES}`);
  // A model that stays costs more than ten MiB a cycle.
  assert(after - before < 64 * 2 ** 20, `${mib(after - before)} MiB more`);
  return page.workers().length;
}

export function workerTests({ browser, chromiumPath, host, gpuBrowser, scratch }) {
  const run = { devices: ["cpu"], source: EMBEDDED, max_new_tokens: 8 };
  const within = async (browser, test) => {
    const page = await browser.newPage();
    try {
      await page.goto(host.url);
      await test(page);
    } finally {
      await page.close();
    }
  };
  const on = (test, gpu = false) => free(async () => within(gpu ? await gpuBrowser() : browser, test));
  const cycled = join(scratch, "profile-cycles");
  const inItsOwn = (profile, test) => free(async () => {
    const context = await launchBrowser(chromiumPath, { profile });
    await within(context, test).finally(() => context.close());
  });
  return [
    ["in a worker the tiny model says on the CPU what it says in Hugging Face", on(async (page) => {
      const found = await reports(page, { ...run, dtype: "f32", prompt: GOLDEN.prompt.text, max_new_tokens: 200 });
      const [report] = found.reports;
      sameIds(report, 200);
      assert(report.verdict === "pass" && report.nan_count === 0 && report.text.length > 0, report.reason);
      assert(found.tokens.length === report.generated_tokens.length, "tokens are not told as they come");
      const bytes = found.stages.filter((step) => step.stage === "weights").map((step) => step.done_bytes);
      assert(bytes.length > 1 && bytes.at(-1) === report.memory.predicted.weights_bytes, `progress ${bytes}`);
      assert(report.memory.measured.weights_bytes === report.memory.predicted.weights_bytes, "other weights are held than predicted");
      const [told, held] = [report.memory.predicted, report.memory.measured].map((memory) => memory.total_bytes);
      // Memory of WebAssembly never shrinks: what a load held on its way to f32 counts as measured.
      assert(Math.abs(told - held) < 0.25 * held, `${told} bytes predicted, ${held} measured`);
      console.log(`     ${report.generated_tokens.length} ids, decode ${report.decode_tokens_per_s.toFixed(0)} tokens/s, first token ${found.first_ms.toFixed(0)} ms after a cold start`);
    })],

    ["a run that was rehearsed says the same, sooner; a rehearsal says nothing", alone(on(async (page) => {
      const golden = { ...run, dtype: "f32", prompt: GOLDEN.prompt.text };
      const cold = await reports(page, golden);
      const warm = await reports(page, golden, [], 3000);
      sameIds(warm.reports[0], 8);
      assert(warm.tokens.length === 8 && warm.reports.length === 1, `${warm.tokens.length} tokens, ${warm.reports.length} reports: was the rehearsal told too?`);
      console.log(`     first token ${warm.first_ms.toFixed(0)} ms after the run was asked for; ${cold.first_ms.toFixed(0)} ms after a cold start`);
      assert(warm.first_ms < cold.first_ms, "rehearsed in vain");
      // Interrupted, and of files that are not there.
      sameIds((await reports(page, golden, [], 1)).reports[0], 8);
      const { events } = await ask(page, { ...run, source: { type: "fetched", base: "nowhere" } }, [], 500);
      assert(events.length === 1 && events[0].error.code === "not_found", JSON.stringify(events).slice(0, 300));
    }))],

    ["in a worker quantised weights are held against f32", on(async (page) => {
      for (const dtype of ["q8_0", "q4_0"]) {
        const { reports: [report] } = await reports(page, { ...run, dtype, max_new_tokens: 16 });
        assert(report.dtype === dtype && report.verdict === "pass", `${dtype}: ${report.reason}`);
        assert(report.difference.max > 0.1, `${dtype} is no different from f32: it was not quantised`);
      }
    })],

    ["in a worker files of a person run, and bad ones are named", on(async (page) => {
      const chosen = { ...run, source: { type: "chosen" }, max_new_tokens: 2 };
      const { reports: [report] } = await reports(page, chosen, files());
      assert(report.verdict === "pass", report.reason);
      const weights = readFileSync(join(TINY, "model.safetensors"));
      const config = JSON.parse(readFileSync(join(TINY, "config.json"), "utf8"));
      const other = Buffer.from(JSON.stringify({ ...config, hidden_size: 96, num_attention_heads: 3, num_key_value_heads: 1 }));
      const huge = Buffer.concat([Buffer.from([255, 255, 255, 255, 255, 255, 255, 127]), weights.subarray(8)]);
      const pointer = Buffer.from("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n");
      const bad = [
        ["cut weights", { "model.safetensors": weights.subarray(0, weights.length - 1000) }, "weights_corrupt", /model\.safetensors/],
        ["a header that lies", { "model.safetensors": huge }, "weights_corrupt", /model\.safetensors/],
        ["a Git-LFS pointer", { "model.safetensors": pointer }, "not_a_weight_file", /LFS/i],
        ["another shape", { "config.json": other }, "weights_mismatch", /./],
        ["no JSON", { "config.json": Buffer.from("{") }, "config_invalid", /config\.json/],
        ["no tokenizer", { "tokenizer.json": null }, "not_found", /tokenizer\.json/],
        ["no weights", { "model.safetensors": null }, "not_found", /safetensors/],
      ];
      const wrong = [];
      for (const [name, changed, code, said] of bad) {
        const error = await failure(page, chosen, files(changed));
        if (error.code !== code || !said.test(error.message)) wrong.push(`${name}: ${error.code}: ${error.message}`);
      }
      assert(wrong.length === 0, wrong.join("\n"));
    })],

    ["in a worker what cannot be had is told with a way out", on(async (page) => {
      const absent = await failure(page, { ...run, devices: ["wgpu:0"] });
      assert(absent.code === "unavailable" && /WebGPU/.test(absent.message) && /CPU/.test(absent.message), absent.message);
      const config = readFileSync("public/presets/phi-4.json", "utf8");
      const large = await failure(page, { ...run, source: { type: "made_up", config }, dtype: "bf16" });
      assert(large.code === "oom" && /GiB/.test(large.message) && /q4_0/.test(large.message), large.message);
      const gone = await failure(page, { ...run, source: { type: "fetched", base: "nowhere" } });
      assert(gone.code === "not_found" && /config\.json/.test(gone.message), gone.message);
    })],

    ["a worker that is ended while it fetches, loads or generates is gone", on(async (page) => {
      const start = () => page.evaluate((run) => {
        window.worker = new Worker("engine-start.js", { type: "module" });
        window.said = [];
        window.worker.onmessage = ({ data }) => {
          window.said.push(data);
          if (data === "ready") window.worker.postMessage({ run: JSON.stringify(run), files: [] });
        };
      }, { ...run, prompt: "Once upon a time", max_new_tokens: 800 });
      for (const stage of ["", "progress", "token"]) {
        await start();
        await poll(() => page.evaluate((stage) => stage === "" || window.said.some((text) => text.includes(`"type":"${stage}"`)), stage), Boolean, stage, 60_000);
        await page.evaluate(() => window.worker.terminate());
        await poll(() => page.workers().length, (count) => count === 0, `no worker after ${stage || "the start"}`);
      }
      const { reports: [report] } = await reports(page, run);
      assert(report.verdict === "pass", report.reason);
    })],

    [`${CYCLES} loads and unloads in a tab leave no memory behind`, inItsOwn(cycled, async (page) => {
      const left = await inTurns(page, cycled, () => reports(page, { ...run, max_new_tokens: 1, skip_reference: true }));
      assert(left === 0, `${left} workers`);
    })],

    ["in a worker a device that binds too little is told", on(async (page) => {
      await before(page, `for (const name of ["maxStorageBufferBindingSize", "maxBufferSize"]) Object.defineProperty(GPUSupportedLimits.prototype, name, { get: () => 65536 });`);
      const small = await failure(page, { ...run, devices: ["wgpu:0"], prompt: "word ".repeat(200) });
      assert(/buffer of \d+ bytes.*binds 65536/.test(small.message), small.message);
    }, true)],
  ];
}
