// Reads a `model.tide` that nobody vouches for: decodes the flatbuffer and enforces the rules of class C, then those of
// class P (rules.js). `docs/format.md` numbers the rules; `core/program/read.py` is the twin of this file and checks
// the same things in the same order. Loading executes nothing. Tensors, code and modules are views, not copies.

import { ModelError } from "./errors.js";
import { verifyModel } from "./rules.js";
import { sha256 } from "./sha256.js";
import { ENUMS, IDENTIFIER, STRUCTS, TABLES, UNIONS } from "./tables.js";

const SCHEMA_VERSION = 1;
const HEADER_SIZE = 56;
const SEGMENT_ALIGNMENT = 4096;
const TENSOR_ALIGNMENT = 256;
const LARGEST_SEGMENT = 128 * 2 ** 20;
const LONGEST_NAME = 512;
const LARGEST = Number.MAX_SAFE_INTEGER;

// control characters, and those that reorder text on a terminal
// eslint-disable-next-line no-control-regex
const UNPRINTABLE = /[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]/;
const COUNTED = ["Tensor", "Node", "Step"];

/**
 * Verifies a whole file and returns its contents as plain objects, named as in `model.fbs`. Enums are numbers; `data`
 * and `code` and `module` are views into `file`, with the place they came from beside them (`slice`).
 * @param {Uint8Array} file
 * @param {{maxItems?: number, maxRegionBytes?: number}} [options]  what is accepted: tensors + nodes + steps; memory of
 *   one program at its smallest sizes
 * @returns {any}
 * @throws {ModelError} the first rule that the file breaks, with the field and the reason
 */
export function readModel(file, { maxItems = 65536, maxRegionBytes = 2 ** 32 } = {}) {
  const { flat, first } = header(file);
  const model = new Decoder(file.subarray(0, flat), maxItems).model();
  checkSegments(model.segments, first, file.length);
  resolve(model, file);
  model.segments.forEach((segment, i) => {
    segment.hashAt = segment.sha256.byteOffset - file.byteOffset;
    if (!equal(sha256(segmentBytes(file, segment)), segment.sha256)) {
      throw new ModelError("C15-hash", `segments[${i}]`, "the SHA-256 differs: the bytes were changed or damaged");
    }
  });
  verifyModel(model, maxRegionBytes);
  return model;
}

/**
 * Replaces the data of some tensors: a new file in which their bytes and the hashes of their segments are exchanged.
 * @param {Uint8Array} file  the bytes that `model` was read from
 * @param {any} model
 * @param {Map<number, Uint8Array>} changes  new bytes by tensor index, of the same size as the old
 * @returns {Uint8Array}
 */
export function patchTensors(file, model, changes) {
  const patched = file.slice();
  const touched = new Set();
  for (const [index, bytes] of changes) {
    const { slice, name } = model.tensors[index] ?? {};
    if (!slice || bytes.length !== slice.size) {
      throw new ModelError("P04-tensor", `tensors[${index}]`, slice
        ? `${name} has ${slice.size} bytes in the file, received ${bytes.length}`
        : "has no data in the file to be replaced");
    }
    patched.set(bytes, model.segments[slice.segment].offset + slice.offset);
    touched.add(model.segments[slice.segment]);
  }
  for (const segment of touched) rehash(patched, segment);
  return patched;
}

/**
 * Writes the SHA-256 of a segment's bytes to where the file keeps it.
 * @param {Uint8Array} file
 * @param {{offset: number, size: number, hashAt: number}} segment
 */
export function rehash(file, segment) {
  file.set(sha256(segmentBytes(file, segment)), segment.hashAt);
}

const segmentBytes = (file, { offset, size }) => file.subarray(offset, offset + size);
const align = (n, alignment) => Math.ceil(n / alignment) * alignment;
const equal = (a, b) => a.length === b.length && a.every((byte, i) => byte === b[i]);
const isZero = (bytes) => bytes.every((byte) => byte === 0);

