// The opened series: its last ten minutes, and its distribution.

/** The opened series, or null: its `text`, the elements `note` and `body`, and the `parts` and `tags` that answers add. */
let opened = null;

/** Opens a series, or closes the opened one if `text` is null. The focus goes where the reader looks next. */
async function openSeries(text) {
  const wasOpened = opened !== null;
  closeSeries();
  if (text === null) {
    if (wasOpened) byId("find").focus();
    return;
  }
  const note = element("p", { class: "note" }, "Loading");
  const body = element("div", { class: "panels" });
  opened = { text, note, body, parts: {} };
  const heading = element("h3", { id: "opened-heading", tabindex: "-1" }, visible(text));
  byId("opened").replaceChildren(
    element("header", {}, heading, element("a", { href: "#", class: "close" }, "Close")), note, body);
  byId("opened").hidden = false;
  heading.focus();
  await refreshOpened();
}

function closeSeries() {
  for (const part of Object.values(opened?.parts ?? {})) part.remove();
  opened = null;
  byId("opened").hidden = true;
  byId("opened").replaceChildren();
}

/** Asks for the opened series again. */
async function refreshOpened() {
  const asked = opened;
  if (!asked) return;
  try {
    const history = await ask("history", { series: asked.text });
    // Another series may have been opened in the meantime.
    if (opened !== asked) return;
    showHistory(asked, history);
    if (!asked.tags) showTags(asked, history.name);
  } catch (error) {
    if (opened === asked) setText(asked.note, error.code === 404 ? "There is no such series now." : error.message);
  }
}

function showHistory(view, history) {
  view.parts.points ??= pointsPanel(view.body, history.type);
  showPoints(view.parts.points, history);
  setText(view.note, openedNote(history));
  if (history.distribution) showDistribution(view, history);
}

function openedNote({ type, distribution }) {
  if (["counter", "gauge", "set"].includes(type)) return `A ${type}.`;
  if (!distribution) return `A ${type}. Its values are collected from now on, for a percentile spectrum and a heat map.`;
  const since = clock(unixTime(distribution.since));
  return `A ${type}. Spectrum and heat map have ${plural(distribution.count, "value")}, collected since this series was ` +
    `first opened, at ${since}.`;
}

/** Adds the panel of the last ten minutes, and returns its chart. */
function pointsPanel(body, type) {
  const title = "Last 10 minutes";
  const format = type === "counter" ? perSecond : valueFormat(type);
  const chart = new Chart({ title, format, height: 200, isClose: type === "gauge" });
  body.append(panel(title, "wide", chart.figure));
  return chart;
}

/** Adds the panels of a distribution to the parts of a view. */
function addDistributionPanels({ body, parts }, format) {
  const title = "Percentile spectrum";
  parts.spectrum = new Chart({ title, format, height: 220, axis: SPECTRUM_AXIS });
  parts.percentiles = table("Percentiles", ["Percentile", "#Value"]);
  parts.percentiles.classList.add("compact");
  parts.heatMap = new HeatMap(format);
  body.append(panel(title, "", element("div", { class: "beside" }, parts.spectrum.figure, parts.percentiles)),
    panel("Heat map", "", parts.heatMap.figure));
}

function panel(title, extraClass, ...children) {
  return element("section", { class: `panel ${extraClass}` }, element("h4", {}, title), ...children);
}

function showPoints(chart, { type, points }) {
  const labels = pointLabels(type, points);
  const filled = withGaps(points, type === "counter" ? 0 : null);
  const lines = labels.map((label) => filled.map((point) => pointValue(type, point, label)));
  chart.show(labels, [filled.map(({ at }) => at), ...lines]);
}

/** Returns the names of the lines of a plot: the percentiles and the maximum, or the value. */
function pointLabels(type, points) {
  if (type === "counter") return ["rate"];
  if (type === "gauge" || type === "set") return [type === "gauge" ? "value" : "members"];
  return [...Object.keys(points.at(-1)?.percentiles ?? {}), "max"];
}

function pointValue(type, point, label) {
  if (point.isGap) return point.value;
  if (type === "counter") return point.value / point.seconds;
  if (type === "gauge" || type === "set") return point.value;
  return label === "max" ? point.max : point.percentiles?.[label] ?? null;
}

/** Returns the points with their Unix times, and with a point of this value at both ends of each gap. */
function withGaps(points, value) {
  const filled = [];
  for (const point of points) {
    const at = unixTime(point.time);
    const [before, start] = [filled.at(-1), at - point.seconds];
    if (before && start - before.at > point.seconds / 2) {
      filled.push({ at: before.at + point.seconds, isGap: true, value });
      if (start > filled.at(-1).at) filled.push({ at: start, isGap: true, value });
    }
    filled.push({ ...point, at });
  }
  return filled;
}

function showDistribution(view, { type, distribution, points }) {
  const { parts } = view;
  const format = valueFormat(type);
  if (!parts.spectrum) addDistributionPanels(view, format);
  parts.spectrum.show(["value"], spectrumLine(distribution));
  showRows(parts.percentiles.tBodies[0], spectrumRows(distribution), ([name]) => name,
    ([name, value]) => [name, quantity(value, format)]);
  parts.heatMap.show(distribution.heatmap);
}

/** Shows how many values each tag key of the series' name has, which explains why a name has many series. */
async function showTags(view, name) {
  // A new series is not among them before the next interval. The next refresh asks again.
  const answer = await ask("tags", { name }).catch(() => null);
  if (!answer || opened !== view || view.tags) return;
  view.tags = answer.tags;
  if (answer.tags.length === 0) return;
  const made = table(`${count(answer.series)} series of ${visible(name)}`, ["Tag", "#Values", "#Series"]);
  showRows(made.tBodies[0], answer.tags, ({ key }) => key,
    ({ key, values, series }) => [visible(key), quantity(values, count), quantity(series, count)]);
  byId("opened").append(panel("Tags of this name", "", made));
}
