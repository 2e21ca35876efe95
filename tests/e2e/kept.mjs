// Models that a browser keeps: copied, there after it was closed, run from there, verified, removed; and all that can go wrong.

import { createHash } from "node:crypto";
import { closeSync, cpSync, existsSync, ftruncateSync, openSync, readFileSync, readdirSync, writeSync } from "node:fs";
import { basename, join } from "node:path";
import { RUN_MS, askForGolden, error, runsStill, saved, verdict } from "./engine.mjs";
import { sameIds } from "./engines.mjs";
import { assert, free, launchBrowser, openIn, poll } from "./harness.mjs";
import { accessibility, go } from "./pages.mjs";
import { residentBytes } from "./worker.mjs";

const MIB = 2 ** 20;
const TINY = "public/tiny";
/// What a run reads, and so what is kept.
const FILES = readdirSync(TINY).filter((name) => /\.(json|safetensors)$/.test(name));
const WEIGHTS = "model.safetensors";

/// Everything in the page's own file system: bytes of files; of directories, which end in a slash, nothing.
const stored = (page) =>
  page.evaluate(async () => {
    const walk = async (folder, path) => {
      const found = {};
      for await (const [name, handle] of folder.entries()) {
        try {
          if (handle.kind === "file") found[path + name] = (await handle.getFile()).size;
          else Object.assign(found, { [`${path}${name}/`]: 0 }, await walk(handle, `${path}${name}/`));
        } catch (error) {
          // Removed since it was listed.
          if (error.name !== "NotFoundError") throw error;
        }
      }
      return found;
    };
    return walk(await navigator.storage.getDirectory(), "");
  });

/// Nothing of a model is there.
async function nothingStored(page, after) {
  await poll(() => stored(page), (found) => Object.keys(found).filter((path) => path !== "preflight-models/").length === 0, `nothing in storage after ${after}`);
}

/// Changes a kept file behind the page's back: bytes at a position, or its length.
const spoil = (page, name, change) =>
  page.evaluate(async ({ name, change }) => {
    const models = await (await navigator.storage.getDirectory()).getDirectoryHandle("preflight-models");
    for await (const folder of models.values()) {
      const file = await (await folder.getFileHandle(name)).createWritable({ keepExistingData: true });
      await file.write(change);
      await file.close();
    }
  }, { name, change });

/// Has the browser refuse whatever goes beyond so many bytes.
async function limit(page, host, quotaSize) {
  const session = await page.context().newCDPSession(page);
  await session.send("Storage.overrideQuotaForOrigin", { origin: new URL(host.url).origin, quotaSize });
}

const usage = (page) => page.evaluate(async () => (await navigator.storage.estimate()).usage);
const stage = (page) => page.getByTestId("kept-stage").innerText();
const idle = (page) => poll(() => page.getByTestId("kept-job").getAttribute("data-busy"), (busy) => busy === "false", "an end of the copy", RUN_MS);
const options = (page) => page.getByTestId("validate-model").locator("option").evaluateAll((all) => all.map((option) => [option.value, option.textContent]));
const keptKey = async (page) => (await options(page)).map(([key]) => key).find((key) => key.startsWith("kept:"));

/// A folder with the model that comes with the page, and with weights of so many bytes more where asked.
function folder(scratch, name, more = 0) {
  const path = join(scratch, name);
  cpSync(TINY, path, { recursive: true });
  if (more) {
    const header = JSON.stringify({ "model.norm.weight": { dtype: "F32", shape: [more / 4], data_offsets: [0, more] } });
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(header.length));
    const file = openSync(join(path, WEIGHTS), "w");
    writeSync(file, Buffer.concat([length, Buffer.from(header)]));
    // Zeros that take no room on the disk.
    ftruncateSync(file, 8 + header.length + more);
    closeSync(file);
  }
  return path;
}

