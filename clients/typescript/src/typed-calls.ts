/** The typed methods of CatalogService and AnalysisService. */

import { type CallOptions, type Client, createClient, type Transport } from "@connectrpc/connect";

import { AnalysisService } from "./gen/catalogsync/catalog/v1/analysis_service_pb.js";
import { CatalogService } from "./gen/catalogsync/catalog/v1/catalog_service_pb.js";
import { CallSignal } from "./signals.js";

/** The methods of both services. Their names differ. */
export type CatalogCalls = Client<typeof CatalogService> & Client<typeof AnalysisService>;

type ServerStream = (request: object, options?: CallOptions) => AsyncIterable<unknown>;

/** Returns Connect's clients as one. */
export function createConnectCalls(transport: Transport): CatalogCalls {
  return { ...createClient(CatalogService, transport), ...createClient(AnalysisService, transport) };
}

/** Returns Connect's clients, with streams that are cancelled when their consumer leaves its loop: Connect's stay open. */
export function createTypedCalls(transport: Transport): CatalogCalls {
  const calls = createConnectCalls(transport);
  const streams = [...CatalogService.methods, ...AnalysisService.methods]
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
