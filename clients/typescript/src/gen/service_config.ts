// @generated from gen/catalogsync/service_config.json
export const SERVICE_CONFIG =
{
  "loadBalancingConfig": [{"round_robin": {}}],
  "healthCheckConfig": {"serviceName": "catalogsync.catalog.v1.CatalogService"},
  "retryThrottling": {"maxTokens": 10, "tokenRatio": 0.1},
  "methodConfig": [
    {
      "name": [
        {"service": "catalogsync.catalog.v1.CatalogService", "method": "RegisterShop"},
        {"service": "catalogsync.catalog.v1.CatalogService", "method": "GetShop"},
        {"service": "catalogsync.catalog.v1.CatalogService", "method": "ListShops"},
        {"service": "catalogsync.catalog.v1.CatalogService", "method": "UpdateShop"},
        {"service": "catalogsync.catalog.v1.CatalogService", "method": "DeleteShop"},
        {"service": "catalogsync.catalog.v1.CatalogService", "method": "GetStatus"},
        {"service": "catalogsync.catalog.v1.CatalogService", "method": "GetSync"},
        {"service": "catalogsync.catalog.v1.CatalogService", "method": "ListSyncs"},
        {"service": "catalogsync.catalog.v1.CatalogService", "method": "ListSyncIssues"},
        {"service": "catalogsync.catalog.v1.CatalogService", "method": "GetProduct"},
        {"service": "catalogsync.catalog.v1.CatalogService", "method": "ListProducts"},
        {"service": "catalogsync.catalog.v1.CatalogService", "method": "GetItem"},
        {"service": "catalogsync.catalog.v1.CatalogService", "method": "ListItems"},
        {"service": "catalogsync.catalog.v1.CatalogService", "method": "ListItemChanges"},
        {"service": "catalogsync.catalog.v1.CatalogService", "method": "CancelSync"},
        {"service": "catalogsync.catalog.v1.CatalogService", "method": "IngestWebhook"},
        {"service": "catalogsync.catalog.v1.AnalysisService", "method": "ExtendLeases"},
        {"service": "catalogsync.catalog.v1.AnalysisService", "method": "SubmitResults"},
        {"service": "catalogsync.catalog.v1.AnalysisService", "method": "GetAnalysis"},
        {"service": "catalogsync.catalog.v1.AnalysisService", "method": "ListAnalyses"},
        {"service": "catalogsync.catalog.v1.AnalysisService", "method": "ListDeadTasks"},
        {"service": "catalogsync.catalog.v1.AnalysisService", "method": "RequeueTasks"}
      ],
      "timeout": "10s",
      "retryPolicy": {
        "maxAttempts": 4, "initialBackoff": "0.1s", "maxBackoff": "1s", "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"]
      }
    },
    {
      "name": [
        {"service": "catalogsync.catalog.v1.CatalogService", "method": "StartSync"},
        {"service": "catalogsync.catalog.v1.CatalogService", "method": "ResumeSync"}
      ],
      "timeout": "10s"
    },
    {
      "name": [
        {"service": "catalogsync.catalog.v1.CatalogService", "method": "WatchSync"},
        {"service": "catalogsync.catalog.v1.CatalogService", "method": "WatchItems"},
        {"service": "catalogsync.catalog.v1.CatalogService", "method": "WatchChanges"},
        {"service": "catalogsync.catalog.v1.CatalogService", "method": "WatchSyncs"},
        {"service": "catalogsync.catalog.v1.CatalogService", "method": "VerifyCatalog"},
        {"service": "catalogsync.catalog.v1.AnalysisService", "method": "LeaseTasks"}
      ],
      "retryPolicy": {
        "maxAttempts": 4, "initialBackoff": "0.5s", "maxBackoff": "5s", "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"]
      }
    }
  ]
}
