// The end-to-end test: the real server, the real model, a real browser.
//
//   node tests/e2e/run.mjs PREFLIGHT DIST MODEL_DIR CHROMIUM

import { spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { CLIPBOARD, assert, expectValue, free, launchBrowser, openPage, poll, runAll, startServer, startStaticHost, value, withClipboard } from "./harness.mjs";
import { PAGES, accessibility, go, pageTests } from "./pages.mjs";
import { careTests } from "./care.mjs";
import { engineTests } from "./engine.mjs";
import { honestTests } from "./honest.mjs";
import { keptTests } from "./kept.mjs";
import { newcomerTests } from "./newcomer.mjs";
import { serverTests } from "./server.mjs";
import { speedTests } from "./speed.mjs";
import { threadTests } from "./threads.mjs";
import { toldTests } from "./told.mjs";
import { troubleTests } from "./trouble.mjs";
import { useTests } from "./use.mjs";
import { workerTests } from "./worker.mjs";

const [preflight, dist, model, chromiumPath] = process.argv.slice(2);
const configOf = (name) => readFileSync(`tests/data/configs/${name}.json`, "utf8");

// Known answers, not computed here: parameters and KV bytes a token in 16 bit.
const MINI = { params: 3_821_079_552, weights: 7_642_159_104, kvPerToken: 393_216, kv4096: 1_610_612_736 };
const PHI4 = { params: 14_659_507_200, kvPerToken: 204_800 };
const PHI4_MINI = { params: 3_836_021_760, kvPerToken: 131_072 };

const scratch = mkdtempSync(join(tmpdir(), "preflight-e2e-"));
const serverArgs = ["--dashboard", dist, "--model-root", dirname(model), "--default-model", model];
const server = await startServer(preflight, [...serverArgs, "--data-dir", join(scratch, "data")]);
const host = await startStaticHost(dist);
const browser = await launchBrowser(chromiumPath);
let withGpu;
/// A second browser, with a GPU that the processor plays; started when first needed.
const gpuBrowser = () => (withGpu ??= launchBrowser(chromiumPath, { gpu: true }));

/// Opens a page, runs the test on it; any complaint of the browser fails the test.
const onPage = (test, { url = server.url, tolerated = () => false, gpu = false, ...options } = {}) => {
  const run = async () => {
    const page = await openPage(gpu ? await gpuBrowser() : browser, url, options);
    try {
      await test(page);
      const problems = page.problems.filter((problem) => !tolerated(problem));
      assert(problems.length === 0, problems.join("\n"));
    } finally {
      await page.context().close();
    }
  };
  const taken = options.permissions === CLIPBOARD.permissions ? () => withClipboard(run) : run;
  return url === host.url ? free(taken) : taken;
};
const choose = (page, testid, wanted) => page.getByTestId(testid).selectOption(wanted);
const enter = async (page, testid, text) => {
  await page.getByTestId(testid).fill(text);
  await page.getByTestId(testid).blur();
};
const openMini = async (page) => {
  await enter(page, "config-input", configOf("microsoft__Phi-3-mini-4k-instruct"));
  await expectValue(page, "params-total", MINI.params);
};

// A static host answers 404 where the page asks whether a server is there.
const withoutServer = { url: host.url, tolerated: (problem) => /\/(api|health|ready)/.test(problem) };

async function screenshots(page, name) {
  mkdirSync("artifacts", { recursive: true });
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    for (const width of [1280, 360, 2560]) {
      await page.setViewportSize({ width, height: 900 });
      // What stays in place while a page scrolls is where it is at first.
      await page.evaluate(() => window.scrollTo(0, 0));
      const overflow = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
      await page.screenshot({ path: `artifacts/${name}-${colorScheme}-${width}.png`, fullPage: true });
      assert(overflow <= 0, `${name}: ${overflow} px wider than a window of ${width}`);
    }
  }
  await page.emulateMedia({ colorScheme: null });
  await page.setViewportSize({ width: 1280, height: 900 });
}

function cli(...args) {
  const { status, stdout, stderr } = spawnSync(preflight, args, { encoding: "utf8", maxBuffer: 1 << 26 });
  assert(status === 0, `preflight ${args.join(" ")}: exit ${status}: ${stderr}${stdout}`);
  return stdout;
}