/** Checks identifier and header; returns the size of the flatbuffer and the offset of the first segment. */
function header(file) {
  const found = String.fromCharCode(...file.subarray(4, 8));
  if (found !== IDENTIFIER) {
    const newer = found.slice(0, 3) === IDENTIFIER.slice(0, 3) && found.slice(3) > IDENTIFIER.slice(3);
    const why = newer ? "made for a newer reader: update tideflow" : "not a model.tide";
    throw new ModelError("C01-identifier", "bytes 4-7", `${why} (expected ${IDENTIFIER}, found ${JSON.stringify(found)})`);
  }
  const refuse = (why) => { throw new ModelError("C02-header", "header", why); };
  if (file.length < 8 + HEADER_SIZE) refuse(`the file has only ${file.length} bytes (truncated download?)`);
  const view = new DataView(file.buffer, file.byteOffset, file.length);
  const big = (at) => view.getUint32(at + 4, true) * 2 ** 32 + view.getUint32(at, true);
  if (view.getUint32(8) !== 0x74646831 || view.getUint32(12, true) !== HEADER_SIZE) refuse("does not start with tdh1, 56");
  if (!isZero(file.subarray(40, 64))) refuse("reserved bytes are not zero");
  const flat = big(16), first = big(24), body = big(32);
  if (flat < 8 + HEADER_SIZE || flat > file.length || (first !== flat && first !== align(flat, SEGMENT_ALIGNMENT)) ||
      first + body !== file.length) {
    refuse(`a flatbuffer of ${flat} bytes, then ${body} bytes from ${first}: that is not this file of ${file.length} ` +
      "bytes (truncated download?)");
  }
  if (!isZero(file.subarray(flat, first))) refuse("padding after the flatbuffer is not zero");
  return { flat, first };
}

/** Segments follow each other on multiples of 4096 without holes and end with the file. */
function checkSegments(segments, first, end) {
  let at = first;
  segments.forEach(({ offset, size, sha256: hash }, i) => {
    const refuse = (why) => { throw new ModelError("C13-segment", `segments[${i}]`, why); };
    if (hash.length !== 32) refuse(`sha256 has ${hash.length} bytes, expected 32`);
    if (at % SEGMENT_ALIGNMENT || offset !== at) refuse(`starts at ${offset}, expected the next multiple of 4096, ${at}`);
    const stop = at + size, last = i === segments.length - 1;
    if (stop > end || (last && stop !== end)) refuse(`ends at byte ${stop} of a file of ${end} bytes`);
    at = last ? stop : align(stop, SEGMENT_ALIGNMENT);
  });
  if (at !== end) throw new ModelError("C13-segment", "segments", `cover the file up to byte ${at} of ${end}`);
}

/** Checks that slices tile their segments and replaces each one by a view of its bytes. */
function resolve(model, file) {
  const owned = [], shared = [], seen = new Set();
  model.tensors.forEach((t, i) => { if (t.data) owned.push([`tensors[${i}].data`, t, "data"]); });
  model.programs.forEach((program, p) => {
    program.kernels.forEach((kernel, k) => {
      if (kernel.code) shared.push([`programs[${p}].kernels[${k}].code`, kernel, "code"]);
    });
    if (program.module) owned.push([`programs[${p}].module`, program, "module"]);
  });
  const all = [...owned, ...shared].map(([where, item, field]) => ({ where, item, field, ...item[field] }));
  const uses = all.filter((use, i) => {     // equal code may be stored once; nothing else is shared
    if (i < owned.length) return true;
    const key = `${use.segment} ${use.offset} ${use.size}`;
    return !seen.has(key) && seen.add(key);
  });
  for (const { where, segment } of uses) {
    if (segment >= model.segments.length) {
      throw new ModelError("C14-slice", where, `segment ${segment} of ${model.segments.length}`);
    }
  }
  checkTiling(uses, model.segments, file);
  for (const { item, field, segment, offset, size } of all) {
    const start = model.segments[segment].offset + offset;
    item.slice = { segment, offset, size };
    item[field] = file.subarray(start, start + size);
  }
}

function checkTiling(uses, segments, file) {
  uses.sort((a, b) => a.segment - b.segment || a.offset - b.offset || a.size - b.size);
  const used = new Set();
  let at = 0, count = 0;
  uses.forEach(({ where, segment, offset, size }, i) => {
    const refuse = (why) => { throw new ModelError("C14-slice", where, why); };
    if (!used.has(segment)) at = count = 0;
    used.add(segment);
    const start = align(at, TENSOR_ALIGNMENT);
    if (offset !== start) {
      refuse(`at ${offset} of segment ${segment}, expected ${start}: slices start on multiples of 256 without overlap or hole`);
    }
    const { offset: base, size: room } = segments[segment];
    if (start + size > room) refuse(`ends at ${start + size} of a segment of ${room} bytes`);
    if (!isZero(file.subarray(base + at, base + start))) refuse("padding before it is not zero");
    at = start + size;
    count++;
    if (uses[i + 1]?.segment === segment) return;
    if (at !== room) refuse(`is the last of segment ${segment} but ends at ${at} of ${room} bytes`);
    if (room > LARGEST_SEGMENT && count > 1) refuse(`segment ${segment} has ${room} bytes; above 128 MiB it may hold one slice`);
  });
  segments.forEach(({ offset, size }, i) => {
    const refuse = (why) => { throw new ModelError("C14-slice", `segments[${i}]`, why); };
    if (!used.has(i)) refuse("nothing refers to it");
    if (!isZero(file.subarray(offset + size, segments[i + 1]?.offset ?? offset + size))) refuse("padding after it is not zero");
  });
}

