// Starts the engines in their worker. wgpu 30 cannot ask a browser for `subgroups` (gfx-rs/wgpu#10146), so they are asked
// for here, wherever the adapter has them: the engine tries what it got before it relies on it.
if (self.GPUAdapter) {
  const requestDevice = GPUAdapter.prototype.requestDevice;
  GPUAdapter.prototype.requestDevice = function (descriptor = {}) {
    const features = [...(descriptor.requiredFeatures ?? [])];
    if (this.features.has("subgroups") && !features.includes("subgroups")) features.push("subgroups");
    return requestDevice.call(this, { ...descriptor, requiredFeatures: features });
  };
}

// One that is a thread of another: whoever waits for it hears no messages meanwhile, but looks at a word of what they share.
let lost = () => {};
addEventListener("message", ({ data: { board, lost: told } }) => {
  if (!told) return;
  const words = new Int32Array(board);
  lost = () => (Atomics.store(words, ...told), Atomics.notify(words, told[0]));
});

// What ends the program or cannot be fetched must reach the page, which would wait for ever.
const failed = (error) => (lost(), postMessage(JSON.stringify({ type: "failed", error: { code: "engine_stopped", message: String(error?.message ?? error), path: null } })));
addEventListener("unhandledrejection", (event) => failed(event.reason));
addEventListener("error", () => lost());

try {
  const { default: start } = await import("./engine.js");
  await start();
} catch (error) {
  failed(error);
}
