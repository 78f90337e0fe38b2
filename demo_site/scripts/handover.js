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

async function store(mode) {
  const opening = indexedDB.open(DATABASE, 1);
  opening.onupgradeneeded = () => opening.result.createObjectStore(STORE);
  const database = await done(opening);
  return database.transaction(STORE, mode).objectStore(STORE);
}

/** @param {{bytes: Uint8Array, name: string, note: string}} model */
export async function handOver(model) {
  await done((await store("readwrite")).put(model, KEY));
}

/** @returns {Promise<{bytes: Uint8Array, name: string, note: string} | undefined>} */
export async function takeOver() {
  return done((await store("readonly")).get(KEY));
}

/** Offers bytes as a download. */
export function download(bytes, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([bytes], { type: "application/octet-stream" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
