// The page Validate with the engines of this browser: what a person does, sees and takes along.

import { cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { GOLDEN, before, lose, sameIds } from "./engines.mjs";
import { assert, poll } from "./harness.mjs";
import { accessibility, go } from "./pages.mjs";

/// Promised from the click to the first token of the tiny model, with engines that are warm.
const FIRST_TOKEN_MS = 300;
/// What passes here: tests share the machine with others, and ten times as long is still no fetch anew.
const FIRST_TOKEN_TEST_MS = 3000;
/// A hand is near the button so long before it presses: time for engines to start and to rehearse.
const WARM_MS = 3000;
/// A GPU that the processor plays takes a minute to compile the shaders, beside the other tests longer.
export const RUN_MS = 180_000;

const turn = (page, device) => page.locator(`[data-testid=turn][data-device="${device}"]`);
const place = (page, name) => page.locator(`[data-place=${name}]`).check();

/// The golden run: its prompt, as many ids, in f32.
export async function askForGolden(page, count) {
  await page.getByTestId("validate-prompt").fill(GOLDEN.prompt.text);
  await page.getByTestId("validate-count").fill(String(count));
  await page.getByTestId("validate-count").blur();
  await page.getByTestId("validate-dtype").selectOption("f32");
}

/// Waits for a device's verdict; an error on the page ends the wait.
export async function verdict(page, device) {
  const found = turn(page, device).getByTestId("validate-verdict");
  await poll(async () => {
    const error = page.getByTestId("validate-error");
    if (await error.count()) throw new Error(await error.innerText());
    return (await found.count()) ? found.getAttribute("data-value") : "";
  }, Boolean, `a verdict of ${device}`, RUN_MS);
  return { value: await found.getAttribute("data-value"), words: await found.innerText() };
}

/// Clicks the button that validates, `waited` ms after the pointer came over it. How long after the click the first text
/// came, by the page's own clock, and how many lengths the text had.
async function clicked(page, waited) {
  await page.mouse.move(0, 0);
  await page.evaluate(() => {
    const seen = (window.seen = { lengths: new Set() });
    const at = () => (seen.clicked ??= performance.now());
    document.querySelector("[data-testid=validate]").addEventListener("click", at, { capture: true, once: true });
    new MutationObserver(() => {
      const length = document.querySelector("[data-testid=validate-output]")?.textContent.trim().length ?? 0;
      // The text of the run before goes first.
      if (seen.clicked && length === 0) seen.emptied = true;
      if (seen.emptied && length > 0) seen.first ??= performance.now();
      seen.lengths.add(length);
    }).observe(document.body, { subtree: true, childList: true, characterData: true });
  });
  await page.getByTestId("validate").hover();
  await page.waitForTimeout(waited);
  await page.getByTestId("validate").click();
  const found = await verdict(page, "cpu");
  assert(found.value === "pass", found.words);
  return page.evaluate(() => ({ lengths: window.seen.lengths.size, first: window.seen.first - window.seen.clicked }));
}

/// Begins a long run on the CPU and stops it with Esc once it has said something.
export async function cancelled(page) {
  await page.getByTestId("validate-count").fill("500");
  await page.getByTestId("validate-count").blur();
  await page.getByTestId("validate").click();
  await poll(() => turn(page, "cpu").getByTestId("validate-output").innerText().catch(() => ""), (text) => text.trim().length > 0, "text", RUN_MS);
  await page.keyboard.press("Escape");
  await poll(() => turn(page, "cpu").getByTestId("validate-stage").innerText(), (text) => /cancelled/i.test(text), "the run to be cancelled");
  await poll(() => page.workers().length, (count) => count === 0, "no worker");
}

/// What a button saves.
export async function saved(page, testid) {
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByTestId(testid).click()]);
  return { name: download.suggestedFilename(), text: readFileSync(await download.path(), "utf8") };
}

export async function error(page) {
  const found = page.getByTestId("validate-error");
  await found.waitFor({ timeout: RUN_MS });
  return { code: await found.getAttribute("data-code"), words: await found.innerText() };
}

/// The page is alive: the model that comes with it runs on the CPU.
export async function runsStill(page) {
  await place(page, "cpu");
  await page.getByTestId("validate-model").selectOption("tiny");
  await page.getByTestId("validate-count").fill("2");
  await page.getByTestId("validate-count").blur();
  await page.getByTestId("validate").click();
  assert((await verdict(page, "cpu")).value === "pass", "the page does not run after an error");
}

