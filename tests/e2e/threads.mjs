// Threads of the CPU engine in a tab, where the page is isolated as `preflight serve` isolates it: the bits of one thread, and
// nothing that hangs or stays.

import { cpSync, existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { ask } from "./engines.mjs";
import { cancelled, runsStill, saved, verdict } from "./engine.mjs";
import { assert, free, launchBrowser, openPage, poll, startStaticHost } from "./harness.mjs";
import { go } from "./pages.mjs";
import { CYCLES, inTurns, processes } from "./worker.mjs";

const TINY = { devices: ["cpu"], source: { type: "fetched", base: "tiny" }, max_new_tokens: 24, prompt: "Once upon a time there was a little bird who could not fly. One day she met a fox." };
const LEFT_OUT = "     LEFT OUT: threads of a process are read from Linux";

/// Workers in the renderers of a browser, whoever started them.
function workersOf(profile) {
  const threads = processes(profile).flatMap((pid) => readdirSync(`/proc/${pid}/task`).map((task) => `/proc/${pid}/task/${task}/comm`));
  return threads.filter((path) => existsSync(path) && readFileSync(path, "utf8").startsWith("DedicatedWorker")).length;
}

/// What threads are told in.
const told = (report) => report.facts.features.find((said) => said.includes("thread"));

/// A start script in which `hand` runs in hands alone and `parent` in the worker that starts them.
const inHands = (hand, parent = "") => `if (self.name === "hand") { ${hand} } else { ${parent} }`;

export function threadTests({ browser, chromiumPath, server, host, dist, scratch }) {
  const on = (url, test) => free(async () => {
    const page = await browser.newPage();
    try {
      await page.goto(url);
      await test(page);
    } finally {
      await page.close();
    }
  });
  const inItsOwn = (name, test) => free(async () => {
    if (!existsSync("/proc/self/task")) return console.log(LEFT_OUT);
    const profile = join(scratch, name);
    const context = await launchBrowser(chromiumPath, { profile });
    try {
      const page = await context.newPage();
      await page.goto(server.url);
      await test(page, profile);
    } finally {
      await context.close();
    }
  });
  const report = async (page, run) => {
    const { events } = await ask(page, run);
    const last = events.at(-1);
    assert(last.type === "finished", `${last.error?.code}: ${last.error?.message}`);
    return events.find((event) => event.type === "report").report;
  };
  return [
    ["two threads and three say what one says, to the bit", on(server.url, async (page) => {
      for (const dtype of ["f32", "bf16", "q8_0", "q4_0"]) {
        const one = await report(page, { ...TINY, dtype });
        assert(/^one thread/.test(told(one)), told(one));
        // Numbers as they were written: shortest texts that read back as the same bits.
        const bits = ({ generated_tokens, text, top_logits, difference, verdict, nan_count }) => JSON.stringify({ generated_tokens, text, top_logits, difference, verdict, nan_count });
        for (const threads of [2, 3]) {
          const several = await report(page, { ...TINY, dtype, threads });
          assert(told(several) === `${threads} threads`, `${threads} were asked for: ${told(several)}`);
          assert(bits(several) === bits(one), `${dtype}, ${threads} threads:\n${bits(several)}\n${bits(one)}`);
          assert(several.memory.measured.total_bytes > one.memory.measured.total_bytes, "what the other threads hold is not told");
        }
        assert(one.top_logits.length > 0 && one.generated_tokens.length > 4, bits(one));
      }
    })],

    ["a page that is not isolated has one thread, and says why", on(host.url, async (page) => {
      const one = await report(page, { ...TINY, threads: 2 });
      assert(/one thread.*not cross-origin isolated/.test(told(one)), told(one));
    })],

    ["files of a person run on several threads in the page of the server, which says so", free(async () => {
      const page = await openPage(browser, server.url);
      try {
        await go(page, "validate");
        const cpu = page.locator("label", { has: page.locator("[data-place=cpu]") });
        await page.locator("[data-place=cpu]").check();
        assert(/one thread/.test(await cpu.innerText()), `the smallest model: ${await cpu.innerText()}`);
        const folder = join(scratch, "threads");
        cpSync("public/tiny", folder, { recursive: true });
        await page.getByTestId("validate-folder").setInputFiles(folder);
        await poll(() => cpu.innerText(), (text) => /WebAssembly, [2-9] threads/.test(text), "the number of threads");
        await page.getByTestId("validate").click();
        const found = await verdict(page, "cpu");
        assert(found.value === "pass", found.words);
        const { reports: [one] } = JSON.parse((await saved(page, "save-json")).text);
        assert(/^[2-9] threads$/.test(told(one)), told(one));

        // Cancelled while it computes.
        await cancelled(page);
        await runsStill(page);
        assert(page.problems.length === 0, page.problems.join("\n"));
      } finally {
        await page.context().close();
      }
    })],

    ["whoever ends a worker ends its threads, whatever they are doing", inItsOwn("profile-ended", async (page, profile) => {
      const start = (run) => page.evaluate((run) => {
        window.worker = new Worker("engine-start.js", { type: "module" });
        window.said = [];
        window.worker.onmessage = ({ data }) => {
          window.said.push(data);
          if (data === "ready") window.worker.postMessage({ run: JSON.stringify(run), files: [] });
        };
      }, run);
      for (const stage of ["progress", "token"]) {
        await start({ ...TINY, threads: 3, max_new_tokens: 800 });
        await poll(() => page.evaluate((stage) => window.said.some((text) => text.includes(`"type":"${stage}"`)), stage), Boolean, stage, 60_000);
        await poll(() => workersOf(profile), (count) => count === 3, "a worker and two hands");
        await page.evaluate(() => window.worker.terminate());
        await poll(() => workersOf(profile), (count) => count === 0, `no worker after ${stage}`);
      }
    })],

    ["a thread that ends or does not answer is told, and the page lives on", free(async () => {
      // A driver changes what a page fetches, not what its workers fetch: the host does it.
      let more = "";
      const change = (path, body) => (path.endsWith("engine-start.js") ? `${more}\n${body}` : body);
      const isolated = { "cross-origin-opener-policy": "same-origin", "cross-origin-embedder-policy": "require-corp", "cache-control": "no-store" };
      const changed = await startStaticHost(dist, { headers: isolated, change });
      const page = await browser.newPage();
      await page.goto(changed.url);
      const failure = async (name, script) => {
        more = script;
        const { events } = await ask(page, { ...TINY, threads: 2 });
        more = "";
        const last = events.at(-1);
        assert(last.type === "failed", `${name}: it went on: ${JSON.stringify(last).slice(0, 300)}`);
        return last.error;
      };
      const count = (after, then) => `const load = Atomics.load; let left = ${after}; Atomics.load = (...given) => { if (--left < 0) ${then} return load(...given); };`;
      for (const [name, script] of [
        ["ends", inHands(count(100, `throw new Error("ended");`))],
        ["is silent", inHands(count(100, `Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);`), `const wait = Atomics.wait; Atomics.wait = (words, index, value, ms) => wait(words, index, value, Math.min(ms, 2000));`)],
      ]) {
        const error = await failure(name, script);
        assert(error.code === "engine_stopped" && /thread/.test(error.message), `${name}: ${error.code}: ${error.message}`);
      }
      // One that cannot even start costs its help and no more.
      more = inHands(`throw new Error("no");`);
      const alone = await report(page, { ...TINY, threads: 2 });
      more = "";
      assert(/^one thread: .*start/.test(told(alone)), told(alone));
      const again = await report(page, { ...TINY, threads: 2 });
      assert(told(again) === "2 threads" && again.verdict === "pass", `${told(again)}: ${again.reason}`);
      await page.close();
      await changed.stop();
    })],

    [`${CYCLES} loads and unloads on two threads leave no memory behind`, inItsOwn("profile-threads-cycles", async (page, profile) => {
      await inTurns(page, profile, () => report(page, { ...TINY, threads: 2, max_new_tokens: 1, skip_reference: true }));
      await poll(() => workersOf(profile), (count) => count === 0, "no worker");
    })],
  ];
}
