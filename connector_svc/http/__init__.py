"""The outbound HTTP client: endpoints, SSRF guard, retries, circuit breakers, connection limits, downloads."""
