// The client of both programs.
import { createCatalogClient } from "catalogsync-client";

export const client = createCatalogClient({
  address: process.env.CATALOG_ADDRESS || "127.0.0.1:50051",
  serviceSecret: process.env.CATALOG_SERVICE_SECRET,
  tls: process.env.CATALOG_CA_FILE ? { caFile: process.env.CATALOG_CA_FILE } : undefined,
});