/// A checkpoint with what the default model lacks: a window of 16 and longrope past 32 positions.
function makeLongropeModel(folder) {
  const half = Array.from({ length: 8 }, (_, i) => i);
  const config = {
    architectures: ["Phi3ForCausalLM"], model_type: "phi3", torch_dtype: "float32",
    vocab_size: JSON.parse(readFileSync(join(model, "config.json"))).vocab_size,
    hidden_size: 64, intermediate_size: 128, num_hidden_layers: 2, num_attention_heads: 4, num_key_value_heads: 2,
    max_position_embeddings: 128, original_max_position_embeddings: 32, sliding_window: 16,
    rms_norm_eps: 1e-5, rope_theta: 10000.0, tie_word_embeddings: false, hidden_act: "silu",
    bos_token_id: 1, eos_token_id: 2, pad_token_id: 2,
    rope_scaling: { type: "longrope", short_factor: half.map((i) => 1 + i / 16), long_factor: half.map((i) => 2 + i / 4) },
  };
  writeFileSync(join(scratch, "longrope.json"), JSON.stringify(config));
  cli("synth", join(scratch, "longrope.json"), folder, "--seed", "7", "--dtype", "f32");
  copyFileSync(join(model, "tokenizer.json"), join(folder, "tokenizer.json"));
}

