// That what the pages say is so, that a click does what it promises, and that what a person has set stays.

import { join } from "node:path";
import { CLIPBOARD, assert, expectValue, openPage, poll, settled, startServer } from "./harness.mjs";
import { go } from "./pages.mjs";

const LOAD_MS = 120_000;
const json = { "content-type": "application/json" };

const attempt = (id, more = {}) => ({
  id, model: "default", kind: "validate", state: "stopped", outcome: "passed", parent: null, changes: [], position: null, device: "cpu",
  load_config: {}, created_ms: 1_700_000_000_000 + id, started_ms: 1_700_000_000_000 + id, finished_ms: 1_700_000_000_000 + id + 1, progress: null, text: "", report: null, error: null, note: "", log: [], ...more,
});

const memory = (kv_cache_bytes) => ({ weights_bytes: 538_060_032, kv_cache_bytes, activation_bytes: 3_790_592, overhead_bytes: 49_917_952, total_bytes: 591_768_576 + kv_cache_bytes });

const report = (more = {}) => ({
  device: "cpu", dtype: "bf16", prompt_tokens: [1, 2, 3], generated_tokens: [4, 5], text: "so", stop_reason: "length", load_ms: 140.6, ttft_ms: 12, prefill_tokens_per_s: 250,
  decode_tokens_per_s: 40, nan_count: 0, inf_count: 0, layers: [], top_logits: [], memory: { predicted: memory(1_152_000), measured: memory(1_152_000) }, probes: [], verdict: "pass", reason: "every value finite", ...more,
});

/// Lets the page see these attempts, and nothing else of the server's.
async function withAttempts(page, server, attempts, more = {}) {
  const { environment } = await (await fetch(`${server.url}/api/devices`)).json();
  const evidence = { source: { path: "smollm2-135m-phi3" }, branch: false, resolved: [], run: null, seed: null, files: [], environment, predicted: null, engine: null, context: null, memory: null, timings: {}, unload: null, next: [], advice: null, ...more };
  await page.route(/\/api\/attempts\?/, (route) => route.fulfill({ json: [...attempts].reverse() }));
  await page.route(/\/api\/attempts\/\d+$/, (route) => {
    const id = Number(new URL(route.request().url()).pathname.split("/").at(-1));
    return route.fulfill({ json: { ...attempts.find((one) => one.id === id), ...evidence } });
  });
}

const open = async (page, id) => {
  await go(page, "attempts");
  await page.getByTestId("rows").getByText(`#${id}`, { exact: true }).click();
  await page.locator(`[data-testid=attempt][data-id="${id}"]`).waitFor();
};

/// Validates or loads a model by the API, and waits for the state asked for.
async function run(server, verb, body, state) {
  const asked = await fetch(`${server.url}/api/models/default/${verb}`, { method: "POST", headers: json, body: JSON.stringify(body) });
  const { attempt_id: id } = await asked.json();
  const attempt = async () => (await fetch(`${server.url}/api/attempts/${id}`)).json();
  return poll(attempt, (found) => found.state === state, `attempt ${id} to be ${state}`, LOAD_MS);
}

