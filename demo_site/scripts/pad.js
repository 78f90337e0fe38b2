// A pad to draw one digit on. What is drawn becomes 8x8 numbers from 0 to 16 in the way the UCI digits were made: the
// strokes are scaled to a 32x32 bitmap, and the set pixels of each 4x4 block are counted.

const BITMAP = 32;
const BLOCK = 4;
export const SIDE = BITMAP / BLOCK;
const STROKE = 4.4; // pixels of the bitmap: the pen width of the scans
const WIDEST = 0.86; // a digit wider than tall is scaled to this share of the bitmap's width
const SHORTEST = 12; // pixels of the pad: a smaller mark is not blown up to full height

/**
 * Scales strokes to the bitmap: full height, aspect kept, centred; then counts set pixels in blocks.
 * @param {{x: number, y: number}[][]} strokes  in any unit
 * @returns {Float32Array}  64 values from 0 to 16, row after row
 */
export function countBlocks(strokes) {
  const counts = new Float32Array(SIDE * SIDE);
  const points = strokes.flat();
  if (!points.length) return counts;
  const [left, right] = range(points.map((point) => point.x));
  const [top, bottom] = range(points.map((point) => point.y));
  const inside = BITMAP - STROKE;
  const scale = Math.min(inside / Math.max(bottom - top, SHORTEST), (inside * WIDEST) / Math.max(right - left, SHORTEST));
  const place = ({ x, y }) => [
    BITMAP / 2 + (x - (left + right) / 2) * scale,
    BITMAP / 2 + (y - (top + bottom) / 2) * scale,
  ];
  const bitmap = paint(strokes.map((stroke) => stroke.map(place)));
  for (let pixel = 0; pixel < BITMAP * BITMAP; pixel++) {
    const row = Math.floor(pixel / BITMAP / BLOCK);
    const column = Math.floor((pixel % BITMAP) / BLOCK);
    if (bitmap[pixel * 4 + 3] > 127) counts[row * SIDE + column] += 1;
  }
  return counts;
}

function range(values) {
  return [Math.min(...values), Math.max(...values)];
}

/** Draws the placed strokes and returns RGBA pixels; a pixel counts as set when more than half of it is covered. */
function paint(strokes) {
  const context = new OffscreenCanvas(BITMAP, BITMAP).getContext("2d", { willReadFrequently: true });
  Object.assign(context, { lineWidth: STROKE, lineCap: "round", lineJoin: "round" });
  for (const [first, ...rest] of strokes) {
    context.beginPath();
    context.moveTo(...first);
    for (const point of rest.length ? rest : [first]) context.lineTo(...point);
    context.stroke();
  }
  return context.getImageData(0, 0, BITMAP, BITMAP).data;
}

/** Makes a canvas a drawing pad; calls `onChange(pixels)` while drawing, `onChange(null)` when cleared. */
export class Pad {
  #canvas;
  #preview;
  #strokes = [];
  #drawing = false;
  #onChange;

  /**
   * @param {HTMLCanvasElement} canvas  where one draws
   * @param {HTMLCanvasElement | null} preview  shows the 8x8 numbers that the model sees
   * @param {(pixels: Float32Array | null) => void} onChange
   */
  constructor(canvas, preview, onChange) {
    this.#canvas = canvas;
    this.#preview = preview;
    this.#onChange = onChange;
    canvas.addEventListener("pointerdown", (event) => this.#begin(event));
    canvas.addEventListener("pointermove", (event) => this.#extend(event));
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => this.#end());
    new ResizeObserver(() => this.#draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#draw());
  }

  get pixels() {
    return this.#strokes.length ? countBlocks(this.#strokes) : null;
  }

  clear() {
    this.#strokes = [];
    this.#draw();
    this.#onChange(null);
  }

  /** Shows an 8x8 image as if it had been drawn: no strokes, only the preview. */
  show(pixels) {
    this.#strokes = [];
    this.#draw();
    this.#drawPreview(pixels);
  }

  redraw() {
    this.#draw();
  }

  #begin(event) {
    event.preventDefault();
    this.#canvas.setPointerCapture(event.pointerId);
    this.#drawing = true;
    this.#strokes.push([this.#point(event)]);
    this.#changed();
  }

  #extend(event) {
    if (!this.#drawing) return;
    const events = event.getCoalescedEvents?.() ?? [event];
    for (const each of events.length ? events : [event]) this.#strokes.at(-1).push(this.#point(each));
    this.#changed();
  }

  #end() {
    this.#drawing = false;
  }

  #changed() {
    this.#draw();
    this.#onChange(this.pixels);
  }

  #point(event) {
    const box = this.#canvas.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  }

  #draw() {
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    const sharp = window.devicePixelRatio || 1;
    this.#canvas.width = width * sharp;
    this.#canvas.height = height * sharp;
    const context = this.#canvas.getContext("2d");
    const colour = getComputedStyle(this.#canvas).getPropertyValue("--ink").trim();
    Object.assign(context, { lineWidth: width / 13, lineCap: "round", lineJoin: "round", strokeStyle: colour });
    context.scale(sharp, sharp);
    for (const [first, ...rest] of this.#strokes) {
      context.beginPath();
      context.moveTo(first.x, first.y);
      for (const point of rest.length ? rest : [first]) context.lineTo(point.x, point.y);
      context.stroke();
    }
    this.#drawPreview(this.pixels ?? new Float32Array(SIDE * SIDE));
  }

  #drawPreview(pixels) {
    if (this.#preview) drawDigit(this.#preview, pixels);
  }
}

/** Draws 8x8 values from 0 to 16 into a small canvas, in the ink of its surroundings. */
export function drawDigit(canvas, pixels) {
  canvas.width = canvas.height = SIDE;
  const context = canvas.getContext("2d");
  context.fillStyle = getComputedStyle(canvas).getPropertyValue("--ink").trim() || "#123";
  pixels.forEach((value, index) => {
    context.globalAlpha = Math.min(value / 16, 1);
    context.fillRect(index % SIDE, Math.floor(index / SIDE), 1, 1);
  });
}
