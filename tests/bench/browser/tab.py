"""The engines of the page in headless Chromium on a machine that may have nothing but Python.

    python3 tab.py DIST CHROMIUM CONFIG.json CASE...

DIST is the built dashboard, CHROMIUM a headless Chromium or a script that starts one, CONFIG a model whose weights are
made up in the tab. A CASE is DEVICE:DTYPE:PROMPT:NEW, as `wgpu:0:q4_0:10:128`: a load of its own, a prompt of so many ids,
then so many new ones, six times: the medians of the last five, and how far they lie apart. `cpu*4` is the processor with
four threads. $TAB_FLAGS are further flags for Chromium.
"""

import functools
import http.server
import json
import os
import queue
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

DIST, CHROMIUM, CONFIG, CASES = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:]
# A load makes up and quantises every weight on one thread.
PATIENCE_S = 280
REPEATS = 5
FLAGS = [
    "--headless", "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--remote-debugging-port=0", "--enable-unsafe-webgpu",
    *os.environ.get("TAB_FLAGS", "--enable-features=Vulkan --use-angle=vulkan --disable-vulkan-surface").split(),
]
PAGE = b"""<!doctype html><script type="module">
const said = (what) => fetch("/said", { method: "POST", body: JSON.stringify(what) });
const { run } = await (await fetch("/asked")).json();
const worker = new Worker("engine-start.js", { type: "module" });
worker.onerror = (event) => said({ type: "failed", error: { message: event.message } });
worker.onmessage = ({ data }) => (data === "ready" ? worker.postMessage({ run: JSON.stringify(run), files: [] }) : said(JSON.parse(data)));
</script>"""


class Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    extensions_map = {**http.server.SimpleHTTPRequestHandler.extensions_map, ".wasm": "application/wasm"}
    asked, said = {}, queue.Queue()

    def log_message(self, *_):
        pass

    def answer(self, kind, body):
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def end_headers(self):
        # Threads share memory only where no other site's page is near.
        self.send_header("cross-origin-opener-policy", "same-origin")
        self.send_header("cross-origin-embedder-policy", "require-corp")
        super().end_headers()

    def do_GET(self):
        if self.path == "/bench":
            self.answer("text/html", PAGE)
        elif self.path == "/asked":
            self.answer("application/json", json.dumps(self.asked).encode())
        else:
            super().do_GET()

    def do_POST(self):
        self.said.put(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        self.answer("text/plain", b"")


def measured(url, device, dtype, prompt, new):
    """The reports of one load in a browser of its own, first to last."""
    device, _, threads = device.partition("*")
    source = {"type": "made_up", "config": open(CONFIG).read(), "prompt_tokens": prompt}
    Handler.asked = {"run": {"devices": [device], "source": source, "dtype": dtype, "prompt": None, "max_new_tokens": new, "skip_reference": True, "threads": int(threads or 1), "repeats": REPEATS}}
    Handler.said.queue.clear()
    with tempfile.TemporaryDirectory() as profile, open(os.path.join(tempfile.gettempdir(), "chromium.log"), "a") as log:
        # A script that starts it may stay between: all of them end together.
        browser = subprocess.Popen([CHROMIUM, *FLAGS, f"--user-data-dir={profile}", url], stderr=log, start_new_session=True)
        try:
            reports, end = [], time.monotonic() + PATIENCE_S
            while time.monotonic() < end:
                try:
                    event = Handler.said.get(timeout=1)
                except queue.Empty:
                    if browser.poll() is not None:
                        sys.exit(f"Chromium ended with {browser.returncode}: see {log.name}")
                    continue
                if event["type"] == "failed":
                    sys.exit(f"{device} {dtype}: {event['error']}")
                if event["type"] == "report":
                    reports.append(event["report"])
                if event["type"] == "finished":
                    return reports
            sys.exit(f"{device} {dtype}: nothing after {PATIENCE_S} s")
        finally:
            os.killpg(browser.pid, signal.SIGTERM)
            browser.wait()


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=DIST))
# A browser that is ended leaves its connections.
server.handle_error = lambda *_: None
threading.Thread(target=server.serve_forever, daemon=True).start()
print("| device | weights | prompt, new | decode, tokens/s | prefill, tokens/s | first token, ms | load, s |\n|---|---|---|---|---|---|---|", flush=True)
facts = None
for case in CASES:
    device, dtype, prompt, new = case.rsplit(":", 3)
    reports = measured(f"http://127.0.0.1:{server.server_port}/bench", device, dtype, int(prompt), int(new))
    last = reports[-1]
    facts = last.get("facts")

    def middle(key, digits):
        values = [report[key] for report in reports[1:]]
        return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f}; first {reports[0][key]:.{digits}f})"

    print(
        f"| {device} | {dtype} | {len(last['prompt_tokens'])}, {len(last['generated_tokens'])} | {middle('decode_tokens_per_s', 1)} | "
        f"{middle('prefill_tokens_per_s', 0)} | {middle('ttft_ms', 1)} | {last['load_ms'] / 1e3:.1f} |",
        flush=True,
    )
    for report in reports:
        if report["nan_count"] or report["inf_count"] or report["verdict"] == "fail":
            sys.exit(f"{case}: {report['verdict']}: {report['reason']}")
        if report["generated_tokens"] != last["generated_tokens"]:
            sys.exit(f"{case}: a run said something else than the one before")
print(json.dumps(facts))
