// What a person must be told: of which model a run is, what of a link says nothing, what is continued where nothing is asked;
// and what they must be able to read.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { deflateRawSync } from "node:zlib";
import { assert, openPage, poll, settled } from "./harness.mjs";
import { go } from "./pages.mjs";

const link = (state) => `s=1.${deflateRawSync(JSON.stringify(state)).toString("base64url")}`;

export function toldTests({ onPage, browser, dist, withoutServer }) {
  const tiny = (name) => readFileSync(join(dist, "tiny", name));
  const files = (config, weights = "model.safetensors") => [
    { name: "config.json", mimeType: "application/json", buffer: Buffer.from(JSON.stringify({ ...JSON.parse(tiny("config.json")), ...config })) },
    { name: weights, mimeType: "application/octet-stream", buffer: tiny("model.safetensors") },
    { name: "tokenizer.json", mimeType: "application/json", buffer: tiny("tokenizer.json") },
  ];
  const give = (page, given) => page.getByTestId("file-input").setInputFiles(given);
  const title = (page) => page.locator("main h1").first().innerText();
  const titled = (page, wanted) => poll(() => title(page), (said) => said === wanted, `a model called ${wanted}`);
  const offered = (page) => page.getByTestId("validate-model").locator('option[value="chosen"]').innerText();

  return [
    ["what a link's load config has of unknown keys is told on the page that it opens", onPage(async (page) => {
      const base = page.url().split("#")[0];
      for (const [name, state] of [["estimate", {}], ["inspect", { page: "inspect" }], ["validate", { page: "validate" }]]) {
        const other = await openPage(browser, `${base}#${link({ ...state, load_config: { lod_in_8bit: true } })}`);
        const notice = other.getByTestId("error").filter({ hasText: "lod_in_8bit" });
        await notice.waitFor();
        assert((await other.getByTestId("error").count()) === 1, `${name}: ${await other.getByTestId("error").allInnerTexts()}`);
        assert(/load_in_8bit/.test(await notice.innerText()), `${name}: ${await notice.innerText()}`);
        await notice.getByRole("button").click();
        await notice.waitFor({ state: "detached" });
        await other.context().close();
      }
      // One that is understood is no matter; the plan tells of it where it is written.
      const other = await openPage(browser, `${base}#${link({ page: "plan", load_config: { load_in_8bit: true } })}`);
      await other.getByTestId("plan-json").waitFor();
      await other.getByTestId("plan-json").fill('{"lod_in_8bit": true}');
      await settled(other);
      assert((await other.getByTestId("error").count()) === 0, "what is being written is told as a link's");
      await other.context().close();
    }, withoutServer)],

    ["after a refusal nothing else runs before it was named", onPage(async (page) => {
      await go(page, "validate");
      await page.locator("[data-place=cpu]").check();
      await go(page, "inspect");
      await give(page, files({}, "first.safetensors"));
      await titled(page, "first.safetensors");
      await give(page, { name: "config.json", mimeType: "application/json", buffer: Buffer.from('{"model_type": "phi3", "num_hidden_layers": -1}') });
      await page.getByTestId("error").waitFor();
      await page.getByTestId("run").click();
      const told = page.getByTestId("refused-before");
      await poll(() => told.innerText().catch(() => ""), (words) => /first\.safetensors/.test(words) && /config\.json/.test(words), "which model would run");
      await page.waitForTimeout(300);
      assert((await page.getByTestId("turn").count()) === 0, "files that were given earlier run without a word");
      // Who has read it may run them.
      await page.getByTestId("validate").click();
      await told.waitFor({ state: "detached" });
      const verdict = page.getByTestId("validate-verdict");
      await verdict.waitFor({ timeout: 120_000 });
      assert(/first\.safetensors/.test(await verdict.innerText()), await verdict.innerText());
      // Another model on the page is an answer too.
      await give(page, { name: "notes.txt", mimeType: "text/plain", buffer: Buffer.from("no model") });
      await told.waitFor();
      await page.getByTestId("preset").selectOption("phi-4");
      await told.waitFor({ state: "detached" });
    }, withoutServer)],

    ["files that no folder names are told apart, in the header and in a verdict", onPage(async (page) => {
      await go(page, "validate");
      await page.locator("[data-place=cpu]").check();
      await give(page, files({}));
      const first = await poll(() => title(page), (said) => /^phi3, 1\.\d+ M$/.test(said), "kind and size");
      assert((await offered(page)).startsWith(first), await offered(page));
      // Other files of the same kind and size, then weights with a name of their own.
      await give(page, files({ rope_theta: 20000 }));
      await titled(page, `${first} (2)`);
      assert((await offered(page)).startsWith(`${first} (2)`), await offered(page));
      await give(page, files({}, "mine.safetensors"));
      await titled(page, "mine.safetensors");
      await page.getByTestId("validate").click();
      await page.getByTestId("validate-verdict").waitFor({ timeout: 120_000 });
      assert(/mine\.safetensors/.test(await page.getByTestId("validate-verdict").innerText()), await page.getByTestId("validate-verdict").innerText());
    }, withoutServer)],

    ["blanks are no prompt, and the field shows what is continued", onPage(async (page) => {
      await go(page, "validate");
      await page.locator("[data-place=cpu]").check();
      const prompt = page.getByTestId("validate-prompt");
      await prompt.fill("   ");
      await prompt.blur();
      await poll(() => prompt.inputValue(), (text) => text === "", "blanks to go");
      assert(/^Once upon a time/.test(await prompt.getAttribute("placeholder")), await prompt.getAttribute("placeholder"));
    }, withoutServer)],

    ["findings leave room for their reasons, and no card of the estimate stands half empty", onPage(async (page) => {
      await page.getByTestId("device").selectOption("RTX 4080 Super");
      const rest = () => page.evaluate(() => {
        const list = document.querySelector("#findings ul").getBoundingClientRect();
        const widths = [...document.querySelectorAll(".find > p")].map((p) => p.getBoundingClientRect().width / list.width);
        return [Math.min(...widths), (document.querySelector("#findings").getBoundingClientRect().bottom - list.bottom) / document.querySelector("#findings").offsetHeight];
      });
      for (const width of [1280, 1600, 2560]) {
        await page.setViewportSize({ width, height: 900 });
        const [narrowest, empty] = await rest();
        assert(narrowest > 0.5, `a reason has ${(narrowest * 100).toFixed(0)} % of the card at ${width} px`);
        assert(empty < 0.45, `of the card of findings ${(empty * 100).toFixed(0)} % is empty at ${width} px`);
      }
    }, withoutServer)],
  ];
}
