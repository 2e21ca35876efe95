// One case in one tab. The server says which (window.CASE) and takes what comes out by POST /said.
const say = (what) => fetch("/said", { method: "POST", body: JSON.stringify(what) });
const now = () => performance.now();
const C = window.CASE;
// The prompt of n ids: the same formula as in reference.py.
const promptIds = (n) => Array.from({ length: n }, (_, i) => (i * 7919 + 13) % C.vocab);
const median = (a) => [...a].sort((x, y) => x - y)[a.length >> 1];
const base64 = (f32) => {
  const bytes = new Uint8Array(f32.buffer, f32.byteOffset, f32.byteLength);
  let s = "";
  for (let i = 0; i < bytes.length; i += 32768) s += String.fromCharCode(...bytes.subarray(i, i + 32768));
  return btoa(s);
};
const argmax = (a) => {
  let best = 0, at = a[0];
  for (let i = 1; i < a.length; i++) if (a[i] > at) { at = a[i]; best = i; }
  return best;
};
const lastRow = (data) => data.slice(data.length - C.vocab);
const int64 = (ids) => BigInt64Array.from(ids, BigInt);

// For looking into wrong results: a device that is said to have no subgroups (--extra '{"no_subgroups": true}').
async function bareDevice() {
  const adapter = await navigator.gpu.requestAdapter({ powerPreference: "high-performance" });
  const requiredLimits = {};
  for (const k in adapter.limits) requiredLimits[k] = adapter.limits[k];
  return adapter.requestDevice({ requiredLimits, requiredFeatures: ["shader-f16"].filter((f) => adapter.features.has(f)) });
}
let ownDevice;
const provider = async () => ({ name: "webgpu", ...C.ep, ...(C.no_subgroups ? { device: (ownDevice = await bareDevice()) } : {}) });

// An engine has: load(), prefill(ids) -> last row of logits (read back), decode(ids, n) -> {ids, times (one a token)}.

const ort = await import("onnxruntime-web/webgpu");
ort.env.wasm.wasmPaths = { wasm: `/page/ort/ort-wasm-simd-threaded.${C.build}.wasm`, mjs: `/page/ort/ort-wasm-simd-threaded.${C.build}.mjs` };

async function transformersEngine() {
  const t = await import("@huggingface/transformers");
  t.env.allowRemoteModels = false;
  t.env.allowLocalModels = true;
  t.env.localModelPath = "/models/";
  t.env.useBrowserCache = false;
  t.env.useWasmCache = false;
  let model;
  const tensor = (ids) => new t.Tensor("int64", int64(ids), [1, ids.length]);
  const mask = (n) => new t.Tensor("int64", new BigInt64Array(n).fill(1n), [1, n]);
  const drop = (outputs) => Promise.all(Object.entries(outputs).filter(([k]) => k.startsWith("present")).map(([, v]) => v.dispose()));
  return {
    versions: { transformers: t.env.version, ort: ort.env.versions.web ?? ort.env.versions.common },
    async load() {
      const session_options = C.ep || C.no_subgroups ? { executionProviders: [await provider()] } : {};
      model = await t.AutoModelForCausalLM.from_pretrained(C.variant, { device: "webgpu", dtype: C.dtype, session_options });
    },
    async prefill(ids) {
      const outputs = await model({ input_ids: tensor(ids), attention_mask: mask(ids.length) });
      const row = lastRow(outputs.logits.data);
      await drop(outputs);
      return row;
    },
    async decode(ids, n) {
      const times = [], got = [];
      // The first put is the prompt; each later one is one new id.
      const streamer = { first: true, put(v) { if (this.first) { this.first = false; return; } times.push(now()); got.push(Number(v[0][0])); }, end() {} };
      await model.generate({ input_ids: tensor(ids), attention_mask: mask(ids.length), max_new_tokens: n, do_sample: false, streamer });
      return { ids: got, times };
    },
  };
}

