// Lets actions that share something happen one after another, in the order in which they were asked for.

export class Turns {
  #last = Promise.resolve();

  /**
   * Runs an action when all earlier ones have ended, well or not. An action must not wait for a turn of its own.
   * @template T
   * @param {() => T | Promise<T>} action
   * @returns {Promise<T>} what the action gives, or its error
   */
  take(action) {
    const turn = this.#last.then(action);
    this.#last = turn.then(() => {}, () => {});
    return turn;
  }
}
