"""Sends webhooks as platforms do, with retries; switches lose, double, delay or shuffle deliveries."""
