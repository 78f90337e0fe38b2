// Reads a `model.tide` that nobody vouches for: decodes the flatbuffer and enforces the rules of class C, then those of
// class P (rules.js). `docs/format.md` numbers the rules; `core/program/read.py` is the twin of this file and checks
// the same things in the same order. Loading executes nothing. Tensors, code and modules are views, not copies.

import { check } from "./errors.js";
import { verifyModel } from "./rules.js";
import { sha256 } from "./sha256.js";
import { ENUMS, IDENTIFIER, STRUCTS, TABLES, UNIONS } from "./tables.js";

/** @typedef {import("./types.js").FileModel} FileModel */
/**
 * What is accepted: tensors + nodes + steps; memory of one program at its smallest sizes
 * @typedef {{maxItems?: number, maxRegionBytes?: number}} ReadOptions
 */
/**
 * A place of the model that holds a Slice until `resolve` puts the bytes there
 * @typedef {{
 *   where: string, item: any, field: string, segment: number, offset: number, size: number, isNew: boolean
 * }} Use
 */
/**
 * Union: the kinds that it may be; required: it may not be absent
 * @typedef {{
 *   name: string, kind: string, slot: number, union: string[] | undefined, required: any, value: number
 * }} Field
 */

const SCHEMA_VERSION = 1;
const START = 64;                           // bytes of root offset, identifier and header
const PAGE = 4096;                          // segments start on multiples of it
const LARGEST = Number.MAX_SAFE_INTEGER;

// control characters, and those that reorder text on a terminal
// eslint-disable-next-line no-control-regex
const UNPRINTABLE = /[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]/;
const COUNTED = ["Tensor", "Node", "Step"];

/**
 * Verifies a whole file and returns its contents as plain objects, named as in `model.fbs`. Enums are numbers; `data`
 * and `code` and `module` are views into `file`, with the place they came from beside them (`slice`).
 * @param {Uint8Array} file
 * @param {ReadOptions} [options]
 * @returns {FileModel}
 * @throws {ModelError} the first rule that the file breaks, with the field and the reason
 */
export function readModel(file, options = {}) {
  const model = decode(file, options);
  return verified(model, file, model.segments.map((segment) => sha256(segmentBytes(file, segment))), options);
}

/**
 * The same with the browser's own SHA-256, about five times as fast, where there is one.
 * @param {Uint8Array} file
 * @param {ReadOptions} [options]
 * @returns {Promise<FileModel>}
 */
export async function readModelAsync(file, options = {}) {
  const model = decode(file, options);
  const hashes = await Promise.all(model.segments.map((segment) => digest(segmentBytes(file, segment))));
  return verified(model, file, hashes, options);
}

/** @param {Uint8Array} bytes @returns {Promise<Uint8Array>} SHA-256 */
async function digest(bytes) {
  const subtle = globalThis.crypto?.subtle; // only in secure contexts
  return subtle ? new Uint8Array(await subtle.digest("SHA-256", /** @type {any} */ (bytes))) : sha256(bytes);
}

/** Everything that is checked before the hashes. @param {Uint8Array} file @param {ReadOptions} options */
function decode(file, { maxItems = 65536 }) {
  const { flat, first } = header(file);
  const model = /** @type {FileModel} */ (new Decoder(file.subarray(0, flat), maxItems).model());
  checkSegments(model.segments, first, file.length);
  resolve(model, file);
  return model;
}

/**
 * The hashes and what is checked after them.
 * @param {FileModel} model
 * @param {Uint8Array} file
 * @param {Uint8Array[]} hashes
 * @param {ReadOptions} options
 */
function verified(model, file, hashes, { maxRegionBytes = 2 ** 32 }) {
  model.segments.forEach((segment, i) => {
    segment.hashAt = segment.sha256.byteOffset - file.byteOffset;
    const same = hashes[i].every((byte, b) => byte === segment.sha256[b]);
    check(same, "C15-hash", `segments[${i}]`, "changed or damaged: the SHA-256 differs");
  });
  verifyModel(model, maxRegionBytes);
  return model;
}

