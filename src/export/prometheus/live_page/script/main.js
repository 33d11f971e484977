// Starts the page, and keeps it current.

const RETRY_PAUSE = 3000; // milliseconds

const STATES = {
  waiting: "Connecting",
  live: "Live",
  lost: "Not connected, trying again",
  silent: "Connected, but no interval ends",
};

function showConnection(state) {
  byId("connection").dataset.state = state;
  setText(byId("connection"), STATES[state]);
}

/** Asks whether the API answers this client, and connects. */
async function start() {
  try {
    await refreshStatus();
    if (byId("live").hidden) showLive();
    await takePast();
    listen({ onInterval: takeInterval, onLost: showMissing, onState: showConnection, onEnd: startLater });
    refresh();
  } catch (error) {
    if (error instanceof Refused && error.code === 403) showClosed(error.message);
    else startLater();
  }
}

/** Takes over the intervals that the page does not have: those before it was opened, and those without a connection. */
async function takePast() {
  const [latest, isOpened] = [intervals.at(-1)?.at ?? -Infinity, intervals.length > 0];
  for (const interval of (await ask("intervals")).intervals) {
    if (unixTime(interval.time) > latest && keepInterval(interval) && isOpened) addLosses(interval);
  }
  if (intervals.length > 0) showNumbers();
}

/** Shows the parts that need the API, for the first time. */
function showLive() {
  byId("live").hidden = false;
  byId("closed").hidden = true;
  readFragment();
  startSearch();
}

function startLater() {
  showConnection("lost");
  setTimeout(start, RETRY_PAUSE);
}

/** Says why the API does not answer. The links of the page still work. */
function showClosed(reason) {
  byId("connection").hidden = true;
  byId("live").hidden = true;
  byId("closed").hidden = false;
  setText(byId("closed"), `No live data: ${reason}.`);
}

/** The timer that ends if no interval arrives for a long time. */
let silence = 0;

function takeInterval(interval) {
  if (!keepInterval(interval)) return;
  addLosses(interval);
  showNumbers();
  refresh();
  replaceState("silent", "live");
  clearTimeout(silence);
  silence = setTimeout(replaceState, 3000 * interval.seconds + 5000, "live", "silent");
}

/** The number of intervals that this page did not get. */
let missing = 0;

function showMissing(number) {
  missing += number;
  setText(byId("overview-note"), `${plural(missing, "interval")} missing since this page was opened, the latest at ` +
    `${clock(Date.now() / 1000)}: the browser or the network was too slow.`);
}

function replaceState(state, other) {
  if (byId("connection").dataset.state === state) showConnection(other);
}

const showNumbers = paced(async () => {
  showOverview();
  showLosses();
});

/** Asks for all that changes with each interval. One failed answer does not keep the others from the page. */
const refresh = paced(async () => {
  const showing = (part, error) => setText(byId(`${part}-note`), `Not available: ${error.message}`);
  await Promise.all([
    refreshStatus().catch((error) => showing("exporters", error)),
    refreshTalkers().catch((error) => showing("talkers", error)),
    refreshRejected().catch((error) => showing("rejected", error)),
    // These two say themselves what failed.
    refreshOpened(),
    refreshSearch(),
  ]);
});

/** Repeats the search, so that the values stay current. */
async function refreshSearch() {
  await settledSearch();
  await startSearch();
}

/** Shows what the address of the page asks for: `#series=…`, `#match=…`, or no series. */
function readFragment() {
  const parts = location.hash.slice(1).split("&").map((part) => part.split("="));
  const wanted = new Map(parts.map(([key, value]) => [key, decode(value)]));
  if (wanted.has("match")) searchFor(wanted.get("match"));
  else if (wanted.has("series") || location.hash === "") openSeries(wanted.get("series") ?? null);
}

/** Returns the text of a percent-encoded value. A value with a wrong encoding is taken as it is. */
function decode(value = "") {
  try {
    return decodeURIComponent(value);
  } catch {
    return value;
  }
}

buildOverview();
buildTalkers();
buildSearch();
addEventListener("hashchange", readFragment);
start();
