// Reads assets/digits/digits.bin (tools/make_digits.py describes it).

/** @returns {Promise<{images: Uint8Array, labels: Uint8Array, heldOut: Uint16Array, pixels: number}>} */
export async function loadDigits() {
  const response = await fetch("assets/digits/digits.bin");
  if (!response.ok) throw new Error(`assets/digits/digits.bin: the server answered ${response.status}`);
  const buffer = await response.arrayBuffer();
  const view = new DataView(buffer);
  const [count, rows, columns, held] = [4, 6, 8, 10].map((at) => view.getUint16(at, true));
  const pixels = rows * columns;
  const labelsAt = 12 + count * pixels;
  const expected = labelsAt + count + 2 * held;
  if (buffer.byteLength !== expected) throw new Error(`digits.bin has ${buffer.byteLength} bytes, expected ${expected}`);
  const heldOut = Uint16Array.from({ length: held }, (_, i) => view.getUint16(labelsAt + count + 2 * i, true));
  return { images: new Uint8Array(buffer, 12, count * pixels), labels: new Uint8Array(buffer, labelsAt, count), heldOut, pixels };
}
