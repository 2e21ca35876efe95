// What somebody meets who comes for the first time: weights without a config, a limit that is reached, pages that wait for a
// server, one name for a model, and words in place of names of errors.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { CLIPBOARD, assert, expectValue, poll, settled, value } from "./harness.mjs";
import { go } from "./pages.mjs";

const text = (page, testid) => page.getByTestId(testid).first().innerText();

/// Tensors in the header of a safetensors file.
function header(file) {
  const { __metadata__: _, ...tensors } = JSON.parse(file.subarray(8, 8 + Number(file.readBigUInt64LE(0))).toString());
  return Object.values(tensors);
}

/// Anywhere but into a field.
const paste = (page, text) => page.evaluate((text) => {
  const clipboardData = new DataTransfer();
  clipboardData.setData("text", text);
  document.activeElement.blur();
  document.body.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true }));
}, text);

const ladder = (rung) => ({
  id: 3, model: "default", profile: "default", state: "failed", position: null, reason: "rung 3 failed", known_good: null, note: "", created_ms: 1, finished_ms: 2,
  rungs: [{ step: "3", title: "GPU, eager, bf16", action: "load", state: "failed", reason: "", class: null, load_config: null, device: "cuda:0", parent: null, changes: [], branch: false, predicted: null, measured: null, free_bytes: null, attempts: [], ...rung }],
});