/**
 * Replaces the data of some tensors: a new file in which their bytes and the hashes of their segments are exchanged.
 * @param {Uint8Array} file  the bytes that `model` was read from
 * @param {FileModel} model
 * @param {Map<number, Uint8Array>} changes  new bytes by tensor index, of the same size as the old
 * @returns {Promise<Uint8Array>}
 */
export async function patchTensors(file, model, changes) {
  const patched = file.slice();
  const touched = new Set();
  for (const [index, bytes] of changes) {
    const { slice, name } = /** @type {any} */ (model.tensors[index] ?? {});
    check(slice?.size === bytes.length, "P04-tensor", `tensors[${index}]`,
      `${name} has ${slice?.size ?? "no"} bytes in the file, received ${bytes.length}`);
    const segment = model.segments[slice.segment];
    patched.set(bytes, segment.offset + slice.offset);
    touched.add(segment);
  }
  for (const segment of touched) patched.set(await digest(segmentBytes(patched, segment)), segment.hashAt);
  return patched;
}

/** @param {Uint8Array} file @param {{offset: number, size: number}} where */
const segmentBytes = (file, { offset, size }) => file.subarray(offset, offset + size);
const align = (/** @type {number} */ n, /** @type {number} */ alignment) => Math.ceil(n / alignment) * alignment;

/**
 * Checks identifier and header; returns the size of the flatbuffer and the offset of the first segment.
 * @param {Uint8Array} file
 */
function header(file) {
  const found = String.fromCharCode(...file.subarray(4, 8)), newer = found.startsWith("TID") && found > IDENTIFIER;
  check(found === IDENTIFIER, "C01-identifier", "bytes 4-7",
    newer ? "made for a newer reader: update tideflow" : `not a model.tide, which has ${IDENTIFIER} here`);
  const need = (/** @type {any} */ ok, /** @type {string} */ why) => check(ok, "C02-header", "header", why);
  need(file.length >= START, "the file ends inside it (truncated download?)");
  const view = new DataView(file.buffer, file.byteOffset, file.length);
  const big = (/** @type {number} */ at) => view.getUint32(at + 4, true) * 2 ** 32 + view.getUint32(at, true);
  const flat = big(16), first = big(24), body = big(32);
  need(view.getUint32(8) === 0x74646831 && view.getUint32(12, true) === START - 8, "does not start with tdh1, 56");
  needZeros(file, 40, START, "C02-header", "header");
  need(flat >= START && flat <= file.length && (first === flat || first === align(flat, PAGE)) && first + body === file.length,
    `${flat} bytes, then ${body} from ${first}: not this file of ${file.length} bytes (truncated download?)`);
  needZeros(file, flat, first, "C02-header", "header");
  return { flat, first };
}

/**
 * @param {Uint8Array} file
 * @param {number} start
 * @param {number} end
 * @param {string} rule
 * @param {string} where
 */
function needZeros(file, start, end, rule, where) {
  check(file.subarray(start, end).every((byte) => byte === 0), rule, where, "padding is not zero");
}

/**
 * Segments follow each other on multiples of 4096 without holes and end with the file.
 * @param {FileModel["segments"]} segments
 * @param {number} first
 * @param {number} end
 */
function checkSegments(segments, first, end) {
  let at = first;
  segments.forEach(({ offset, size, sha256: hash }, i) => {
    const stop = offset + size, next = i + 1 < segments.length ? align(stop, PAGE) : end;
    check(hash.length === 32 && at % PAGE === 0 && offset === at && stop <= (at = next) && (i + 1 < segments.length || stop === end),
      "C13-segment", `segments[${i}]`, `bytes ${offset}..${stop} do not follow the one before, or do not end with the file`);
  });
  check(at === end, "C13-segment", "segments", "do not end with the file");
}

/**
 * Checks that slices tile their segments and replaces each one by a view of its bytes.
 * @param {FileModel} model
 * @param {Uint8Array} file
 */