async function fetched(path) {
  const response = await fetch(path);
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return new Uint8Array(await response.arrayBuffer());
}

// onnxruntime-web by itself. C.cache: "grow" takes present.* (left on the GPU) as the next past_key_values.*; "shared" has one
// buffer a layer and part that is both past and present; "captured" is "shared" with the commands of a token recorded and replayed.
// For looking into wrong results, by --extra: graph_id (null: not given, "-1": not recorded), no_capture, tight (a mask as long as the past).
async function ortEngine() {
  const shared = C.cache !== "grow", captured = C.cache === "captured";
  const kv = C.act === "f16" ? "float16" : "float32", width = C.act === "f16" ? 2 : 4;
  const names = Array.from({ length: C.layers }, (_, l) => [`${l}.key`, `${l}.value`]).flat();
  let session, device, buffers, logitsBuffer, readBuffer, idBuffer, maskBuffer;
  const buffer = (size, usage) => device.createBuffer({ size, usage });
  const onGpu = (gpu, dataType, dims) => ort.Tensor.fromGpuBuffer(gpu, { dataType, dims });
  const capacityDims = [1, C.kv_heads, C.capacity, C.head_dim];
  const skip = { extra: { gpu_graph_id: "-1" } };
  let logitsRows = 1;
  async function readLogits() {
    const encoder = device.createCommandEncoder();
    encoder.copyBufferToBuffer(logitsBuffer, 0, readBuffer, 0, C.vocab * width);
    device.queue.submit([encoder.finish()]);
    await readBuffer.mapAsync(GPUMapMode.READ);
    const bytes = readBuffer.getMappedRange().slice(0), row = width === 2 ? Float32Array.from(new Float16Array(bytes)) : new Float32Array(bytes);
    readBuffer.unmap();
    return row;
  }
  // A step: ids after `past` positions. Returns the last row of logits, read back.
  let past = {};
  async function step(ids, position) {
    const total = position + ids.length;
    if (!shared) {
      const feeds = { input_ids: new ort.Tensor("int64", int64(ids), [1, ids.length]), attention_mask: new ort.Tensor("int64", new BigInt64Array(total).fill(1n), [1, total]) };
      for (const n of names) feeds[`past_key_values.${n}`] = past[n] ?? new ort.Tensor(kv, C.act === "f16" ? new Uint16Array(0) : new Float32Array(0), [1, C.kv_heads, 0, C.head_dim]);
      const outputs = await session.run(feeds);
      for (const n of names) { past[n]?.dispose(); past[n] = outputs[`present.${n}`]; }
      return lastRow(outputs.logits.data);
    }
    const feeds = {}, fetches = {};
    for (const n of names) { feeds[`past_key_values.${n}`] = buffers[n]; fetches[`present.${n}`] = buffers[n]; }
    if (!captured) {
      feeds.input_ids = new ort.Tensor("int64", int64(ids), [1, ids.length]);
      feeds.attention_mask = new ort.Tensor("int64", new BigInt64Array(total).fill(1n), [1, total]);
      fetches.logits = null;
      const outputs = await session.run(feeds, fetches);
      return lastRow(outputs.logits.data);
    }
    device.queue.writeBuffer(idBuffer, 0, int64(ids));
    if (position === 0) device.queue.writeBuffer(maskBuffer, 0, new BigInt64Array(C.capacity).fill(1n, 0, total));
    else device.queue.writeBuffer(maskBuffer, position * 8, new BigInt64Array(ids.length).fill(1n));
    feeds.input_ids = onGpu(idBuffer, "int64", [1, ids.length]);
    feeds.attention_mask = onGpu(maskBuffer, "int64", [1, C.tight ? total : C.capacity]);
    fetches.logits = onGpu(logitsBuffer, kv, [1, 1, C.vocab]);
    await session.run(feeds, fetches, ids.length > 1 ? skip : C.graph_id === null ? {} : { extra: { gpu_graph_id: C.graph_id ?? "1" } });
    return readLogits();
  }
  const forget = async () => { for (const n of names) past[n]?.dispose(); past = {}; };
  return {
    versions: { ort: ort.env.versions.web ?? ort.env.versions.common },
    async load() {
      const model = await fetched(`/models/${C.variant}/onnx/model_${C.dtype}.onnx`);
      const externalData = await Promise.all(C.data.map(async (path) => ({ path, data: await fetched(`/models/${C.variant}/onnx/${path}`) })));
      const preferredOutputLocation = Object.fromEntries(names.map((n) => [`present.${n}`, "gpu-buffer"]));
      if (captured) preferredOutputLocation.logits = "gpu-buffer";
      session = await ort.InferenceSession.create(model, {
        executionProviders: [await provider()], externalData, preferredOutputLocation, logSeverityLevel: C.log ?? 3, ...(captured && !C.no_capture ? { enableGraphCapture: true } : {}),
      });
      if (!shared) return;
      device = ownDevice ?? (await ort.env.webgpu.device);
      const io = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
      buffers = Object.fromEntries(names.map((n) => [n, onGpu(buffer(capacityDims.reduce((a, b) => a * b) * width, io), kv, capacityDims)]));
      idBuffer = buffer(C.capacity * 8, io);
      maskBuffer = buffer(C.capacity * 8, io);
      logitsBuffer = buffer(C.vocab * width, io);
      readBuffer = buffer(C.vocab * width, GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST);
    },
    async prefill(ids) {
      const row = await step(ids, 0);
      await forget();
      return row;
    },
    async decode(ids, n) {
      const times = [], got = [];
      let next = argmax(await step(ids, 0));
      times.push(now());
      got.push(next);
      while (got.length < n) {
        next = argmax(await step([next], ids.length + got.length - 1));
        times.push(now());
        got.push(next);
      }
      await forget();
      return { ids: got, times };
    },
  };
}

