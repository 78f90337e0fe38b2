// What was measured on an adapter, kept in the browser from visit to visit. Where nothing can be kept, nothing is said.

const NAME = "tideflow-adapters"; // a page may have databases of its own
const STORE = "adapters";
const MOST_WAIT = 500; // milliseconds: another tab's deletion of the database may hold it for ever

/**
 * @param {IDBTransactionMode} mode
 * @param {(store: IDBObjectStore) => IDBRequest} act
 * @returns {Promise<any>}
 */
function stored(mode, act) {
  return new Promise((resolve, reject) => {
    const opening = indexedDB.open(NAME, 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore(STORE);
    opening.onerror = () => reject(opening.error);
    opening.onsuccess = () => {
      const { result: database } = opening;
      try {
        const transaction = database.transaction(STORE, mode);
        const request = act(transaction.objectStore(STORE));
        transaction.oncomplete = () => resolve(request.result);
        transaction.onabort = transaction.onerror = () => reject(transaction.error);
      } catch (error) {
        reject(error); // somebody else's database
      }
      database.close(); // when the transaction is done
    };
  });
}

/** @param {string} adapter  its description @returns {Promise<string>} "" if there is nothing, or no answer */
export async function recall(adapter) {
  /** @type {any} */
  let timer;
  const silence = new Promise((resolve) => {
    timer = setTimeout(resolve, MOST_WAIT);
  });
  try {
    return String((await Promise.race([stored("readonly", (store) => store.get(adapter)), silence])) ?? "");
  } catch {
    return ""; // no IndexedDB here: Node, some private windows
  } finally {
    clearTimeout(timer);
  }
}

/** @param {string} adapter @param {string} text */
export async function remember(adapter, text) {
  try {
    await stored("readwrite", (store) => store.put(text, adapter));
  } catch {
    // the next visit measures again
  }
}
