// The percentile spectrum: the value at each percentile, on an axis that gives rare values as much room as usual ones.

/** The percentiles that label the axis of the spectrum. */
const LABELLED = [0, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999, 0.999999];

/** The width in pixels that a label needs. A label without so much space goes to a second line. */
const LABEL_WIDTH = 48;

/** Returns where a quantile is on the axis. Each step to the right has a tenth of the values: 0.9 is at 1, 0.99 at 2. */
const axisPlace = (quantile) => Math.log10(1 / (1 - quantile));
const axisQuantile = (place) => 1 - 10 ** -place;

/** Returns a quantile as people write percentiles. The rounding removes errors such as 99.90000000000001. */
const percent = (quantile) => `${Number((quantile * 100).toPrecision(7))}${THIN}%`;

const SPECTRUM_AXIS = {
  uPlot: {
    splits: (_, __, from, to) => LABELLED.map(axisPlace).filter((place) => place >= from - 1e-9 && place <= to),
    values: (plot, places) => places.map((place, index) => {
      const isNear = index % 2 === 1 && plot.valToPos(place, "x") - plot.valToPos(places[index - 1], "x") < LABEL_WIDTH;
      return (isNear ? "\n" : "") + percent(axisQuantile(place));
    }),
    size: 40,
  },
  range: (_, __, last) => [0, Math.max(last, 1)],
  describe: (place) => percent(axisQuantile(place)),
};

/**
 * Returns the spectrum as lists of x and y. 100 % is infinitely far to the right, so the maximum is where the rarest value
 * is: with 1000 values at 99.9 %.
 */
function spectrumLine({ spectrum, count }) {
  const rarest = Math.log10(Math.max(count, 2));
  const places = spectrum.map(([quantile]) => Math.min(axisPlace(Math.min(quantile, 1)), rarest));
  const values = spectrum.map(([, value]) => value);
  return [[0, ...places], [values[0], ...values]];
}

/** Returns the value at a quantile: that of the first point at it or above. */
function valueAt(spectrum, quantile) {
  return (spectrum.find(([point]) => point >= quantile - 1e-12) ?? spectrum.at(-1))[1];
}

/** Returns the rows of the table next to the spectrum: name and value. */
function spectrumRows({ spectrum, count }) {
  const known = LABELLED.filter((quantile) => quantile > 0 && 1 / (1 - quantile) <= Math.max(count, 2) * 1.000001);
  return [["minimum", valueAt(spectrum, 0)], ...known.map((quantile) => [percent(quantile), valueAt(spectrum, quantile)]),
    ["maximum", valueAt(spectrum, 1)]];
}