async function choose(page, path, canKeep = true) {
  await go(page, "validate");
  await page.getByTestId("validate-folder").setInputFiles(path);
  const name = basename(path);
  await poll(() => options(page), (all) => all.some(([key, words]) => key === "chosen" && words.startsWith(name)), `${name} in the list`);
  await poll(() => page.getByTestId("validate-model").inputValue(), (key) => key === "chosen", "the files to be chosen");
  if (canKeep) await poll(() => page.getByTestId("keep").isEnabled(), Boolean, "the button to keep them");
}

async function keep(page, path) {
  await choose(page, path);
  await page.getByTestId("keep").click();
  await idle(page);
}

async function keptError(page) {
  const found = page.getByTestId("kept-error");
  await found.waitFor({ timeout: RUN_MS });
  return { code: await found.getAttribute("data-code"), words: await found.innerText() };
}

/// A copy has begun, and goes on.
const copying = (page) => poll(() => page.getByTestId("kept-progress").innerText().catch(() => ""), (text) => / of /.test(text), "progress of a copy", RUN_MS);

export function keptTests({ onPage, withoutServer, chromiumPath, host, scratch, screenshots }) {
  /// A browser with a folder of its own on the disk, started anew for each of the steps.
  const withProfile = async (name, ...steps) => {
    for (const step of steps) {
      const context = await launchBrowser(chromiumPath, { profile: join(scratch, name) });
      try {
        const requests = [];
        const page = await openIn(context, host.url, (request) => requests.push(request.url()));
        await step(page, requests);
        const problems = page.problems.filter((problem) => !withoutServer.tolerated(problem));
        assert(problems.length === 0, problems.join("\n"));
      } finally {
        await context.close();
      }
    }
  };

  return [
    ["a model that is kept is there when the browser is started again, and says the same as the files that it came from", free(async () => {
      const path = folder(scratch, "little-model");
      let chosen;
      await withProfile("profile", async (page) => {
        await keep(page, path);
        assert(/is kept/.test(await stage(page)), await stage(page));
        await askForGolden(page, 24);
        await page.getByTestId("validate").click();
        assert((await verdict(page, "cpu")).value === "pass", "the chosen files do not pass");
        chosen = JSON.parse((await saved(page, "save-json")).text).reports[0];
        const found = await stored(page);
        const at = Object.keys(found).find((name) => name.endsWith("/preflight-kept.json")).replace("preflight-kept.json", "");
        assert(FILES.every((name) => found[at + name] === readFileSync(join(TINY, name)).length), JSON.stringify(found));
        assert(!(`${at}README.md` in found), "what no run reads was copied");
        const manifest = await page.evaluate(async (path) => {
          let folder = await navigator.storage.getDirectory();
          for (const name of path.split("/").slice(0, -1)) folder = await folder.getDirectoryHandle(name);
          return JSON.parse(await (await (await folder.getFileHandle("preflight-kept.json")).getFile()).text());
        }, at);
        assert(manifest.name === "little-model" && manifest.files.length === FILES.length, JSON.stringify(manifest));
        for (const { name, sha256 } of manifest.files) {
          assert(sha256 === createHash("sha256").update(readFileSync(join(TINY, name))).digest("hex"), `${name}: ${sha256}`);
        }
        const grave = await accessibility(page);
        assert(grave.length === 0, grave.join("\n"));
        await screenshots(page, "kept");
      }, async (page, requests) => {
        await go(page, "validate");
        const key = await poll(() => keptKey(page), Boolean, "the kept model in the list");
        await page.getByTestId("validate-model").selectOption(key);
        await askForGolden(page, 24);
        requests.length = 0;
        await page.getByTestId("validate").click();
        assert((await verdict(page, "cpu")).value === "pass", "the kept files do not pass");
        const { model, reports: [report] } = JSON.parse((await saved(page, "save-json")).text);
        assert(model === "little-model", model);
        sameIds(report, 24);
        assert(report.generated_tokens.join() === chosen.generated_tokens.join(), "other ids than of the files that were chosen");
        const fetched = requests.filter((url) => !/\/(engine|snippets)/.test(url));
        assert(fetched.length === 0, `fetched for a model that is kept: ${fetched}`);
        // Read as chosen files are: the peak is the same.
        const [a, b] = [chosen, report].map((one) => one.memory.measured.total_bytes);
        console.log(`     memory measured: ${(a / MIB).toFixed(1)} MiB with chosen files, ${(b / MIB).toFixed(1)} MiB with kept ones`);
        assert(b < a + 2 * MIB, `${b} bytes where chosen files took ${a}`);
        await page.getByTestId("kept-verify").click();
        await idle(page);
        assert(/every SHA-256 is the same/.test(await stage(page)), await stage(page));
        // A second one that finds no room on the disk leaves the first as it is.
        const before = await stored(page);
        await limit(page, host, (await usage(page)) + MIB);
        await keep(page, folder(scratch, "one-more"));
        const full = await keptError(page);
        assert(full.code === "quota_exceeded", full.words);
        await poll(() => stored(page), (found) => JSON.stringify(found) === JSON.stringify(before), "what was there before");
      });
    })],

    ["a model that does not fit is refused before a byte is copied, and one that fills the storage on the way leaves nothing", onPage(async (page) => {
      const path = folder(scratch, "too-much");
      await page.evaluate(() => {
        const { estimate } = StorageManager.prototype;
        StorageManager.prototype.estimate = async () => ({ usage: 2 ** 20, quota: 2 ** 21 });
        window.honest = () => (StorageManager.prototype.estimate = estimate);
      });
      await keep(page, path);
      const early = await keptError(page);
      assert(early.code === "quota_exceeded" && /needs 3\.\d+ MiB/.test(early.words) && /grants this page 1\.00 MiB more/.test(early.words), early.words);
      await nothingStored(page, "a refusal");
      // Chromium itself promises more than it has, and in a context like this one tells of it in its own way.
      await page.evaluate(() => void window.honest());
      await limit(page, host, 2 * MIB);
      await page.getByTestId("keep").click();
      await idle(page);
      const late = await keptError(page);
      assert(late.code === "quota_exceeded" && /granted no more room after .* of 3\.\d+ MiB/.test(late.words), late.words);
      assert(/Remove a model/.test(late.words), late.words);
      await nothingStored(page, "a copy that filled the storage");
      await poll(() => page.workers().length, (count) => count === 0, "no worker");
      await runsStill(page);
      await limit(page, host, 64 * MIB);
      await page.getByTestId("validate-model").selectOption("chosen");
      await page.getByTestId("keep").click();
      await idle(page);
      assert(/is kept/.test(await stage(page)), await stage(page));
    }, withoutServer)],

    ["a copy that is cancelled or whose tab is closed leaves nothing; two tabs do not copy at once", onPage(async (page) => {
      const other = await openIn(page.context(), host.url);
      // Another tab that copies holds this.
      await other.evaluate(() => void navigator.locks.request("preflight-kept", () => new Promise(() => {})));
      await page.bringToFront();
      await keep(page, folder(scratch, "meanwhile"));
      const busy = await keptError(page);
      assert(busy.code === "busy" && /another tab/.test(busy.words), busy.words);
      await other.reload();
      await choose(page, folder(scratch, "large", 1024 * MIB));
      await page.getByTestId("keep").click();
      await copying(page);
      await page.getByTestId("kept-cancel").click();
      await idle(page);
      assert(/Cancelled: nothing of large stays/.test(await stage(page)), await stage(page));
      await nothingStored(page, "a copy that was cancelled");
      assert((await keptKey(page)) === undefined, "half a copy is in the list");
      await poll(() => page.workers().length, (count) => count === 0, "no worker");
      await page.getByTestId("keep").click();
      await copying(page);
      await poll(() => stored(page), (half) => Object.keys(half).some((path) => path.endsWith(WEIGHTS)), "weights that are being written");
      await page.close();
      await other.bringToFront();
      await go(other, "validate");
      await nothingStored(other, "a tab that was closed");
      assert((await keptKey(other)) === undefined, "half a copy is in the list");
    }, withoutServer)],

    ["a kept file that is spoilt is named and refused; what is removed gives its bytes back", onPage(async (page) => {
      await go(page, "validate");
      const empty = await usage(page);
      await keep(page, folder(scratch, "spoilt"));
      const full = await usage(page);
      assert(full - empty > 3 * MIB, `${full - empty} bytes more`);
      await spoil(page, WEIGHTS, { type: "write", position: 2_000_000, data: "x" });
      await page.getByTestId("kept-verify").click();
      const changed = await keptError(page);
      assert(changed.code === "kept_corrupt" && /model\.safetensors/.test(changed.words) && /SHA-256/.test(changed.words), changed.words);
      await idle(page);
      await spoil(page, "config.json", { type: "truncate", size: 7 });
      await page.getByTestId("validate-model").selectOption(await keptKey(page));
      await page.getByTestId("validate").click();
      const cut = await error(page);
      assert(cut.code === "kept_corrupt" && /config\.json/.test(cut.words) && /7 bytes/.test(cut.words), cut.words);
      await page.getByTestId("kept-remove").click();
      await poll(() => page.getByTestId("kept-said").innerText(), (text) => /spoilt was removed: 3\.\d+ MiB are free again/.test(text), "word of the removal");
      await nothingStored(page, "a removal");
      await poll(() => usage(page), (bytes) => bytes < empty + MIB, "the bytes back");
      await poll(async () => Number(await page.getByTestId("kept-space").getAttribute("data-value")), (bytes) => bytes < empty + MIB, "the bytes back, shown");
      assert((await keptKey(page)) === undefined, "what was removed is in the list");
      await runsStill(page);
    }, withoutServer)],

    ["where a browser keeps nothing the button says why", onPage(async (page) => {
      const closed = [
        [/refuses storage.*private windows/, () => (StorageManager.prototype.getDirectory = () => Promise.reject(new DOMException("not here", "SecurityError")))],
        [/has no storage/, () => delete StorageManager.prototype.getDirectory],
        [/only to pages that come over https/, () => {
          Object.defineProperty(Navigator.prototype, "storage", { get: () => undefined });
          Object.defineProperty(window, "isSecureContext", { value: false });
        }],
      ];
      for (const [said, script] of closed) {
        await page.addInitScript(script);
        await page.reload();
        await choose(page, folder(scratch, "unkept"), false);
        await poll(() => page.getByTestId("keep-why").innerText(), (text) => said.test(text), `a reason like ${said}`);
        assert(await page.getByTestId("keep").isDisabled(), "the button can be pressed");
      }
    }, withoutServer)],

    ["a copy holds pieces of a file, never the file", free(async () => {
      if (!existsSync("/proc/self/status")) return console.log("     LEFT OUT: resident memory is read from Linux");
      const size = 512 * MIB;
      await withProfile("profile-large", async (page) => {
        await choose(page, folder(scratch, "half-a-gibibyte", size));
        const resident = () => residentBytes(join(scratch, "profile-large"));
        const before = resident();
        const start = Date.now();
        await page.getByTestId("keep").click();
        let most = 0;
        await poll(async () => {
          most = Math.max(most, resident());
          return page.getByTestId("kept-job").getAttribute("data-busy");
        }, (busy) => busy === "false", "an end of the copy", RUN_MS);
        const seconds = (Date.now() - start) / 1000;
        assert(/is kept/.test(await stage(page)), await stage(page));
        console.log(`     ${size / MIB} MiB in ${seconds.toFixed(1)} s, ${(size / MIB / seconds).toFixed(0)} MiB/s with the start of the engine; renderers grew by at most ${((most - before) / MIB).toFixed(0)} MiB`);
        assert(most - before < size / 2, `${((most - before) / MIB).toFixed(0)} MiB more`);
        const again = Date.now();
        await page.getByTestId("kept-verify").click();
        await idle(page);
        assert(/every SHA-256 is the same/.test(await stage(page)), await stage(page));
        console.log(`     verified in ${((Date.now() - again) / 1000).toFixed(1)} s`);
      });
    })],
  ];
}
