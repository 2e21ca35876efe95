// Starts the second program of the page, with the styles of what it draws; the first puts this file on the page when it is
// needed.
import start from "./late.js";

const styles = document.createElement("link");
styles.rel = "stylesheet";
styles.href = "late.css";
const styled = new Promise((resolve, reject) => {
  styles.onload = resolve;
  styles.onerror = () => reject(new Error("late.css cannot be fetched"));
});
document.head.append(styles);

styled.then(() => start()).then(
  () => dispatchEvent(new Event("preflight-late-ready")),
  (error) => dispatchEvent(new CustomEvent("preflight-late-failed", { detail: String(error) })),
);