const tests = [
  // Of the server the first eight ask the page alone, as it lies.
  ["the page opens without a complaint, isolated", free(onPage(async (page) => {
    assert(await page.evaluate(() => window.crossOriginIsolated), "not cross-origin isolated: COOP and COEP are missing");
    assert((await page.title()).includes("Preflight"), "no title");
  }))],

  ["a pasted config is counted to the unit", free(onPage(async (page) => {
    await openMini(page);
    await enter(page, "context", "4096");
    await expectValue(page, "weights-bytes", MINI.weights);
    await expectValue(page, "kv-per-token", MINI.kvPerToken);
    await expectValue(page, "kv-bytes", MINI.kv4096);
  }))],

  ["a preset is counted to the unit", free(onPage(async (page) => {
    const preset = await page.getByTestId("preset").locator("option").evaluateAll((options) => options.map((o) => o.value).find((v) => v.includes("phi-4-mini")));
    await choose(page, "preset", preset);
    await expectValue(page, "params-total", PHI4_MINI.params);
    await expectValue(page, "kv-per-token", PHI4_MINI.kvPerToken);
  }))],

  ["a chosen file is read", free(onPage(async (page) => {
    await page.getByTestId("file-input").setInputFiles({ name: "config.json", mimeType: "application/json", buffer: Buffer.from(configOf("microsoft__phi-4")) });
    await expectValue(page, "params-total", PHI4.params);
  }))],

  ["a dropped file is read", free(onPage(async (page) => {
    const dataTransfer = await page.evaluateHandle((text) => {
      const transfer = new DataTransfer();
      transfer.items.add(new File([text], "config.json", { type: "application/json" }));
      return transfer;
    }, configOf("microsoft__phi-4"));
    for (const type of ["dragover", "drop"]) await page.dispatchEvent("main", type, { dataTransfer });
    await expectValue(page, "params-total", PHI4.params);
    await expectValue(page, "kv-per-token", PHI4.kvPerToken);
  }))],

  ["context, dtype and KV dtype update every number at once", free(onPage(async (page) => {
    await openMini(page);
    await enter(page, "context", "2048");
    await expectValue(page, "kv-bytes", MINI.kv4096 / 2);
    const total = await value(page, "total-bytes");
    await choose(page, "dtype", "f32");
    await expectValue(page, "weights-bytes", MINI.weights * 2);
    await choose(page, "kv-dtype", "f16");
    await expectValue(page, "kv-bytes", MINI.kv4096 / 2);
    await poll(() => value(page, "total-bytes"), (bytes) => bytes - total > 0.99 * MINI.weights, `a total that grew by the weights from ${total}`);
  }))],

  ["the verdict follows the device", free(onPage(async (page) => {
    await openMini(page);
    const verdictWith = async (memory, pattern) => {
      await enter(page, "device-memory", memory);
      await poll(() => page.getByTestId("verdict").first().innerText(), (text) => pattern.test(text), `${pattern} with ${memory}`);
    };
    await verdictWith("80 GiB", /fits/i);
    await verdictWith("4 GiB", /not fit/i);
  }))],

  ["a bad config is explained and the last good one stays", free(onPage(async (page) => {
    await openMini(page);
    for (const [bad, said] of [['{"model_type": "phi3", ', /./], ['{"model_type": "phi3", "num_attention_heads": 0}', /num_attention_heads/], ['{"model_type": "phi3", "num_hidden_layers": -1}', /num_hidden_layers/]]) {
      await enter(page, "config-input", bad);
      await poll(async () => (await page.getByTestId("error").count()) && page.getByTestId("error").first().innerText(), (text) => text && said.test(text), `an error that says ${said}`);
      assert((await value(page, "params-total")) === MINI.params, "the last good numbers are gone");
    }
    await enter(page, "config-input", configOf("microsoft__phi-4"));
    await expectValue(page, "params-total", PHI4.params);
    await poll(() => page.getByTestId("error").count(), (count) => count === 0, "the error to go");
  }))],

  ["Validate streams tokens of the default model and ends with a verdict", onPage(async (page) => {
    // Seen where it is drawn: whoever asks from outside misses steps of a machine that is busy.
    await page.evaluate(() => {
      window.lengths = new Set();
      const look = () => {
        const output = document.querySelector("[data-testid=validate-output]");
        if (output) window.lengths.add(output.textContent.length);
      };
      new MutationObserver(look).observe(document.body, { childList: true, characterData: true, subtree: true });
    });
    await page.getByTestId("run").click();
    await poll(async () => {
      if (await page.getByTestId("validate-error").count()) throw new Error(await page.getByTestId("validate-error").innerText());
      const verdict = page.getByTestId("validate-verdict");
      return (await verdict.count()) ? verdict.getAttribute("data-value") : "";
    }, (verdict) => verdict === "pass", "a verdict of pass", 120_000);
    const steps = await page.evaluate(() => window.lengths.size);
    assert(steps >= 4, `the text came in ${steps} steps: it was not streamed`);
    await screenshots(page, "validated");
  })],

  ["every page looks right in light and dark, at three widths, and is accessible", onPage(async (page) => {
    await openMini(page);
    await choose(page, "device", "RTX 4080 Super");
    const grave = [];
    for (const name of PAGES) {
      await page.setViewportSize({ width: 1280, height: 900 });
      await go(page, name);
      // Nothing but colours is other in the dark.
      for (const [colorScheme, rules] of [["light"], ["dark", ["color-contrast"]]]) {
        await page.emulateMedia({ colorScheme });
        grave.push(...(await accessibility(page, rules)).map((finding) => `${name}, ${colorScheme}: ${finding}`));
      }
      await screenshots(page, name);
    }
    assert(grave.length === 0, grave.join("\n"));
  })],

  ["static files are enough, and Validate says what it lacks", onPage(async (page) => {
    await openMini(page);
    await expectValue(page, "kv-per-token", MINI.kvPerToken);
    await go(page, "validate");
    await page.locator("[data-place=server]").check();
    await page.getByTestId("validate").click();
    await poll(() => page.locator("body").innerText(), (text) => /preflight serve/.test(text), "a word on `preflight serve`");
  }, withoutServer)],

  ["a checkpoint with a small window and longrope validates", free(async () => {
    const folder = join(scratch, "longrope");
    makeLongropeModel(folder);
    const report = JSON.parse(cli("validate", folder, "--probe", "all", "--json"));
    assert(report.nan_count === 0 && report.inf_count === 0, `${report.nan_count} NaN, ${report.inf_count} Inf`);
    assert(report.probes.length >= 2, `probes: ${JSON.stringify(report.probes)}`);
    assert(report.prompt_tokens.length === 10, `the default prompt has ${report.prompt_tokens.length} tokens`);
  })],

  ["the default model answers a question in English", free(async () => {
    const report = JSON.parse(cli("validate", model, "--chat", "What is the capital of France?", "--max-new-tokens", "24", "--json"));
    assert(/Paris/.test(report.text), `it said: ${report.text}`);
    assert(report.verdict !== "fail", "the validation failed");
  })],
];

const parts = { onPage, browser, chromiumPath, dist, gpuBrowser, host, withoutServer, server, serverArgs, preflight, scratch, screenshots };
const wanted = process.env.E2E_ONLY;
const all = [...tests, ...pageTests(parts), ...serverTests(parts), ...useTests(parts), ...careTests(parts), ...honestTests(parts), ...newcomerTests(parts), ...toldTests(parts), ...troubleTests(parts), ...workerTests(parts), ...threadTests(parts), ...engineTests(parts), ...keptTests(parts), ...speedTests(parts)];
const failed = await runAll(wanted ? all.filter(([name]) => new RegExp(wanted).test(name)) : all);
await browser.close();
await (await withGpu)?.close();
await host.stop();
const code = await server.stop();
rmSync(scratch, { recursive: true, force: true });
if (code !== 0) console.error(`the server ended with ${code}: ${server.log()}`);
process.exit(failed === 0 && code === 0 ? 0 : 1);
