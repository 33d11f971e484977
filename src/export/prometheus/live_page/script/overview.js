// The overview: throughput, losses, flush time, series and memory, over the last ten minutes.

/** The intervals since the page was opened, oldest first, but only those of the last ten minutes. */
const intervals = [];

/** Adds an interval. Returns false if it is known already, which happens after a reconnection. */
function keepInterval(interval) {
  interval.at = unixTime(interval.time);
  const latest = intervals.at(-1)?.at ?? -Infinity;
  if (interval.at === latest) return false;
  // Somebody has set the clock of the machine back. The plots begin again.
  if (interval.at < latest) intervals.length = 0;
  intervals.push(interval);
  while (intervals[0].at <= interval.at - KEPT_SECONDS) intervals.shift();
  return true;
}

/** Returns the sum of the losses of an interval for each kind. */
function lossesByKind(interval) {
  const sums = new Map();
  for (const { kind, count } of interval.losses) sums.set(kind, (sums.get(kind) ?? 0) + count);
  return sums;
}

/** A card for each figure: `figure` returns its value, `detail` texts and nodes, and `lines` what to plot. */
const CARDS = [
  {
    id: "lines", title: "Throughput", format: perSecond, isWide: true,
    figure: (now) => now.lines / now.seconds, figureFormat: (number) => scaled(number, " lines/s"),
    detail: () => [quantity(sumOf("lines"), count), " lines and ", quantity(sumOf("samples"), count),
      ` samples ${coveredText()}`],
    lines: () => perIntervalLines(["lines", "samples"], (interval, key) => interval[key] / interval.seconds),
  },
  {
    id: "lost", title: "Losses", format: perSecond, isWide: true,
    figure: (now) => sum(lossesByKind(now).values()) / now.seconds,
    detail: () => [quantity(sum(intervals.flatMap((interval) => interval.losses.map(({ count }) => count))), count),
      ` lost ${coveredText()}`],
    lines: lossLines,
  },
  {
    id: "flush", title: "Flush time", format: seconds,
    figure: (now) => now.flush_seconds,
    detail: () => ["at most ", quantity(mostOf((interval) => interval.flush_seconds), seconds), ` ${coveredText()}`],
    lines: () => perIntervalLines(["flush"], (interval) => interval.flush_seconds),
  },
  {
    id: "series", title: "Series", format: count,
    figure: (now) => now.series,
    detail: () => ["at most ", quantity(mostOf((interval) => interval.series), count), ` ${coveredText()}`],
    lines: () => perIntervalLines(["series"], (interval) => interval.series),
  },
  {
    id: "memory", title: "Memory", format: bytes,
    figure: (now) => now.memory?.used ?? null,
    detail: (now) => ["of ", quantity(now.memory?.max, bytes), ", resident ", quantity(now.memory?.resident, bytes)],
    lines: () => perIntervalLines(["used", "resident"], (interval, key) => interval.memory?.[key] ?? null),
  },
];

const sum = (numbers) => [...numbers].reduce((sum, number) => sum + number, 0);
const sumOf = (key) => sum(intervals.map((interval) => interval[key]));

/** Returns the largest value of all intervals, or null if no interval has one. */
function mostOf(value) {
  const values = intervals.map(value).filter((value) => value !== null);
  return values.length > 0 ? Math.max(...values) : null;
}

/** Returns the time that the sums cover. */
const coveredText = () => `in ${longSpan(Math.round(sumOf("seconds")))}`;

function perIntervalLines(labels, value) {
  return [labels, labels.map((label) => intervals.map((interval) => value(interval, label)))];
}

/** Returns a line for each kind of loss that occurred. */
function lossLines() {
  const perInterval = intervals.map(lossesByKind);
  const kinds = [...new Set(perInterval.flatMap((sums) => [...sums.keys()]))].sort();
  const lines = kinds.map((kind) => perInterval.map((sums, index) => (sums.get(kind) ?? 0) / intervals[index].seconds));
  return kinds.length > 0 ? [kinds.map(label), lines] : [["none"], [intervals.map(() => 0)]];
}

/** Adds the empty cards to the page. */
function buildOverview() {
  for (const card of CARDS) {
    card.chart = new Chart({ title: card.title, format: card.format, sync: "overview" });
    card.value = element("span", { class: "figure" }, UNKNOWN);
    card.note = element("p", { class: "note" });
    byId("overview").append(element("article", { class: card.isWide ? "card wide" : "card", id: `card-${card.id}` },
      element("header", {}, element("h3", {}, card.title), card.value), card.chart.figure, card.note));
  }
}

function showOverview() {
  const now = intervals.at(-1);
  const times = intervals.map((interval) => interval.at);
  for (const card of CARDS) {
    card.value.replaceChildren(quantity(card.figure(now), card.figureFormat ?? card.format));
    card.note.replaceChildren(...card.detail(now));
    const [labels, lines] = card.lines(now);
    card.chart.show(labels, [times, ...lines]);
  }
  byId("card-lost").classList.toggle("warns", now.losses.length > 0);
}

/** What was lost since the page was opened, for each kind and origin. */
const lossTotals = new Map();

function addLosses(interval) {
  for (const { kind, by, count } of interval.losses) {
    const key = `${kind} ${by}`;
    const total = lossTotals.get(key) ?? { key, kind, by, sum: 0 };
    total.sum += count;
    lossTotals.set(key, total);
  }
}

function showLosses() {
  const now = intervals.at(-1);
  const latest = new Map(now.losses.map(({ kind, by, count }) => [`${kind} ${by}`, count]));
  const totals = [...lossTotals.values()].sort((a, b) => b.sum - a.sum);
  showRows(byId("losses"), totals, ({ key }) => key, ({ key, kind, by, sum }) => [
    label(kind), visible(by) || UNKNOWN, quantity(latest.get(key) ?? 0, count), quantity(sum, count),
  ]);
  const notes = [];
  if (totals.length === 0) notes.push("Nothing was lost since this page was opened.");
  if (!now.drops_known) notes.push("The kernel does not say how many datagrams it dropped.");
  setText(byId("losses-note"), notes.join(" "));
}
