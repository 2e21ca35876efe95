// What the tests stand on: programs started and stopped, a browser, pages that report every error.

import { spawn } from "node:child_process";
import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { extname, join, normalize } from "node:path";
import { chromium } from "playwright-core";

export const WAIT_MS = 20_000;
const VIEWPORT = { width: 1280, height: 900 };
/// A test that takes longer hangs: it fails by name, and the others go on.
const TEST_MS = Number(process.env.E2E_TEST_MS ?? 300_000);

/// Starts `preflight serve`, on a free port unless one is given; resolves once it says where it listens.
export function startServer(binary, args, listen = "127.0.0.1:0") {
  const child = spawn(binary, ["serve", "--listen", listen, ...args], { stdio: ["ignore", "pipe", "pipe"] });
  let said = "";
  const stop = () =>
    new Promise((resolve) => {
      if (child.exitCode !== null || child.signalCode !== null) return resolve(child.exitCode);
      const hard = setTimeout(() => child.kill("SIGKILL"), 10_000);
      child.once("exit", (code) => (clearTimeout(hard), resolve(code)));
      child.kill("SIGTERM");
    });
  // As a machine does that has no memory left.
  const kill = () => new Promise((resolve) => (child.once("exit", resolve), child.kill("SIGKILL")));
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => (child.kill("SIGKILL"), reject(new Error(`server: silent for 30 s: ${said}`))), 30_000);
    const listen = (chunk) => {
      said += chunk;
      const url = said.match(/listening on (http:\/\/\S+)/)?.[1];
      if (url) (clearTimeout(late), resolve({ url: url.replace(/\/$/, ""), stop, kill, log: () => said }));
    };
    child.stdout.on("data", listen);
    child.stderr.on("data", listen);
    child.once("exit", (code) => (clearTimeout(late), reject(new Error(`server: ended with ${code}: ${said}`))));
  });
}

const TYPES = { ".html": "text/html", ".js": "text/javascript", ".wasm": "application/wasm", ".css": "text/css", ".svg": "image/svg+xml", ".json": "application/json" };

/// Any static host: files as they lie or as `change` makes them, 404 for the rest.
export async function startStaticHost(folder, { headers = {}, change = (_path, body) => body } = {}) {
  const host = createServer(async (request, response) => {
    const path = normalize(new URL(request.url, "http://x").pathname);
    try {
      const body = await readFile(join(folder, path.endsWith("/") ? `${path}index.html` : path));
      response.writeHead(200, { "content-type": TYPES[extname(path)] ?? "text/html", ...headers }).end(change(path, body));
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise((resolve) => host.listen(0, "127.0.0.1", resolve));
  return { url: `http://127.0.0.1:${host.address().port}`, stop: () => new Promise((resolve) => host.close(resolve)) };
}

/// With a GPU that is played by the processor, or without any. With a `profile` what it returns is a context, and what pages
/// store there stays in that folder.
export function launchBrowser(executablePath, { gpu = false, profile } = {}) {
  const graphics = gpu ? ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"] : ["--disable-gpu"];
  const args = [...graphics, "--disable-quic", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
  const options = { executablePath, headless: true, chromiumSandbox: false, args };
  return profile ? chromium.launchPersistentContext(profile, { ...options, viewport: VIEWPORT }) : chromium.launch(options);
}

/// A page of its own context, loaded and computing; `page.problems` gathers what the console complains of.
export async function openPage(browser, url, options = {}, onRequest = () => {}) {
  return openIn(await browser.newContext({ viewport: VIEWPORT, ...options }), url, onRequest);
}

/// The same of a context that is there.
export async function openIn(context, url, onRequest = () => {}) {
  const page = await context.newPage();
  page.setDefaultTimeout(WAIT_MS);
  page.on("request", onRequest);
  page.problems = [];
  page.on("pageerror", (error) => page.problems.push(`page error: ${error.message}`));
  page.on("console", (message) => {
    // Without a GPU the browser warns of the adapter that the page asks for.
    if (/WebGPU|GPUAdapter|available adapters/i.test(message.text())) return;
    if (["error", "warning"].includes(message.type())) page.problems.push(`console: ${message.text()} (${message.location().url})`);
  });
  await page.goto(url);
  await page.getByTestId("params-total").waitFor();
  return page;
}

/// The exact integer behind a number on the page.
export async function value(page, testid) {
  return Number(await page.getByTestId(testid).first().getAttribute("data-value"));
}

/// Waits until an exact integer stands on the page.
export async function expectValue(page, testid, expected) {
  await poll(() => value(page, testid), (found) => found === expected, `${testid} = ${expected}`);
}

export async function poll(read, good, what, timeout = WAIT_MS) {
  const end = Date.now() + timeout;
  let found;
  do {
    found = await read();
    if (good(found)) return found;
    await new Promise((resolve) => setTimeout(resolve, 25));
  } while (Date.now() < end);
  throw new Error(`expected ${what}, found ${JSON.stringify(found)}`);
}

/// The address is written so long after a change, by the page's own clock: on a busy machine it goes slower than ours.
export const settled = (page) => page.evaluate(() => new Promise((done) => setTimeout(done, 500)));

export function assert(condition, message) {
  if (!condition) throw new Error(message);
}

/// For a page that reads what it copied.
export const CLIPBOARD = { permissions: ["clipboard-read", "clipboard-write"] };
let clipboard = Promise.resolve();
/// The clipboard is the browser's, whatever the page: one test at a time has it.
export const withClipboard = (test) => {
  const turn = clipboard.then(test);
  clipboard = turn.catch(() => {});
  return turn;
};

/// Shares nothing with other tests but the machine: it may run beside any of them.
export const free = (test) => Object.assign(test, { lane: "free" });
/// Measures time: it runs when nothing else does.
export const alone = (test) => Object.assign(test, { lane: "alone" });

/// Runs tests, `[name, test]`, three at a time, since most of each is waiting: those that share the server one after the other,
/// beside them two of those that are free, then those that are alone. The closing line is the tally that `./dev test` adds up.
export async function runAll(tests) {
  let failed = 0;
  const run = async ([name, test]) => {
    const start = Date.now();
    let timer;
    const late = new Promise((_, reject) => (timer = setTimeout(() => reject(new Error(`it did not end within ${TEST_MS / 1000} s`)), TEST_MS)));
    try {
      await Promise.race([test(), late]);
      console.log(`ok   ${name} (${Date.now() - start} ms)`);
    } catch (error) {
      failed += 1;
      console.log(`FAIL ${name} (${Date.now() - start} ms)\n     ${String(error.stack ?? error).replaceAll("\n", "\n     ")}`);
    } finally {
      clearTimeout(timer);
    }
  };
  const of = (lane) => tests.filter(([, test]) => test.lane === lane);
  const drain = async (queue) => {
    for (let next; (next = queue.shift()); ) await run(next);
  };
  // The longest are the last of the list: they begin.
  const whenever = of("free").reverse();
  await Promise.all([drain(of(undefined)).then(() => drain(whenever)), drain(whenever), drain(whenever)]);
  await drain(of("alone"));
  console.log(`${tests.length - failed} passed, ${failed} failed`);
  return failed;
}
