"""Warehouses: BigQuery, and DuckDB on one machine."""
