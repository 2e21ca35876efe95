"""The engines of the page in headless Chromium on a machine that may have nothing but Python.

    python3 tab.py DIST CHROMIUM CONFIG.json CASE...

DIST is the built dashboard, CHROMIUM a headless Chromium or a script that starts one, CONFIG a model whose weights are
made up in the tab. A CASE is DEVICE:DTYPE:PROMPT:NEW, as `wgpu:0:q4_0:10:128`: a load of its own, a prompt of so many ids,
then so many new ones. $TAB_FLAGS are further flags for Chromium.
"""

import functools
import http.server
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time

DIST, CHROMIUM, CONFIG, CASES = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:]
# A load makes up and quantises every weight on one thread.
PATIENCE_S = 280
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
    """The report of one run in a browser of its own."""
    source = {"type": "made_up", "config": open(CONFIG).read(), "prompt_tokens": prompt}
    Handler.asked = {"run": {"devices": [device], "source": source, "dtype": dtype, "prompt": None, "max_new_tokens": new, "skip_reference": True}}
    Handler.said.queue.clear()
    with tempfile.TemporaryDirectory() as profile, open(os.path.join(tempfile.gettempdir(), "chromium.log"), "a") as log:
        browser = subprocess.Popen([CHROMIUM, *FLAGS, f"--user-data-dir={profile}", url], stderr=log)
        try:
            report, end = None, time.monotonic() + PATIENCE_S
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
                    report = event["report"]
                if event["type"] == "finished":
                    return report
            sys.exit(f"{device} {dtype}: nothing after {PATIENCE_S} s")
        finally:
            browser.terminate()
            browser.wait()


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=DIST))
threading.Thread(target=server.serve_forever, daemon=True).start()
print("| device | weights | prompt, new | decode, tokens/s | prefill, tokens/s | first token, ms | load, s |\n|---|---|---|---|---|---|---|", flush=True)
facts = None
for case in CASES:
    device, dtype, prompt, new = case.rsplit(":", 3)
    report = measured(f"http://127.0.0.1:{server.server_port}/bench", device, dtype, int(prompt), int(new))
    facts = report.get("facts")
    print(
        f"| {device} | {dtype} | {len(report['prompt_tokens'])}, {len(report['generated_tokens'])} | {report['decode_tokens_per_s']:.1f} | "
        f"{report['prefill_tokens_per_s']:.0f} | {report['ttft_ms']:.1f} | {report['load_ms'] / 1e3:.1f} |",
        flush=True,
    )
    if report["nan_count"] or report["inf_count"] or report["verdict"] == "fail":
        sys.exit(f"{case}: {report['verdict']}: {report['reason']}")
print(json.dumps(facts))
