// The dashboard's pages: what a person does on each, without a server unless it is said.

import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { CLIPBOARD, assert, expectValue, free, openPage, poll, settled, startServer, value, withClipboard } from "./harness.mjs";

export const PAGES = ["inspect", "estimate", "plan", "validate", "models", "attempts", "ladder", "playground", "devices", "settings"];

/// Goes to a page by its link and waits until that is the current one.
export async function go(page, name) {
  await page.getByTestId(`nav-${name}`).click();
  await page.locator(`nav [aria-current=page][data-testid=nav-${name}]`).waitFor();
  // The second program draws these; its first word is the header's or the page's own.
  await page.locator("main h1").first().waitFor();
}

const text = (page, testid) => page.getByTestId(testid).first().innerText();

/// Puts a load config into the plan's editor.
async function plan(page, json) {
  await page.getByTestId("plan-json").fill(JSON.stringify(json));
  await settled(page);
}

/// A GGUF file of one tensor, written by the format's own document.
function gguf() {
  const parts = [];
  const put = (bytes, write) => { const b = Buffer.alloc(bytes); write(b); parts.push(b); };
  const u32 = (n) => put(4, (b) => b.writeUInt32LE(n));
  const u64 = (n) => put(8, (b) => b.writeBigUInt64LE(BigInt(n)));
  const string = (s) => { u64(Buffer.byteLength(s)); parts.push(Buffer.from(s)); };
  const [U32, STRING] = [4, 8];
  const numbers = { embedding_length: 64, feed_forward_length: 128, block_count: 1, "attention.head_count": 4, "attention.head_count_kv": 4, context_length: 128, vocab_size: 8 };
  parts.push(Buffer.from("GGUF"));
  u32(3); u64(1); u64(1 + Object.keys(numbers).length);
  string("general.architecture"); u32(STRING); string("llama");
  for (const [key, value] of Object.entries(numbers)) { string(`llama.${key}`); u32(U32); u32(value); }
  string("token_embd.weight"); u32(2); u64(64); u64(8); u32(0); u64(0);
  const header = Buffer.concat(parts);
  return Buffer.concat([header, Buffer.alloc((32 - (header.length % 32)) % 32), Buffer.alloc(64 * 8 * 4)]);
}

