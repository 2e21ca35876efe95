// The engines in their worker, as the tests and the benchmark ask them.

import { readFileSync } from "node:fs";
import { assert } from "./harness.mjs";

/// What Hugging Face says with the model in `public/tiny`.
export const GOLDEN = JSON.parse(readFileSync(new URL("../goldens/tiny.json", import.meta.url), "utf8"));

/// Runs in a worker of its own; every event until the last, and how long after the start the first token came. With
/// `rehearsal_ms` the run is rehearsed for so long before it starts.
export const ask = (page, run, files = [], rehearsal_ms = 0) =>
  page.evaluate(async ({ run, files, rehearsal_ms }) => {
    const posted = await Promise.all(files.map(async ({ name, base64 }) => new File([await (await fetch(`data:;base64,${base64}`)).blob()], name)));
    // Nothing is awaited from here on until somebody listens: the worker says once that it is ready.
    const worker = new Worker("engine-start.js", { type: "module" });
    let start = performance.now();
    const events = [];
    let first_ms;
    await new Promise((resolve) => {
      worker.onerror = (event) => resolve(events.push({ type: "failed", error: { code: "engine_stopped", message: event.message } }));
      worker.onmessage = ({ data }) => {
        const begin = () => worker.postMessage({ run: JSON.stringify(run), files: posted });
        if (data === "ready" && rehearsal_ms === 0) return begin();
        if (data === "ready") {
          worker.postMessage({ rehearse: JSON.stringify(run) });
          return setTimeout(() => ((start = performance.now()), begin()), rehearsal_ms);
        }
        const event = JSON.parse(data);
        events.push(event);
        if (event.type === "token") first_ms ??= performance.now() - start;
        if (["failed", "finished"].includes(event.type)) resolve();
      };
    });
    worker.terminate();
    return { events, first_ms };
  }, { run, files, rehearsal_ms });

/// The ids are Hugging Face's, up to a stop id, which the golden run goes over.
export function sameIds(report, count) {
  const found = report.generated_tokens;
  assert(report.prompt_tokens.join() === GOLDEN.prompt.ids.join(), "the prompt's ids are others");
  assert(found.join() === GOLDEN.greedy.ids.slice(0, found.length).join(), `${report.device}: ids ${found}`);
  assert(found.length === count || report.stop_reason === "stop", `${report.device}: ${found.length} ids`);
}

/// More in front of the start script: what a browser or a driver does meanwhile.
export const before = (page, script) =>
  page.route(/engine-start\.js/, async (route) => {
    const response = await route.fetch();
    await route.fulfill({ response, body: `${script}\n${await response.text()}` });
  });

/// Such a script: the device is lost after so many submissions.
export const lose = (submissions) => `{
  const request = GPUAdapter.prototype.requestDevice;
  GPUAdapter.prototype.requestDevice = async function (...given) {
    const device = await request.apply(this, given);
    const submit = device.queue.submit.bind(device.queue);
    let left = ${submissions};
    device.queue.submit = (list) => { submit(list); if (--left === 0) device.destroy(); };
    return device;
  };
}`;