try {
  const adapter = await navigator.gpu.requestAdapter({ powerPreference: "high-performance" });
  const engine = await (C.engine === "tjs" ? transformersEngine() : ortEngine());
  const result = {
    versions: engine.versions, isolated: crossOriginIsolated, threads: navigator.hardwareConcurrency,
    adapter: adapter && `${adapter.info.vendor} ${adapter.info.architecture} ${adapter.info.description}`.trim(),
    features: adapter && ["shader-f16", "subgroups"].filter((f) => adapter.features.has(f)), browser: navigator.userAgent.match(/Chrom\w*\/[\d.]+/)?.[0],
  };
  let start = now();
  await engine.load();
  result.load_s = (now() - start) / 1e3;
  say({ progress: `loaded in ${result.load_s.toFixed(1)} s` });
  result.logits = {};
  result.prefill_ms = {};
  for (const n of C.prompts) {
    const ids = promptIds(n), times = [];
    for (let i = 0; i <= C.runs; i++) {
      start = now();
      const row = await engine.prefill(ids);
      times.push(now() - start);
      if (i === 0) result.logits[n] = base64(Float32Array.from(row));
    }
    result.prefill_ms[n] = { first: times[0], all: times.slice(1), median: median(times.slice(1)) };
    say({ progress: `prompt of ${n}: ${result.prefill_ms[n].median.toFixed(1)} ms` });
  }
  const rates = [];
  for (let i = 0; i <= C.runs; i++) {
    const { ids, times } = await engine.decode(promptIds(10), C.new_tokens);
    if (ids.length !== C.new_tokens) throw new Error(`${ids.length} ids instead of ${C.new_tokens}`);
    (result.runs_ids ??= []).push(ids);
    result.ids = ids;
    // From the first new id to the last: the prompt is not in it.
    if (i) rates.push((ids.length - 1) / ((times.at(-1) - times[0]) / 1e3));
  }
  result.decode = { all: rates, median: median(rates) };
  await say({ result });
} catch (error) {
  await say({ failed: `${error?.stack ?? error}` });
}
