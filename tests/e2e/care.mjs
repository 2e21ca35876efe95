// What a careful person sees on the pages: that findings act, that a doubt is told, that the server's devices count, that
// everything is copied and reached by keyboard, and that nothing jumps.

import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { CLIPBOARD, assert, expectValue, poll, settled, value } from "./harness.mjs";
import { PAGES, go } from "./pages.mjs";

const copied = (page) => page.evaluate(() => navigator.clipboard.readText());
const GIB = 2 ** 30;

/// What a shell makes of a line: the words that a program of this name is given.
function words(program, line) {
  const { status, stdout, stderr } = spawnSync("sh", ["-c", `${program}() { for word in "$@"; do printf '%s\\0' "$word"; done; }\n${line}`], { encoding: "utf8" });
  assert(status === 0 && stderr === "", `${line}: ${stderr}`);
  return stdout.split("\0").slice(0, -1);
}

/// How far what is on the page has moved by itself, from its first paint on.
async function shiftOf(browser, url, ready) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
  const page = await context.newPage();
  await page.addInitScript(() => {
    window.shift = 0;
    new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shift += entry.value;
    }).observe({ type: "layout-shift", buffered: true });
  });
  await page.goto(url);
  await ready(page);
  await page.waitForTimeout(1200);
  const shift = await page.evaluate(() => window.shift);
  await context.close();
  return shift;
}

/// Everything on the page that can be used and that the Tab key does not come by, and what it comes by without a sign.
async function missedByTab(page) {
  const count = await page.evaluate(() => {
    const found = [...document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex='0']")]
      .filter((element) => !element.disabled && !element.closest("fieldset[disabled]") && element.tabIndex >= 0 && element.type !== "radio")
      .filter((element) => element.checkVisibility({ visibilityProperty: true }));
    window.walk = new Set(found);
    window.dull = [];
    document.activeElement?.blur();
    return found.length;
  });
  for (let press = 0; press < count + 24; press += 1) {
    await page.keyboard.press("Tab");
    await page.evaluate(() => {
      const element = document.activeElement;
      window.walk.delete(element);
      const seen = element.type === "file" ? element.parentElement : element;
      if (element !== document.body && getComputedStyle(seen).outlineStyle === "none") window.dull.push(element.outerHTML.slice(0, 80));
    });
  }
  return page.evaluate(() => [...[...window.walk].filter((element) => element.isConnected).map((element) => `missed ${element.outerHTML.slice(0, 80)}`), ...window.dull.map((html) => `no outline: ${html}`)]);
}

