"""Serves the models and the page, runs each case in a Chromium of its own, prints one table and writes results.json.

    python3 bench.py MODELS OUT_DIR CHROMIUM [--cases A,B] [--runs 5] [--new 128] [--prompts 10,512] [--budget 400] [--case-limit 150]

$TAB_FLAGS are Chromium's GPU flags (default: Vulkan), $CHROMIUM_LIBRARIES its LD_LIBRARY_PATH.
"""

import argparse
import functools
import http.server
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
FAST = {"validationMode": "disabled"}
# Name: (what the table says, case).
CASES = {
    "tjs": ("transformers.js, generate(), as published: all logits", dict(engine="tjs", build="asyncify", variant="plain")),
    "tjs-last": ("transformers.js, generate(), last logits only", dict(engine="tjs", build="asyncify", variant="last")),
    "ort": ("onnxruntime-web alone, JSPI, cache grows on the GPU", dict(engine="ort", build="jspi", variant="last", cache="grow", ep=FAST)),
    "ort-shared": ("onnxruntime-web alone, JSPI, one cache buffer", dict(engine="ort", build="jspi", variant="last", cache="shared", ep=FAST)),
    "tjs-jspi": ("transformers.js, generate(), last logits, ORT's JSPI build, no validation", dict(engine="tjs", build="jspi", variant="last", ep=FAST)),
    "ort-a0": ("onnxruntime-web alone, JSPI, cache grows, accuracy_level 0", dict(engine="ort", build="jspi", variant="last-a0", cache="grow", ep=FAST)),
    "ort-captured": ("onnxruntime-web alone, JSPI, one cache buffer, graph capture", dict(engine="ort", build="jspi", variant="graph", cache="captured", ep=FAST)),
}
p = argparse.ArgumentParser()
p.add_argument("models")
p.add_argument("out")
p.add_argument("chromium")
p.add_argument("--cases", default=",".join(CASES))
p.add_argument("--runs", type=int, default=5)
p.add_argument("--new", type=int, default=128)
p.add_argument("--prompts", default="10,512")
p.add_argument("--capacity", type=int, default=640)
p.add_argument("--budget", type=float, default=400, help="seconds for all cases; those that come too late are left out")
p.add_argument("--extra", default="{}", help="JSON laid over every case")
p.add_argument("--case-limit", type=float, default=150)
o = p.parse_args()
FLAGS = [
    "--headless", "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--remote-debugging-port=0", "--enable-unsafe-webgpu",
    *os.environ.get("TAB_FLAGS", "--enable-features=Vulkan --use-angle=vulkan --disable-vulkan-surface").split(),
]
PAGE = """<!doctype html><meta charset="utf-8"><script type="importmap">%s</script>
<script>window.CASE = %s; window.onerror = (m, f, l) => fetch("/said", { method: "POST", body: JSON.stringify({ failed: `${m} (${f}:${l})` }) });</script>
<script type="module" src="/bench.js"></script>"""


class Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    extensions_map = {**http.server.SimpleHTTPRequestHandler.extensions_map, ".wasm": "application/wasm", ".mjs": "text/javascript", ".js": "text/javascript"}
    case, said, sent = {}, queue.Queue(), 0

    def log_message(self, *_):
        pass

    def end_headers(self):
        self.send_header("cross-origin-opener-policy", "same-origin")
        self.send_header("cross-origin-embedder-policy", "require-corp")
        self.send_header("cross-origin-resource-policy", "same-origin")
        self.send_header("cache-control", "no-store")
        super().end_headers()

    def answer(self, kind, body, status=200):
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def translate_path(self, path):
        path = path.split("?")[0]
        if path.startswith("/models/"):
            return os.path.join(o.models, os.path.normpath(path[len("/models/"):]).lstrip("/."))
        return os.path.join(HERE, os.path.normpath(path).lstrip("/."))

    def do_GET(self):
        path = self.path.split("?")[0]
        if path == "/bench":
            bundle = {"asyncify": "ort.webgpu.bundle.min.mjs", "jspi": "ort.jspi.bundle.min.mjs"}[self.case["build"]]
            imports = {"onnxruntime-web/webgpu": f"/page/ort/{bundle}", "onnxruntime-common": f"/page/ort/{bundle}", "@huggingface/transformers": "/page/transformers.web.min.js"}
            return self.answer("text/html", (PAGE % (json.dumps({"imports": imports}), json.dumps(self.case))).encode())
        try:
            handle = open(self.translate_path(self.path), "rb")
        except OSError:
            return self.answer("text/plain", b"not found", 404)
        with handle:
            size = os.fstat(handle.fileno()).st_size
            start, end, wanted = 0, size - 1, self.headers.get("range", "")
            if wanted.startswith("bytes=") and size:
                first, _, last = wanted[6:].partition("-")
                start, end = (int(first), min(int(last), size - 1) if last else size - 1) if first else (size - int(last), size - 1)
                self.send_response(206)
                self.send_header("content-range", f"bytes {start}-{end}/{size}")
            else:
                self.send_response(200)
            self.send_header("content-type", self.guess_type(path))
            self.send_header("content-length", str(end - start + 1))
            self.send_header("accept-ranges", "bytes")
            self.end_headers()
            self.wfile.flush()
            if end >= start:
                self.connection.sendfile(handle, start, end - start + 1)

    def do_POST(self):
        self.said.put(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        self.answer("text/plain", b"")


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *_):
        """A browser that is ended resets its connections."""


