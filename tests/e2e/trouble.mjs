// What goes wrong around the page: a browser that keeps nothing, a program that does not come, a server that is killed and
// comes back, another tab.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { assert, openIn, openPage, poll, settled, startServer } from "./harness.mjs";
import { PAGES, go } from "./pages.mjs";

/// As a browser has it where a person blocks the data of a site.
const blocked = (storage) => `Object.defineProperty(window, "${storage}", { get() { throw new DOMException("denied", "SecurityError"); } });`;

const LOAD_MS = 120_000;

export function troubleTests({ onPage, browser, dist, host, preflight, scratch, server, serverArgs, withoutServer }) {
  const json = { "content-type": "application/json" };
  const tiny = (name) => readFileSync(join(dist, "tiny", name));
  const file = (name, buffer) => ({ name, mimeType: "application/octet-stream", buffer: Buffer.from(buffer) });
  const give = (page, ...given) => page.getByTestId("file-input").setInputFiles(given);
  const told = (page) => page.getByTestId("error").innerText();

  /// A server of its own with a page of it, which may be killed and started again at the same address.
  const withServer = (name, test) => async () => {
    const args = [...serverArgs, "--data-dir", join(scratch, name)];
    let own = await startServer(preflight, args);
    const { port } = new URL(own.url);
    const page = await openPage(browser, own.url);
    const again = async () => (own = await startServer(preflight, args, `127.0.0.1:${port}`));
    try {
      await test(page, { url: own.url, kill: () => own.kill(), again });
    } finally {
      await page.context().close();
      await own.stop();
    }
  };
  const ask = async (url, path, body) => (await fetch(`${url}/api/${path}`, { method: body ? "POST" : "GET", headers: json, ...(body && { body: JSON.stringify(body) }) })).json();
  const noteOf = async (url, id) => (await ask(url, `attempts/${id}`)).note;
  /// An attempt that has come to its end.
  const tried = async (url) => {
    const { attempt_id: id } = await ask(url, "models/default/validate", { max_new_tokens: 1 });
    await ask(url, `attempts/${id}/cancel`, {});
    await poll(async () => (await ask(url, `attempts/${id}`)).state, (state) => ["cancelled", "stopped"].includes(state), "the end of an attempt", LOAD_MS);
    return id;
  };
  const look = async (page, id) => {
    await go(page, "attempts");
    await page.getByTestId("rows").locator(".link").filter({ hasText: `#${id}` }).click();
    await page.getByTestId("note").waitFor();
  };

  return [
    ["a browser that keeps nothing has every page", onPage(async () => {
      const storages = ["localStorage", "sessionStorage"];
      const cases = [[server.url, ["localStorage"]], [server.url, ["sessionStorage"]], [server.url, storages], [host.url, storages]];
      for (const [url, gone] of cases) {
        const context = await browser.newContext();
        for (const storage of gone) await context.addInitScript(blocked(storage));
        const page = await openIn(context, url);
        for (const name of PAGES) {
          await go(page, name);
          const title = name === "estimate" || name === "inspect" || name === "plan" || name === "validate" ? /Phi-3/i : new RegExp(name, "i");
          await poll(() => page.locator("main h1").first().innerText(), (words) => title.test(words), `${name} without ${gone} at ${url}`);
        }
        // What is chosen holds as long as the page stands.
        await page.locator("input[name=theme]").last().check();
        await go(page, "plan");
        await page.getByTestId("plan-json").fill('{"torch_dtype":"float16"}');
        await poll(() => page.url(), (now) => now.includes("s="), "a plan in the address");
        const problems = page.problems.filter((problem) => url === server.url || !withoutServer.tolerated(problem));
        assert(problems.length === 0, `without ${gone}: ${problems}`);
        await context.close();
      }
    })],

    ["a second program that does not come is told of on every page, and comes when it can", onPage(async (page) => {
      await page.route(/late_bg\.wasm/, (route) => route.abort());
      for (const name of PAGES) {
        await page.getByTestId(`nav-${name}`).click();
        if (name !== "estimate") await page.getByTestId("late-failed").waitFor();
        await poll(() => page.locator("main").innerText(), (words) => words.trim().length > 40, `a word on ${name}`);
      }
      // What opens over the first page needs it too.
      await page.getByTestId("nav-estimate").click();
      await page.getByTestId("params-total").waitFor();
      await page.keyboard.press("Control+k");
      await page.getByTestId("late-failed").waitFor();
      await page.unroute(/late_bg\.wasm/);
      await page.getByTestId("nav-settings").click();
      await page.locator("main h1").first().waitFor();
      await poll(() => page.getByTestId("late-failed").count(), (n) => n === 0, "the notice to go");
    }, { ...withoutServer, tolerated: () => true })],

    ["a server that was killed leaves no load behind, and what was said can be read", withServer("killed", async (page, { kill, again }) => {
      await go(page, "playground");
      await page.locator("[data-load=default]").click();
      await page.getByTestId("ask").waitFor({ timeout: LOAD_MS });
      await page.getByTestId("ask").fill("What is the capital of France?");
      await poll(() => page.getByTestId("send").isEnabled(), Boolean, "a model that answers", LOAD_MS);
      await page.getByTestId("setting-MaxTokens").fill("8");
      await page.getByTestId("ask").press("Enter");
      await page.getByTestId("answer").waitFor({ timeout: LOAD_MS });
      await page.getByTestId("ask").fill("and what else?");
      await kill();
      await page.getByTestId("server-lost").waitFor();
      await again();
      await page.getByTestId("none-loaded").waitFor();
      await poll(() => page.locator("[data-load=default]").isEnabled(), Boolean, "a load that can be asked for");
      assert(/capital of France/.test(await page.getByTestId("conversation").innerText()), "the conversation is gone");
      assert((await page.getByTestId("ask").inputValue()) === "and what else?", "the draft is gone");
      assert(await page.getByTestId("send").isDisabled(), "a question can be sent to nobody");
      await page.locator("[data-load=default]").click();
      await poll(() => page.getByTestId("send").isEnabled(), Boolean, "a model that answers", LOAD_MS);
    })],

    ["a note that a server could not be told is told when it is back", withServer("unsent", async (page, { url, kill, again }) => {
      const id = await tried(url);
      await look(page, id);
      await kill();
      await page.getByTestId("note").fill("written while it was away");
      await page.getByTestId("note").blur();
      await page.getByTestId("note-unsent").waitFor();
      await page.getByTestId("server-lost").waitFor();
      // Neither a reload nor another page takes it.
      await go(page, "inspect");
      await again();
      await poll(() => noteOf(url, id), (note) => note === "written while it was away", "the note on the server");
      await look(page, id);
      await poll(() => page.getByTestId("note-unsent").count(), (n) => n === 0, "the word to go");
      assert((await page.getByTestId("note").inputValue()) === "written while it was away", "another note in the field");
    })],

    ["a note that was changed elsewhere is not overwritten without a word", onPage(async (page) => {
      const { url } = server;
      const id = await tried(url);
      const other = await openIn(page.context(), url);
      for (const each of [page, other]) await look(each, id);
      const write = async (where, text) => { await where.getByTestId("note").fill(text); await where.getByTestId("note").blur(); };
      await other.getByTestId("note").fill("mine");
      await write(page, "theirs");
      await poll(() => noteOf(url, id), (note) => note === "theirs", "the first note");
      await other.getByTestId("note").blur();
      await poll(() => other.getByTestId("note-changed").innerText(), (words) => /theirs/.test(words), "the conflict, with their text");
      assert((await other.getByTestId("note").inputValue()) === "mine", "what was written is gone");
      assert((await noteOf(url, id)) === "theirs", "it was overwritten");
      await other.getByTestId("note-mine").click();
      await poll(() => noteOf(url, id), (note) => note === "mine", "what was insisted on");
      await poll(() => page.getByTestId("note").inputValue(), (note) => note === "mine", "the same in the other tab");
      await page.getByTestId("note").fill("again");
      await write(other, "mine too");
      await poll(() => noteOf(url, id), (note) => note === "mine too", "a note that nobody else wrote");
      await page.getByTestId("note").blur();
      await page.getByTestId("note-theirs").click();
      await poll(() => page.getByTestId("note").inputValue(), (note) => note === "mine too", "theirs in the field");
      assert((await noteOf(url, id)) === "mine too", "it was overwritten");
      assert(other.problems.length === 0, `${other.problems}`);
    })],

    ["Escape ends a ladder, but not where it closes what lies over the page", onPage(async (page) => {
      await go(page, "ladder");
      await page.getByTestId("ladder-go").click();
      const ladder = page.getByTestId("ladder");
      await poll(() => ladder.getAttribute("data-state").catch(() => ""), (state) => ["queued", "running"].includes(state), "a ladder that goes on");
      await page.evaluate(() => document.activeElement?.blur());
      await page.keyboard.press("?");
      await page.getByTestId("keys").waitFor();
      await page.keyboard.press("Escape");
      await page.getByTestId("keys").waitFor({ state: "hidden" });
      await settled(page);
      assert(["queued", "running"].includes(await ladder.getAttribute("data-state")), "a dialog was closed, and the ladder ended");
      await page.keyboard.press("Escape");
      await poll(() => ladder.getAttribute("data-state"), (state) => state === "cancelled", "the ladder to be cancelled", LOAD_MS);
    })],

    ["a plan that is half typed outlives another page and a reload", onPage(async (page) => {
      const typed = '{"torch_dtype":"float16", "low_cpu_m';
      await go(page, "plan");
      const field = page.getByTestId("plan-json");
      await field.fill(typed);
      // At once: before it was looked at.
      await go(page, "estimate");
      await go(page, "plan");
      await poll(() => field.inputValue(), (text) => text === typed, "what was typed");
      await poll(() => page.getByTestId("plan-problems").innerText(), (words) => words.trim() !== "", "what is wrong with it");
      await page.reload();
      await poll(() => field.inputValue().catch(() => ""), (text) => text === typed, "what was typed, after a reload");
      await field.fill('{"torch_dtype":"float16"}');
      await settled(page);
      // Another plan takes its place.
      await field.fill(typed);
      await settled(page);
      await page.getByRole("button", { name: "Clear" }).click();
      await go(page, "estimate");
      await go(page, "plan");
      assert((await field.inputValue()) === "", `${await field.inputValue()} is there again`);
    }, withoutServer)],

    ["a double click sends and does not stop what it sent", onPage(async (page) => {
      const model = { id: "default", device: "cpu", dtype: "bf16", max_model_len: 128 };
      await page.route(/v1\/models/, (route) => route.fulfill({ json: { data: [model] } }));
      const piece = { choices: [{ delta: { content: "An answer" }, finish_reason: "stop" }] };
      let wait = 1500;
      await page.route(/v1\/chat/, async (route) => {
        await new Promise((done) => setTimeout(done, wait));
        await route.fulfill({ body: `data: ${JSON.stringify(piece)}\n\ndata: [DONE]\n\n`, contentType: "text/event-stream" }).catch(() => {});
      });
      await go(page, "playground");
      await page.getByTestId("ask").fill("Hello");
      await page.getByTestId("send").dblclick();
      await poll(() => page.getByTestId("answer").innerText().catch(() => ""), (words) => /An answer/.test(words), "an answer");
      wait = 10_000;
      await page.getByTestId("ask").fill("Hello again");
      await page.getByTestId("send").click();
      await page.waitForTimeout(700);
      await page.getByTestId("stop").click();
      await poll(() => page.getByTestId("answer").last().innerText(), (words) => /stopped here/.test(words), "a press that stops");
    })],

    ["a server that dies under a validation says nothing of the model", withServer("lost", async (page, { kill, again }) => {
      await go(page, "validate");
      await page.locator("[data-place=server]").check();
      await page.getByTestId("validate-count").fill("512");
      await page.getByTestId("validate").click();
      await page.getByTestId("validate-cancel").waitFor();
      await poll(() => page.getByTestId("validate-stage").innerText(), (words) => !/Asking/.test(words), "a run that has begun");
      await kill();
      await page.getByTestId("server-lost").waitFor();
      await again();
      const words = await poll(() => page.getByTestId("validate-error").innerText().catch(() => ""), (words) => words !== "", "what became of it", LOAD_MS);
      assert(/^lost/i.test(words) && !/\bfail/i.test(words.split("\n")[0]), words);
    })],

    ["nothing runs with a count of tokens that is none", onPage(async (page) => {
      await go(page, "validate");
      await page.locator("[data-place=cpu]").check();
      const [count, button, problem] = ["validate-count", "validate", "validate-count-problem"].map((id) => page.getByTestId(id));
      for (const typed of ["0", "-1", "1.5", "-"]) {
        await count.fill("");
        await count.pressSequentially(typed);
        await problem.waitFor();
        assert(await button.isDisabled(), `${typed} runs`);
        await count.blur();
        assert((await button.isDisabled()) && (await problem.isVisible()), `${typed} runs once it is left`);
      }
      await count.fill("7");
      await problem.waitFor({ state: "detached" });
      assert(await button.isEnabled(), "7 does not run");
      await count.fill("");
      assert(await button.isEnabled(), "what is usual does not run");
    }, withoutServer)],

    ["an address says the memory that the verdict is of", onPage(async (page) => {
      const field = page.getByTestId("device-memory");
      await field.fill("10 GiB");
      await settled(page);
      const verdict = await page.getByTestId("verdict").first().innerText();
      await field.fill("10 GiBx");
      await poll(() => page.getByTestId("device-memory-problem").innerText(), (words) => words !== "", "what is wrong with it");
      await settled(page);
      assert((await page.getByTestId("verdict").first().innerText()) === verdict, "another verdict");
      await page.reload();
      await poll(() => page.getByTestId("verdict").first().innerText().catch(() => ""), (words) => words === verdict, "the same verdict after a reload");
      assert((await field.inputValue()) === "10 GiB", await field.inputValue());
    }, withoutServer)],

    ["plain files are asked once for a server", async () => {
      const asked = [];
      const page = await openPage(browser, host.url, {}, (request) => asked.push(new URL(request.url()).pathname));
      for (const name of PAGES) await go(page, name);
      await page.waitForTimeout(500);
      const beyond = asked.filter((path) => /^\/(health|ready|api|v1)/.test(path));
      assert(beyond.join() === "/health", `asked for ${beyond}`);
      await page.context().close();
    }],

    ["weights wait for a config of any name, and one that is refused is told by its name", onPage(async (page) => {
      await go(page, "inspect");
      const waits = async () => {
        await give(page, file("model.safetensors", tiny("model.safetensors")));
        await poll(() => page.locator("main").innerText(), (words) => /no config\.json/i.test(words), "weights that wait");
      };
      await waits();
      await give(page, file("microsoft__phi-4.json", '{"model_type": "phi3", "num_hidden_layers": -1}'));
      await poll(() => told(page).catch(() => ""), (words) => /^microsoft__phi-4\.json was not accepted/.test(words), "the refusal");
      await give(page, file("other.json", tiny("config.json")));
      await poll(() => page.locator("main").innerText(), (words) => !/no config\.json/i.test(words) && /1\.\d+ M parameters/.test(words), "a model of both");
      assert((await page.getByTestId("error").count()) === 0, "what was taken is refused");
    }, withoutServer)],

    ["what is refused is told with its reason and nothing that is not so", onPage(async (page) => {
      await go(page, "inspect");
      const refused = async (given, wanted) => {
        await give(page, given);
        return poll(() => told(page).catch(() => ""), (words) => wanted.test(words), `${given.name}: ${wanted}`);
      };
      await refused(file("a.bin", Buffer.alloc(1000, 7)), /No model found/);
      await refused(file("b.bin", Buffer.concat([Buffer.from("PK\x03\x04"), Buffer.alloc(100)])), /pickle/);
      const words = await refused(file("cut.safetensors", tiny("model.safetensors").subarray(0, 100_000)), /cut\.safetensors was not accepted/);
      assert(/the file is corrupt/i.test(words) && /3,765,120 bytes/.test(words), words);
      const other = await openPage(browser, `${page.url().split("#")[0]}#model=phi-4&zzz=1`);
      await poll(() => told(other), (said) => /not understood: .*zzz/.test(said) && !/last good/.test(said), "what of a link was not taken");
      await other.context().close();
    }, withoutServer)],

    ["an answer that the page cannot read is no server that is away", onPage(async (page) => {
      await page.route(/\/api\/attempts\?/, (route) => route.fulfill({ json: [{ id: 1 }] }));
      await go(page, "attempts");
      const words = await poll(() => page.getByTestId("refusal").innerText().catch(() => ""), (words) => words !== "", "a refusal");
      assert(/does not understand/.test(words) && !/does not answer/.test(words), words);
    })],
  ];
}
