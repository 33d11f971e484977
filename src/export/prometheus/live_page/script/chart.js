// Charts: lines over time or over another axis, drawn by uPlot.

const COLOR_COUNT = 6;
const AXIS_FONT = "11px system-ui, sans-serif";

/** All charts, which are drawn again when the color scheme changes. */
const charts = new Set();

/** Returns the value of a color of the style sheet, such as "line-1". */
const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const lineColor = (index) => color(`line-${(index % COLOR_COUNT) + 1}`);

/** The time that plots show at most, in seconds. */
const KEPT_SECONDS = 600;

/** The axis of time: how uPlot labels it, its range, and the text of one value. */
const TIME_AXIS = {
  uPlot: {
    // The distances of labels in seconds.
    incrs: [1, 2, 5, 10, 15, 30, 60, 120, 300, 600],
    values: (_, times, __, ___, step) => times.map((time) => clock(time, step < 60)),
  },
  // It grows from one minute to ten.
  range: (_, first, last) => [Math.max(Math.min(first, last - 60), last - KEPT_SECONDS), last],
  describe: (time) => clock(time),
};

/**
 * Lines in a figure, with a legend that has the latest values, or those under the pointer. It is the text alternative
 * of the plot.
 */
class Chart {
  #plot = null;
  #labels = [];
  #data = [[]];
  #options;
  #box = element("div", { class: "plot", role: "img" });
  #legend = element("ul", { class: "legend" });

  /**
   * Options: `title`, `format` of values, `height` in pixels, `axis` of x, `sync` (charts with the same key share a
   * cursor), and `isClose` (y need not begin at 0).
   */
  constructor(options) {
    this.#options = { axis: TIME_AXIS, height: 130, ...options };
    this.#box.setAttribute("aria-label", `Plot: ${options.title}. The values are in the text next to it.`);
    this.figure = element("div", { class: "chart" }, this.#box, this.#legend);
    new ResizeObserver(() => this.#fit()).observe(this.#box);
    charts.add(this);
  }

  /** Shows `data`: the values of x, and a list of values for each label. */
  show(labels, data) {
    this.#data = data;
    if (this.#plot && labels.join() === this.#labels.join()) this.#plot.setData(data);
    else this.#build(labels);
    this.#showLegend(this.#plot.cursor.idx);
  }

  redraw() {
    this.#plot?.redraw();
  }

  remove() {
    charts.delete(this);
    this.#plot?.destroy();
    this.figure.remove();
  }

  #build(labels) {
    this.#plot?.destroy();
    this.#labels = labels;
    this.#legend.replaceChildren(...labels.map((label, index) =>
      element("li", {}, element("span", { class: `swatch line-${(index % COLOR_COUNT) + 1}`, "aria-hidden": "true" }),
        `${label} `, element("span", { class: "value" }))), element("li"));
    this.#plot = new uPlot(this.#plotOptions(labels), this.#data, this.#box);
  }

  #plotOptions(labels) {
    const { axis, format, height, sync, isClose } = this.#options;
    const style = {
      stroke: () => color("muted"),
      grid: { stroke: () => color("grid"), width: 1 },
      ticks: { show: false },
      font: AXIS_FONT,
    };
    return {
      width: this.#box.clientWidth || 300,
      height,
      padding: [8, 26, 0, 0],
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, points: { size: 5 }, ...(sync && { sync: { key: sync } }) },
      scales: { x: { time: false, range: axis.range }, y: { range: (_, least, most) => yRange(least, most, isClose) } },
      axes: [
        { ...style, size: 26, space: 64, ...axis.uPlot },
        { ...style, size: 64, space: 24, values: (_, values) => values.map(format) },
      ],
      series: [{}, ...labels.map((_, index) => ({
        stroke: () => lineColor(index),
        width: 1.5,
        points: { show: (plot, _, from, to) => to - from < 3, size: 4, fill: () => lineColor(index) },
      }))],
      hooks: { setCursor: [(plot) => this.#showLegend(plot.cursor.idx)] },
    };
  }

  /** Shows the values at an index of the data and where it is, or the latest values. */
  #showLegend(index) {
    const isPointed = index !== null && index !== undefined;
    const at = isPointed ? index : this.#data[0].length - 1;
    const { format, axis } = this.#options;
    this.#labels.forEach((_, line) => {
      const value = this.#data[line + 1]?.[at] ?? null;
      setText(this.#legend.children[line].lastElementChild, value === null ? UNKNOWN : format(value));
    });
    setText(this.#legend.lastElementChild, isPointed ? `at ${axis.describe(this.#data[0][at])}` : "");
  }

  #fit() {
    const width = this.#box.clientWidth;
    if (this.#plot && width > 0 && width !== this.#plot.width) this.#plot.setSize({ width, height: this.#options.height });
  }
}

/** Returns the range of the axis of y: from 0, unless there are negative values or the chart asks for a close view. */
function yRange(least, most, isClose) {
  if (least === null) return [0, 1];
  if (isClose || least < 0) return uPlot.rangeNum(least, most, 0.1, true);
  return [0, most > 0 ? most * 1.1 : 1];
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  charts.forEach((chart) => chart.redraw());
});
