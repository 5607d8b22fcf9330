"""Warehouses: BigQuery, and DuckDB for one machine."""
