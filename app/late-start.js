// Starts the second program of the page, with the styles of what it draws; the first puts this file on the page when it is
// needed, and again where it failed.
const host = document.getElementById("late");
// A program that failed is no more to be started: it is read anew, under another name, into an empty place.
const anew = host.dataset.failed ? `?${Date.now()}` : "";
delete host.dataset.failed;
host.replaceChildren();

const styles = document.createElement("link");
styles.rel = "stylesheet";
styles.href = "late.css";
const styled = new Promise((resolve, reject) => {
  styles.onload = resolve;
  styles.onerror = () => reject(new Error("late.css cannot be fetched"));
});
document.head.append(styles);

Promise.all([import(`./late.js${anew}`), styled]).then(([program]) => program.default()).then(
  () => dispatchEvent(new Event("preflight-late-ready")),
  (error) => {
    console.error(error);
    host.dataset.failed = "true";
    dispatchEvent(new Event("preflight-late-failed"));
  },
);
