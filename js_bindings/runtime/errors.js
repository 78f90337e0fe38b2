// The runtime's errors: the same names as in Python's `tideflow.errors`, so that a page and a script are read alike.
// Every message says what happened, what was received, what was expected and how to fix it.

/** The base of all errors raised by the runtime on purpose. */
export class TideflowError extends Error {
  /** @param {string} message */
  constructor(message) {
    super(message);
    this.name = new.target.name;
  }
}

/** An argument has the wrong shape, dtype or value. */
export class InvalidArgumentError extends TideflowError {}

/** A model file breaks a rule of the format: `rule` is its short name (the same in Python), `where` the field. */
export class ModelError extends TideflowError {
  /**
   * @param {string} rule
   * @param {string} where
   * @param {string} why
   */
  constructor(rule, where, why) {
    super(`${rule}: ${where}: ${why}`);
    this.rule = rule;
    this.where = where;
    this.why = why;
  }
}

/**
 * Throws a ModelError unless `ok`.
 * @param {any} ok
 * @param {string} rule
 * @param {string} where
 * @param {string} why
 */
export function check(ok, rule, where, why) {
  if (!ok) throw new ModelError(rule, where, why);
}

/** Nothing here can run this program; the message names what to install or switch on. */
export class NoExecutorError extends TideflowError {}

/** A program needs more than this device allows. */
export class DeviceLimitError extends TideflowError {}

/** The device went away. */
export class DeviceLostError extends TideflowError {}

/** A step did not answer in time and the device was destroyed. */
export class DeviceHungError extends DeviceLostError {}
