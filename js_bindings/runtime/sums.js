// The sums of a tile in an array from the start, for the first steps on software adapters.
//
// Shaders add up in variables, and copy these to an array from which a loop picks what it stores (`roll` in
// gpu_wgsl/lanes.py). Variables run faster. But an engine that compiles what a loop carries slowly has the same shader
// sooner if the sums lie in the array all along: a tenth of what the shaders of a CNN take.

const ARRAY = /^ *var (t\d+): array<(.+), (\d+)>;\n/gm;

/**
 * Takes the place of the variables whose values an array gets.
 * @param {string} code  WGSL as our emitter writes it: sums are `a` and a number, arrays of them `t` and a number
 * @returns {string} the same if there is no such array
 */
export function withSumsInArrays(code) {
  return Array.from(code.matchAll(ARRAY)).reduce(gathered, code);
}

/** @param {string} code @param {RegExpMatchArray} declared  an array: its name, type of elements and length */
function gathered(code, [line, array, type, length]) {
  const copied = new RegExp(`^ *(${array}\\[\\d+\\]) = (a\\d+);\\n`, "gm");
  const places = new Map(Array.from(code.matchAll(copied), ([, place, sum]) => [sum, place]));
  if (places.size !== Number(length)) return code;
  let head = `var ${array}: array<${type}, ${length}>;\n`;
  return code
    .replace(line, "")
    .replace(copied, "")
    .replace(/^( *)var (a\d+): .* = (.*);\n/gm, (all, indent, sum, start) => {
      const place = places.get(sum);
      if (!place) return all;
      const declaration = head && indent + head;
      head = "";
      return `${declaration}${indent}${place} = ${start};\n`;
    })
    .replace(/\ba\d+\b/g, (sum) => places.get(sum) ?? sum);
}
