// Top talkers: who and what causes the load of the latest interval.

const TALKERS = [
  { key: "names", caption: "Names by samples", heading: "Name", number: "samples" },
  { key: "series", caption: "Names by series", heading: "Name", number: "count", unit: "Series" },
  { key: "new", caption: "Names by new series", heading: "Name", number: "count", unit: "New series" },
  { key: "rejected", caption: "Names by rejected lines", heading: "Name", number: "count", unit: "Lines" },
  { key: "senders", caption: "Senders by lines", heading: "Sender", number: "lines" },
];

function buildTalkers() {
  for (const talker of TALKERS) {
    const unit = talker.unit ?? talker.number[0].toUpperCase() + talker.number.slice(1);
    talker.table = table(talker.caption, [talker.heading, `#${unit}`]);
    talker.table.id = `talkers-${talker.key}`;
    const attributes = { class: "scroll short", tabindex: "0", role: "group", "aria-label": talker.caption };
    byId("talkers").append(element("div", attributes, talker.table));
  }
}

async function refreshTalkers() {
  const answer = await ask("talkers");
  for (const talker of TALKERS) {
    const body = talker.table.tBodies[0];
    showRows(body, answer[talker.key], talkerKey, (entry) => [talkerName(entry), talkerNumber(entry, talker.number)]);
    talker.table.parentElement.hidden = answer[talker.key].length === 0;
  }
  setText(byId("talkers-note"), talkersNote(answer));
}

/** Returns from when the numbers are, and how exact. */
function talkersNote({ seconds: length, time, sampled: { lines, kept } }) {
  const when = `The latest interval, ${seconds(length)} until ${clock(unixTime(time))}.`;
  if (kept >= lines) return `${when} All numbers are exact.`;
  return `${when} Samples and senders are estimates from ${count(kept)} of ${count(lines)} lines, with the ` +
    `95${THIN}% margin of error.`;
}

const talkerKey = ({ name, sender, listener }) => name ?? JSON.stringify([sender, listener]);

function talkerName({ name, sender, listener }) {
  if (name !== undefined) return stateLink({ match: name }, visible(name));
  return `${senderText(sender)} (${label(listener)})`;
}

/** Returns a sender in words. */
function senderText(sender) {
  if (!sender) return "unknown sender";
  if (sender.address) return sender.address;
  const container = sender.container ? `, container ${sender.container.slice(0, 12)}` : "";
  return `process ${sender.pid} of user ${sender.uid}${container}`;
}

function talkerNumber(entry, key) {
  const margin = entry.error > 0 ? ` ±${THIN}${count(entry.error)}` : "";
  return quantity(entry[key], (number) => count(number) + margin);
}
