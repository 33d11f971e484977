// The state of tallyd itself: version, uptime, exporters, configuration.

async function refreshStatus() {
  const status = await ask("status");
  setText(byId("facts"), `Version ${status.version}, up ${longSpan(status.uptime_seconds)}`);
  showExporters(status.exporters);
  setText(byId("configuration"), JSON.stringify(status.configuration, null, 2));
  return status;
}

function showExporters(exporters) {
  showRows(byId("exporters"), exporters, ({ name }) => name, (exporter) => [
    exporter.name,
    exporterState(exporter),
    exporter.age_seconds === null ? "never" : quantity(exporter.age_seconds, (age) => `${seconds(age)} ago`),
    quantity(exporter.waiting_samples, count),
  ]);
  setText(byId("exporters-note"), exporters.length === 0 ? "No exporter is enabled." : "");
}

/** Returns the state in words. The color only repeats it. */
function exporterState({ failures, error, age_seconds: age }) {
  if (failures > 0) {
    const times = failures === 1 ? "once" : `${count(failures)} times in a row`;
    return element("span", { class: "bad" }, `failed ${times}: ${visible(error ?? "no reason is known")}`);
  }
  if (age === null) return element("span", {}, "waiting for the first interval");
  return element("span", { class: "good" }, "works");
}
