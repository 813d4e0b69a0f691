// Syncs a shop and prints its progress: node index.js shopify:demo.myshopify.com
import { CatalogError, Sync_Mode, Sync_State, timestampDate } from "catalogsync-client";
import { client } from "./connect.js";

const CHANGES = ["createdCount", "updatedCount", "deletedCount", "rejectedCount"];

function resultOf({ state, mode, progress, changesSinceTime }) {
  const { products, items, estimatedItemCount } = progress;
  const hasChanged = [products, items].some((counts) => CHANGES.some((field) => counts?.[field]));
  if (mode === Sync_Mode.INCREMENTAL && state === Sync_State.SUCCEEDED && !hasChanged) {
    const since = timestampDate(changesSinceTime).toISOString();
    return `nothing changed since ${since}, ${products?.seenCount ?? 0n} products compared`;
  }
  const total = state === Sync_State.SUCCEEDED || !estimatedItemCount ? "" : ` of about ${estimatedItemCount}`;
  return `${items?.seenCount ?? 0n}${total} items read`;
}

function lineOf(sync) {
  const pending = sync.state === Sync_State.PENDING;
  const parts = [pending ? `waiting for a worker, ${sync.queuePosition ?? 0} before it` : resultOf(sync)];
  if (sync.progress.checkedProductCount) parts.push(`${sync.progress.checkedProductCount} products checked`);
  if (sync.progress.itemsPerSecond) parts.push(`${Math.round(sync.progress.itemsPerSecond)}/s`);
  if (sync.waiting) parts.push(`waiting: ${sync.waiting.message}`);
  return [Sync_State[sync.state].padEnd(9), ...parts, ...sync.notes.map((note) => `note: ${note}`)].join("  ");
}

try {
  await client.syncAndWait(process.argv[2] ?? "", {
    onProgress: (sync) => console.log(lineOf(sync)),
    onConnection: ({ error }) => error && console.log(`the stream broke (${error.message}): continuing`),
  });
} catch (error) {
  console.error(error.message); // An error of the service begins with its reason.
  process.exitCode = error instanceof CatalogError && error.sync ? 1 : 2;
} finally {
  client.close();
}