function resolve(model, file) {
  /** @type {Use[]} */
  const all = [];
  const seen = new Set(), { segments } = model;
  /** @type {(where: string, item: any, field: string, isCode?: boolean) => void} */
  const add = (where, item, field, isCode = false) => {
    if (!item[field]) return;
    const { segment, offset, size } = item[field], key = `${segment} ${offset} ${size}`;
    const isNew = !isCode || !seen.has(key);        // equal code may be stored once; nothing else is shared
    if (isCode) seen.add(key);
    all.push({ where, item, field, segment, offset, size, isNew });
  };
  model.tensors.forEach((tensor, i) => add(`tensors[${i}].data`, tensor, "data"));
  model.programs.forEach((program, p) => {
    program.kernels.forEach((kernel, k) => add(`programs[${p}].kernels[${k}].code`, kernel, "code", true));
    add(`programs[${p}].module`, program, "module");
  });
  const uses = all.filter((use) => use.isNew);
  for (const { where, segment } of uses) check(segment < segments.length, "C14-slice", where, `segment ${segment} of ${segments.length}`);
  checkTiling(uses, segments, file);
  for (const { item, field, segment, offset, size } of all) {
    item.slice = { segment, offset, size };
    item[field] = segmentBytes(file, { offset: segments[segment].offset + offset, size });
  }
}

/**
 * @param {Use[]} uses
 * @param {FileModel["segments"]} segments
 * @param {Uint8Array} file
 */
function checkTiling(uses, segments, file) {
  uses.sort((a, b) => a.segment - b.segment || a.offset - b.offset || a.size - b.size);
  segments.forEach(({ offset: base, size: room }, i) => {
    const held = uses.filter((use) => use.segment === i);
    let at = 0;
    for (const { where, offset, size } of held) {
      check(offset === align(at, 256) && offset + size <= room, "C14-slice", where,
        `bytes ${offset}..${offset + size} of ${room}: slices start on multiples of 256 without overlap or hole`);
      needZeros(file, base + at, base + offset, "C14-slice", where);
      at = offset + size;
    }
    check(held.length && at === room && (room <= 128 * 2 ** 20 || held.length === 1), "C14-slice", `segments[${i}]`,
      `${room} bytes, used up to ${at} (above 128 MiB by one slice)`);
    if (segments[i + 1]) needZeros(file, base + room, segments[i + 1].offset, "C14-slice", `segments[${i}]`);
  });
}

// --- the flatbuffer --------------------------------------------------------------------------------------------------

/** @type {Record<string, number>} */
const WIDTHS = { u8: 1, u16: 2, u32: 4, u64: 8, i32: 4, i64: 8, f32: 4, f64: 8, bool: 1 };

/**
 * How to read one kind of table: its fields in order, their widths per vtable slot.
 * @param {string} text  the notation of tools/generate_tables.py
 */
function parse(text) {
  /** @type {number[]} */
  const widths = [];
  /** @type {Field[]} */
  const fields = text.split(" ").map((part) => {
    const [, name, kind, required, value] = /** @type {string[]} */ (/^(\w+):([\w[\]]+)(!?)=?(.*)$/.exec(part));
    const union = /** @type {Record<string, string>} */ (UNIONS)[kind]?.split(" ");
    if (union) widths.push(1);
    return { name, kind, slot: widths.push(WIDTHS[kind] ?? (kind in ENUMS ? 1 : 4)) - 1, union, required: required || union, value: Number(value) };
  });
  return { fields, widths };
}

/** @type {Record<string, ReturnType<typeof parse>>} */
const SPECS = { Version: parse("schema_version:u16") };
for (const [name, text] of Object.entries(TABLES)) SPECS[name] = parse(text);

