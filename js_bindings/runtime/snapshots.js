// Copies of the written state, so that a lost device costs at most one interval of training.
//
// The step's own encoder copies the state to one of two staging buffers; when that has arrived it is copied to the
// host.

import { copyHostTensors } from "./host.js";

/** @typedef {import("./layout.js").Span} Span */
/** @typedef {import("./layout.js").Copy} Copy */
/**
 * Number: counts the snapshots begun, from 1
 * @typedef {{number: number, step: number, host: Map<number, Uint32Array>, parts: Uint8Array[]}} Snapshot
 */

const MOST_TIME = 0.02; // of training may go into snapshots: the interval is stretched for that

export class Snapshots {
  /**
   * @param {import("./webgpu.js").WebGpuDevice} device
   * @param {number} every  milliseconds
   * @param {() => number} now
   */
  constructor(device, every, now) {
    this.device = device;
    this.every = every;
    this.now = now;
    this.last = now();
    /** @type {Span[]} */
    this.spans = [];
    /** @type {Snapshot | null} */
    this.latest = null;
    this.begun = 0;
    /** @type {any[]} staging buffers not in use; at most two exist */
    this.staging = [];
    this.made = 0;
    this.bytes = 0;
  }

  /** @param {Span[]} spans  the state to copy; on a new device they are other buffers */
  watch(spans) {
    for (const buffer of this.staging) this.device.release(buffer);
    this.spans = spans;
    this.bytes = spans.reduce((sum, { size }) => sum + size, 0);
    this.staging = [];
    this.made = 0;
  }

  /**
   * If a snapshot is due: the copies to put behind the next step, and what to call once that is submitted.
   * @param {boolean} [force]
   * @returns {{
   *   copies: Copy[], sent: (step: number, host: Map<number, Uint32Array>, when?: Promise<any> | null) => Promise<void>
   * } | null}  when: the copies are submitted
   */
  next(force = false) {
    const start = this.now();
    if (!this.bytes || (!force && start - this.last < this.every) || (!this.staging.length && this.made === 2))
      return null;
    this.last = start;
    if (!this.staging.length) {
      this.staging.push(this.device.stagingBuffer(this.bytes));
      this.made++;
    }
    const buffer = this.staging.pop();
    const number = ++this.begun;
    let offset = 0;
    const copies = this.spans.map((source) => {
      const target = { buffer, offset, size: source.size };
      offset += source.size;
      return { source, target };
    });
    return {
      copies,
      sent: (step, host, when = null) => this.arrive(buffer, number, step, copyHostTensors(host), when),
    };
  }

  /**
   * @param {any} buffer
   * @param {number} number
   * @param {number} step
   * @param {Map<number, Uint32Array>} host
   * @param {Promise<any> | null} when
   */
  async arrive(buffer, number, step, host, when) {
    const { spans } = this;
    try {
      if (when) await when;
      const bytes = await this.device.mapped(buffer);
      const start = this.now();
      let offset = 0;
      const parts = spans.map(({ size }) => bytes.slice(offset, (offset += size)));
      buffer.unmap();
      this.latest = { number, step, host, parts };
      if (spans === this.spans) this.staging.push(buffer);
      else this.device.release(buffer);
      this.every = Math.max(this.every, (this.now() - start) / MOST_TIME);
    } catch {
      // The device went away meanwhile: the snapshot before this one is the one to restore.
    }
  }

  /** Takes a snapshot now, outside any step. @param {number} step @param {Map<number, Uint32Array>} host */
  async take(step, host) {
    const snapshot = this.next(true);
    if (!snapshot) return;
    this.device.copy(snapshot.copies);
    await snapshot.sent(step, host);
  }
}
