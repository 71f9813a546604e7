/**
 * Files of a model: fetched once, checked by size and SHA-256 before every use, kept for offline.
 */

const CACHE = "bert-mobile-models";

/** A file that is not there, not whole, or not what models.json says. `message` is for people. */
export class FileError extends Error {}

/**
 * @param {URL} url Where the file lies.
 * @param {{bytes: number, sha256: string}} expected
 * @param {(bytes: number) => void} report Called with the number of bytes that are there.
 * @returns {Promise<{data: Uint8Array, cached: boolean}>}
 */
export async function load(url, expected, report) {
  const address = new URL(url);
  address.searchParams.set("sha256", expected.sha256); // another file is another address
  const cache = await openCache();
  const kept = await cache?.match(address);
  if (kept) {
    const data = new Uint8Array(await kept.arrayBuffer());
    if (await isWhole(data, expected)) {
      report(data.length);
      return { data, cached: true };
    }
    await cache.delete(address);
  }
  const data = await download(address, expected.bytes, report);
  if (!(await isWhole(data, expected))) {
    throw new FileError(`${nameOf(url)} arrived damaged: its bytes are not the ones expected.`);
  }
  await keep(cache, address, data);
  return { data, cached: false };
}

async function openCache() {
  try {
    return await globalThis.caches?.open(CACHE); // only where the page is served securely
  } catch (error) {
    if (error instanceof DOMException) return undefined; // storage is switched off
    throw error;
  }
}

async function keep(cache, address, data) {
  if (!cache) return;
  try {
    for (const request of await cache.keys()) {
      const old = new URL(request.url);
      if (old.pathname === address.pathname && old.href !== address.href) await cache.delete(request);
    }
    await cache.put(address, new Response(data));
  } catch (error) {
    if (!(error instanceof DOMException)) throw error; // no room: it is fetched anew next time
  }
}

async function download(address, size, report) {
  let response;
  try {
    response = await fetch(address);
  } catch {
    throw new FileError(`${nameOf(address)} could not be fetched: there is no connection.`);
  }
  if (!response.ok) {
    throw new FileError(`${nameOf(address)} could not be fetched: the server says ${response.status}.`);
  }
  const data = new Uint8Array(size);
  let filled = 0;
  const reader = response.body.getReader();
  try {
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      if (filled + part.value.length > size) break;
      data.set(part.value, filled);
      filled += part.value.length;
      report(filled);
    }
  } catch {
    throw new FileError(`${nameOf(address)} could not be fetched: the connection broke off.`);
  }
  return data.subarray(0, filled);
}

async function isWhole(data, { bytes, sha256 }) {
  if (data.length !== bytes) return false;
  if (!globalThis.crypto?.subtle) return true; // browsers offer hashes to secure pages only
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", data));
  return [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("") === sha256;
}

function nameOf(url) {
  return url.pathname.split("/").pop();
}
