// What the page costs: paint, interaction, layout. Limits are three times the goal: CI shares its machine.

import { readFileSync, readdirSync } from "node:fs";
import { get } from "node:http";
import { join } from "node:path";
import { brotliDecompressSync } from "node:zlib";
import { alone, assert, free, openPage, poll } from "./harness.mjs";

export const SLACK = 3;
export const GOALS = { paint_ms: 1000, interactive_ms: 1500, slider_ms: 16, task_ms: 16 };

export const percentile = (values, share) => [...values].sort((a, b) => a - b)[Math.ceil(values.length * share) - 1];

export function speedTests({ browser, dist, host, server }) {
  return [
    ["programs lie compressed, and the server sends them as they lie", free(async () => {
      const programs = readdirSync(dist).filter((name) => name.endsWith(".wasm"));
      assert(programs.length === 3, `${programs}`);
      for (const name of programs) {
        const packed = readFileSync(join(dist, `${name}.br`));
        assert(brotliDecompressSync(packed).equals(readFileSync(join(dist, name))), `${name}.br is of another program`);
        const { headers } = await new Promise((resolve, reject) => {
          get(`${server.url}/${name}`, { headers: { "accept-encoding": "gzip, br" } }, (answer) => (answer.resume(), resolve(answer))).on("error", reject);
        });
        assert(headers["content-encoding"] === "br" && Number(headers["content-length"]) === packed.length, `${name}: ${JSON.stringify(headers)}`);
      }
    })],

    ["first paint and first answer come in time", alone(async () => {
      const asked = [];
      const page = await openPage(browser, host.url, {}, (request) => asked.push(new URL(request.url()).pathname));
      const later = asked.filter((path) => /\/(late|worker|engine)/.test(path));
      assert(later.length === 0, `a first visit fetches ${later}`);
      const paint = await page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0].startTime);
      const answer = await page.evaluate(() => performance.getEntriesByName("preflight-answer")[0]?.startTime ?? NaN);
      console.log(`     first paint ${paint.toFixed(0)} ms, first answer ${answer.toFixed(0)} ms`);
      assert(paint < GOALS.paint_ms * SLACK, `first paint after ${paint} ms`);
      assert(answer < GOALS.interactive_ms * SLACK, `first answer after ${answer} ms`);
      await page.context().close();
    })],

    ["a step of the slider is cheap", alone(async () => {
      const page = await openPage(browser, host.url);
      await page.getByTestId("device").selectOption("RTX 4090");
      await page.waitForTimeout(400);
      const costs = await page.getByTestId("context-slider").evaluate(async (slider) => {
        const costs = [];
        for (let i = 0; i < 80; i += 1) {
          const start = performance.now();
          slider.value = String(5 + (i % 30));
          slider.dispatchEvent(new Event("input", { bubbles: true }));
          // The page follows in microtasks; layout is forced, so that it counts.
          for (let turn = 0; turn < 8; turn += 1) await Promise.resolve();
          document.body.getBoundingClientRect();
          costs.push(performance.now() - start);
          await new Promise((resolve) => setTimeout(resolve, 10));
        }
        return costs.slice(10);
      });
      const [half, most] = [percentile(costs, 0.5), percentile(costs, 0.95)];
      console.log(`     slider: median ${half.toFixed(1)} ms, p95 ${most.toFixed(1)} ms`);
      assert(most <= GOALS.slider_ms * SLACK, `p95 ${most} ms`);
      await page.context().close();
    })],

    ["a slow network shows the frame first and nothing jumps", alone(async () => {
      const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
      const page = await context.newPage();
      const devtools = await context.newCDPSession(page);
      await devtools.send("Network.enable");
      await devtools.send("Network.emulateNetworkConditions", { offline: false, latency: 150, downloadThroughput: 200_000, uploadThroughput: 100_000 });
      await page.addInitScript(() => {
        window.shift = 0;
        new PerformanceObserver((list) => {
          for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shift += entry.value;
        }).observe({ type: "layout-shift", buffered: true });
      });
      await page.goto(host.url, { waitUntil: "commit" });
      await poll(() => page.locator("#boot .brand").count(), (n) => n === 1, "the frame before the program");
      await page.getByTestId("params-total").waitFor({ timeout: 60_000 });
      await page.waitForTimeout(500);
      const shift = await page.evaluate(() => window.shift);
      console.log(`     layout shift ${shift.toFixed(3)}`);
      assert(shift < 0.1, `layout shift ${shift}`);
      await context.close();
    })],
  ];
}
