// The heat map: how many values of each size came, over time.

/** The begin of the heat map's plot in pixels. The labels of values are left of it. */
const PLOT_LEFT = 64;

/** The usual factor between the bounds of rows. */
const ROW_FACTOR = 2 ** 0.25;

/** A canvas with a cell for each column of time and row of values. A stronger color stands for more values. */
class HeatMap {
  #canvas = element("canvas", { role: "img" });
  #readout = element("p", { class: "note" }, "");
  #cells = [];
  #format;

  constructor(format) {
    this.#format = format;
    this.figure = element("div", { class: "heatmap" }, this.#canvas, this.#readout);
    this.#canvas.addEventListener("pointermove", (event) => this.#describe(event));
    this.#canvas.addEventListener("pointerleave", () => this.#summarize());
    new ResizeObserver(() => this.redraw()).observe(this.#canvas);
    charts.add(this);
  }

  /** Shows a map of the API. */
  show(map) {
    this.#cells = heatMapCells(map);
    this.redraw();
    this.#summarize();
  }

  remove() {
    charts.delete(this);
    this.figure.remove();
  }

  redraw() {
    const context = this.#clear();
    if (this.#cells.length === 0) return;
    const scale = this.#scale();
    this.#drawAxes(context, scale);
    const most = Math.max(...this.#cells.map(({ count }) => count));
    context.fillStyle = color("heat");
    for (const { begin, end, low, high, count } of this.#cells) {
      context.globalAlpha = 0.12 + 0.88 * Math.sqrt(count / most);
      const [left, right] = [scale.x(begin), scale.x(end)].map(Math.round);
      const [bottom, top] = [scale.y(low), scale.y(high)].map(Math.round);
      context.fillRect(left, top, Math.max(right - left, 1), Math.max(bottom - top, 1));
    }
  }

  /** Returns functions between pixels, and times and values. */
  #scale() {
    const cells = this.#cells;
    const [width, bottom] = [this.#canvas.clientWidth - 8, this.#canvas.clientHeight - 24];
    const last = Math.max(...cells.map(({ end }) => end));
    // A few columns do not fill the width.
    const first = Math.min(last - 120, ...cells.map(({ begin }) => begin));
    const values = valueScale(cells);
    const [perSecond, perPlace] = [(width - PLOT_LEFT) / (last - first), (bottom - 8) / (values.most - values.least)];
    return {
      first, last, width, bottom,
      x: (time) => width - (last - time) * perSecond,
      y: (value) => bottom - (values.place(value) - values.least) * perPlace,
      time: (x) => last - (width - x) / perSecond,
      value: (y) => values.value(values.least + (bottom - y) / perPlace),
    };
  }

  /** Clears the canvas, and returns its context, in which a unit is a pixel of the style sheet. */
  #clear() {
    const [canvas, ratio] = [this.#canvas, devicePixelRatio];
    canvas.width = Math.round(canvas.clientWidth * ratio);
    canvas.height = Math.round(canvas.clientHeight * ratio);
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    context.font = AXIS_FONT;
    return context;
  }

  #drawAxes(context, scale) {
    const { first, last, width, bottom } = scale;
    context.textAlign = "right";
    context.textBaseline = "middle";
    for (let step = 0; step <= 4; step++) {
      const y = bottom - step * (bottom - 8) / 4;
      context.fillStyle = color("grid");
      context.fillRect(PLOT_LEFT, Math.round(y), width - PLOT_LEFT, 1);
      context.fillStyle = color("muted");
      context.fillText(this.#format(Number(scale.value(y).toPrecision(2))), PLOT_LEFT - 6, y);
    }
    context.textBaseline = "top";
    context.fillText(clock(last), width, bottom + 8);
    context.textAlign = "left";
    context.fillText(clock(first), PLOT_LEFT, bottom + 8);
  }

  #summarize() {
    const counts = this.#cells.map(({ count }) => count);
    const most = Math.max(...counts);
    const text = counts.length === 0 ? "No values yet."
      : `${plural(sum(counts), "value")}; the strongest color stands for ${count(most)}.`;
    setText(this.#readout, text);
    this.#canvas.setAttribute("aria-label", `Heat map of values over time. ${text} The table has the percentiles.`);
  }

  /** Shows the cell under the pointer in words. */
  #describe({ offsetX, offsetY }) {
    const scale = this.#cells.length > 0 ? this.#scale() : null;
    const cell = scale && this.#cells.find(({ begin, end, low, high }) =>
      offsetX >= scale.x(begin) && offsetX < scale.x(end) && offsetY <= scale.y(low) && offsetY > scale.y(high));
    if (!cell) return this.#summarize();
    const [low, high] = [cell.low, cell.high].map(this.#format);
    setText(this.#readout, `${plural(cell.count, "value")} from ${low} to ${high}, until ${clock(cell.end)}`);
  }
}

/** Returns the cells that have values: their times, their values, and how many there are. */
function heatMapCells({ bounds, columns }) {
  return columns.flatMap(({ begin, time, counts }) => counts.map(([row, count]) => (
    { begin: unixTime(begin), end: unixTime(time), low: rowBegin(bounds, row), high: bounds[row], count })));
}

/** Returns the lower bound of a row. Rows without values have no bounds, so the row before it need not touch it. */
function rowBegin(bounds, row) {
  const bound = bounds[row];
  return Math.max(bounds[row - 1] ?? -Infinity, bound > 0 ? bound / ROW_FACTOR : bound * ROW_FACTOR);
}

/**
 * Returns a scale for the values of cells: logarithmic if none is negative, otherwise linear. Zero, which has no
 * logarithm, is a bit below the smallest other value.
 */
function valueScale(cells) {
  const edges = cells.flatMap(({ low, high }) => [low, high]);
  const isLinear = edges.some((edge) => edge < 0);
  const positive = edges.filter((edge) => edge > 0);
  const zero = positive.length > 0 ? Math.min(...positive) / ROW_FACTOR : 1;
  const place = isLinear ? (value) => value : (value) => Math.log(Math.max(value, zero));
  const [least, most] = [Math.min(...edges.map(place)), Math.max(...edges.map(place))];
  return { least, most: most > least ? most : least + 1, place, value: isLinear ? (at) => at : Math.exp };
}
