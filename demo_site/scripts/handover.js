// Hands a model from one page to the other through IndexedDB: it survives a reload and needs no server.

const DATABASE = "tideflow";
const STORE = "models";
const KEY = "handover";

/** @param {IDBRequest | IDBOpenDBRequest} request */
function done(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/**
 * Asks the store something and waits until the answer is on disk: a page that is left earlier takes it back.
 * @template T
 * @param {IDBTransactionMode} mode
 * @param {(store: IDBObjectStore) => IDBRequest<T>} ask
 * @returns {Promise<T>}
 */
async function inStore(mode, ask) {
  const opening = indexedDB.open(DATABASE, 1);
  opening.onupgradeneeded = () => opening.result.createObjectStore(STORE);
  const database = await done(opening);
  try {
    const transaction = database.transaction(STORE, mode, { durability: "strict" });
    const ended = new Promise((resolve, reject) => {
      transaction.oncomplete = resolve;
      transaction.onabort = () => reject(transaction.error);
    });
    const [answer] = await Promise.all([done(ask(transaction.objectStore(STORE))), ended]);
    return answer;
  } finally {
    database.close();
  }
}

/** @param {{bytes: Uint8Array, name: string, note: string}} model */
export async function handOver(model) {
  await inStore("readwrite", (store) => store.put(model, KEY));
}

/** @returns {Promise<{bytes: Uint8Array, name: string, note: string} | undefined>} */
export function takeOver() {
  return inStore("readonly", (store) => store.get(KEY));
}

/** Offers bytes as a download. */
export function download(bytes, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([bytes], { type: "application/octet-stream" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