// --- the flatbuffer --------------------------------------------------------------------------------------------------

const WIDTHS = { u8: 1, u16: 2, u32: 4, u64: 8, i32: 4, i64: 8, f32: 4, f64: 8, bool: 1 };

/**
 * How to read one kind of table: its fields in order, their widths per vtable slot.
 * @param {string} text  the notation of tools/generate_tables.py
 */
function parse(text) {
  const widths = [];
  const fields = text.split(" ").map((part) => {
    const [, name, kind, required, value] = /^(\w+):([\w[\]]+)(!?)=?(.*)$/.exec(part);
    const union = kind in UNIONS;
    if (union) widths.push(1);
    const width = WIDTHS[kind] ?? (kind in ENUMS ? 1 : 4);
    const field = { name, kind, width, slot: widths.length, union, required: Boolean(required) || union, value: Number(value) };
    widths.push(width);
    return field;
  });
  return { fields, widths };
}

const SPECS = {};
for (const name in TABLES) SPECS[name] = parse(TABLES[name]);
SPECS.Version = parse(TABLES.Model.split(" ", 1)[0]);

/** One pass over a flatbuffer by the field lists of tables.js; every access is checked first. */
class Decoder {
  constructor(bytes, maxItems) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    this.end = bytes.length;
    this.budget = this.end;                 // bytes that objects may still cover
    this.items = maxItems;
    this.objects = 8 * maxItems;
    this.path = [];
    this.newer = true;
    this.utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  }

  /** @returns {never} */
  fail(rule, why) {
    const where = this.path.map((part) => typeof part === "number" ? `[${part}]` : `.${part}`).join("").slice(1);
    throw new ModelError(rule, where || "root", why);
  }

  model() {
    const root = this.view.getUint32(0, true);
    const version = this.table("Version", root).schema_version;
    if (version === 0) this.fail("C12-version", "schema_version is 0");
    this.newer = version > SCHEMA_VERSION;
    this.budget = this.end;
    this.objects++;
    return this.table("Model", root);
  }

  charge(size) {
    this.budget -= size;
    if (this.budget < 0) this.fail("C10-shared", "objects overlap: together they are larger than the flatbuffer");
  }

  count(key, n, what) {
    this[key] -= n;
    if (this[key] < 0) this.fail("C09-count", `more ${what} than accepted: raise maxItems if the file is trusted`);
  }

  table(kind, at) {
    const { view, end, path } = this, { fields, widths } = SPECS[kind];
    if (at & 3 || at < 64 || at + 4 > end) this.fail("C03-table", `table at ${at} of ${end}`);
    const vtable = at - view.getInt32(at, true);
    if (vtable & 1 || vtable < 64 || vtable + 4 > end) this.fail("C03-table", `vtable at ${vtable}`);
    const length = view.getUint16(vtable, true), size = view.getUint16(vtable + 2, true);
    if (length < 4 || length & 1 || vtable + length > end || size < 4) {
      this.fail("C03-table", `vtable at ${vtable} of ${length} bytes for a table of ${size}`);
    }
    const offsets = [], slots = length / 2 - 2;
    for (let i = widths.length; i < slots && !this.newer; i++) {
      if (view.getUint16(vtable + 4 + 2 * i, true)) {
        this.fail("C12-version", `has fields that schema version ${SCHEMA_VERSION} does not know`);
      }
    }
    for (let i = 0; i < widths.length; i++) {
      const offset = i < slots ? view.getUint16(vtable + 4 + 2 * i, true) : 0;
      if (offset && (offset < 4 || offset + widths[i] > size || (at + offset) & (widths[i] - 1))) {
        this.fail("C03-table", `field at ${offset} of a table of ${size} bytes, or not aligned`);
      }
      offsets.push(offset);
    }
    if (at + size > end) this.fail("C03-table", `table at ${at} of ${size} bytes ends after ${end}`);
    this.charge(size);
    this.count("objects", 1, "objects");
    const result = {};
    for (const field of fields) {
      const offset = offsets[field.slot];
      path.push(field.name);
      if (offset) {
        const type = field.union && offsets[field.slot - 1];
        const value = field.union ? this.union(field.kind, type && at + type, at + offset) : this.field(field.kind, at + offset);
        if (field.required && value === "" && !field.union) this.fail("C06-required", "is empty");
        result[field.name] = value;
      } else if (field.required) {
        this.fail("C06-required", "is absent");
      } else {
        result[field.name] = absent(field);
      }
      path.pop();
    }
    return result;
  }

  union(kind, typeAt, at) {
    const kinds = UNIONS[kind].split(" "), type = typeAt && this.bytes[typeAt];
    if (type < 1 || type > kinds.length) this.fail("C08-enum", `unknown type ${type}`);
    const { v } = this.table(kinds[type - 1], this.target(at));
    return type === kinds.length ? { v } : v;       // a GraphRef stays an object
  }

  target(at) {
    const offset = this.view.getUint32(at, true);
    if (offset === 0) this.fail("C03-table", "the offset is 0");
    return at + offset;
  }

  /** The start and length of the vector that `at` refers to, for elements of `size` bytes. */
  vector(at, size, alignment) {
    at = this.target(at);
    if (at & 3 || at + 4 > this.end) this.fail("C04-vector", `vector at ${at} of ${this.end}`);
    const count = this.view.getUint32(at, true);
    if ((at + 4) & (alignment - 1) || at + 4 + count * size > this.end) {
      this.fail("C04-vector", `vector at ${at} of ${count} elements ends after ${this.end}, or is not aligned`);
    }
    this.charge(4 + count * size);
    return { start: at + 4, count };
  }

  text(at, longest) {
    const { start, count } = this.vector(at, 1, 1);
    if (count > longest) this.fail("C11-name", `has more than ${longest} bytes`);
    if (start + count >= this.end || this.bytes[start + count]) this.fail("C05-string", "does not end with a zero byte");
    try {
      return this.utf8.decode(this.bytes.subarray(start, start + count));
    } catch {
      return this.fail("C05-string", "is not UTF-8");
    }
  }

  field(kind, at) {
    if (kind === "name") {
      const text = this.text(at, LONGEST_NAME);
      if (UNPRINTABLE.test(text)) this.fail("C11-name", "contains control characters");
      return text;
    }
    if (kind === "text") return this.text(at, LARGEST);
    if (kind in TABLES) return this.table(kind, this.target(at));
    if (kind[0] !== "[") return this.scalar(kind, at);
    const element = kind.slice(1, -1);
    if (element === "DimExpr") return this.dims(at);
    const size = WIDTHS[element] ?? 4;
    const { start, count } = this.vector(at, size, size);
    if (element === "u8") return this.bytes.subarray(start, start + count);
    if (COUNTED.includes(element)) this.count("items", count, "tensors, nodes and steps");
    const items = new Array(count);
    for (let i = 0; i < count; i++) {
      this.path.push(i);
      items[i] = element === "i64" ? this.big(start + 8 * i, true) : this.field(element, start + size * i);
      this.path.pop();
    }
    return items;
  }

  scalar(kind, at) {
    const { view } = this;
    switch (kind) {
      case "u16": return view.getUint16(at, true);
      case "u32": return view.getUint32(at, true);
      case "i32": return view.getInt32(at, true);
      case "f32": return view.getFloat32(at, true);
      case "f64": return view.getFloat64(at, true);
      case "u8": return view.getUint8(at);
      case "u64": case "i64": return this.checked(this.big(at, kind === "i64"));
    }
    const value = view.getUint8(at);
    if (kind === "bool") {
      if (value > 1) this.fail("C07-number", `${value} is neither false nor true`);
      return value === 1;
    }
    if (value >= ENUMS[kind]) this.fail("C08-enum", `unknown ${kind} ${value}`);
    return value;
  }

  /** A 64-bit number; rounded where it is above 2^53-1, which only attributes of graphs may be. */
  big(at, signed) {
    const high = signed ? this.view.getInt32(at + 4, true) : this.view.getUint32(at + 4, true);
    return high * 2 ** 32 + this.view.getUint32(at, true);
  }

  checked(value) {
    if (Math.abs(value) > LARGEST) this.fail("C07-number", `${value} is not within 2^53-1`);
    return value;
  }

  /** The vector of DimExpr, the one struct of the schema. */
  dims(at) {
    const { start, count } = this.vector(at, 24, 8);
    this.count("objects", count, "objects");
    const result = [];
    for (let i = 0; i < count; i++) {
      this.path.push(i);
      const place = start + 24 * i;
      result.push({ op: this.scalar("DimOp", place), a: this.scalar("u64", place + 8), b: this.scalar("u64", place + 16) });
      this.path.pop();
    }
    return result;
  }
}

/** The value of a field that the file leaves out. */
function absent({ kind, value }) {
  if (kind === "[u8]") return new Uint8Array(0);
  if (kind[0] === "[") return [];
  if (kind === "name" || kind === "text") return "";
  if (kind === "Requirement") return { features: [], limits: [], when: [], equal: [] };
  if (kind in TABLES) return null;
  return kind === "bool" ? false : value;
}
