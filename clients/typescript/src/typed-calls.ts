/** The typed methods of CatalogService. */

import { type CallOptions, type Client, createClient, type Transport } from "@connectrpc/connect";

import { CatalogService } from "./gen/catalogsync/catalog/v1/catalog_service_pb.js";
import { CallSignal } from "./signals.js";

type ServerStream = (request: object, options?: CallOptions) => AsyncIterable<unknown>;

/** Returns Connect's client, with streams that are cancelled when their consumer leaves its loop: Connect's stay open. */
export function createTypedCalls(transport: Transport): Client<typeof CatalogService> {
  const calls = createClient(CatalogService, transport);
  const streams = CatalogService.methods
    .filter(({ methodKind }) => methodKind === "server_streaming")
    .map(({ localName }) => {
      const open = calls[localName as keyof typeof calls] as ServerStream;
      return [localName, (request: object, options?: CallOptions) => messagesOf(open, request, options)];
    });
  return { ...calls, ...Object.fromEntries(streams) };
}

async function* messagesOf(open: ServerStream, request: object, options: CallOptions = {}): AsyncGenerator<unknown> {
  const call = new CallSignal(options.signal);
  try {
    yield* open(request, { ...options, signal: call.signal });
  } finally {
    call.end();
  }
}
