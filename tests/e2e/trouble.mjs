// What goes wrong around the page: a browser that keeps nothing, a program that does not come, a server that is killed and
// comes back, another tab.

import { join } from "node:path";
import { assert, openIn, openPage, poll, startServer } from "./harness.mjs";
import { PAGES, go } from "./pages.mjs";

/// As a browser has it where a person blocks the data of a site.
const blocked = (storage) => `Object.defineProperty(window, "${storage}", { get() { throw new DOMException("denied", "SecurityError"); } });`;

export function troubleTests({ onPage, browser, host, server, withoutServer }) {
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
  ];
}