export function careTests({ onPage, browser, host, withoutServer, server, preflight, screenshots }) {
  return [
    ["a finding is answered by one click, and the answer counts", onPage(async (page) => {
      await page.getByTestId("context").fill("4096");
      await go(page, "inspect");
      const answer = (code) => page.locator(`[data-code="${code}"] [data-answer]`);
      await answer("window_below_context").click();
      await answer("no_gqa").click();
      await poll(() => page.locator("[data-answer]").count(), (n) => n === 0, "findings that are answered to ask no more");
      await go(page, "estimate");
      assert((await page.getByTestId("context").inputValue()) === "2047", "the context is not the window's");
      assert((await page.getByTestId("kv-dtype").inputValue()) === "q8_0", "the cache is not in q8_0");
      // 34 bytes a block of 32 values.
      await expectValue(page, "kv-bytes", 32 * 3072 * 2 * 2047 * (34 / 32));
    }, withoutServer)],

    ["a context beyond the model's positions is warned of, whatever the verdict", onPage(async (page) => {
      await page.getByTestId("device").selectOption("H100 SXM");
      assert((await page.getByTestId("fit-warning").count()) === 0, "a warning of nothing");
      await page.getByTestId("context").fill("5000");
      await poll(() => page.getByTestId("fit-warning").innerText().catch(() => ""), (text) => /5,000 tokens is beyond the model's 4,096 positions/.test(text), "a warning");
      assert((await page.getByTestId("verdict").getAttribute("data-value")) === "fits", "memory is judged by itself");
      await page.getByTestId("context").fill("4096");
      await poll(() => page.getByTestId("fit-warning").count(), (n) => n === 0, "the warning to go");
    }, withoutServer)],

    ["where no single change helps, what would is said", onPage(async (page) => {
      await page.getByTestId("device-memory").fill("1 GiB");
      await poll(() => page.getByTestId("verdict").getAttribute("data-value"), (v) => v === "does_not_fit", "a verdict");
      const words = await page.getByTestId("fit-advice").innerText();
      assert(/(change|help).*(GiB|MiB)/.test(words), words);
    }, withoutServer)],

    ["less memory than a GPU has is still the GPU's, and the two changes that help are one click", onPage(async (page) => {
      const verdict = page.getByTestId("verdict");
      const is = (value) => poll(() => verdict.getAttribute("data-value"), (v) => v === value, value);
      await page.getByTestId("dtype").selectOption("q8_0");
      await page.getByTestId("device").selectOption("RTX 4060");
      await is("fits");
      await page.getByTestId("device-memory").fill("6 GiB");
      // On a CPU it would be tight: the runtime of a GPU takes more.
      await is("does_not_fit");
      assert((await page.getByTestId("device").inputValue()) === "other/cuda", "another device is told");
      await page.getByTestId("device").selectOption("other/cpu");
      await is("tight");
      await page.getByTestId("preset").selectOption("phi-4");
      await page.getByTestId("dtype").selectOption("bf16");
      await page.getByTestId("device-memory").fill("8 GiB");
      await is("does_not_fit");
      const both = page.locator("[data-change^='dtype=q4_0&context=']");
      assert(!/layers/.test(await verdict.innerText()), await verdict.innerText());
      await both.click();
      await is("tight");
      assert(/^\d{3}$/.test(await page.getByTestId("context").inputValue()), "the context is the longest that loads");
      await page.goBack();
      await is("does_not_fit");
    }, withoutServer)],

    ["what has no room on a GPU is planned on the CPU by one click, and a browser has no CPU beside it", onPage(async (page) => {
      await page.getByTestId("preset").selectOption("phi-3-medium-4k-instruct");
      await page.getByTestId("device").selectOption("RTX 4060");
      const verdict = page.getByTestId("verdict");
      const lever = page.locator("[data-change^=offload_layers]");
      assert(/31 of 40 layers on the CPU.*Plan/s.test(await lever.innerText()), await verdict.innerText());
      assert((await page.getByTestId("fit-advice").count()) === 0, "said and offered");
      await lever.click();
      const planned = () => page.getByTestId("plan-json").inputValue().then(JSON.parse).catch(() => ({}));
      const { max_memory } = await poll(planned, (config) => config.max_memory, "budgets in the plan");
      assert(/^\d+(\.\d)?GiB$/.test(max_memory["0"]) && /^\d+GiB$/.test(max_memory.cpu), JSON.stringify(max_memory));
      await poll(() => page.getByTestId("plan-verdict").getAttribute("data-value").catch(() => ""), (v) => v === "fits" || v === "tight", "the plan to fit");
      assert((await page.getByTestId("one-change").count()) === 0, "one click makes what the rule refuses");
      await go(page, "estimate");
      await poll(() => lever.innerText().catch(() => ""), (words) => /planned/.test(words), "what is planned already");
      await lever.click();
      await poll(() => page.getByTestId("plan-verdict").count(), (n) => n === 1, "the plan");
      await page.goBack();
      await page.goBack();
      await page.goBack();
      await poll(() => verdict.getAttribute("data-value").catch(() => ""), (v) => v === "does_not_fit", "what was before");
      await go(page, "plan");
      await poll(planned, (config) => !config.max_memory, "no budgets after Back");
      await go(page, "estimate");
      await page.getByTestId("preset").selectOption("phi-4");
      await page.getByTestId("device").selectOption("browser");
      await poll(() => verdict.innerText(), (words) => /this browser/i.test(words), "the browser's verdict");
      assert(!/layers|two such devices/.test(await verdict.innerText()), await verdict.innerText());
      await page.getByTestId("fit-advice").waitFor();
    }, withoutServer)],

    ["the plot says what a click on it would choose", onPage(async (page) => {
      const box = await page.getByTestId("plot").boundingBox();
      await page.mouse.move(box.x + box.width * 0.3, box.y + box.height / 2);
      const told = await page.getByTestId("plot-pointed").innerText();
      await page.mouse.down();
      await page.mouse.up();
      const [, tokens, need] = told.match(/^([\d,]+) tokens: (.*)$/);
      await poll(() => page.getByTestId("context").inputValue(), (context) => context === tokens.replaceAll(",", ""), `a context of ${tokens}`);
      assert((await page.locator(".plot .here-label").innerText()) === need, `${told}, and then ${await page.locator(".plot .here-label").innerText()}`);
      await page.mouse.move(box.x + box.width / 2, box.y - 60);
      await poll(() => page.getByTestId("plot-pointed").count(), (n) => n === 0, "the label to go");
    }, withoutServer)],

    ["weights that contradict their config take away what was called exact", onPage(async (page) => {
      const file = (name, buffer) => ({ name, mimeType: "", buffer });
      const config = JSON.parse(readFileSync("public/tiny/config.json", "utf8"));
      const weights = readFileSync("public/tiny/model.safetensors");
      const give = (changed) => page.getByTestId("file-input").setInputFiles([file("config.json", Buffer.from(JSON.stringify({ ...config, ...changed }))), file("model.safetensors", weights)]);
      const sure = () => page.getByTestId("terms").locator("tbody .badge").allInnerTexts();
      await give({});
      await poll(() => page.getByTestId("verdict").innerText(), (text) => /MiB/.test(text), "a small model");
      assert((await sure()).includes("exact"), `of weights that agree: ${await sure()}`);
      assert((await page.locator("[data-assumption=checkpoint]").count()) === 0, "a doubt without a reason");
      await give({ num_hidden_layers: config.num_hidden_layers + 1 });
      const doubt = page.locator("[data-assumption=checkpoint]");
      await doubt.waitFor();
      assert(/differs from its config/.test(await doubt.innerText()), await doubt.innerText());
      assert(!(await sure()).includes("exact"), `in doubt: ${await sure()}`);
      assert((await page.locator(".find .badge.bad").count()) > 0, "no finding is called an error");
    }, withoutServer)],

    ["the server's devices count as they are free now", onPage(async (page) => {
      const device = (device, name, free_bytes) => ({ device, name, driver: null, total_bytes: 24 * GIB, free_bytes, used_bytes: null, holders: [], source: "nvml" });
      const { environment } = await (await fetch(`${server.url}/api/devices`)).json();
      let free = 20 * GIB;
      await page.route(/\/api\/devices/, (route) => route.fulfill({ json: { devices: [device("cpu", "A processor", 7 * GIB), device("wgpu:0", "Untold", null), device("cuda:0", "A GPU", free)], environment } }));
      const row = page.locator('[data-live="cuda:0"]');
      await row.waitFor();
      assert((await page.locator("[data-live]").count()) === 2, "a device of which nothing is told");
      assert(/cuda:0 · 20\.00 GiB free/.test(await page.getByTestId("server-free").innerText()), "the foot does not say what is free");
      await page.getByTestId("device").selectOption("RTX 4090");
      const overhead = await value(page, "overhead-bytes");
      await row.getByRole("button", { name: "cuda:0" }).click();
      await poll(() => page.getByTestId("device").inputValue(), (v) => v === "server/cuda:0", "the picker to follow");
      assert((await page.getByTestId("device-memory").inputValue()) === "20.00 GiB", await page.getByTestId("device-memory").inputValue());
      assert((await value(page, "overhead-bytes")) === overhead, "another runtime than a GPU of its kind has");
      assert((await page.getByTestId("verdict").getAttribute("data-value")) === "fits", "20 GiB are enough");
      // What is free changes, and what was chosen stays what it was until it is chosen again.
      free = 2 * GIB;
      await poll(() => row.getByTestId("available").getAttribute("data-value"), (bytes) => Number(bytes) === free, "what is free now");
      assert((await page.getByTestId("verdict").getAttribute("data-value")) === "fits", "the choice has changed by itself");
      await row.getByRole("button", { name: "cuda:0" }).click();
      await poll(() => page.getByTestId("verdict").getAttribute("data-value"), (v) => v === "does_not_fit", "2 GiB to be too few");
      await screenshots(page, "live");
      await settled(page);
      await page.reload();
      await poll(() => page.getByTestId("verdict").getAttribute("data-value"), (v) => v === "does_not_fit", "the verdict after a reload");
      assert((await value(page, "overhead-bytes")) === overhead, "the runtime is gone after a reload");
      await page.getByTestId("device-memory").fill("20 GiB");
      await poll(() => page.getByTestId("verdict").getAttribute("data-value"), (v) => v === "fits", "20 GiB are enough");
      assert((await value(page, "overhead-bytes")) === overhead, "a size that was typed is no more the GPU's");
      await page.getByTestId("device").selectOption("other/cpu");
      await poll(() => value(page, "overhead-bytes"), (bytes) => bytes < overhead, "the runtime of a CPU");
    })],

    ["the answer is taken along as a command and as a request, and both give it", onPage(async (page) => {
      await page.getByTestId("preset").selectOption("phi-4-mini-instruct");
      await page.getByTestId("device").selectOption("RTX 4080 Super");
      await page.getByTestId("context").fill("9000");
      await page.getByTestId("dtype").selectOption("q8_0");
      const total = await value(page, "total-bytes");
      const take = async (testid, begins) => {
        await page.evaluate(() => navigator.clipboard.writeText(""));
        await page.getByTestId("export").locator("summary").click();
        await page.getByTestId(testid).click();
        await poll(() => page.getByTestId(testid).isVisible(), (open) => !open, "the menu to close");
        return poll(() => copied(page), (text) => text.startsWith(begins), `${begins}… on the clipboard`);
      };
      const [, ...args] = (await take("copy-command", "preflight ")).split(/^preflight /);
      const run = spawnSync(preflight, [...words("preflight", `preflight ${args.join("")}`), "--json"], { encoding: "utf8" });
      assert(run.status === 0 && JSON.parse(run.stdout).total_bytes === total, `${run.status}: ${run.stderr}`);
      const line = words("curl", await take("copy-curl", "curl "));
      const [url, body] = [line.find((word) => word.startsWith("http")), line.at(-1)];
      const told = await (await fetch(url, { method: "POST", headers: { "content-type": "application/json" }, body })).json();
      assert(told.total_bytes === total, `${url} ${body}: ${JSON.stringify(told).slice(0, 200)}`);
      assert(JSON.parse(await take("copy-estimate", "{")).total_bytes === total, "the JSON is of something else");
      await page.getByTestId("export").locator("summary").click();
      await page.keyboard.press("Escape");
      await poll(() => page.getByTestId("copy-curl").isVisible(), (open) => !open, "Escape to close the menu");
      assert(await page.getByTestId("export").locator("summary").evaluate((button) => button === document.activeElement), "the keyboard is nowhere");
    }, CLIPBOARD)],

    ["values are copied by a click, exact", onPage(async (page) => {
      const click = async (locator, wanted) => {
        await locator.first().click();
        await poll(() => copied(page), (text) => text === wanted, `${wanted} on the clipboard`);
      };
      await click(page.getByTestId("params-total"), "3821079552");
      await click(page.getByTestId("kv-per-token"), "393216");
      await click(page.getByTestId("weights-bytes"), "7642159104");
      await click(page.locator('[data-device="H200"] .value'), await page.locator('[data-device="H200"] .value').first().getAttribute("data-value"));
      await click(page.locator("[data-assumption=kv_policy] .value"), "full");
      await go(page, "inspect");
      const field = (key) => page.getByTestId("fields").locator("tr", { has: page.locator("th", { hasText: new RegExp(`^${key}$`) }) }).locator(".value");
      await click(field("intermediate_size"), "8192");
      await click(field("auto_map"), '{"AutoConfig":"configuration_phi3.Phi3Config","AutoModelForCausalLM":"modeling_phi3.Phi3ForCausalLM"}');
      await click(page.locator("#parameters tfoot .value"), "3821079552");
    }, { ...withoutServer, ...CLIPBOARD })],

    ["every page has a button that shares it", onPage(async (page) => {
      for (const name of PAGES) {
        await go(page, name);
        await page.evaluate(() => navigator.clipboard.writeText(""));
        const share = async () => {
          await page.getByTestId("share").click();
          await page.waitForTimeout(200);
          return copied(page);
        };
        await poll(share, (text) => /#s=1\./.test(text), `a link to ${name}`);
      }
      // Who has the same server sees the same rows.
      await go(page, "attempts");
      await page.getByTestId("attempts-search").fill("tiny");
      await settled(page);
      await page.getByTestId("share").click();
      const link = await poll(() => copied(page), (text) => /at=/.test(text), "a link with the search");
      const context = await browser.newContext();
      const fresh = await context.newPage();
      await fresh.goto(link);
      await poll(() => fresh.getByTestId("attempts-search").inputValue(), (text) => text === "tiny", "the search in a fresh profile");
      await context.close();
    }, CLIPBOARD)],

    ["what the server refuses says what, why and what next, and is asked for again", onPage(async (page) => {
      let broken = true;
      await page.route(/\/api\/models$/, (route) => (broken ? route.fulfill({ status: 500, json: { error: { code: "internal", message: "the registry is locked", path: "registry.db" } } }) : route.continue()));
      await go(page, "models");
      const words = await page.getByTestId("refusal").innerText();
      assert(/refused/.test(words) && /the registry is locked/.test(words) && /registry\.db/.test(words) && /try again/.test(words), words);
      broken = false;
      await page.getByTestId("ask-again").click();
      await page.locator('[data-model="default"]').waitFor();
      assert((await page.getByTestId("refusal").count()) === 0, "the refusal stays");
    }, { tolerated: (problem) => /500/.test(problem) })],

    ["the family of an attempt is drawn as a tree", onPage(async (page) => {
      const attempt = (id, parent) => ({
        id, model: "tiny", kind: "validate", state: "stopped", outcome: "passed", parent, changes: parent ? [{ path: "dtype", from: "auto", to: `t${id}` }] : [], position: null, device: "cpu",
        load_config: {}, created_ms: id, started_ms: id, finished_ms: id + 1, progress: null, text: "", report: null, error: null, note: "", log: [],
      });
      const family = [attempt(1, null), attempt(2, 1), attempt(3, 1), attempt(4, 2), attempt(5, null)];
      await page.route(/\/api\/attempts\?/, (route) => route.fulfill({ json: [...family].reverse() }));
      const { environment } = await (await fetch(`${server.url}/api/devices`)).json();
      const evidence = { source: { path: "tiny" }, branch: false, resolved: [], run: null, seed: null, files: [], environment, predicted: null, engine: null, context: null, memory: null, timings: {}, unload: null, next: [], advice: null };
      await page.route(/\/api\/attempts\/\d+$/, (route) => {
        const id = Number(new URL(route.request().url()).pathname.split("/").at(-1));
        return route.fulfill({ json: { ...family[id - 1], ...evidence } });
      });
      await go(page, "attempts");
      await page.getByTestId("rows").getByText("#4", { exact: true }).click();
      const tree = page.getByTestId("tree");
      await tree.waitFor();
      const drawn = await tree.locator("li").evaluateAll((rows) => rows.map((row) => [row.dataset.attempt, [...row.querySelectorAll(".guides i")].map((i) => i.className).join(",")]));
      // 1 has two children: 2, from which 4 goes on, and 3.
      const wanted = [["1", "node on"], ["2", "tee,node on"], ["4", "pass,node from"], ["3", "end,node"]];
      assert(JSON.stringify(drawn) === JSON.stringify(wanted), JSON.stringify(drawn));
      await screenshots(page, "tree");
      await tree.getByRole("button", { name: "#3" }).click();
      await poll(() => page.getByTestId("attempt").getAttribute("data-id"), (id) => id === "3", "the other attempt");
    })],

    ["attempts are taken along as files", onPage(async (page) => {
      await go(page, "attempts");
      await page.getByTestId("attempts-export").locator("summary").click();
      const links = await page.getByTestId("attempts-export").locator("a").evaluateAll((all) => all.map((a) => a.href));
      const begins = { csv: /^id,/, jsonl: /^(\{|$)/, markdown: /^(#|\|)/ };
      for (const link of links) {
        const answer = await fetch(link);
        const format = new URL(link).searchParams.get("format");
        assert(answer.ok && begins[format].test(await answer.text()), `${link}: ${answer.status}`);
      }
      assert(links.length === 3, `${links}`);
    })],

    ["the palette does what the pages do", onPage(async (page) => {
      const act = async (typed) => {
        await page.locator("body").press("Control+k");
        await page.getByTestId("palette").locator("input").waitFor();
        await page.keyboard.type(typed);
        await page.keyboard.press("Enter");
      };
      await act("weights q4_0");
      await poll(() => page.getByTestId("dtype").inputValue(), (v) => v === "q4_0", "weights in q4_0");
      const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
      const light = await ground();
      await act("theme dark");
      await poll(ground, (colour) => colour !== light, "the other theme");
      await act("theme system");
      await act("run on server");
      await page.getByTestId("hand-off").waitFor();
    }, withoutServer)],

    ["everything is reached by the keyboard, with a sign where it is", onPage(async (page) => {
      const missed = [];
      for (const name of PAGES) {
        await go(page, name);
        await page.waitForTimeout(400);
        missed.push(...(await missedByTab(page)).map((what) => `${name}: ${what}`));
      }
      assert(missed.length === 0, missed.join("\n"));
    })],

    ["a click that takes the keyboard from the config hits what it aimed at", onPage(async (page) => {
      await page.getByTestId("config-input").focus();
      await poll(() => page.getByTestId("config-input").evaluate((e) => e.offsetHeight), (height) => height > 100, "room to write");
      await page.getByTestId("nav-plan").click();
      await page.locator("nav [aria-current=page][data-testid=nav-plan]").waitFor();
      await poll(() => page.getByTestId("config-input").evaluate((e) => e.offsetHeight), (height) => height < 50, "the field to shrink");
    }, withoutServer)],

    ["tabs are walked by arrows", onPage(async (page) => {
      await go(page, "plan");
      await page.locator('[data-target="vllm"]').focus();
      await page.keyboard.press("ArrowRight");
      await poll(() => page.locator('[data-target="llama.cpp"]').getAttribute("aria-selected"), (yes) => yes === "true", "the next tab");
      await page.keyboard.press("ArrowLeft");
      await poll(() => page.locator('[data-target="vllm"]').getAttribute("aria-selected"), (yes) => yes === "true", "the tab before");
    }, withoutServer)],

    ["on a phone the current page is in sight and no button is broken", onPage(async (page) => {
      await page.setViewportSize({ width: 360, height: 800 });
      for (const name of PAGES) {
        await go(page, name);
        await poll(() => page.locator("nav [aria-current=page]").evaluate((link) => {
          const { left, right } = link.getBoundingClientRect();
          return left >= 0 && right <= window.innerWidth;
        }), Boolean, `${name} in the list of pages`);
        await page.waitForTimeout(300);
        const broken = await page.locator("main .btn:visible, main .badge:visible").evaluateAll((all) => all.filter((e) => !e.closest(".levers") && e.getClientRects()[0].height > 48).map((e) => e.textContent));
        assert(broken.length === 0, `${name}: broken over lines: ${broken}`);
      }
    })],

    ["nothing jumps when data comes", async () => {
      const shifts = {};
      const heading = (page) => page.locator("main h1").first().waitFor();
      // Each waits for what may come late: three wait together.
      for (let at = 0; at < PAGES.length; at += 3) {
        await Promise.all(PAGES.slice(at, at + 3).map(async (name) => (shifts[name] = await shiftOf(browser, `${server.url}/#page=${name}`, heading))));
      }
      shifts["devices without a server"] = await shiftOf(browser, `${host.url}/#page=devices`, (page) => page.getByTestId("this-browser").waitFor());
      const told = Object.entries(shifts).map(([name, shift]) => `${name} ${shift.toFixed(3)}`).join(", ");
      console.log(`     layout shift: ${told}`);
      assert(Object.values(shifts).every((shift) => shift < 0.1), told);
    }],
  ];
}