export function newcomerTests({ onPage, dist, withoutServer, server }) {
  const tiny = (name) => readFileSync(join(dist, "tiny", name));
  const given = (name) => ({ name, mimeType: "application/octet-stream", buffer: tiny(name) });

  return [
    ["weights without a config are counted, and their config joins them", onPage(async (page) => {
      const tensors = header(tiny("model.safetensors"));
      const numbers = tensors.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);
      const bytes = tensors.reduce((sum, { data_offsets: [from, to] }) => sum + to - from, 0);
      await go(page, "inspect");
      await page.getByTestId("file-input").setInputFiles(given("model.safetensors"));
      const told = async () => {
        await expectValue(page, "alone-tensors", tensors.length);
        await expectValue(page, "alone-params", numbers);
        await expectValue(page, "alone-bytes", bytes);
        assert((await page.getByTestId("verdict").getAttribute("data-value")) === "unknown", "a verdict without a config");
        assert((await page.getByTestId("fields").count()) === 0, "fields of a config that is not there");
        assert(/Attention/.test(await text(page, "weights-alone")), "no groups");
        const rows = page.getByTestId("tensors").locator("tbody tr");
        assert((await rows.count()) === tensors.length, `${await rows.count()} rows`);
        await page.getByTestId("tensors-filter").fill("qkv");
        await poll(() => rows.count(), (n) => n === 6, "a tensor of each layer");
        await page.getByTestId("tensors-filter").fill("");
        await poll(() => rows.count(), (n) => n === tensors.length, "all of them again");
      };
      await told();
      // A filter stands in the address.
      await settled(page);
      await page.reload();
      await told();
      await go(page, "estimate");
      assert(/config\.json/.test(await text(page, "verdict")), "nothing on what is missing");
      // What is dropped now is theirs: count and config agree, and the weights can be run.
      await page.getByTestId("file-input").setInputFiles(given("model.safetensors"));
      await page.getByTestId("file-input").setInputFiles(given("config.json"));
      await expectValue(page, "params-total", numbers);
      await go(page, "inspect");
      await page.getByTestId("counted").waitFor();
      await page.locator('[data-code="no_config"]').waitFor({ state: "detached" });
      // A config that comes when another model is shown is its own.
      await page.getByTestId("file-input").setInputFiles(given("model.safetensors"));
      await page.getByTestId("weights-alone").waitFor();
      await page.getByTestId("preset").selectOption("phi-4");
      await page.getByTestId("file-input").setInputFiles(given("config.json"));
      await expectValue(page, "params-total", numbers);
      await page.getByTestId("counted").waitFor({ state: "detached" });
    }, withoutServer)],

    ["what is given in quick succession is read in its order, and a pasted config joins weights", onPage(async (page) => {
      const [config, counted] = [tiny("config.json").toString(), page.getByTestId("counted")];
      const numbers = header(tiny("model.safetensors")).reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);
      // The program that reads them is not there yet.
      await page.getByTestId("file-input").setInputFiles(given("model.safetensors"));
      await page.getByTestId("file-input").setInputFiles(given("config.json"));
      await expectValue(page, "params-total", numbers);
      await go(page, "inspect");
      await counted.waitFor();
      await page.getByTestId("preset").selectOption("phi-4");
      await counted.waitFor({ state: "detached" });
      await page.getByTestId("file-input").setInputFiles(given("model.safetensors"));
      await paste(page, config);
      await counted.waitFor();
      // One that is refused leaves them waiting.
      await page.getByTestId("file-input").setInputFiles(given("model.safetensors"));
      await page.getByTestId("weights-alone").waitFor();
      await page.getByTestId("config-input").fill(config.slice(0, -5));
      await page.getByTestId("error").waitFor();
      await page.getByTestId("config-input").fill(config);
      await counted.waitFor();
      await page.getByTestId("error").waitFor({ state: "detached" });
      await expectValue(page, "params-total", numbers);
    }, withoutServer)],

    ["a GGUF file that names no architecture says so, and nothing that it does not hold", onPage(async (page) => {
      // Version 3, no tensors, no metadata.
      const empty = Buffer.concat([Buffer.from("GGUF"), Buffer.from([3, 0, 0, 0]), Buffer.alloc(16)]);
      await page.getByTestId("file-input").setInputFiles({ name: "x.gguf", mimeType: "", buffer: empty });
      for (const name of ["inspect", "estimate"]) {
        await go(page, name);
        const words = await poll(() => text(page, "verdict"), (found) => /architecture/.test(found), "what is missing");
        assert(!/config\.json/.test(words), words);
        assert((await page.getByTestId("fields").count()) === 0, "fields that the file does not hold");
      }
    }, withoutServer)],

    ["a config that is refused is told on every page, once", onPage(async (page) => {
      const config = tiny("config.json").toString();
      const bad = { name: "pytorch_model.bin", mimeType: "application/octet-stream", buffer: Buffer.from([0x80, 2, 0x7d, 0x71]) };
      let at = "estimate";
      const told = (what) => poll(() => page.getByTestId("error").allInnerTexts(), (all) => all.length === 1 && what.test(all[0]), `one message of ${what} on ${at}`);
      for (const name of ["estimate", "inspect", "plan", "validate", "models", "settings", "estimate"]) {
        at = name;
        await go(page, name);
        await paste(page, '{"hidden_size": 12,');
        await told(/config\.json was not accepted[^]*EOF/);
        // What was told before gives way to it.
        await page.getByTestId("file-input").setInputFiles(bad);
        await told(/pickle[^]*never read[^]*safetensors/);
        await page.getByTestId("config-input").fill('{"model_type":"phi3","num_key_value_heads":7}');
        await told(/num_key_value_heads/);
        assert((await page.getByTestId("config-input").inputValue()) !== "", `${name}: what was refused is not there to be corrected`);
        await page.getByTestId("config-input").fill(config);
        await poll(() => page.getByTestId("error").count(), (n) => n === 0, `${name}: no message`);
        assert((await page.getByTestId("preset").inputValue()) === "", `${name}: another model is shown`);
        await page.getByTestId("preset").selectOption("phi-4");
      }
    }, withoutServer)],

    ["more new tokens than a validation generates are told with the limit", onPage(async (page) => {
      await go(page, "validate");
      const count = page.getByTestId("validate-count");
      await count.fill("600");
      const problem = page.getByTestId("validate-count-problem");
      await poll(() => problem.innerText(), (words) => /512/.test(words) && /Playground/.test(words), "the limit and what to do");
      assert((await count.getAttribute("aria-invalid")) === "true", "the field looks right");
      await count.blur();
      assert((await count.inputValue()) === "512", `${await count.inputValue()} stands in the field`);
      await count.fill("0");
      await poll(() => problem.innerText(), (words) => /from 1 to 512/.test(words), "what is a count");
      await count.fill("7");
      await poll(() => problem.isVisible(), (seen) => !seen, "the message to go");
    }, withoutServer)],

    ["a page that needs a server says what it has, how one starts, and what works without", onPage(async (page) => {
      for (const name of ["models", "attempts", "ladder", "playground"]) {
        await go(page, name);
        const words = await text(page, "no-server");
        assert(/preflight serve/.test(words) && /\.\/dev serve/.test(words) && /127\.0\.0\.1:8080/.test(words), `${name}: ${words}`);
        assert((await page.getByTestId("no-server").locator(".bullets li").count()) >= 3, `${name}: nothing on what it has`);
      }
      await page.getByTestId("no-server").getByRole("button", { name: "./dev serve" }).click();
      await poll(() => page.evaluate(() => navigator.clipboard.readText()), (line) => line === "./dev serve", "the command on the clipboard");
      await page.locator("[data-go=validate]").click();
      await page.locator("#validate-card").waitFor();
    }, { ...withoutServer, ...CLIPBOARD })],

    ["a model has one name on every page", onPage(async (page) => {
      const models = await (await fetch(`${server.url}/api/models`)).json();
      const { name } = models.find((model) => model.id === "default");
      assert(name !== "default", "the model is called by its id");
      const chosen = (testid) => page.getByTestId(testid).locator('option[value="default"]').innerText();
      const is_its = (found) => found.startsWith(name);
      await page.route(/\/api\/ladders\?/, (route) => route.fulfill({ json: [ladder({})] }));
      await go(page, "ladder");
      await poll(() => chosen("ladder-model"), is_its, name);
      await poll(() => page.getByTestId("ladder").locator("h2").first().innerText(), (title) => title.includes(name), "its name over the rungs");
      await page.route(/\/v1\/models$/, (route) => route.fulfill({ json: { object: "list", data: [{ id: "default", device: "cpu", dtype: "bf16", max_model_len: 64 }] } }));
      await go(page, "playground");
      await poll(() => chosen("chat-model"), is_its, name);
      await go(page, "validate");
      await poll(() => chosen("validate-server-model"), is_its, name);
      await page.getByTestId("run-on-server").click();
      await poll(() => chosen("hand-off-model"), is_its, name);
    })],

    ["a failure is told in words, without what only a request can say", onPage(async (page) => {
      const reason = "needs 9.10 GiB, 7.40 GiB free on cuda:0; `force: true` loads it all the same";
      await page.route(/\/api\/ladders\?/, (route) => route.fulfill({ json: [ladder({ class: "device_absent", reason })] }));
      await go(page, "ladder");
      const words = await poll(() => text(page, "ladder").catch(() => ""), (found) => /9\.10 GiB/.test(found), "the rung");
      assert(!/device_absent|force/.test(words) && /no such device/i.test(words), words);
    })],

    ["a rung whose attempt passed and was expected to show more has one state", onPage(async (page) => {
      const reason = "decodes 9.21 tokens/s, expected at least 100,000 tokens/s";
      await page.route(/\/api\/ladders\?/, (route) => route.fulfill({ json: [ladder({ class: "passed", reason })] }));
      await go(page, "ladder");
      const rung = page.locator("[data-rung]");
      const words = await poll(() => rung.innerText().catch(() => ""), (found) => /9\.21/.test(found), "the rung");
      assert(/not as expected/.test(words) && !/passed/.test(words), words);
    })],

    ["a note that is half written outlives a reload", onPage(async (page) => {
      const attempt = {
        id: 7, model: "default", kind: "validate", state: "stopped", outcome: "passed", parent: null, changes: [], position: null, device: "cpu", load_config: {},
        created_ms: 1, started_ms: 1, finished_ms: 2, progress: null, text: "", report: null, error: null, note: "", log: [],
      };
      const { environment } = await (await fetch(`${server.url}/api/devices`)).json();
      const evidence = { source: { path: "tiny" }, branch: false, resolved: [], run: null, seed: null, files: [], environment, predicted: null, engine: null, context: null, memory: null, timings: {}, unload: null, next: [], advice: null };
      const noted = [];
      await page.route(/\/api\/attempts\?/, (route) => route.fulfill({ json: [attempt] }));
      await page.route(/\/api\/attempts\/7$/, (route) => {
        if (route.request().method() !== "GET") {
          noted.push(route.request().postDataJSON().note);
          attempt.note = noted.at(-1);
        }
        return route.fulfill({ json: { ...attempt, ...evidence } });
      });
      await go(page, "attempts");
      await page.getByTestId("rows").getByText("#7", { exact: true }).click();
      await page.getByTestId("note").pressSequentially("warm cache, so");
      await page.waitForTimeout(300);
      assert(noted.length === 0, "it was kept before it was done");
      await page.evaluate(() => window.location.reload());
      await poll(() => page.getByTestId("note").inputValue().catch(() => ""), (note) => note === "warm cache, so", "what was written before the reload");
      await page.getByTestId("note").press("End");
      await page.getByTestId("note").pressSequentially(" fast");
      await page.getByTestId("note").blur();
      await poll(() => noted.at(-1), (note) => note === "warm cache, so fast", "the note on the server");
      await page.reload();
      await poll(() => page.getByTestId("note").inputValue().catch(() => ""), (note) => note === "warm cache, so fast", "the note after a reload");
      assert(!/warm/.test(await page.evaluate(() => sessionStorage.getItem("preflight.notes") ?? "")), "what is kept is still a draft");
    })],

    ["the banner of a lost server hides nothing of the page", onPage(async (page) => {
      const told = page.waitForResponse(/\/api\/attempts\?/);
      await go(page, "attempts");
      await told;
      await settled(page);
      const boxes = () => page.evaluate(() => [...document.querySelectorAll("main header, main .card, .pages, .source")].map((e) => JSON.stringify(e.getBoundingClientRect())));
      await page.getByTestId("attempts").waitFor();
      const before = await boxes();
      await page.route(/\/health$/, (route) => route.abort());
      const banner = page.getByTestId("server-lost");
      await banner.waitFor();
      assert((await boxes()).join() === before.join(), "something has moved");
      const [box, main] = [await banner.boundingBox(), await page.locator("main").boundingBox()];
      assert(box.x + box.width <= main.x, "it lies over the page");
      // Where there is no rail beside the page, what lies below it can be reached.
      await page.setViewportSize({ width: 360, height: 700 });
      await page.evaluate(() => window.scrollTo(0, document.documentElement.scrollHeight));
      await page.waitForTimeout(400);
      const last = await page.locator("main").evaluate((e) => e.getBoundingClientRect().bottom - Number.parseFloat(getComputedStyle(e).paddingBottom));
      const top = (await banner.boundingBox()).y;
      assert(last <= top, `the page ends at ${last}, the banner begins at ${top}`);
    }, { tolerated: (problem) => /health|ERR_FAILED/.test(problem) })],

    ["a long change and a note are read in full where there is room, and nothing is scrolled sideways for them", onPage(async (page) => {
      const one = {
        id: 9, model: "default", kind: "load", state: "failed", outcome: "oom_device_weights", parent: 8, position: null, device: "cuda:0", load_config: {},
        changes: [{ path: "max_memory", from: null, to: { 0: "9GiB", cpu: "24GiB" } }],
        created_ms: 1, started_ms: 1, finished_ms: 2, progress: null, text: "", report: null, error: null, note: "ladder 12, rung 5b: GPU, memory limited to what is free", log: [],
      };
      await page.route(/\/api\/attempts\?/, (route) => route.fulfill({ json: [one] }));
      await go(page, "attempts");
      await page.getByTestId("rows").locator(".two").first().waitFor();
      for (const width of [1280, 2560]) {
        await page.setViewportSize({ width, height: 900 });
        const beyond = await page.locator(".attempts").evaluate((e) => e.scrollWidth - e.clientWidth);
        assert(beyond <= 0, `${width}: ${beyond} px beyond the card`);
        if (width < 2560) continue;
        const cut = await page.getByTestId("rows").locator(".two").evaluateAll((all) => all.filter((e) => e.scrollHeight > e.clientHeight || e.parentElement.scrollHeight > e.parentElement.parentElement.clientHeight).map((e) => e.textContent));
        assert(cut.length === 0, `${width}: cut: ${cut}`);
      }
    })],
  ];
}
