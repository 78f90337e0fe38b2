// Live curves on uPlot. New points are gathered and drawn once per frame, so that a fast trainer costs nothing.

import uPlot from "../vendor/uplot.js";

/** One chart with a live line and, if `validation` is set, a dotted line of values taken at epoch ends. */
export class Curve {
  #plot;
  #data;
  #host;
  #dirty = false;
  #options;

  /**
   * @param {HTMLElement} host
   * @param {{label: string, validation?: string, colour: string, range?: (low: number, high: number) => [number, number],
   *   format: (value: number) => string, axis?: string}} options  colour: a CSS variable name
   */
  constructor(host, options) {
    this.#host = host;
    this.#options = options;
    this.clear();
    this.#build();
    new ResizeObserver(() => this.#plot.setSize(this.#size())).observe(host);
  }

  clear() {
    this.#data = this.#options.validation ? [[], [], []] : [[], []];
    this.#schedule();
  }

  /** Adds a point; a missing value (null) leaves a gap that the line spans. */
  add(x, value, validation = null) {
    const [xs, values, validations] = this.#data;
    xs.push(x);
    values.push(value);
    validations?.push(validation);
    this.#schedule();
  }

  /** Takes the colours of the page again, after a change of theme. */
  restyle() {
    this.#plot.destroy();
    this.#build();
  }

  #size() {
    return { width: Math.max(this.#host.clientWidth, 120), height: Math.max(this.#host.clientHeight, 120) };
  }

  #build() {
    const style = getComputedStyle(this.#host);
    const colour = (name) => style.getPropertyValue(name).trim();
    const { label, validation, range, format, axis = "epoch" } = this.#options;
    const axes = { stroke: colour("--muted"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false },
      font: `11px ${colour("--sans")}` };
    const series = [
      { label: axis },
      { label, stroke: colour(this.#options.colour), width: 2, spanGaps: true, points: { show: false } },
    ];
    if (validation) {
      series.push({ label: validation, stroke: colour("--ink"), width: 1.5, spanGaps: true, dash: [2, 4],
        points: { show: true, size: 6, fill: colour("--ink") } });
    }
    this.#plot = new uPlot({
      ...this.#size(), series, cursor: { show: false }, legend: { show: false }, padding: [8, 12, 6, 0],
      scales: { x: { time: false }, y: range ? { range: (_, low, high) => range(low ?? 0, high ?? 1) } : {} },
      axes: [{ ...axes, size: 26 }, { ...axes, size: 46, values: (_, ticks) => ticks.map((tick) => (tick === null ? "" : format(tick))) }],
    }, this.#data, this.#host);
  }

  #schedule() {
    if (this.#dirty) return;
    this.#dirty = true;
    requestAnimationFrame(() => {
      this.#dirty = false;
      this.#plot?.setData(this.#data);
    });
  }
}
