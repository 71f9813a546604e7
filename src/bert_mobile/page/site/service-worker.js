/**
 * Keeps the page for visits without a connection. Models are kept by page/loading.js, which checks
 * them. The network comes first, so that a new version shows at once.
 */

const CACHE = "bert-mobile-page";
const FILES = [
  "./", "index.html", "models.json", "page/app.js", "page/characters.js", "page/drawing.js",
  "page/examples.js", "page/icon.svg", "page/loading.js", "page/style.css", "page/tasks.js",
  "page/tokenizer.js", "page/worker.js", "page/vendor/ort.wasm.bundle.min.mjs",
  "page/vendor/ort-wasm-simd-threaded.wasm.gz",
];

self.addEventListener("install", (event) => {
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(FILES)));
  self.skipWaiting();
});

self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const url = new URL(request.url);
  const isOurs = url.origin === self.location.origin && request.method === "GET";
  if (!isOurs || url.searchParams.has("sha256")) return;
  event.respondWith(networkFirst(request));
});

async function networkFirst(request) {
  const cache = await caches.open(CACHE);
  try {
    const response = await fetch(request);
    if (response.status === 200) await cache.put(request, response.clone()).catch(() => {});
    return response;
  } catch (error) {
    const kept = await cache.match(request, { ignoreSearch: true });
    if (kept) return kept;
    throw error;
  }
}