export function engineTests({ onPage, withoutServer, host, scratch, screenshots }) {
  return [
    ["one click validates in this browser: no server, no download, Hugging Face's tokens as they come", onPage(async (page) => {
      await page.getByTestId("run").click();
      assert((await verdict(page, "cpu")).value === "pass", "the header's button does not validate");
      await askForGolden(page, 24);
      const cold = await clicked(page, 0);
      const warm = await clicked(page, WARM_MS);
      for (const { lengths } of [cold, warm]) assert(lengths >= 4, `the text came in ${lengths} steps: it was not streamed`);
      console.log(`     first token ${warm.first.toFixed(0)} ms after the click, engines warm (promised ${FIRST_TOKEN_MS} ms, here at most ${FIRST_TOKEN_TEST_MS} ms); ${cold.first.toFixed(0)} ms without a hand near the button before`);
      assert(warm.first < FIRST_TOKEN_TEST_MS, `${warm.first} ms`);
      const { name, text } = await saved(page, "save-json");
      const { model, reports } = JSON.parse(text);
      assert(name === "validation-tiny.json" && model === "Tiny" && reports.length === 1, `${name}, ${model}, ${reports.length} reports`);
      sameIds(reports[0], 24);
      // Where it runs is in the address.
      await place(page, "both");
      await poll(() => page.url(), (url) => /at=both/.test(url), "the place in the address");
      await page.reload();
      await poll(() => page.locator("[data-place=both]").isChecked(), Boolean, "the place after a reload");
    }, withoutServer)],

    ["both engines side by side: verdicts, logits against each other, proof, the report to take along", onPage(async (page) => {
      await go(page, "validate");
      await place(page, "both");
      await askForGolden(page, 16);
      await page.getByTestId("validate").click();
      for (const device of ["cpu", "wgpu:0"]) {
        const found = await verdict(page, device);
        assert(found.value === "pass", `${device}: ${found.words}`);
      }
      await page.getByTestId("compared").waitFor({ timeout: RUN_MS });
      const compared = page.getByTestId("compared");
      assert((await compared.getAttribute("data-value")) === "pass", await compared.innerText());
      assert(Number(await compared.getByTestId("difference").getAttribute("data-max")) > 0, "no difference at all: was one engine used twice?");
      const report = page.getByTestId("browser-report");
      await report.locator('[data-report="wgpu:0"]').click();
      await poll(() => report.getByTestId("device-facts").getAttribute("data-submissions"), (n) => Number(n) > 16, "submissions to the GPU");
      for (const part of ["nan-map", "top-logits", "predicted", "measured", "proof"]) assert(await report.getByTestId(part).count(), `no ${part}`);
      const { text: json } = await saved(page, "save-json");
      const all = JSON.parse(json);
      all.reports.forEach((one) => sameIds(one, 16));
      assert(all.reports.map((one) => one.device).join() === "cpu,wgpu:0", json.slice(0, 300));
      const { compared: difference, reports: [, gpu] } = all;
      assert(difference.verdict === "pass" && difference.top1_agreement === 1 && difference.top5_overlap > 0.99, JSON.stringify(difference));
      assert(gpu.facts.buffer_bytes > gpu.memory.measured.weights_bytes, JSON.stringify(gpu.facts));
      assert(gpu.facts.is_software, `a GPU played by the processor is called hardware: ${gpu.facts.name}`);
      console.log(`     ${gpu.facts.name}: ${gpu.facts.features}; largest difference ${difference.max.toExponential(1)} of ${difference.scale.toFixed(1)}`);
      const { name, text } = await saved(page, "save-markdown");
      assert(name.endsWith(".md") && text.startsWith("# Validation of Tiny\n") && text.includes("| cpu | wgpu:0 |"), text.slice(0, 300));
      const grave = await accessibility(page);
      assert(grave.length === 0, grave.join("\n"));
      await screenshots(page, "both");
    }, { ...withoutServer, gpu: true })],

    ["files of a person run in this browser; bad ones, a cancelled run and no WebGPU leave the page alive", onPage(async (page) => {
      await go(page, "validate");
      const folder = join(scratch, "chosen");
      cpSync("public/tiny", folder, { recursive: true });
      await page.getByTestId("validate-folder").setInputFiles(folder);
      await poll(() => page.getByTestId("validate-model").inputValue(), (key) => key === "chosen", "the files to be chosen");
      await cancelled(page);

      // Weights of another shape than the config says.
      const bad = join(scratch, "bad");
      mkdirSync(bad);
      cpSync("public/tiny", bad, { recursive: true });
      const config = JSON.parse(readFileSync(join(bad, "config.json"), "utf8"));
      writeFileSync(join(bad, "config.json"), JSON.stringify({ ...config, num_hidden_layers: 9 }));
      await page.getByTestId("validate-folder").setInputFiles(bad);
      await poll(() => page.getByTestId("validate-model").innerText(), (text) => /bad/.test(text), "the other files");
      await page.getByTestId("validate").click();
      const mismatch = await error(page);
      assert(mismatch.code === "weights_mismatch" && !mismatch.words.trim().includes("\n\n"), mismatch.words);

      await place(page, "webgpu");
      await page.getByTestId("validate-model").selectOption("tiny");
      await page.getByTestId("validate").click();
      await poll(() => page.getByTestId("validate-error").getAttribute("data-code").catch(() => ""), (code) => code === "unavailable", "no WebGPU", RUN_MS);
      await runsStill(page);
    }, withoutServer)],

    ["a GPU that is lost in the middle is told, and the page lives on", onPage(async (page) => {
      await before(page, lose(60));
      await go(page, "validate");
      await place(page, "webgpu");
      await page.getByTestId("validate-count").fill("200");
      await page.getByTestId("validate-count").blur();
      await page.getByTestId("validate").click();
      const lost = await error(page);
      assert(/lost|destroyed/i.test(lost.words), lost.words);
      await runsStill(page);
    }, { ...withoutServer, gpu: true })],
  ];
}
