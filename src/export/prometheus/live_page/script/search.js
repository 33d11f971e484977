// The search for series.

const FOUND_LIMIT = 50;

/** The answer to the latest search, which Enter waits for. */
let search = Promise.resolve();
let abortSearch = new AbortController();

/** The orders of the found series: the direction, and the word for those that are shown if there are too many. */
const ORDERS = { name: ["ascending", "first"], value: ["descending", "largest"] };
let order = "name";

function buildSearch() {
  byId("find").addEventListener("input", async () => {
    await startSearch();
    // Screen readers hear the result of what somebody types, but not each later change.
    setText(byId("found-news"), byId("found-caption").textContent);
  });
  byId("search").addEventListener("submit", (event) => {
    event.preventDefault();
    openFirst();
  });
  for (const button of byId("found-headings").querySelectorAll("button")) {
    button.addEventListener("click", () => sortBy(button));
  }
}

/** Sorts all series that match, not only those that are shown. */
function sortBy(button) {
  order = button.value;
  for (const heading of byId("found-headings").querySelectorAll("th")) heading.removeAttribute("aria-sort");
  button.parentElement.setAttribute("aria-sort", ORDERS[order][0]);
  startSearch();
}

/** Starts a search for what the field has. It replaces the search before it. */
function startSearch() {
  abortSearch.abort();
  abortSearch = new AbortController();
  search = runSearch(abortSearch.signal);
  return search;
}

/** Waits for the latest search, even if it has replaced another one in the meantime. */
async function settledSearch() {
  let awaited;
  do {
    awaited = search;
    await awaited;
  } while (awaited !== search);
}

async function runSearch(signal) {
  try {
    const parameters = { match: pattern(byId("find").value), limit: FOUND_LIMIT, sort: order };
    showFound(await ask("series", parameters, signal));
  } catch (error) {
    if (!signal.aborted) setText(byId("found-caption"), `The search failed: ${error.message}`);
  }
}

/** Returns the pattern for what somebody typed. Text without a star can be anywhere in a name. */
function pattern(typed) {
  const text = typed.trim();
  return text.includes("*") ? text : `*${text}*`;
}

function showFound({ matched, series }) {
  const shown = series.length < matched ? `, of which the ${ORDERS[order][1]} ${count(series.length)} are shown` : "";
  setText(byId("found-caption"), `${matched === 0 ? "No" : matched.toLocaleString("en")} series match${shown}`);
  showRows(byId("found"), series, seriesText, (found) => [
    stateLink({ series: seriesText(found) }, visible(seriesText(found))), found.type, foundValue(found),
  ]);
}

const seriesText = ({ series }) => series;

/** Returns the value of a series that people look for first. */
function foundValue({ type, total, value, count: values, percentiles }) {
  if (type === "counter") return quantity(total, (total) => `${count(total)} in total`);
  if (type === "gauge") return quantity(value, count);
  if (type === "set") return quantity(value, (value) => plural(value, "member"));
  const format = valueFormat(type);
  const [name, latest] = Object.entries(percentiles).at(-1) ?? [];
  const high = name && latest !== null ? `, ${name} ${format(latest)}` : "";
  return quantity(values, (values) => plural(values, "value") + high);
}

/** Returns the format for the values of a type. Only timings have a unit. */
const valueFormat = (type) => (type === "timing" ? seconds : count);

/** Opens the first series that matches what the field has now. */
async function openFirst() {
  startSearch();
  await settledSearch();
  const first = byId("found").querySelector("a");
  if (first) location.hash = first.hash;
}

/** Searches for exactly this name. */
function searchFor(name) {
  byId("find").value = name;
  startSearch();
  byId("find").focus();
}
