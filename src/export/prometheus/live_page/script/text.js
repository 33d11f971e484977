// Text: turns numbers, times and names into what people read.

/** A space at which no line breaks, between a number and its unit. */
const THIN = "\u202f";

/** What stands for a number that is not known. */
const UNKNOWN = "–";

const PREFIXES = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]];

/** Returns at most three significant digits, but all digits of a whole number below 100,000. */
function digits(number) {
  const size = Math.abs(number);
  if (size < 100_000 && Number.isInteger(number)) return number.toLocaleString("en");
  if (size !== 0 && (size < 0.001 || size >= 1e6)) return number.toExponential(2);
  return String(Number(number.toPrecision(3)));
}

/** Returns a number with a decimal prefix and a unit: 12345.6 and "/s" become "12.3 k/s". */
function scaled(number, unit) {
  if (number === null || !Number.isFinite(number)) return UNKNOWN;
  const size = Math.abs(number);
  // Whole numbers below 100,000 are short enough without a prefix.
  const needed = size >= 100_000 || (size >= 1000 && !Number.isInteger(number));
  const [factor, prefix] = (needed && PREFIXES.find(([least]) => size >= least)) || [1, ""];
  const suffix = prefix + unit;
  return digits(number / factor) + (/^\p{L}/u.test(suffix) ? THIN : "") + suffix;
}

const count = (number) => scaled(number, "");
const perSecond = (number) => scaled(number, "/s");
const bytes = (number) => scaled(number, "B");

/** Returns a time span in the unit in which it has the fewest zeros: 0.0042 becomes "4.2 ms". */
function seconds(number) {
  if (number === null || !Number.isFinite(number)) return UNKNOWN;
  const size = Math.abs(number);
  if (size === 0 || size >= 1) return scaled(number, "s");
  const [factor, unit] = [[1e-3, "ms"], [1e-6, "µs"]].find(([least]) => size >= least) ?? [1e-9, "ns"];
  // The rounding removes the error of the division, as in 4.000000000000001.
  return scaled(Number((number / factor).toPrecision(12)), unit);
}

const LONG_UNITS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];

/** Returns a long time span in its two largest units: 3725 becomes "1 h 2 min". */
function longSpan(total) {
  const found = LONG_UNITS.findIndex(([length]) => total >= length);
  const first = found < 0 ? LONG_UNITS.length - 1 : found;
  let rest = total;
  const parts = LONG_UNITS.slice(first, first + 2).map(([length, unit]) => {
    const whole = Math.floor(rest / length);
    rest -= whole * length;
    return [whole, unit];
  });
  return parts.filter(([whole], index) => index === 0 || whole > 0).map(([whole, unit]) => whole + THIN + unit).join(" ");
}

/** Returns the time of day of a Unix time in seconds. */
function clock(time, withSeconds = true) {
  const date = new Date(time * 1000);
  const parts = [date.getHours(), date.getMinutes(), ...(withSeconds ? [date.getSeconds()] : [])];
  return parts.map((part) => String(part).padStart(2, "0")).join(":");
}

/** Returns the Unix time in seconds of a time in the API. */
const unixTime = (text) => Date.parse(text) / 1000;

/**
 * Returns a name with its hidden characters escaped, as in tallyd's log. Control characters, and those that change the
 * direction of text, could otherwise make a name look like another one.
 */
function visible(name) {
  return name.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu, (hidden) => `\\u{${hidden.codePointAt(0).toString(16)}}`);
}

/** Returns a number of things, such as "1 value" or "12.3 k values". */
const plural = (number, thing) => `${count(number)} ${thing}${number === 1 ? "" : "s"}`;

/** Returns a word of the API as a label: "lines_rejected" becomes "lines rejected". */
const label = (word) => word.replaceAll("_", " ");
