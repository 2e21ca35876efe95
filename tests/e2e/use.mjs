// What a person does with a server from the dashboard: hands a page over, talks to a model, watches the memory.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { assert, openPage, poll, settled, startServer } from "./harness.mjs";
import { go } from "./pages.mjs";

const LOAD_MS = 60_000;

const lastFacts = (page) => page.getByTestId("answer-facts").last();

/// Asks and waits until the answer has come to its end.
async function answered(page, question, count) {
  await page.getByTestId("ask").fill(question);
  await page.getByTestId("ask").press("Enter");
  await poll(() => page.getByTestId("answer-facts").count(), (n) => n === count, `${count} answers`, LOAD_MS);
}

async function unloadAll(server) {
  const models = await (await fetch(`${server.url}/api/models`)).json();
  for (const model of models.filter((m) => m.loaded_by)) {
    await fetch(`${server.url}/api/models/${model.id}/unload`, { method: "POST" });
  }
  const loaded = async () => (await (await fetch(`${server.url}/v1/models`)).json()).data.length;
  await poll(loaded, (n) => n === 0, "no loaded model", LOAD_MS);
}

export function useTests({ onPage, browser, host, withoutServer, server, serverArgs, preflight, screenshots }) {
  return [
    ["a loaded model answers in the playground, and Esc drops the request", onPage(async (page) => {
      await unloadAll(server);
      await go(page, "playground");
      await page.getByTestId("none-loaded").waitFor();
      await page.locator('[data-load="default"]').click();
      await page.getByTestId("conversation").waitFor({ timeout: LOAD_MS });

      // What cannot be sent is said at its field.
      await page.getByTestId("setting-Temperature").fill("3");
      await page.getByTestId("ask").fill("x");
      assert(await page.getByTestId("send").isDisabled(), "a temperature of 3 can be sent");
      assert((await page.getByTestId("setting-Temperature").getAttribute("aria-invalid")) === "true", "a temperature of 3 is not marked");
      await page.getByTestId("setting-Temperature").fill("0");
      await page.getByTestId("setting-MaxTokens").fill("48");

      const asked = page.waitForRequest(/\/v1\/chat\/completions/);
      // Every text that is seen on its way, however short it stands.
      await page.evaluate(() => {
        window.lengths = new Set();
        const look = () => window.lengths.add(document.querySelector("[data-testid=answer-live] .prose-text")?.textContent.length ?? 0);
        new MutationObserver(look).observe(document.body, { subtree: true, childList: true, characterData: true });
      });
      // Long enough to come in steps also where the page has no time for some of a second.
      await page.getByTestId("ask").fill("List the months of the year, and one thing that happens in each.");
      await page.getByTestId("ask").press("Enter");
      const body = (await asked).postDataJSON();
      assert(body.temperature === 0 && body.max_tokens === 48 && !("seed" in body), JSON.stringify(body));
      await poll(() => page.getByTestId("answer-facts").count(), (n) => n === 1, "an answer", LOAD_MS);
      const steps = await page.evaluate(() => window.lengths.size);
      assert(steps >= 4, `the answer came in ${steps} steps: it was not streamed`);
      const said = await page.getByTestId("answer").last().locator(".prose-text").innerText();
      assert(said.trim().length > 3, `it said: ${said}`);
      const fact = (name) => lastFacts(page).getAttribute(`data-${name}`);
      const [end, tokens, ttft, rate] = [await fact("end"), Number(await fact("tokens")), Number(await fact("ttft")), Number(await fact("rate"))];
      assert(["cut at the limit", "ended by a stop id"].includes(end) && tokens > 1 && tokens <= 48, `${end}, ${tokens} tokens`);
      assert(ttft > 0 && rate > 0, `TTFT ${ttft} ms, ${rate} tokens/s`);
      await screenshots(page, "conversation");

      // The conversation goes along: greedy, the same question answers otherwise or alike, but the prompt has grown.
      await page.getByTestId("setting-MaxTokens").fill("");
      // Words that nobody would say do not come to an end by themselves.
      await page.getByTestId("setting-Temperature").fill("2");
      const again = page.waitForRequest(/\/v1\/chat\/completions/);
      await page.getByTestId("ask").fill("Count from one to a thousand, in words, one number a line.");
      await page.getByTestId("send").click();
      assert((await again).postDataJSON().messages.map((m) => m.role).join() === "user,assistant,user", "the conversation does not go along");
      await poll(() => page.getByTestId("answer-live").innerText().catch(() => ""), (text) => text.length > 20, "text on its way", LOAD_MS);
      // The browser drops the request; that a server ends the stream of a client that left is held by tests/it.
      const dropped = page.waitForEvent("requestfailed", (request) => /chat\/completions/.test(request.url()));
      await page.keyboard.press("Escape");
      await dropped;
      await poll(() => lastFacts(page).getAttribute("data-end"), (e) => e === "stopped here", "the answer to be stopped");

      // The tab keeps the conversation over a reload; a link does not have it.
      await page.reload();
      await poll(() => page.getByTestId("answer").count(), (n) => n === 2, "both answers after a reload");
      assert(!(await page.evaluate(() => decodeURIComponent(location.hash))).includes("months"), "the address holds the conversation");
      await unloadAll(server);
      await page.getByTestId("none-loaded").waitFor();
    }, { tolerated: (problem) => /aborted/i.test(problem) })],

    ["a refused question says what to do", onPage(async (page) => {
      await page.route(/\/v1\/models/, (route) => route.fulfill({ json: { data: [{ id: "ghost", device: "cpu", dtype: "f32", max_model_len: 64 }] } }));
      await go(page, "playground");
      await answered(page, "Anybody there?", 1);
      const said = await page.getByTestId("answer-error").innerText();
      assert(/ghost.*not loaded/.test(said) && /Load the model again/.test(said), said);
    }, { tolerated: (problem) => /404/.test(problem) })],

    ["devices are watched: memory by device and by process, and what this browser grants", onPage(async (page) => {
      let asked = 0;
      page.on("request", (request) => { if (/\/api\/devices/.test(request.url())) asked += 1; });
      await go(page, "devices");
      const cpu = page.locator('[data-device-now="cpu"]');
      await cpu.getByTestId("gauge").waitFor();
      const told = (await (await fetch(`${server.url}/api/devices`)).json()).devices.find((d) => d.device === "cpu");
      assert(Number(await cpu.getByTestId("device-total").getAttribute("data-value")) === told.total_bytes, "another total than the server's");
      const since = Number((await cpu.locator("figcaption").innerText()).match(/the last (\d+) second/)?.[1]);
      assert(since >= 1 && since < 60, `of a page that was just opened: ${await cpu.locator("figcaption").innerText()}`);
      const holders = cpu.locator("tbody tr");
      assert((await holders.count()) >= told.holders.length, `${await holders.count()} processes`);
      // What nobody tells is called unknown, and nothing else.
      const words = await cpu.innerText();
      assert(told.driver !== null || /unknown/.test(words), words);
      await poll(() => Promise.resolve(asked), (n) => n >= 3, "the server to be asked again");
      const browserWords = await page.getByTestId("this-browser").innerText();
      assert(/4\.00 GiB/.test(browserWords) && /WebGPU/.test(browserWords), browserWords);
      const devices = { devices: [{ ...told, device: "cuda:0", name: "A GPU", total_bytes: 100, used_bytes: null, free_bytes: null, holders: [{ pid: 7, name: "python", bytes: null }] }], environment: (await (await fetch(`${server.url}/api/devices`)).json()).environment };
      await page.route(/\/api\/devices/, (route) => route.fulfill({ json: devices }));
      const gpu = page.locator('[data-device-now="cuda:0"]');
      await gpu.waitFor();
      assert((await gpu.getByTestId("gauge").count()) === 0, "a gauge of what is not known");
      assert((await gpu.getByTestId("device-used").innerText()) === "unknown" && (await gpu.getByTestId("holder-bytes").innerText()) === "unknown", await gpu.innerText());
    })],

    ["without a server the page of devices knows this browser", onPage(async (page) => {
      await go(page, "devices");
      await page.getByTestId("no-devices").waitFor();
      await page.getByTestId("this-browser").waitFor();
    }, withoutServer)],

    ["a page is handed to the server whole, and the attempt comes back", onPage(async (page) => {
      const posts = [];
      page.on("request", (request) => { if (request.method() === "POST") posts.push(request); });
      await page.getByTestId("dtype").selectOption("f32");
      await page.getByTestId("batch").fill("3");
      for (const name of ["inspect", "estimate", "plan", "validate"]) {
        await go(page, name);
        await page.getByTestId("run-on-server").first().click();
        await page.getByTestId("hand-off").getByTestId("hand-off-run").waitFor();
        await page.keyboard.press("Escape");
        await poll(() => page.getByTestId("hand-off").isVisible(), (open) => !open, "the dialog to close");
      }
      assert(posts.length === 0, "something was sent before it was asked for");
      await go(page, "plan");
      await page.getByTestId("plan-json").fill('{"low_cpu_mem_usage": false}');
      await settled(page);
      await page.getByTestId("run-on-server").first().click();
      const dialog = page.getByTestId("hand-off");
      await dialog.getByTestId("hand-off-model").selectOption("default");
      await dialog.getByTestId("hand-off-device").selectOption("cpu");
      assert(/warn/.test(await dialog.getByTestId("hand-off-same").getAttribute("class")), "another model than the page's is small print");
      await screenshots(page, "hand-off");
      const config = JSON.parse(await dialog.getByTestId("hand-off-config").innerText());
      assert(config.dtype === "float32" && config.low_cpu_mem_usage === false, JSON.stringify(config));
      assert(/batch 3/.test(await dialog.getByTestId("hand-off-left").innerText()), "what stays is not named");
      await dialog.getByTestId("hand-off-run").click();
      const error = dialog.getByTestId("hand-off-error");
      await Promise.race([page.getByTestId("attempt").waitFor(), error.waitFor()]);
      assert((await error.count()) === 0, (await error.count()) && (await error.innerText()));
      const id = await page.getByTestId("attempt").getAttribute("data-id");
      const attempt = await (await fetch(`${server.url}/api/attempts/${id}`)).json();
      assert(attempt.load_config.low_cpu_mem_usage === false && /32/.test(JSON.stringify(attempt.load_config)) && attempt.device === "cpu", JSON.stringify(attempt.load_config));
      assert(posts.length === 1, `${posts.length} requests that change something`);
      await poll(() => page.getByTestId("attempt").innerText(), (text) => /passed/.test(text), "the validation to end", LOAD_MS);
    })],

    ["a ladder is handed over, climbed rung by rung, cancelled and resumed", onPage(async (page) => {
      await unloadAll(server);
      await page.getByTestId("run-on-server").click();
      const dialog = page.getByTestId("hand-off");
      await dialog.locator('[data-task="ladder"]').check();
      await dialog.getByTestId("hand-off-model").selectOption("default");
      await dialog.getByTestId("hand-off-run").click();
      const ladder = page.getByTestId("ladder");
      await ladder.waitFor();
      const id = Number(await ladder.getAttribute("data-id"));
      const there = async () => (await fetch(`${server.url}/api/ladders/${id}`)).json();
      // What a rung needs stands there before its end.
      await poll(() => ladder.locator('[data-rung="2"]').innerText(), (text) => /Predicted .* on cpu/.test(text), "predicted bytes", LOAD_MS);
      if ((await there()).state === "running") {
        await page.getByTestId("ladder-cancel").click();
        await poll(() => ladder.getAttribute("data-state"), (state) => ["cancelled", "passed", "failed"].includes(state), "an end", LOAD_MS);
        if ((await ladder.getAttribute("data-state")) === "cancelled") await page.getByTestId("ladder-resume").click();
      }
      await poll(() => ladder.getAttribute("data-state"), (state) => ["passed", "failed"].includes(state), "the ladder to end", 3 * LOAD_MS);
      const told = await there();
      await screenshots(page, "climbed");
      for (const rung of told.rungs) {
        const row = ladder.locator(`[data-rung="${rung.step}"]`);
        assert((await row.getAttribute("data-state")) === rung.state, `rung ${rung.step} is ${rung.state} on the server`);
        const words = (await row.innerText()).toLowerCase();
        // Codes are told in words: what is looked for ends before the first.
        const [reason] = rung.reason.toLowerCase().split(/[a-z]+_[a-z_]+/);
        assert(words.includes(reason.slice(0, 40).trim()), `rung ${rung.step} does not say: ${rung.reason}`);
      }
      assert(told.rungs.some((rung) => rung.state === "passed") && told.rungs.some((rung) => rung.state === "skipped"), JSON.stringify(told.rungs.map((r) => r.state)));
      // Each rung leads to what it tried.
      await ladder.locator('[data-rung="2"]').getByRole("button", { name: /attempt/ }).first().click();
      await page.getByTestId("attempt").waitFor();
      await page.goBack();
      await ladder.waitFor();
    })],

    ["a server's token is shown once and kept nowhere that a script or a link can reach", async () => {
      const token = "correct horse battery staple".replaceAll(" ", "-");
      const folder = mkdtempSync(join(tmpdir(), "preflight-token-"));
      writeFileSync(join(folder, "token"), token);
      const own = await startServer(preflight, [...serverArgs, "--data-dir", join(folder, "data"), "--token-file", join(folder, "token")]);
      const page = await openPage(browser, own.url);
      await go(page, "models");
      const locked = page.getByTestId("locked");
      await locked.waitFor();
      await locked.getByTestId("token").fill("not the token at all");
      await locked.getByTestId("show-token").click();
      await locked.getByTestId("token-problem").waitFor();
      await locked.getByTestId("token").fill(token);
      await locked.getByTestId("show-token").click();
      await page.locator('[data-model="default"]').waitFor();
      const kept = await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, location.href, document.cookie]));
      assert(!kept.includes(token), "the page keeps the token");
      assert(!(await page.locator("body").innerText()).includes(token), "the page shows the token");
      await page.context().close();
      await own.stop();
      rmSync(folder, { recursive: true, force: true });
    }],

    ["a theme that is chosen holds on every page and after a reload", onPage(async (page) => {
      const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
      await page.emulateMedia({ colorScheme: "light" });
      const light = await ground();
      await go(page, "settings");
      await page.locator('[data-theme-choice="dark"]').check();
      const dark = await ground();
      assert(dark !== light, `the ground stays ${light}`);
      await go(page, "estimate");
      await page.reload();
      assert((await ground()) === dark, "another theme after a reload");
      await go(page, "settings");
      await page.locator('[data-theme-choice=""]').check();
      assert((await ground()) === light, "the system's theme does not come back");
    }, withoutServer)],

    ["the server's settings are shown with where they come from", onPage(async (page) => {
      await go(page, "settings");
      const card = page.getByTestId("server-settings");
      await card.locator('[data-setting="listen"]').waitFor();
      const told = await (await fetch(`${server.url}/api/settings`)).json();
      for (const { key } of told.settings) assert((await card.locator(`[data-setting="${key}"]`).count()) === 1, `${key} is not shown`);
      const listen = await card.locator('[data-setting="listen"]').innerText();
      assert(listen.includes(new URL(server.url).host) && /a flag/.test(listen), listen);
      assert(/the default/.test(await card.locator('[data-setting="insecure_no_auth"]').innerText()), await card.innerText());
    })],

    ["without a server the page of settings says so", onPage(async (page) => {
      await go(page, "settings");
      await page.getByTestId("no-settings").waitFor();
    }, withoutServer)],

    ["without a server the hand-off says how to start one", async () => {
      const page = await openPage(browser, host.url);
      await page.getByTestId("run-on-server").click();
      await poll(() => page.getByTestId("hand-off").innerText(), (text) => /preflight serve/.test(text), "a word on `preflight serve`");
      await page.context().close();
    }],
  ];
}
