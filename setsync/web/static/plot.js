// The plot of the overview.
"use strict";

(() => {
  const place = document.getElementById("plot");
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let plot = null;

  function size(count) {
    let unit = 0;
    while (count >= 1024 && unit < units.length - 1) { count /= 1024; unit += 1; }
    return (count >= 10 || unit === 0 ? Math.round(count) : count.toFixed(1)) + " " + units[unit];
  }

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function clock(at, step) {
    const when = new Date(at * 1000);
    if (step >= 86400) return when.toLocaleDateString("sv");
    const parts = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
    return when.toLocaleTimeString([], step < 60 ? { ...parts, second: "2-digit" } : parts);
  }

  function options() {
    const axis = { stroke: colour("--soft"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line") } };
    const bytes = (self, values) => values.map(size);
    const times = (self, splits, at, space, step) => splits.map((one) => clock(one, step));
    const line = (label, scale, name, value) => ({ label, scale, stroke: colour(name), width: 2, points: { show: false }, value: (self, found) => (found == null ? "–" : value(found)) });
    return {
      width: place.clientWidth - 16,
      height: 260,
      cursor: { y: false },
      scales: { x: { time: true }, entries: { range: ranged }, bytes: { range: ranged } },
      axes: [
        { ...axis, space: 80, values: times },
        { ...axis, scale: "entries", size: 56, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6, 2e6, 5e6, 1e7] },
        { ...axis, scale: "bytes", side: 1, size: 64, grid: { show: false }, values: bytes, incrs: Array.from({ length: 40 }, (_, power) => 2 ** power) },
      ],
      series: [
        { value: (self, at) => (at == null ? "–" : clock(at, 1)) },
        line("Entries", "entries", "--plot-1", (found) => found.toLocaleString("en")),
        line("On disk", "bytes", "--plot-2", size),
        line("Moved by sessions", "bytes", "--plot-3", size),
      ],
    };
  }

  // From zero, so that a small change does not look like a large one.
  function ranged(self, low, high) {
    return [0, Math.max(1, high == null ? 1 : high * 1.08)];
  }

  async function refresh() {
    const answer = await fetch("/api/history", { headers: { accept: "application/json" } });
    if (!answer.ok) return;
    const found = await answer.json();
    const moved = found.sent.map((sent, at) => sent + found.received[at]);
    const data = [found.at.map((at) => at / 1000), found.entries, found.disk, moved];
    if (plot) plot.setData(data);
    else plot = new uPlot(options(), data, place);
    // Without a pointer the legend shows the last figures; the plot draws itself in a microtask.
    queueMicrotask(() => plot.cursor.idx == null && plot.setLegend({ idx: data[0].length - 1 }));
  }

  function again() {
    if (plot) plot.destroy();
    plot = null;
    refresh().catch(() => {});
  }

  document.body.addEventListener("samples-changed", () => refresh().catch(() => {}));
  new ResizeObserver(() => plot && plot.setSize({ width: place.clientWidth - 16, height: 260 })).observe(place);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  again();
})();
