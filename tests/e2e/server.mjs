// The pages that are about a server.

import { GOALS, percentile } from "./speed.mjs";
import { go } from "./pages.mjs";
import { assert, poll } from "./harness.mjs";

const MANY = 10_000;

/// An attempt as the server tells it.
function attempt(id) {
  const states = ["stopped", "failed", "cancelled"];
  return {
    id, model: `model-${id % 7}`, kind: "validate", state: states[id % 3], outcome: id % 3 === 1 ? "oom_device_kv" : null,
    parent: id > 1 && id % 5 !== 0 ? id - 1 : null, changes: id % 5 === 0 ? [] : [{ path: "dtype", from: "auto", to: "float16" }],
    position: null, device: "cpu", load_config: {}, created_ms: 1_700_000_000_000 + id * 60_000, started_ms: 1_700_000_000_000 + id * 60_000,
    finished_ms: 1_700_000_000_000 + id * 60_000 + 1500, progress: null, text: "", report: null, error: null, note: id === 4321 ? "the needle" : "",
  };
}

/// Lets the page see ten thousand attempts, as the server would page them.
async function withMany(page) {
  await page.route(/\/api\/attempts\?/, (route) => {
    const query = new URL(route.request().url()).searchParams;
    const from = Number(query.get("cursor") ?? MANY + 1) - 1;
    const limit = Number(query.get("limit"));
    const rows = Array.from({ length: Math.min(limit, from) }, (_, i) => attempt(from - i));
    return route.fulfill({ json: rows });
  });
}

export function serverTests({ onPage, server }) {
  return [
    ["an attempt is found, read, noted and compared", onPage(async (page) => {
      for (let i = 0; i < 2; i += 1) {
        const before = await (await fetch(`${server.url}/api/attempts`)).json();
        const body = { load_config: i === 0 ? {} : { low_cpu_mem_usage: false }, force: true };
        const asked = await fetch(`${server.url}/api/models/default/validate`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
        assert(asked.status === 202, `validate: ${asked.status} ${await asked.text()}`);
        await poll(async () => (await (await fetch(`${server.url}/api/attempts`)).json()).filter((a) => a.state === "stopped").length, (n) => n > before.filter((a) => a.state === "stopped").length, "a validated attempt", 60_000);
      }
      await go(page, "attempts");
      await poll(() => page.getByTestId("attempts").getAttribute("data-count"), (n) => Number(n) >= 2, "two attempts in the table");
      await page.getByTestId("rows").locator("[role=row] .link").first().click();
      await page.getByTestId("note").fill("seen in the browser");
      await page.getByTestId("note").blur();
      const id = await page.getByTestId("attempt").getAttribute("data-id");
      await poll(async () => (await (await fetch(`${server.url}/api/attempts/${id}`)).json()).note, (note) => note === "seen in the browser", "the note on the server");
      await page.reload();
      await poll(() => page.getByTestId("note").inputValue(), (note) => note === "seen in the browser", "the note after a reload");
      await page.getByTestId("rows").locator("input[type=checkbox]").nth(0).check();
      await page.getByTestId("rows").locator("input[type=checkbox]").nth(1).check();
      await page.getByTestId("compare").click();
      await poll(() => page.getByTestId("comparison").innerText(), (text) => /low_cpu_mem_usage/.test(text), "the load config that differs");
      assert(!/^\s*model\s/m.test(await page.getByTestId("comparison").innerText()), "what is the same stands in the comparison");
    })],

    ["ten thousand attempts are searched, sorted and scrolled", onPage(async (page) => {
      await withMany(page);
      await go(page, "attempts");
      await poll(() => page.getByTestId("attempts").getAttribute("data-count"), (n) => Number(n) === MANY, "all attempts");
      const drawn = () => page.getByTestId("rows").locator("[role=row]").count();
      assert((await drawn()) <= 200, `${await drawn()} rows in the document`);
      await page.getByTestId("attempts-search").fill("needle");
      await poll(drawn, (n) => n === 1, "one row left");
      await page.getByTestId("attempts-search").fill("");
      await page.getByRole("columnheader", { name: "Attempt" }).getByRole("button").click();
      await poll(() => page.getByTestId("rows").locator("[role=row] .link").first().innerText(), (t) => t === "#1", "the oldest first");
      const costs = await page.getByTestId("rows").evaluate(async (list) => {
        const costs = [];
        for (let i = 0; i < 100; i += 1) {
          list.scrollTop = (i * 400) % (list.scrollHeight - list.clientHeight);
          const start = performance.now();
          list.dispatchEvent(new Event("scroll"));
          for (let turn = 0; turn < 8; turn += 1) await Promise.resolve();
          list.getBoundingClientRect();
          costs.push(performance.now() - start);
          await new Promise((resolve) => requestAnimationFrame(resolve));
        }
        return costs.slice(10);
      });
      const most = percentile(costs, 0.95);
      // Told, not judged: the goal has not been met yet (docs/benchmarks.md).
      console.log(`     scrolling: median ${percentile(costs, 0.5).toFixed(1)} ms, p95 ${most.toFixed(1)} ms, goal ${GOALS.slider_ms} ms`);
      assert((await drawn()) <= 200, `${await drawn()} rows in the document after scrolling`);
    })],

    ["models are listed, loaded from the page and unloaded", onPage(async (page) => {
      await go(page, "models");
      const row = page.locator('[data-model="default"]');
      await row.getByRole("button", { name: "Load", exact: true }).click();
      await page.getByTestId("attempt").waitFor();
      await poll(() => page.getByTestId("attempt").innerText(), (t) => /ready/.test(t), "a loaded model", 60_000);
      await go(page, "models");
      await row.getByRole("button", { name: "Unload" }).click();
      await poll(() => page.getByTestId("attempt").innerText(), (t) => /stopped/.test(t), "the model to be unloaded", 60_000);
    })],
  ];
}