export function pageTests({ onPage, browser, host, withoutServer, server, serverArgs, preflight }) {
  const opened = (url, options) => openPage(browser, url, { ...options });
  return [
    ["pages are reached by link and key; reload and Back return", onPage(async (page) => {
      await go(page, "inspect");
      await page.getByTestId("fields").waitFor();
      await go(page, "plan");
      await page.getByTestId("plan-diff").waitFor();
      await page.reload();
      await page.getByTestId("plan-diff").waitFor();
      await page.goBack();
      await page.getByTestId("fields").waitFor();
      await page.locator("body").press("2");
      await page.getByTestId("verdict").waitFor();
      assert((await page.title()).includes("Estimate"), await page.title());
    }, withoutServer)],

    ["a shared link restores the page in a fresh profile and loads nothing", () => withClipboard(async () => {
      const page = await opened(host.url, CLIPBOARD);
      await page.getByTestId("preset").selectOption("phi-4");
      await page.getByTestId("device").selectOption("RTX 4090");
      await page.getByTestId("context").fill("6000");
      await go(page, "plan");
      await plan(page, { torch_dtype: "float16", max_memory: { 0: "20GiB" } });
      await page.getByTestId("share").click();
      const link = await poll(() => page.evaluate(() => navigator.clipboard.readText()), (t) => /#s=1\./.test(t), "a link on the clipboard");
      assert(link.length < 2048, `a link of ${link.length} characters`);
      await page.context().close();

      const asked = [];
      const fresh = await opened(link.replace(host.url, server.url), {});
      fresh.on("request", (request) => asked.push(`${request.method()} ${request.url()}`));
      assert(JSON.parse(await fresh.getByTestId("plan-json").inputValue()).torch_dtype === "float16", "the load config is gone");
      await go(fresh, "estimate");
      await expectValue(fresh, "params-total", 14_659_507_200);
      assert((await fresh.getByTestId("context").inputValue()) === "6000", "the context is gone");
      assert((await fresh.getByTestId("device").inputValue()) === "RTX 4090", "the device is gone");
      assert((await fresh.getByTestId("dtype").inputValue()) === "f16", "the load config does not reach the estimate");
      await settled(fresh);
      const posts = asked.filter((line) => !line.startsWith("GET"));
      assert(posts.length === 0, `an opened link asked for ${posts}`);
      await fresh.context().close();
    })],

    ["a bad link is told and the page works", free(async () => {
      for (const hash of ["s=1.AAAA", "s=9.zzzz", "s=1.%00", `s=1.${"A".repeat(9000)}`]) {
        const page = await opened(`${host.url}/#${hash}`);
        await page.getByTestId("error").waitFor();
        await expectValue(page, "params-total", 3_821_079_552);
        await page.context().close();
      }
    })],

    ["form and JSON are one object; more than one change is explained", onPage(async (page) => {
      await go(page, "plan");
      await page.locator("#knob-dtype").selectOption("float16".replace(/^(.*)$/, '"$1"'));
      await poll(() => page.getByTestId("plan-json").inputValue(), (t) => /"dtype": "float16"/.test(t), "the choice in the JSON");
      await plan(page, { torch_dtype: "float32" });
      await poll(() => page.locator("#knob-dtype").inputValue(), (v) => v === '"float32"', "the JSON in the form");
      await poll(() => page.getByTestId("plan-diff").getAttribute("data-count"), (n) => n === "1", "one change");
      // f32 takes twice the weights of the config's bf16, to the byte.
      const weights = page.locator("[data-testid=plan-effect] [data-term=weights] .value");
      const [before, after] = [await weights.nth(0).getAttribute("data-value"), await weights.nth(1).getAttribute("data-value")];
      assert(before === "7642159104" && after === "15284318208", `weights ${before} → ${after}`);
      await plan(page, { torch_dtype: "float32", tourch_dtype: 1 });
      assert(/tourch_dtype.*did you mean.*torch_dtype/.test(await text(page, "plan-problems")), "no suggestion for an unknown key");
      await plan(page, { torch_dtype: "float32", low_cpu_mem_usage: false });
      // A first attempt may be anything; what follows it changes one thing.
      await page.getByTestId("first-attempt").waitFor();
      assert((await page.getByTestId("one-change").count()) === 0, "the rule bites a first attempt");
      await page.getByRole("button", { name: "Make it the parent" }).click();
      await poll(() => page.getByTestId("first-attempt").count(), (n) => n === 0, "a parent");
      await plan(page, { torch_dtype: "float16", low_cpu_mem_usage: true });
      await page.getByTestId("one-change").waitFor();
      await page.getByTestId("plan-diff").getByRole("button", { name: "Undo" }).first().click();
      await poll(() => page.getByTestId("one-change").count(), (n) => n === 0, "the rule to be content");
    }, withoutServer)],

    ["a plan becomes the parent of the next change, and reload keeps both", onPage(async (page) => {
      await go(page, "plan");
      await plan(page, { torch_dtype: "float16" });
      await page.getByRole("button", { name: "Make it the parent" }).click();
      await poll(() => page.getByTestId("plan-diff").getAttribute("data-count"), (n) => n === "0", "no change against itself");
      await plan(page, { torch_dtype: "float16", use_fast: false });
      await poll(() => page.getByTestId("plan-diff").getAttribute("data-count"), (n) => n === "1", "one change");
      await settled(page);
      await page.reload();
      await page.getByTestId("plan-diff").waitFor();
      assert((await page.getByTestId("plan-diff").getAttribute("data-count")) === "1", "the parent is gone after a reload");
      assert(/refused/.test(await text(page, "plan-diff")), "a load that this build refuses is not called so");
    }, withoutServer)],

    ["every export says the load config or what it leaves out", onPage(async (page) => {
      await go(page, "plan");
      await plan(page, { torch_dtype: "float16" });
      const said = { from_pretrained: /dtype=torch\.float16|dtype="float16"/, from_pretrained4: /torch_dtype/, vllm: /vllm serve .*--dtype|--dtype/, "llama.cpp": /llama-server/, ollama: /FROM/, json: /"dtype"|"torch_dtype"/, toml: /float16/, markdown: /float16/ };
      for (const [target, pattern] of Object.entries(said)) {
        await page.locator(`[data-target="${target}"]`).click();
        await poll(() => text(page, "export-text"), (t) => pattern.test(t), `${target}: ${pattern}`);
      }
    }, withoutServer)],

    ["weights beside a config are counted from their headers, and stay after a reload", onPage(async (page) => {
      const folder = "public/tiny";
      await page.getByTestId("file-input").setInputFiles(readdirSync(folder).map((name) => join(folder, name)));
      await poll(() => page.getByTestId("verdict").innerText(), (t) => /MiB/.test(t), "a small model");
      await go(page, "inspect");
      await poll(() => text(page, "counted"), (t) => /headers of 1 file: \d+ tensors/.test(t), "what the headers say");
      await settled(page);
      await page.reload();
      await poll(() => text(page, "counted"), (t) => /headers of 1 file/.test(t), "the headers after a reload");
      // Of a file that is cut the reason is told, and what was shown stays.
      const cut = readFileSync(join(folder, "model.safetensors")).subarray(0, 4000);
      const config = { name: "config.json", mimeType: "application/json", buffer: readFileSync(join(folder, "config.json")) };
      await page.getByTestId("file-input").setInputFiles([config, { name: "model.safetensors", mimeType: "", buffer: cut }]);
      await poll(() => text(page, "error"), (t) => /model.safetensors was not accepted/.test(t), "a refusal");
    }, withoutServer)],

    ["a GGUF file is inspected by its header alone", onPage(async (page) => {
      await page.getByTestId("file-input").setInputFiles({ name: "tiny.gguf", mimeType: "", buffer: gguf() });
      await poll(() => page.locator("main h1").first().innerText(), (t) => t === "tiny.gguf", "the file's name");
      await go(page, "inspect");
      await poll(() => text(page, "counted"), (t) => /1 tensor/.test(t), "what the header says");
      await page.getByTestId("fields").getByText("num_hidden_layers").waitFor();
    }, withoutServer)],

    ["the palette, the keys and the search are reached by keyboard", onPage(async (page) => {
      await page.locator("body").press("Control+k");
      await page.getByTestId("palette").locator("input").waitFor();
      await page.keyboard.type("phi-4 open");
      await page.keyboard.press("Enter");
      await expectValue(page, "params-total", 14_659_507_200);
      await page.locator("body").press("?");
      await page.getByTestId("keys").getByText("Find any action").waitFor();
      await page.keyboard.press("Escape");
      await poll(() => page.getByTestId("keys").isVisible(), (open) => !open, "the keys to close");
      await page.locator("body").press("1");
      await page.getByTestId("fields").waitFor();
      await page.locator("body").press("/");
      await page.keyboard.type("sliding");
      await poll(() => page.getByTestId("fields").locator("tbody tr").count(), (n) => n >= 1 && n < 5, "few fields left");
    }, withoutServer)],

    ["the table of devices searches, and a click chooses", onPage(async (page) => {
      await page.getByTestId("fits-search").fill("h200");
      await page.locator('[data-device="H200"] .link').click();
      await poll(() => page.getByTestId("verdict").getAttribute("data-value"), (v) => v === "fits", "a verdict of fits");
      assert((await page.getByTestId("device").inputValue()) === "H200", "the picker does not follow");
      await page.locator('[data-device="browser"] .link').click();
      await poll(() => page.getByTestId("verdict").getAttribute("data-value"), (v) => v === "does_not_fit", "7 GiB of weights to be too much for a page");
    }, withoutServer)],

    ["a server that dies is told, and comes back", async () => {
      const own = await startServer(preflight, serverArgs);
      const page = await openPage(browser, own.url);
      await poll(() => text(page, "server"), (t) => /connected/.test(t), "a server");
      const port = new URL(own.url).port;
      await own.stop();
      await page.getByTestId("server-lost").waitFor();
      await expectValue(page, "params-total", 3_821_079_552);
      const again = await startServer(preflight, serverArgs, `127.0.0.1:${port}`);
      await poll(() => page.getByTestId("server-lost").count(), (n) => n === 0, "the banner to go");
      await page.context().close();
      await again.stop();
    }],
  ];
}

/// What the tool for accessibility finds grave on a page, by all of its rules unless some are named.
export async function accessibility(page, rules) {
  const axe = readFileSync(new URL("node_modules/axe-core/axe.min.js", import.meta.url), "utf8");
  await page.evaluate(axe);
  const { violations } = await page.evaluate((options) => window.axe.run(document, { resultTypes: ["violations"], ...options }), rules ? { runOnly: rules } : {});
  return violations
    .filter((violation) => ["serious", "critical"].includes(violation.impact) || ["region", "page-has-heading-one", "empty-table-header"].includes(violation.id))
    .map((violation) => `${violation.id}: ${violation.nodes.slice(0, 4).map((node) => `${node.target} (${node.any[0]?.message ?? node.all[0]?.message ?? ""})`).join("; ")}`);
}
