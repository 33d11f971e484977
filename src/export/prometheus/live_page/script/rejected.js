// Rejected lines: the latest ones, with the offending character marked.

const SHOWN_LINES = 50;
const SHOWN_CHARACTERS = 200;

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
function markedLine({ line, length, begin, column }) {
  if (line === "") return element("code", {}, `a line of ${count(length)} bytes, which was not kept`);
  const characters = shownCharacters(line);
  const end = begin + sum(characters.map(({ bytes }) => bytes));
  const at = column === null ? characters.length : indexOfByte(characters, column - 1 - begin);
  const [from, to] = shownRange(characters.length, column === null ? 0 : at);
  const text = (from, to) => characters.slice(from, to).map(({ text }) => text).join("");
  const before = (begin > 0 || from > 0 ? "…" : "") + text(from, Math.min(at, to));
  const after = text(at + 1, to) + (to < characters.length || end < length ? "…" : "");
  // The end of a line can be the offence. A space stands for it.
  const mark = column === null ? "" : element("mark", {}, characters[at]?.text ?? " ");
  return element("code", {}, before, mark, after);
}

/** Returns the range of a long line that is shown, which contains `at`. */
function shownRange(length, at) {
  const from = Math.max(Math.min(at - SHOWN_CHARACTERS / 2, length - SHOWN_CHARACTERS), 0);
  return [from, Math.min(from + SHOWN_CHARACTERS, length)];
}

/** Returns the index of the character that contains a byte, or the number of characters. */
function indexOfByte(characters, byte) {
  let end = 0;
  const index = characters.findIndex(({ bytes }) => (end += bytes) > byte);
  return index < 0 ? characters.length : index;
}

/**
 * Splits a line of the API into characters, with their length in bytes on the wire. The API escapes hidden characters,
 * for example as `\u{1b}`, and shows `U+FFFD` for bytes that are not UTF-8.
 */
function shownCharacters(line) {
  const parts = line.match(/\\u\{(?:10[0-9a-f]{4}|[0-9a-f]{1,5})\}|\\[tnr]|./gsu) ?? [];
  return parts.map((text) => ({ text, bytes: wireLength(text) }));
}

function wireLength(text) {
  if (text === "\ufffd") return 1;
  const escaped = /^\\u\{(.+)\}$/s.exec(text);
  const character = escaped ? String.fromCodePoint(parseInt(escaped[1], 16)) : text;
  return /^\\[tnr]$/.test(text) ? 1 : new TextEncoder().encode(character).length;
}
