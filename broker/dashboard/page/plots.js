// The four plots. uPlot (a classic script) stands in `window.uPlot`.

const HEIGHT = 140;
const HOUR_S = 3600;
const MARGIN_S = 60; // for the bar of the current minute
const dollars = (value) => (value == null ? "–" : `$${Number(value.toFixed(6))}`);
const seconds = (value) => (value == null ? "–" : value < 1000 ? `${value} ms` : `${(value / 1000).toFixed(1)} s`);
const whole = (value) => (value == null ? "–" : String(value));

const PLOTS = {
  jobs: { lines: [["jobs", "--accent"]], show: whole, bars: true },
  revenue: { lines: [["USD", "--good"]], show: dollars, bars: true },
  time: { lines: [["p50", "--accent"], ["p95", "--second"]], show: seconds, points: true },
  slots: { lines: [["used", "--accent"], ["free", "--good"], ["waiting", "--second"]], show: whole },
};

const drawn = new Map();

/** Draw or redraw the plot `name` with `data`: Unix seconds, then one list of numbers for each line. */
export function draw(name, data) {
  const found = drawn.get(name);
  if (found) {
    found.setData(data);
    return;
  }
  const place = document.getElementById(`plot-${name}`);
  drawn.set(name, new window.uPlot(options(PLOTS[name], place.clientWidth), data, place));
  watcher.observe(place);
}

/** Forget all plots: they are drawn anew with the next numbers, in the colours of now. */
export function forget() {
  watcher.disconnect();
  for (const plot of drawn.values()) plot.destroy();
  drawn.clear();
}

const watcher = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    const plot = drawn.get(target.id.slice("plot-".length));
    if (plot && target.clientWidth && plot.width !== target.clientWidth) {
      plot.setSize({ width: target.clientWidth, height: HEIGHT });
    }
  }
});

function options(plot, width) {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const axis = { stroke: colour("--soft"), grid: { stroke: colour("--grid"), width: 1 }, ticks: { show: false } };
  return {
    width,
    height: HEIGHT,
    padding: [8, 14, 0, 0],
    cursor: { y: false, drag: { x: false, y: false } },
    scales: {
      x: { range: (_, first, last) => [(last ?? 0) - HOUR_S, (last ?? 0) + MARGIN_S] },
      y: { range: (_, low, high) => [0, Math.max(high ?? 0, 0) * 1.1 || 1] },
    },
    axes: [
      { ...axis, space: 60, size: 30, values: (_, at) => at.map(clock) },
      { ...axis, size: 62, values: (_, marks) => marks.map(plot.show) },
    ],
    series: [
      { value: (_, at) => (at == null ? "–" : clock(at)) },
      ...plot.lines.map(([label, name]) => ({
        label,
        stroke: colour(name),
        fill: plot.bars ? colour(name) : undefined,
        width: plot.bars ? 0 : 1.5,
        paths: plot.bars ? window.uPlot.paths.bars({ size: [0.7] }) : undefined,
        spanGaps: true,
        points: { show: !plot.bars && plot.points, size: 5, fill: colour(name) },
        value: (_, value) => plot.show(value),
      })),
    ],
  };
}

function clock(at) {
  return new Date(at * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
}