/** One pass over a flatbuffer by the field lists of tables.js; every access is checked first. */
class Decoder {
  /** @param {Uint8Array} bytes @param {number} maxItems */
  constructor(bytes, maxItems) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    this.end = this.budget = bytes.length;  // budget: bytes that objects may still cover
    this.items = maxItems;
    this.objects = 8 * maxItems;
    /** @type {(string | number)[]} */
    this.path = [];
    this.newer = true;
    this.utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  }

  /** @param {any} ok @param {string} rule @param {string} why */
  need(ok, rule, why) {
    if (ok) return;
    const where = this.path.map((part) => typeof part === "number" ? `[${part}]` : `.${part}`).join("").slice(1);
    check(false, rule, where || "root", why);
  }

  model() {
    const root = this.view.getUint32(0, true);
    const { schema_version: version } = this.table("Version", root);
    this.need(version > 0, "C12-version", "schema_version is 0");
    this.newer = version > SCHEMA_VERSION;
    this.budget = this.end;
    this.objects++;
    return this.table("Model", root);
  }

  /** @param {number} size */
  charge(size) {
    this.budget -= size;
    this.need(this.budget >= 0, "C10-shared", "objects overlap: together they are larger than the flatbuffer");
  }

  /** @param {"items" | "objects"} key @param {number} n */
  count(key, n) {
    this[key] -= n;
    this.need(this[key] >= 0, "C09-count", "more objects than accepted: raise maxItems if the file is trusted");
  }

  /** @param {string} kind @param {number} at @returns {any} */
  table(kind, at) {
    const { view, end } = this, { fields, widths } = SPECS[kind];
    const need = (/** @type {any} */ ok) => this.need(ok, "C03-table", "outside the flatbuffer, or not aligned");
    need(at % 4 === 0 && at >= START && at + 4 <= end);
    const vtable = at - view.getInt32(at, true);
    need(vtable % 2 === 0 && vtable >= START && vtable + 4 <= end);
    const length = view.getUint16(vtable, true), size = view.getUint16(vtable + 2, true), slots = (length - 4) / 2;
    need(length >= 4 && length % 2 === 0 && vtable + length <= end && size >= 4);
    for (let i = widths.length; i < slots && !this.newer; i++) {
      const known = view.getUint16(vtable + 4 + 2 * i, true) === 0;
      this.need(known, "C12-version", `fields that schema version ${SCHEMA_VERSION} does not know`);
    }
    const places = new Array(widths.length);
    for (let i = 0; i < widths.length; i++) {
      const offset = i < slots ? view.getUint16(vtable + 4 + 2 * i, true) : 0, width = widths[i];
      if (offset) need(offset >= 4 && offset + width <= size && (at + offset) % width === 0);
      places[i] = offset && at + offset;
    }
    need(at + size <= end);
    this.charge(size);
    this.count("objects", 1);
    /** @type {Record<string, any>} */
    const result = {};
    for (const field of fields) {
      this.path.push(field.name);
      result[field.name] = this.member(field, places);
      this.path.pop();
    }
    return result;
  }

  /** @param {Field} field @param {number[]} places @returns {any} */
  member({ kind, slot, union, required, value }, places) {
    const at = places[slot];
    this.need(at || !required, "C06-required", "is absent");
    if (!at) return absent(kind, value);
    if (union) {
      const type = places[slot - 1] && this.bytes[places[slot - 1]];
      this.need(type > 0 && type <= union.length, "C08-enum", `unknown type ${type}`);
      const content = this.table(union[type - 1], this.target(at));
      return type === union.length ? content : content.v;       // a GraphRef stays an object
    }
    const found = this.field(kind, at);
    this.need(!required || found, "C06-required", "is empty");
    return found;
  }

  /** @param {number} at */
  target(at) {
    const offset = this.view.getUint32(at, true);
    this.need(offset, "C03-table", "the offset is 0");
    return at + offset;
  }

  /**
   * The start and length of the vector that `at` refers to, for elements of `size` bytes.
   * @param {number} at
   * @param {number} size
   * @param {number} [alignment]
   */
  vector(at, size, alignment = size) {
    const from = this.target(at);
    const need = (/** @type {any} */ ok) => this.need(ok, "C04-vector", "outside the flatbuffer, or not aligned");
    need(from % 4 === 0 && from + 4 <= this.end);
    const count = this.view.getUint32(from, true), start = from + 4;
    need(start % alignment === 0 && start + count * size <= this.end);
    this.charge(4 + count * size);
    return { start, count };
  }

  /** @param {number} at @param {number} longest */
  text(at, longest) {
    const { start, count } = this.vector(at, 1);
    this.need(count <= longest, "C11-name", `has more than ${longest} bytes`);
    this.need(this.bytes[start + count] === 0, "C05-string", "does not end with a zero byte");
    let text = "";
    try {
      text = this.utf8.decode(this.bytes.subarray(start, start + count));
    } catch {
      this.need(false, "C05-string", "is not UTF-8");
    }
    return text;
  }

  /** @param {string} kind @param {number} at @returns {any} */
  field(kind, at) {
    if (kind === "text") return this.text(at, LARGEST);
    if (kind === "name") {
      const text = this.text(at, 512);
      this.need(!UNPRINTABLE.test(text), "C11-name", "contains control characters");
      return text;
    }
    if (kind in TABLES) return this.table(kind, this.target(at));
    if (kind[0] !== "[") return this.scalar(kind, at);
    const element = kind.slice(1, -1), isStruct = element in STRUCTS;
    const size = isStruct ? 24 : WIDTHS[element] ?? 4;
    const { start, count } = this.vector(at, size, isStruct ? 8 : size);
    if (element === "u8") return this.bytes.subarray(start, start + count);
    if (COUNTED.includes(element)) this.count("items", count);
    if (isStruct) this.count("objects", count);
    const result = new Array(count);
    for (let i = 0; i < count; i++) {
      const place = start + size * i;
      this.path.push(i);
      result[i] = isStruct ? this.struct(place) : element === "i64" ? this.big(place, true) : this.field(element, place);
      this.path.pop();
    }
    return result;
  }

  /**
   * DimExpr, the one struct of the schema.
   * @param {number} at
   */
  struct(at) {
    return { op: this.scalar("DimOp", at), a: this.scalar("u64", at + 8), b: this.scalar("u64", at + 16) };
  }

  /** @param {string} kind @param {number} at @returns {number | boolean} */
  scalar(kind, at) {
    const { view } = this;
    switch (kind) {
      case "u8": return view.getUint8(at);
      case "u16": return view.getUint16(at, true);
      case "u32": return view.getUint32(at, true);
      case "i32": return view.getInt32(at, true);
      case "f32": return view.getFloat32(at, true);
      case "f64": return view.getFloat64(at, true);
    }
    if (WIDTHS[kind] === 8) {
      const value = this.big(at, kind === "i64");
      this.need(Math.abs(value) <= LARGEST, "C07-number", "is not within 2^53-1");
      return value;
    }
    const value = view.getUint8(at);
    this.need(kind !== "bool" || value < 2, "C07-number", "is neither false nor true");
    if (kind === "bool") return value === 1;
    this.need(value < /** @type {Record<string, number>} */ (ENUMS)[kind], "C08-enum", `unknown ${kind} ${value}`);
    return value;
  }

  /**
   * A 64-bit number; rounded where it is above 2^53-1, which only attributes of graphs may be.
   * @param {number} at
   * @param {boolean} signed
   */
  big(at, signed) {
    const high = signed ? this.view.getInt32(at + 4, true) : this.view.getUint32(at + 4, true);
    return high * 2 ** 32 + this.view.getUint32(at, true);
  }
}

/**
 * The value of a field that the file leaves out.
 * @param {string} kind
 * @param {number} value
 */
function absent(kind, value) {
  if (kind === "[u8]") return new Uint8Array(0);
  if (kind[0] === "[") return [];
  if (kind === "name" || kind === "text") return "";
  if (kind === "Requirement") return { features: [], limits: [], when: [], equal: [] };
  if (kind in TABLES) return null;
  return kind === "bool" ? false : value;
}