def end_group(browser):
    for how in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(browser.pid, how)
        except ProcessLookupError:
            break
        for _ in range(50):
            browser.poll()
            try:
                os.killpg(browser.pid, 0)
            except ProcessLookupError:
                break
            time.sleep(0.1)
    browser.wait()


def measured(url, case, limit):
    Handler.case = case
    Handler.said.queue.clear()
    profile = tempfile.mkdtemp()
    with open(os.path.join(o.out, "chromium.log"), "a") as log:
        environment = {**os.environ, "HOME": profile}
        if os.environ.get("CHROMIUM_LIBRARIES"):
            environment["LD_LIBRARY_PATH"] = os.environ["CHROMIUM_LIBRARIES"]
        browser = subprocess.Popen([o.chromium, *FLAGS, f"--user-data-dir={profile}", url], stdout=log, stderr=log, env=environment, start_new_session=True)
        try:
            end = time.monotonic() + limit
            while time.monotonic() < end:
                try:
                    event = Handler.said.get(timeout=1)
                except queue.Empty:
                    if browser.poll() is not None:
                        return {"failed": f"Chromium ended with {browser.returncode}: see chromium.log"}
                    continue
                if "progress" in event:
                    print(f"    {event['progress']}", file=sys.stderr, flush=True)
                else:
                    return event.get("result") or event
            return {"failed": f"nothing after {limit:.0f} s"}
        finally:
            # CHROMIUM may be a script that starts one: the whole group has to go, or browsers go on computing beside the next case.
            end_group(browser)
            shutil.rmtree(profile, ignore_errors=True)


def main():
    os.makedirs(o.out, exist_ok=True)
    began = time.monotonic()
    server = Server(("127.0.0.1", 0), functools.partial(Handler, directory=HERE))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    config = json.load(open(os.path.join(o.models, "plain", "config.json")))
    dtype = config["transformers.js_config"]["dtype"]
    base = dict(
        dtype=dtype, act="f16" if dtype == "q4f16" else "f32", vocab=config["vocab_size"], layers=config["num_hidden_layers"], kv_heads=config["num_key_value_heads"],
        head_dim=config["head_dim"], capacity=o.capacity, runs=o.runs, new_tokens=o.new, prompts=[int(n) for n in o.prompts.split(",")],
        data=sorted((f for f in os.listdir(os.path.join(o.models, "data")) if f.startswith(f"model_{dtype}.")), key=lambda f: (len(f), f)),
    )
    results, rows = {}, []
    for name in o.cases.split(","):
        what, case = CASES[name]
        left = o.budget - (time.monotonic() - began)
        if left < 20:
            results[name] = {"failed": "left out: no time left"}
        else:
            print(f"{name}:", file=sys.stderr, flush=True)
            results[name] = measured(f"http://127.0.0.1:{server.server_port}/bench", {**base, **case, **json.loads(o.extra)}, min(o.case_limit, left, 75 if name == "ort-captured" else left))
        r = results[name]
        if "failed" in r:
            rows.append(f"| {name}: {what} | " + " | ".join(["-"] * (2 + len(base["prompts"]))) + " |")
            print(f"    failed: {r['failed']}", file=sys.stderr, flush=True)
        else:
            prefill = " | ".join(f"{n / r['prefill_ms'][str(n)]['median'] * 1e3:.0f} ({r['prefill_ms'][str(n)]['median']:.1f} ms)" for n in base["prompts"])
            rows.append(f"| {name}: {what} | {r['load_s']:.1f} | {prefill} | {r['decode']['median']:.1f} |")
            print(f"    decode {r['decode']['median']:.1f} tokens/s", file=sys.stderr, flush=True)
        json.dump({"model": config, "new_tokens": o.new, "runs": o.runs, "results": results}, open(os.path.join(o.out, "results.json"), "w"), indent=1)
    heads = " | ".join(f"prefill {n}, tokens/s" for n in base["prompts"])
    table = "\n".join([f"| case | load, s | {heads} | decode {o.new}, tokens/s |", "|---|" + "---|" * (2 + len(base["prompts"])), *rows])
    done = [r for r in results.values() if "failed" not in r]
    if done:
        facts = {k: done[0][k] for k in ("browser", "adapter", "features", "isolated", "threads")}
        versions = {k: v for r in done for k, v in r["versions"].items()}
        table += f"\n\n{json.dumps({**facts, **versions, 'dtype': dtype, 'median_of': o.runs})}"
    for name, r in results.items():
        if "failed" in r:
            table += f"\n{name} failed: {r['failed'].splitlines()[0]}"
    print(table, flush=True)
    open(os.path.join(o.out, "table.md"), "w").write(table + "\n")


signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
main()
