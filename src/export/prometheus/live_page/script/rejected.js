// Rejected lines: the latest ones, with the offending character marked.

const SHOWN_LINES = 50;
const SHOWN_CHARACTERS = 200;
/** The longest part of a line that tallyd keeps. */
const KEPT_BYTES = 512;

async function refreshRejected() {
  const { lines, quarantined } = await ask("rejected");
  showRejected(lines.slice(0, SHOWN_LINES));
  const notes = [];
  if (lines.length === 0) notes.push("No line was rejected.");
  if (lines.length > SHOWN_LINES) notes.push(`The latest ${SHOWN_LINES} of ${lines.length} remembered lines.`);
  if (quarantined.length > 0) {
    const names = quarantined.map(({ series, reason }) => `${visible(series)} (${label(reason)})`);
    notes.push(`Not on the Prometheus page: ${names.join(", ")}.`);
  }
  setText(byId("rejected-note"), notes.join(" "));
}

function showRejected(lines) {
  const list = byId("rejected");
  const updated = element("ol", {}, ...lines.map(rejectedItem));
  // The same lines stay, so that nobody loses a selection.
  if (list.textContent !== updated.textContent) list.replaceChildren(...updated.children);
}

function rejectedItem(rejected) {
  const time = element("time", { datetime: rejected.time }, clock(unixTime(rejected.time)));
  const column = rejected.column === null ? "" : `, column ${rejected.column}`;
  const origin = ` from ${senderText(rejected.sender)} (${label(rejected.listener)})`;
  return element("li", {}, element("p", {}, time, " ", element("strong", {}, label(rejected.reason)), column + origin),
    markedLine(rejected));
}

/** Returns the part of a line around the offending character, a `mark` below which the style sheet draws a caret. */
function markedLine({ line, length, begin, caret }) {
  if (line === "") return element("code", {}, `a line of ${count(length)} bytes, which was not kept`);
  // A character outside the basic plane has two units.
  const characters = [...line];
  const at = caret ?? characters.length;
  const [from, to] = shownRange(characters.length, caret ?? 0);
  const text = (from, to) => characters.slice(from, to).join("");
  const reachesEnd = begin + KEPT_BYTES >= length;
  const before = (begin > 0 || from > 0 ? "…" : "") + text(from, Math.min(at, to));
  const marked = caret === null ? "" : markedText(text(at, to));
  const after = text(at + [...marked].length, to) + (to < characters.length || !reachesEnd ? "…" : "");
  // The end of a line can be the offence. A space stands for it.
  const mark = caret === null ? "" : element("mark", {}, marked || " ");
  return element("code", {}, before, mark, after);
}

/** Returns the first character of a text, or all of an escape such as `\u{1b}`, with which the API shows a hidden one. */
function markedText(text) {
  return /^(?:\\u\{[0-9a-f]{1,6}\}|\\[tnr]|.)/su.exec(text)?.[0] ?? "";
}

/** Returns the range of a long line that is shown, which contains `at`. */
function shownRange(length, at) {
  const from = Math.max(Math.min(at - SHOWN_CHARACTERS / 2, length - SHOWN_CHARACTERS), 0);
  return [from, Math.min(from + SHOWN_CHARACTERS, length)];
}
