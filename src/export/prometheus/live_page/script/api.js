// The API: asks tallyd, and listens to it. All paths are relative, so the page also works below a proxy's prefix.

/** An answer other than success. `code` is the HTTP status. */
class Refused extends Error {
  constructor(code, text) {
    super(text.trim() || `the answer was ${code}`);
    this.code = code;
  }
}

/** Returns the answer to a question, such as `ask("series", { match: "a*" })`. */
async function ask(path, parameters = {}, signal = undefined) {
  const response = await fetch(`api/v1/${path}?${new URLSearchParams(parameters)}`, { signal });
  if (!response.ok) throw new Refused(response.status, await response.text());
  return response.json();
}

/**
 * Calls `onInterval` with each interval that ends, `onLost` with the number of those that tallyd could not send, and
 * `onState` with "live" or "lost" when the connection changes. The browser reconnects by itself after most errors. `onEnd`
 * is called when it does not.
 */
function listen({ onInterval, onLost, onState, onEnd }) {
  const source = new EventSource("api/v1/live");
  source.addEventListener("open", () => onState("live"));
  source.addEventListener("interval", (event) => onInterval(JSON.parse(event.data)));
  source.addEventListener("lost", (event) => onLost(JSON.parse(event.data).events));
  source.addEventListener("error", () => {
    onState("lost");
    if (source.readyState === EventSource.CLOSED) onEnd();
  });
}

/**
 * Returns a function that runs `work`, but never twice at once, not more than once per second, and not while the page
 * is hidden. A call that comes too early is done later.
 */
function paced(work) {
  const PAUSE = 1000; // milliseconds
  let [isBusy, isWanted] = [false, false];
  async function run() {
    if (isBusy || document.hidden) {
      isWanted = true;
      return;
    }
    [isBusy, isWanted] = [true, false];
    try {
      await work();
    } finally {
      setTimeout(() => {
        isBusy = false;
        if (isWanted) run();
      }, PAUSE);
    }
  }
  document.addEventListener("visibilitychange", () => {
    if (isWanted) run();
  });
  return run;
}
