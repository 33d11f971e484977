// The document: builds and updates its elements.
//
// Names come from strangers. So text reaches the document only as text nodes, and no function here parses HTML. The
// content security policy enforces this, too.

const byId = (id) => document.getElementById(id);

/** Returns a new element. A child is a node or a text. */
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** Returns an element with a number in two forms: rounded for people, exact for programs. */
function quantity(number, format) {
  if (number === null || number === undefined) return element("span", {}, UNKNOWN);
  return element("data", { value: number }, format(number));
}

/** Returns a link to a state of this page. The parameters are in the fragment, so they never reach a server's log. */
function stateLink(parameters, text) {
  return element("a", { href: fragment(parameters) }, text);
}

function fragment(parameters) {
  return "#" + Object.entries(parameters).map(([key, value]) => `${key}=${encodeURIComponent(value)}`).join("&");
}

/** Sets the text of an element. Setting the same text again would make screen readers repeat it. */
function setText(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

/**
 * Shows one row for each item. `keyOf` returns the identity of an item. `cellsOf` returns its cells, of which the first
 * one is the row's heading. Rows and cells that stay the same are kept, so the keyboard's focus stays where it is.
 */
function showRows(body, items, keyOf, cellsOf) {
  const focused = document.activeElement;
  const known = new Map([...body.children].map((row) => [row.dataset.key, row]));
  const rows = items.map((item) => {
    const key = keyOf(item);
    const row = known.get(key) ?? element("tr", { "data-key": key });
    showCells(row, cellsOf(item));
    return row;
  });
  rows.forEach((row, index) => {
    if (body.children[index] !== row) body.insertBefore(row, body.children[index] ?? null);
  });
  while (body.children.length > rows.length) body.lastElementChild.remove();
  if (body.contains(focused) && document.activeElement !== focused) focused.focus({ preventScroll: true });
}

function showCells(row, contents) {
  contents.forEach((content, index) => {
    const isNumber = content instanceof HTMLDataElement;
    const made = index === 0 ? element("th", { scope: "row" }, content) : element("td", {}, content);
    if (isNumber) made.className = "number";
    const cell = row.children[index];
    if (!cell) row.append(made);
    else if (!cell.isEqualNode(made)) cell.replaceWith(made);
  });
}

/** Returns a table with a caption and headings. A heading that begins with "#" is that of numbers. */
function table(caption, headings) {
  const cells = headings.map((heading) => heading.startsWith("#")
    ? element("th", { scope: "col", class: "number" }, heading.slice(1))
    : element("th", { scope: "col" }, heading));
  return element("table", {}, element("caption", {}, caption),
    element("thead", {}, element("tr", {}, ...cells)), element("tbody"));
}