export function honestTests({ onPage, browser, withoutServer, server, serverArgs, preflight, scratch }) {
  return [
    ["Back undoes one click, and that alone", onPage(async (page) => {
      await page.getByTestId("device").selectOption("RTX 4060");
      await page.getByTestId("context").fill("3000");
      await settled(page);
      await page.getByTestId("dtype").selectOption("q4_0");
      await settled(page);
      await page.locator('[data-answer="context=2047"]').click();
      await poll(() => page.getByTestId("context").inputValue(), (v) => v === "2047", "the answer to count");
      await settled(page);
      await page.goBack();
      await poll(() => page.getByTestId("context").inputValue(), (v) => v === "3000", "the context before the click");
      assert((await page.getByTestId("dtype").inputValue()) === "q4_0", "Back took the format of the weights along");
    }, withoutServer)],

    ["a GPU without bf16 is no plain yes, and one click answers it", onPage(async (page) => {
      await page.getByTestId("device").selectOption("T4");
      const banner = page.getByTestId("verdict");
      await page.getByTestId("no-bf16").waitFor();
      assert(/warn/.test(await banner.getAttribute("class")), await banner.getAttribute("class"));
      assert(/T4 does not compute in bf16/.test(await banner.innerText()), await banner.innerText());
      // The tables say what the banner says, of a GPU that has it too.
      const row = (device) => page.locator(`[data-testid=fits] tr[data-device="${device}"]`);
      const plain = async (found) => [await found.locator("td .badge").last().innerText(), await found.locator(".bar").getAttribute("class").catch(() => "")];
      const of = async (device) => (await plain(row(device))).join(", ");
      assert((await of("T4")) === "use f16, bar warn" && (await of("L4")) === "fits, bar ok", `${await of("T4")}; ${await of("L4")}`);
      const dtypes = () => page.locator(".dtypes tr .badge").allInnerTexts();
      assert((await dtypes()).filter((word) => word === "use f16").length === 1, `${await dtypes()}`);
      await page.getByTestId("no-bf16").getByRole("button").click();
      await poll(() => page.getByTestId("dtype").inputValue(), (v) => v === "f16", "weights in f16");
      assert((await page.getByTestId("no-bf16").count()) === 0 && /\bok\b/.test(await banner.getAttribute("class")), "f16 is no plain yes either");
      await poll(() => of("T4"), (told) => told === "fits, bar ok", "the row of a T4 in f16");
      await page.getByTestId("device").selectOption("L4");
      await page.getByTestId("dtype").selectOption("bf16");
      assert((await page.getByTestId("no-bf16").count()) === 0, "of a GPU that has it");
    }, withoutServer)],

    ["the plot has lines of a device, and of listed ones where none is chosen", onPage(async (page) => {
      const lines = () => page.locator(".plot .level span").allInnerTexts();
      await poll(lines, (all) => all.some((text) => /^RTX/.test(text)), "listed devices");
      await page.getByTestId("device").selectOption("RTX 4090");
      await poll(lines, (all) => all.length === 2 && /23\.52 GiB available/.test(all[0]) && /1\.2×/.test(all[1]), "the device and the margin");
      // Far above the need both are told at the edge.
      await page.getByTestId("device").selectOption("H200");
      await poll(lines, (all) => all.length === 1 && /↑ 139\.80 GiB available · 116\.50 GiB 1\.2× margin/.test(all[0]), "both at the edge");
    }, withoutServer)],

    ["what is typed while the palette is on its way stands in it", onPage(async (page) => {
      let send;
      const held = new Promise((resolve) => (send = resolve));
      await page.route(/late_bg\.wasm/, async (route) => (await held, route.continue()));
      await page.locator("body").press("Control+k");
      await page.keyboard.type("phi-4 1 open", { delay: 20 });
      await page.keyboard.press("Backspace");
      await page.keyboard.type("n");
      send();
      const field = page.getByTestId("palette").locator("input");
      await field.waitFor();
      await poll(() => field.inputValue(), (typed) => typed === "phi-4 1 open", "every letter");
      assert(/Estimate/.test(await page.title()), `a digit has led to ${await page.title()}`);
    }, withoutServer)],

    ["an address that is none is told", onPage(async (page) => {
      for (const [hash, said] of [["page=nothing&context=-3&dtype=zz&device=RTX%209999&memory=16G", /Part of the link[^]*page=nothing, context=-3, dtype=zz, device=RTX 9999, memory=16G/], ["foo", /no Preflight link/]]) {
        const other = await openPage(browser, `${page.url().split("#")[0]}#${hash}`);
        assert(said.test(await other.getByTestId("error").innerText()), await other.getByTestId("error").innerText());
        await expectValue(other, "params-total", 3_821_079_552);
        await other.context().close();
      }
    }, withoutServer)],

    ["searches, tabs and what is asked of a run survive a reload and stand in the address", onPage(async (page) => {
      const stays = async (what, set, read, wanted) => {
        await set();
        await settled(page);
        await page.reload();
        await poll(read, (found) => found === wanted, `${what} after a reload`);
      };
      const field = (testid) => [() => page.getByTestId(testid).fill("phi"), () => page.getByTestId(testid).inputValue().catch(() => ""), "phi"];
      await stays("the search for GPUs", ...field("fits-search"));
      await go(page, "inspect");
      assert((await page.getByTestId("fields-filter").inputValue()) === "", "another page has the search");
      await stays("the filter of fields", ...field("fields-filter"));
      await go(page, "plan");
      const vllm = page.locator('[data-target="vllm"]');
      await stays("the tab", () => vllm.click(), () => vllm.getAttribute("aria-selected").catch(() => ""), "true");
      await go(page, "validate");
      await page.getByTestId("validate-count").fill("7");
      await page.getByTestId("validate-count").blur();
      await stays("the prompt", () => page.getByTestId("validate-prompt").fill("a & b"), () => page.getByTestId("validate-prompt").inputValue().catch(() => ""), "a & b");
      assert((await page.getByTestId("validate-count").inputValue()) === "7", "the number of tokens is gone");
      // Elsewhere and back again it is still asked for.
      await go(page, "estimate");
      await go(page, "validate");
      await settled(page);
      const fresh = await openPage(browser, page.url());
      await poll(() => fresh.getByTestId("validate-prompt").inputValue().catch(() => ""), (text) => text === "a & b", "the prompt in a fresh profile");
      await fresh.context().close();
    }, withoutServer)],

    ["a budget has a verdict, and is told as a size", onPage(async (page) => {
      await go(page, "plan");
      const verdict = async (budget, wanted) => {
        await page.getByTestId("plan-json").fill(JSON.stringify({ max_memory: { 0: budget } }));
        await poll(() => page.getByTestId("plan-verdict").getAttribute("data-value").catch(() => ""), (v) => v === wanted, `${budget}: ${wanted}`);
      };
      await verdict("4GiB", "does not fit");
      const diff = await page.getByTestId("plan-diff").innerText();
      assert(/\+ 4 GiB/.test(diff) && /no budget/.test(diff), diff);
      await verdict("40GiB", "fits");
    }, withoutServer)],

    ["a knob that nobody has set is not called refused", onPage(async (page) => {
      await go(page, "plan");
      const row = page.locator('[data-knob="offload_folder"]');
      assert(!/refused/.test(await row.locator(".marks").innerText()), await row.innerText());
      await row.locator("input").fill("elsewhere");
      await row.locator("input").blur();
      await poll(() => row.locator(".marks").innerText(), (text) => /refused/.test(text), "a knob that is set to be called refused");
    }, withoutServer)],

    ["the verdict comes first, and large", onPage(async (page) => {
      await go(page, "validate");
      await page.getByTestId("validate-count").fill("3");
      await page.getByTestId("validate-count").blur();
      const shows = page.getByTestId("will-show");
      assert(/NaN/.test(await shows.innerText()), await shows.innerText());
      await page.getByTestId("validate").click();
      const verdict = page.getByTestId("validate-verdict");
      await verdict.waitFor({ timeout: LOAD_MS });
      assert((await shows.count()) === 0, "what will be shown is said beside what is shown");
      const top = async (found) => (await found.first().boundingBox()).y;
      assert((await top(verdict)) < (await top(page.getByTestId("validate-output"))), "the text stands above the verdict");
      const size = await verdict.locator(".big").evaluate((e) => Number.parseFloat(getComputedStyle(e).fontSize));
      assert(size >= 20, `${size} px`);
      assert(/Tiny/.test(await verdict.innerText()) && !/Phi-3-mini/.test(await verdict.innerText()), `of which model: ${await verdict.innerText()}`);
    }, withoutServer)],

    ["the server validates what is asked of it", onPage(async (page) => {
      await go(page, "validate");
      await page.locator("[data-place=server]").check();
      await page.getByTestId("validate-server-model").selectOption("default");
      await page.getByTestId("validate-prompt").fill("One two three");
      await page.getByTestId("validate-count").fill("2");
      await page.getByTestId("validate-count").blur();
      await page.getByTestId("validate-dtype").selectOption("q8_0");
      const asked = page.waitForRequest((request) => request.method() === "POST" && /\/models\/default\/validate$/.test(request.url()));
      await page.getByTestId("validate").click();
      const body = (await asked).postDataJSON();
      assert(body.prompt === "One two three" && body.max_new_tokens === 2 && body.load_config.quantization === "q8_0", JSON.stringify(body));
      await page.getByTestId("validate-verdict").waitFor({ timeout: LOAD_MS });
      assert(/cpu, q8_0/.test(await page.getByTestId("validate-verdict").innerText()), await page.getByTestId("validate-verdict").innerText());
      // The run and its model stand in the address.
      const said = await page.getByTestId("validate-verdict").innerText();
      await poll(() => decodeURIComponent(page.url()), (url) => /attempt=\d+/.test(url) && /model=default/.test(url), "model and run in the address");
      await page.reload();
      await page.getByTestId("validate-verdict").waitFor({ timeout: LOAD_MS });
      assert((await page.getByTestId("validate-verdict").innerText()) === said, "another report after a reload");
      assert((await page.getByTestId("validate-server-model").inputValue()) === "default", "another model after a reload");
    })],

    ["the next plan of an attempt is of its model and has it as its parent", onPage(async (page) => {
      const { id } = await run(server, "validate", { force: true }, "stopped");
      await open(page, id);
      await page.getByRole("button", { name: "Plan the next from here" }).click();
      await page.getByTestId("plan-diff").waitFor();
      const { name } = (await (await fetch(`${server.url}/api/models`)).json()).find((model) => model.id === "default");
      await poll(() => page.locator("#plan-diff").innerText(), (text) => text.includes(`attempt #${id} of ${name}`), "the attempt as parent");
      await expectValue(page, "params-total", 134_515_008);
      await page.locator("#knob-low_cpu_mem_usage").selectOption("false");
      await settled(page);
      await page.reload();
      await poll(() => page.locator("#plan-diff").innerText(), (text) => text.includes(`attempt #${id} of ${name}`), "the parent after a reload");
      const asked = page.waitForRequest((request) => request.method() === "POST" && /\/validate$/.test(request.url()));
      await page.getByTestId("run-on-server").click();
      await poll(() => page.getByTestId("hand-off-model").inputValue().catch(() => ""), (model) => model === "default", "its model to be chosen");
      await page.getByTestId("hand-off-run").click();
      const body = (await asked).postDataJSON();
      assert(body.parent === id && body.load_config.low_cpu_mem_usage === false, JSON.stringify(body));
    })],

    ["an attempt has one state in its row and beside it, and a loaded model is unloaded", onPage(async (page) => {
      const states = { 1: "loading", 2: "ready", 3: "stopped" };
      await withAttempts(page, server, [1, 2, 3].map((id) => attempt(id, { kind: "load", state: states[id], outcome: id === 3 ? "passed" : null, finished_ms: null })));
      // The list was asked for before the load began.
      await page.route(/\/api\/attempts\?/, (route) => route.fulfill({ json: [3, 2, 1].map((id) => attempt(id, { kind: "load", state: id === 1 ? "checking" : states[id], finished_ms: null })) }));
      await open(page, 1);
      const row = page.getByTestId("rows").locator("[role=row]").filter({ hasText: "#1" });
      await poll(() => row.locator(".badge").innerText(), (state) => state === "loading", "the row to say what stands beside it");
      const detail = page.getByTestId("attempt");
      assert((await detail.getByRole("button", { name: "Cancel" }).count()) === 1 && (await detail.getByTestId("unload").count()) === 0, "a load is not cancelled");
      let unloaded = "";
      await page.route(/\/api\/models\/[^/]+\/unload$/, (route) => {
        unloaded = route.request().url();
        return route.fulfill({ status: 202, json: { attempt_id: 2 } });
      });
      await open(page, 2);
      assert((await detail.getByRole("button", { name: "Cancel" }).count()) === 0, "a loaded model is cancelled");
      await detail.getByTestId("unload").click();
      await poll(() => unloaded, (url) => /models\/default\/unload$/.test(url), "the model to be unloaded");
    })],

    ["on a phone an attempt says its model and its change", onPage(async (page) => {
      const change = { path: "dtype", from: "bfloat16", to: "float32" };
      await withAttempts(page, server, [attempt(1), attempt(2, { parent: 1, changes: [change] })]);
      // Opened wide, and then made narrow.
      await go(page, "attempts");
      const under = page.getByTestId("attempt-under").filter({ hasText: "float32" });
      const apart = () => page.getByTestId("rows").locator("[role=row]").evaluateAll(([one, two]) => two && Math.abs(two.getBoundingClientRect().y - one.getBoundingClientRect().y));
      await poll(apart, (px) => px === 37, "rows of one line and a half");
      assert((await under.count()) === 0, "model and change stand below the number where they have columns");
      await page.setViewportSize({ width: 360, height: 780 });
      const { name } = (await (await fetch(`${server.url}/api/models`)).json()).find((model) => model.id === "default");
      await poll(() => under.innerText().catch(() => ""), (words) => words.startsWith(name) && /dtype/.test(words), "model and change");
      const [box, id] = [await under.boundingBox(), await page.getByTestId("rows").getByText("#2", { exact: true }).boundingBox()];
      assert(box.y >= id.y + id.height - 4 && box.width > 200 && box.height > 10, JSON.stringify([box, id]));
      assert((await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth)) <= 0, "the page is scrolled sideways");
      await poll(apart, (px) => px === 66, "rows with room for them");
      await page.setViewportSize({ width: 1280, height: 780 });
      await poll(apart, (px) => px === 37, "the rows as they were");
      await poll(() => under.count(), (n) => n === 0, "model and change in their columns");
    })],

    ["a slash finds something to search on every page", onPage(async (page) => {
      await withAttempts(page, server, []);
      const typed = () => page.evaluate(() => document.activeElement?.matches("input") ? document.activeElement.type : "");
      for (const [name, testid] of [["validate", "palette"], ["models", "models-search"], ["settings", "palette"], ["attempts", "attempts-search"], ["inspect", "fields-filter"]]) {
        await go(page, name);
        await settled(page);
        await page.evaluate(() => document.activeElement.blur());
        await page.keyboard.press("/");
        await poll(typed, Boolean, `a field on ${name}`);
        const found = page.getByTestId(testid);
        assert(await found.isVisible(), `${name}: not ${testid}`);
        await page.keyboard.type("x");
        await poll(() => page.evaluate(() => document.activeElement.value), (value) => value === "x", `${name}: what is typed`);
        await page.keyboard.press("Escape");
      }
    })],

    ["what to try next is tried by one click", onPage(async (page) => {
      const next = [{ scope: "load_config", key: "dtype", value: "float32", reason: "the reference", refused: null }, { scope: "run", key: "prompt", value: "shorter", reason: "it is long", refused: null }];
      await withAttempts(page, server, [attempt(1, { state: "failed", outcome: "nan_inf", load_config: { low_cpu_mem_usage: false } })], { next });
      let body;
      await page.route(/\/api\/models\/default\/validate$/, (route) => {
        body = route.request().postDataJSON();
        return route.fulfill({ status: 202, json: { attempt_id: 1 } });
      });
      await open(page, 1);
      assert((await page.locator("[data-try]").count()) === 1, "a change that no request says has a button");
      assert((await page.locator("[data-try]").locator("..").locator("p").boundingBox()).width > 300, "the proposal is squeezed");
      await page.locator('[data-try="dtype"]').click();
      await poll(() => body, Boolean, "a request");
      assert(body.parent === 1 && body.load_config.dtype === "float32" && body.load_config.low_cpu_mem_usage === false, JSON.stringify(body));
    })],

    ["what was not measured is no zero, and unlike things have no difference", onPage(async (page) => {
      const broken = report({ generated_tokens: [], stop_reason: "nan", ttft_ms: null, prefill_tokens_per_s: null, decode_tokens_per_s: null, nan_count: 24_970, verdict: "fail", reason: "24970 NaN", difference: { rows: 10, max: 0, mean: 0, scale: 0, top1_agreement: 0, top5_overlap: 0, bound: 0.05, verdict: "fail" } });
      const partly = report({ memory: { predicted: memory(377_487_360), measured: memory(1_152_000) } });
      await withAttempts(page, server, [attempt(1, { state: "failed", outcome: "nan_inf", report: broken }), attempt(2, { report: partly }), attempt(3, { parent: 2, report: report() })]);
      await open(page, 1);
      const detail = page.getByTestId("attempt");
      const words = await detail.innerText();
      assert(/Time to first token\s*–/.test(words) && /Prefill\s*–/.test(words) && !/0\.0 ms|0\.00 tok/.test(words), words);
      assert(/ended by logits that are no numbers/.test(words) && !/cut at the limit/.test(words), words);
      assert(/24,970 \/ 0/.test(words) && /Not one logit is a number/.test(words), words);
      const differences = () => detail.getByTestId("memory-table").locator("tbody td:last-child").allInnerTexts();
      await open(page, 2);
      assert(JSON.stringify((await differences()).map((text) => text === "–")) === "[false,true,false,false,true]", `${await differences()}`);
      await detail.getByTestId("partly-filled").waitFor();
      await open(page, 3);
      const family = await page.getByTestId("tree").innerText();
      assert(/passed/.test(family) && !/stopped/.test(family), `a verdict that the tree hides: ${family}`);
      assert((await differences()).every((text) => text !== "–") && (await detail.getByTestId("partly-filled").count()) === 0, `${await differences()}`);
    })],

    ["attempts are sifted by how they ended, and their numbers copied", onPage(async (page) => {
      const failed = (id, outcome) => attempt(id, { state: "failed", outcome, error: { code: outcome, message: "so" } });
      const took = { started_ms: 1_700_000_000_000, finished_ms: 1_700_002_569_400 };
      await withAttempts(page, server, [attempt(1, { report: report(), ...took }), attempt(2, { report: report({ verdict: "unverified" }) }), failed(3, "nan_inf"), failed(4, "oom_device_activation")]);
      await go(page, "attempts");
      const ids = () => page.getByTestId("rows").locator("[role=row]").evaluateAll((rows) => rows.filter((row) => row.checkVisibility()).map((row) => row.querySelector(".link").textContent).join());
      const standing = page.getByTestId("attempts-state");
      const outcome = page.getByTestId("attempts-outcome");
      await poll(ids, (found) => found === "#4,#3,#2,#1", "all of them");
      await standing.selectOption("unverified");
      await poll(ids, (found) => found === "#2", "what showed too little");
      assert(/warn/.test(await page.getByTestId("rows").locator(".badge").first().getAttribute("class")), "too little is green");
      await standing.selectOption("passed");
      await poll(ids, (found) => found === "#1", "what passed");
      await standing.selectOption("");
      // What no attempt came to is no choice.
      const choices = await outcome.locator("option").evaluateAll((all) => all.map((option) => option.value));
      assert(choices.join() === ",passed,oom_device_activation,nan_inf", `${choices}`);
      await outcome.selectOption("nan_inf");
      await poll(ids, (found) => found === "#3", "the NaN");
      await settled(page);
      await page.reload();
      await poll(ids, (found) => found === "#3", "the NaN after a reload");
      assert((await outcome.inputValue()) === "nan_inf", "the filter is gone after a reload");
      await outcome.selectOption("");
      await page.getByTestId("rows").getByRole("button", { name: "42 min 49 s" }).click();
      await poll(() => page.evaluate(() => navigator.clipboard.readText()), (text) => text === "42 min 49 s", "how long it lasted, on the clipboard");
      const told = page.getByTestId("rows").getByRole("button", { name: "42 min 49 s" });
      assert(await told.evaluate((e) => e.parentElement.scrollWidth <= e.parentElement.clientWidth + 3), "how long it lasted is cut");
      // On a telephone the reason of a failure is read in full.
      await page.setViewportSize({ width: 360, height: 800 });
      const cut = () => page.getByTestId("rows").locator("[role=cell]:has(.badge)").evaluateAll((cells) => cells.filter((cell) => cell.scrollWidth > cell.clientWidth || cell.offsetHeight > cell.parentElement.clientHeight).map((cell) => cell.textContent));
      assert((await cut()).length === 0, `cut: ${await cut()}`);
    }, CLIPBOARD)],

    ["what is refused of a model to register is told beside its name", onPage(async (page) => {
      await go(page, "models");
      const form = page.getByTestId("register");
      await form.getByRole("textbox").fill("nothing-here");
      await form.getByRole("button", { name: "Register" }).click();
      await poll(() => form.getByTestId("refusal").innerText().catch(() => ""), (text) => /nothing-here: not found/.test(text), "a reason");
      assert((await page.getByTestId("models").getByTestId("refusal").count()) === 0, "the list of models is refused");
    }, { tolerated: (problem) => /404/.test(problem) })],

    ["the next plan has the whole config of its model", onPage(async (page) => {
      const factors = Array.from({ length: 48 }, (_, i) => 1 + i / 8);
      const config = { model_type: "phi3", hidden_size: 3072, num_attention_heads: 32, num_hidden_layers: 2, vocab_size: 1000, max_position_embeddings: 131_072, original_max_position_embeddings: 4096, rope_scaling: { type: "longrope", short_factor: factors, long_factor: factors.map((f) => f + 1) } };
      await withAttempts(page, server, [attempt(1, { report: report() })]);
      // The server's own answer, of another model.
      await page.route(/\/api\/inspect$/, (route) => {
        const asked = route.request().postDataJSON();
        return route.continue({ postData: JSON.stringify({ ...asked, source: { config } }) });
      });
      await open(page, 1);
      await page.getByRole("button", { name: "Plan the next from here" }).click();
      await page.getByTestId("plan-diff").waitFor();
      await go(page, "inspect");
      const { name } = (await (await fetch(`${server.url}/api/models`)).json()).find((model) => model.id === "default");
      await poll(() => page.locator("main h1").first().innerText(), (title) => title.startsWith(name), `the name ${name}`);
      await page.locator('[data-code="longrope_switch"]').waitFor();
      assert(/48/.test(await page.getByTestId("fields").locator("tr", { hasText: "rope_scaling" }).first().innerText()), "the factors are gone");
    })],

    ["many attempts side by side stay readable", onPage(async (page) => {
      await withAttempts(page, server, [attempt(1), attempt(2), attempt(3), attempt(4)]);
      const row = (path, value) => ({ path, values: [1, 2, 3, 4].map((n) => value(n)) });
      const differences = [row("report.layers", () => [{ nan: 0 }]), row("report.ttft_ms", (n) => n * 10.5), row("resolved[dtype].value", (n) => `float${n}`), row("text", (n) => "so ".repeat(200) + n), row("state", (n) => (n === 1 ? "ready" : "stopped"))];
      await page.route(/\/api\/attempts\/compare/, (route) => route.fulfill({ json: { ids: [1, 2, 3, 4], differences } }));
      await go(page, "attempts");
      for (let i = 0; i < 4; i += 1) await page.getByTestId("rows").locator("input[type=checkbox]").nth(i).check();
      await page.getByTestId("compare").click();
      const table = page.getByTestId("comparison");
      await table.waitFor();
      const names = () => table.locator("th.name").allInnerTexts();
      assert(JSON.stringify(await names()) === JSON.stringify(["Value", "dtype", "Text", "State", "Time to first token"]), `${await names()}`);
      const states = await table.locator("tr", { hasText: "State" }).locator("td").allInnerTexts();
      assert(states[0] === "ready" && states.slice(1).every((state) => /unloaded/.test(state)), `${states}`);
      const box = await table.boundingBox();
      const last = await table.locator("thead th").last().boundingBox();
      assert(last.x + last.width <= box.x + box.width + 1, "the fourth attempt lies outside of the card");
      const height = await table.locator("tbody tr").evaluateAll((rows) => Math.max(...rows.map((row) => row.offsetHeight)));
      assert(height < 120, `a row of ${height} px`);
      await table.getByRole("button", { name: "Everything" }).click();
      await poll(names, (all) => all.includes("report.layers"), "what only machines record");
    })],

    ["a load shows its bytes, in its row and beside it", onPage(async (page) => {
      await page.evaluate(() => {
        window.told = new Set();
        const look = () => document.querySelectorAll("[data-testid=load-progress]").forEach((e) => window.told.add(`${e.closest("[data-model]") ? "model" : "attempt"}: ${e.textContent}`));
        new MutationObserver(look).observe(document.body, { childList: true, characterData: true, subtree: true });
      });
      await go(page, "models");
      const row = page.locator('[data-model="default"]');
      const press = (name) => row.getByRole("button", { name, exact: true }).click();
      await row.waitFor();
      if (await row.getByRole("button", { name: "Unload" }).count()) {
        await press("Unload");
        await poll(() => page.getByTestId("attempt").innerText(), (text) => /stopped/.test(text), "the model to be unloaded", LOAD_MS);
        await go(page, "models");
      }
      await press("Load");
      await page.getByTestId("attempt").waitFor();
      await poll(() => page.evaluate(() => [...window.told]), (told) => told.some((text) => /^attempt: Loading weights: .* of .* MiB/.test(text)), "bytes beside the attempt", LOAD_MS);
      await poll(() => page.getByTestId("attempt").innerText(), (text) => /ready/.test(text), "the load to end", LOAD_MS);
      assert((await page.getByTestId("load-progress").count()) === 0, "the bar stays after the load");
      await go(page, "models");
      await press("Unload");
      await poll(() => page.getByTestId("attempt").innerText(), (text) => /stopped/.test(text), "the model to be unloaded", LOAD_MS);
      await go(page, "models");
      await row.waitFor();
      // Asked for by somebody else, while this page is looked at.
      await fetch(`${server.url}/api/models/default/load`, { method: "POST", headers: json, body: "{}" });
      await poll(() => page.evaluate(() => [...window.told]), (told) => told.some((text) => /^model: Loading weights: .* of .* MiB/.test(text)), "bytes in the model's row", LOAD_MS);
      await row.getByRole("button", { name: "Unload" }).waitFor({ timeout: LOAD_MS });
      await press("Unload");
    })],

    ["while a server is away nothing is said of it that is not so, and nothing moves", async () => {
      const args = [...serverArgs, "--data-dir", join(scratch, "away")];
      const own = await startServer(preflight, args);
      const page = await openPage(browser, own.url);
      await run(own, "validate", {}, "stopped");
      await go(page, "attempts");
      await poll(() => page.getByTestId("attempts").getAttribute("data-count"), (n) => n === "1", "an attempt");
      await page.locator("h1").first().waitFor();
      const before = (await page.locator("h1").first().boundingBox()).y;
      const port = new URL(own.url).port;
      await own.stop();
      await page.getByTestId("server-lost").waitFor();
      assert((await page.locator("h1").first().boundingBox()).y === before, "the banner has moved the page");
      // What was told stays, also for who looks elsewhere meanwhile; what was not is not made up.
      await go(page, "models");
      await page.locator('[data-model="default"]').waitFor();
      assert((await page.getByTestId("not-told").count()) === 0, "models that were told are called unknown");
      await go(page, "ladder");
      await page.getByTestId("not-told").waitFor();
      assert((await page.locator(".ghost-plot").count()) === 0, "white cards without a word");
      await go(page, "attempts");
      assert((await page.getByTestId("attempts").getAttribute("data-count")) === "1", "the rows are gone");
      assert((await page.getByTestId("not-told").count()) === 0, "what was told is called unknown");
      const again = await startServer(preflight, args, `127.0.0.1:${port}`);
      await poll(() => page.getByTestId("server-lost").count(), (n) => n === 0, "the banner to go");
      await go(page, "models");
      await page.locator('[data-model="default"]').waitFor();
      await page.context().close();
      await again.stop();
    }],
  ];
}
