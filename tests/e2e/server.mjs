// The pages that are about a server.

import { GOALS, SLACK, percentile } from "./speed.mjs";
import { go } from "./pages.mjs";
import { alone, assert, poll } from "./harness.mjs";

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

/// CPU milliseconds of every task of the page's main thread while a person scrolls through the list with the wheel, page
/// by page and back. CPU, not wall time: a busy machine makes a task wait, not work.
async function scrollTasks(page) {
  const browser = page.context().browser();
  const list = await page.getByTestId("rows").boundingBox();
  await page.mouse.move(list.x + list.width / 2, list.y + list.height / 2);
  await browser.startTracing(page, { categories: ["disabled-by-default-devtools.timeline", "devtools.timeline", "toplevel"] });
  for (let step = 0; step < 120; step += 1) {
    await page.mouse.wheel(0, step % 40 < 30 ? 400 : -1200);
    await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(resolve)));
  }
  const { traceEvents } = JSON.parse(await browser.stopTracing());
  const main = traceEvents.filter((e) => e.name === "thread_name" && e.args.name === "CrRendererMain").map((e) => `${e.pid}/${e.tid}`);
  const tasks = traceEvents.filter((e) => e.name === "RunTask" && e.ph === "X" && main.includes(`${e.pid}/${e.tid}`));
  // A task that only looks whether there is work says nothing of the work.
  const costs = tasks.map((task) => (task.tdur ?? task.dur) / 1000).filter((ms) => ms >= 0.5);
  assert(costs.length >= 60, `${costs.length} tasks in the trace`);
  return costs;
}

export function serverTests({ onPage, server, screenshots }) {
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
      await screenshots(page, "attempt");
      await page.getByTestId("rows").locator("input[type=checkbox]").nth(0).check();
      await page.getByTestId("rows").locator("input[type=checkbox]").nth(1).check();
      await page.getByTestId("compare").click();
      await poll(() => page.getByTestId("comparison").innerText(), (text) => /low_cpu_mem_usage/.test(text), "the load config that differs");
      await screenshots(page, "compared");
      assert(!/^\s*model\s/m.test(await page.getByTestId("comparison").innerText()), "what is the same stands in the comparison");
    })],

    ["ten thousand attempts are searched, sorted and scrolled", alone(onPage(async (page) => {
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
      const tasks = await scrollTasks(page);
      // What a row costs does not depend on the machine: what is clipped has a layer, and what is drawn and not seen costs as much.
      const [clipped, spare] = await page.getByTestId("rows").evaluate((list) => {
        const rows = [...list.querySelectorAll("[role=row]")];
        const clips = [...rows[0].querySelectorAll("*")].filter((one) => getComputedStyle(one).overflowX !== "visible");
        return [clips.length, rows.length - Math.ceil(list.clientHeight / rows[0].offsetHeight)];
      });
      assert(clipped <= 5 && spare <= 8, `${clipped} layers in a row, ${spare} rows that are not seen`);
      const most = percentile(tasks, 0.95);
      console.log(`     scrolling: ${tasks.length} tasks, median ${percentile(tasks, 0.5).toFixed(1)} ms, p95 ${most.toFixed(1)} ms, longest ${Math.max(...tasks).toFixed(1)} ms of CPU`);
      assert(most <= GOALS.task_ms * SLACK, `p95 ${most} ms`);
      assert((await drawn()) <= 200, `${await drawn()} rows in the document after scrolling`);
      // What is seen at the end is what belongs there.
      const last = await page.getByTestId("rows").evaluate((list) => {
        list.scrollTop = list.scrollHeight;
        return new Promise((resolve) => setTimeout(() => resolve(Math.max(...[...list.querySelectorAll("[role=row]")].map((row) => Number(row.ariaRowIndex ?? row.getAttribute("aria-rowindex"))))), 200));
      });
      assert(last === MANY + 1, `the last row is ${last} of ${MANY + 1}`);
      await poll(() => page.getByTestId("rows").getByText(`#${MANY}`, { exact: true }).count(), (n) => n === 1, "the newest at the end");
    }))],

    ["columns are kept, search and order stand in the address", onPage(async (page) => {
      await withMany(page);
      await go(page, "attempts");
      const head = () => page.getByRole("columnheader").allInnerTexts();
      await page.getByTestId("columns").locator("summary").click();
      await page.getByTestId("columns").locator('[data-column="device"]').check();
      // Its word, not its box: the menu stays, and the page with it.
      await page.getByTestId("columns").locator("label", { has: page.locator('[data-column="note"]') }).click({ position: { x: 60, y: 8 } });
      assert(!(await page.getByTestId("columns").locator('[data-column="note"]').isChecked()), "the word of a column is its box");
      await page.getByTestId("columns").locator("summary").click();
      await page.getByTestId("attempts-search").fill("model-3");
      await page.getByTestId("attempts-state").selectOption("failed");
      await page.getByRole("columnheader", { name: "Lasted" }).getByRole("button").click();
      await poll(() => decodeURIComponent(page.url()), (url) => ["model-3", "failed", "duration"].every((said) => url.includes(said)), "search, filter and order in the address");
      await page.reload();
      await poll(() => page.getByTestId("attempts").getAttribute("data-count"), (n) => Number(n) === MANY, "all attempts");
      assert((await page.getByTestId("attempts-search").inputValue()) === "model-3", "the search is gone after a reload");
      assert((await page.getByTestId("attempts-state").inputValue()) === "failed", "the filter is gone after a reload");
      assert((await page.getByRole("columnheader", { name: "Lasted" }).getAttribute("aria-sort")) === "ascending", "the order is gone after a reload");
      const fonts = await page.getByRole("columnheader").locator("button").evaluateAll((all) => new Set(all.map((one) => getComputedStyle(one).fontFamily)).size);
      assert(fonts === 1, `headings in ${fonts} fonts`);
      const heads = await head();
      assert(heads.some((t) => /Device/.test(t)) && !heads.some((t) => /Note/.test(t)), `columns after a reload: ${heads}`);
      const models = await page.getByTestId("rows").locator("[role=row]").allInnerTexts();
      assert(models.length > 5 && models.every((row) => /model-3/.test(row) && /failed/.test(row)), models.slice(0, 3).join("; "));
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
