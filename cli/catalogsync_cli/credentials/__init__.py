"""Credentials of shops: reads exports of older installations, and merges them into connector_svc's file."""
