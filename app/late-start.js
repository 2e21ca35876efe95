// Starts the second program of the page; the first puts this file on the page when it is needed.
import start from "./late.js";

start().then(
  () => dispatchEvent(new Event("preflight-late-ready")),
  (error) => dispatchEvent(new CustomEvent("preflight-late-failed", { detail: String(error) })),
);
